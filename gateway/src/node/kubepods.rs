//! Where the cgroup of all pods is, by node.yaml or by looking.

use std::path::PathBuf;

use super::layout::find_kubepods;
use crate::{config::node::NodeConfig, redirect};

/// None before kubelet has made its first pod's. One that is configured is taken at its word.
pub fn kubepods(config: Option<&NodeConfig>) -> Result<Option<PathBuf>, redirect::Error> {
    let root = match config.and_then(|config| config.cgroup_root.clone()) {
        Some(root) => root,
        None => redirect::cgroup2_mount()?.path().to_owned(),
    };
    Ok(match config.and_then(|config| config.kubepods.as_ref()) {
        Some(kubepods) => Some(root.join(kubepods)),
        None => find_kubepods(&root),
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    fn of(text: &str) -> Option<PathBuf> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("node.yaml");
        fs::write(&file, format!("node: worker-1\ngatewayUid: 65532\n{text}")).unwrap();
        let config = NodeConfig::load(&file).unwrap();
        kubepods(Some(&config)).unwrap()
    }

    #[test]
    fn a_configured_cgroup_is_below_the_root_and_not_beside_the_file() {
        for (written, path) in [
            ("pods.slice", "/host/cgroup/pods.slice"),
            ("a/pods", "/host/cgroup/a/pods"),
            ("/elsewhere/pods", "/elsewhere/pods"),
        ] {
            let found = of(&format!("cgroupRoot: /host/cgroup\nkubepods: {written}\n"));
            assert_eq!(found.as_deref(), Some(Path::new(path)));
        }
    }

    #[test]
    fn one_that_is_not_configured_is_looked_for_below_the_root() {
        let root = tempfile::tempdir().unwrap();
        let text = format!("cgroupRoot: {}\n", root.path().display());
        assert_eq!(of(&text), None);
        fs::create_dir_all(root.path().join("kubepods.slice/kubepods-burstable.slice")).unwrap();
        assert_eq!(of(&text), Some(root.path().join("kubepods.slice")));
    }
}
