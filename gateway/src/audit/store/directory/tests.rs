use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::hex;

const NAME: &str = "v=1/cluster=prod/date=2026-03-04/hour=05/log-1-2.parquet";

#[test]
fn a_file_is_there_alone() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("store");
    let path = Directory::open(&root).unwrap().put(NAME, b"bytes").unwrap();
    assert_eq!(path, root.join(NAME));
    assert_eq!(fs::read(&path).unwrap(), b"bytes");
    assert_eq!(
        fs::read_dir(path.parent().unwrap()).unwrap().count(),
        1,
        "the temporary file is gone"
    );
}

#[test]
fn directories_and_files_are_closed_to_others() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("store");
    let path = Directory::open(&root).unwrap().put(NAME, b"bytes").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let inside = |path: &&Path| path.starts_with(&root);
    assert_eq!(mode(&path) & !0o640, 0);
    for made in path.parent().unwrap().ancestors().take_while(inside) {
        assert_eq!(mode(made) & !0o750, 0, "{}", made.display());
    }
}

#[test]
fn the_same_file_again_is_success_and_another_is_never_written_over_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = Directory::open(directory.path()).unwrap();
    let path = store.put(NAME, b"one").unwrap();
    assert_eq!(store.put(NAME, b"one").unwrap(), path);

    let error = store.put(NAME, b"two").unwrap_err();
    let StoreError::Clash {
        stored, offered, ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(*stored, hex::encode(&canonical::digest(b"one")));
    assert_eq!(*offered, hex::encode(&canonical::digest(b"two")));
    assert!(error.to_string().contains(path.to_str().unwrap()));
    assert_eq!(fs::read(&path).unwrap(), b"one");
}

#[test]
fn a_temporary_file_left_by_a_crash_is_no_obstacle() {
    let directory = tempfile::tempdir().unwrap();
    let store = Directory::open(directory.path()).unwrap();
    let path = directory.path().join(NAME);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(temporary(&path), b"half of a much longer file").unwrap();
    store.put(NAME, b"whole").unwrap();
    assert_eq!(fs::read(path).unwrap(), b"whole");
}
