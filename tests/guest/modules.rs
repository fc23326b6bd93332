use std::{
    fs::{self, File},
    path::Path,
};

use anyhow::{Context, Result};
use nix::kmod::{ModuleInitFlags, finit_module};

/// Loads what a distribution's kernel keeps in modules and the tests need: all that was put here for it.
pub(crate) fn load_all(release: &str) -> Result<()> {
    for entry in fs::read_dir(Path::new("/modules").join(release))? {
        let path = entry?.path();
        load(&path).with_context(|| format!("cannot load {}", path.display()))?;
    }
    Ok(())
}

fn load(path: &Path) -> Result<()> {
    /// `MODULE_INIT_COMPRESSED_FILE` of `linux/module.h`.
    const COMPRESSED: u32 = 4;
    let flags = match path.extension() {
        Some(extension) if extension == "ko" => ModuleInitFlags::empty(),
        _ => ModuleInitFlags::from_bits_retain(COMPRESSED),
    };
    Ok(finit_module(File::open(path)?, c"", flags)?)
}
