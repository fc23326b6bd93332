//! `cargo xtask bench detectors`: what the detectors find in the manifests of real projects.
//!
//! They are brought from GitHub, each at one commit, and Kubernetes' own from the sources of the test control plane.
//! What cannot be brought is left out. A directory of one's own may be named in their place.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use super::DETECTORS;
use crate::{
    command::{capture, cargo, command, show},
    tools::{Cache, cluster},
};

/// Repositories of GitHub, and commits.
const PROJECTS: &str = include_str!("detectors/projects.txt");

/// What is read, as patterns of a sparse checkout.
const FILES: [&str; 3] = ["*.yaml", "*.yml", "*.json"];

/// The manifests of a project, as the bench takes them.
struct Manifests {
    name: String,
    directory: PathBuf,
}

/// `chosen`: projects by parts of their names, or directories; all projects where absent.
pub(super) fn run(chosen: &[String]) -> Result<()> {
    let projects = match chosen {
        [] => brought(|_| true)?,
        chosen if chosen.iter().all(|each| Path::new(each).is_dir()) => of_ones_own(chosen)?,
        chosen => brought(|name| chosen.iter().any(|part| name.contains(&**part)))?,
    };
    ensure!(
        !projects.is_empty(),
        "there are no manifests to read; name a directory of them, or a part of a project's name"
    );
    let mut bench = cargo();
    // It counts, so it need not be quick, and what tests were built with is there already.
    bench.args([
        "bench",
        "--quiet",
        "--profile",
        "dev",
        "--package",
        "sallyport",
    ]);
    bench.args(["--bench", DETECTORS, "--"]);
    for Manifests { name, directory } in &projects {
        bench.arg(format!("{name}={}", directory.display()));
    }
    show(&mut bench)
}

fn of_ones_own(directories: &[String]) -> Result<Vec<Manifests>> {
    let own = directories.iter().map(|name| {
        Ok(Manifests {
            name: name.clone(),
            directory: fs::canonicalize(name)?,
        })
    });
    own.collect()
}

fn brought(is_chosen: impl Fn(&str) -> bool) -> Result<Vec<Manifests>> {
    let cache = Cache::open()?;
    let kubernetes = "kubernetes/kubernetes";
    let mut projects = Vec::new();
    if is_chosen(kubernetes) {
        projects.push(manifests(kubernetes, cluster::sources(&cache)?));
    }
    let pinned = PROJECTS.lines().filter_map(|line| line.split_once(' '));
    for (name, commit) in pinned.filter(|(name, _)| is_chosen(name)) {
        match bring(&cache, name, commit) {
            Ok(directory) => projects.push(manifests(name, directory)),
            Err(error) => eprintln!("  {name} is left out: {error:#}"),
        }
    }
    Ok(projects)
}

fn manifests(name: &str, directory: PathBuf) -> Manifests {
    Manifests {
        name: name.to_owned(),
        directory,
    }
}

fn bring(cache: &Cache, name: &str, commit: &str) -> Result<PathBuf> {
    let what = format!("manifests of {name}");
    let key = format!("{}-{commit}", name.replace('/', "-"));
    cache.ensure("manifests", &key, &what, |directory| {
        let git = |arguments: &[&str]| {
            let mut git = command("git");
            git.arg("-C").arg(directory).args(arguments);
            capture(git.env("GIT_TERMINAL_PROMPT", "0")).map(drop)
        };
        git(&["init", "--quiet"])?;
        git(&[&["sparse-checkout", "set", "--no-cone"], &FILES[..]].concat())?;
        let address = format!("https://github.com/{name}");
        // Contents come with the checkout, and those alone that it takes.
        git(&[
            "fetch",
            "--depth",
            "1",
            "--filter=blob:none",
            &address,
            commit,
        ])?;
        git(&["checkout", "--quiet", "FETCH_HEAD"])?;
        let history = directory.join(".git");
        fs::remove_dir_all(&history).with_context(|| format!("cannot remove {}", history.display()))
    })
}
