//! `sallyport prepare`: directories of the host for the gateway, which runs without root. An init container runs it.

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::{DirBuilderExt, MetadataExt, chown},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, ensure};

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// The user and the group that shall own them.
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u32).range(1..))]
    owner: u32,
    /// Made where they are missing, with those above them, mode 0700.
    #[arg(required = true, value_name = "DIRECTORY")]
    directories: Vec<PathBuf>,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    for directory in &args.directories {
        prepare(directory, args.owner)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn prepare(directory: &Path, owner: u32) -> anyhow::Result<()> {
    if let Some(above) = directory.parent() {
        fs::create_dir_all(above).with_context(|| format!("making {}", above.display()))?;
    }
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("making {}", directory.display()));
        }
        _ => {}
    }
    let metadata = fs::symlink_metadata(directory)?;
    ensure!(
        metadata.is_dir(),
        "{} is not a directory",
        directory.display()
    );
    if metadata.uid() == owner {
        return Ok(());
    }
    chown(directory, Some(owner), Some(owner))
        .with_context(|| format!("giving {} to user {owner}", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_its_owners_stays_as_it_is() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("wal/one");
        let me = parent.path().metadata().unwrap().uid();
        prepare(&directory, me).unwrap();
        fs::write(directory.join("kept"), "").unwrap();
        prepare(&directory, me).unwrap();
        assert_eq!(directory.metadata().unwrap().mode() & 0o777, 0o700);
        assert!(directory.join("kept").exists());
    }

    #[test]
    fn a_link_in_its_place_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let link = parent.path().join("calls");
        std::os::unix::fs::symlink("/", &link).unwrap();
        assert!(prepare(&link, 65532).is_err());
    }
}
