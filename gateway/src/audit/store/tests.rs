use std::os::unix::fs::PermissionsExt;

use super::{listing::newest_first, *};

fn range(first: u64, last: u64) -> Range {
    Range {
        log_id: "0197-log".to_owned(),
        first,
        last,
    }
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn a_file_is_filed_under_the_hour_of_its_first_record() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("store"), "prod").unwrap();
    let path = store
        .put(&range(1, 20), time("2026-03-04T05:59:59.999999Z"), b"bytes")
        .unwrap();
    let expected = "store/v=1/cluster=prod/date=2026-03-04/hour=05/0197-log-00000000000000000001-00000000000000000020.parquet";
    assert_eq!(path, directory.path().join(expected));
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
    let store = Store::open(&root, "prod").unwrap();
    let path = store
        .put(&range(1, 2), time("2026-03-04T05:00:00Z"), b"bytes")
        .unwrap();
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
    let store = Store::open(directory.path(), "prod").unwrap();
    let appended = time("2026-03-04T05:00:00Z");
    let path = store.put(&range(1, 2), appended, b"one").unwrap();
    assert_eq!(store.put(&range(1, 2), appended, b"one").unwrap(), path);

    let error = store.put(&range(1, 2), appended, b"two").unwrap_err();
    let StoreError::Clash {
        stored, offered, ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(*stored, hex(&canonical::digest(b"one")));
    assert_eq!(*offered, hex(&canonical::digest(b"two")));
    assert!(error.to_string().contains(path.to_str().unwrap()));
    assert_eq!(fs::read(&path).unwrap(), b"one");
}

#[test]
fn a_temporary_file_left_by_a_crash_is_no_obstacle() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), "prod").unwrap();
    let appended = time("2026-03-04T05:00:00Z");
    let partition = store.partition(appended);
    fs::create_dir_all(&partition).unwrap();
    fs::write(
        partition.join(format!(".{}.tmp", file_name(&range(1, 2)))),
        b"half of a much longer file",
    )
    .unwrap();
    assert!(list(directory.path()).is_empty());
    let path = store.put(&range(1, 2), appended, b"whole").unwrap();
    assert_eq!(fs::read(path).unwrap(), b"whole");
}

#[test]
fn files_are_listed_newest_first_with_the_end_of_their_appends() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), "prod").unwrap();
    for (first, last, appended) in [
        (1, 9, "2026-03-04T05:10:00Z"),
        (10, 99, "2026-03-04T05:20:00Z"),
        (100, 100, "2026-03-05T00:00:00Z"),
    ] {
        store.put(&range(first, last), time(appended), b"").unwrap();
    }
    fs::write(
        directory.path().join("v=1/cluster=prod/README.parquet"),
        b"",
    )
    .unwrap();
    let found: Vec<_> = list(directory.path())
        .into_iter()
        .map(|file| (file.range.first, file.appended_before))
        .collect();
    let expected = [
        (100, None),
        (10, Some(time("2026-03-05T01:00:00Z"))),
        (1, Some(time("2026-03-04T06:00:00Z"))),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_copied_file_does_not_bound_itself() {
    let directory = tempfile::tempdir().unwrap();
    for cluster in ["prod", "copy"] {
        let store = Store::open(directory.path(), cluster).unwrap();
        store
            .put(&range(1, 9), time("2026-03-04T05:10:00Z"), b"")
            .unwrap();
    }
    assert!(
        list(directory.path())
            .iter()
            .all(|file| file.appended_before.is_none())
    );
}

fn list(root: &Path) -> Vec<listing::StoredFile> {
    newest_first(root, |path, error| panic!("{}: {error}", path.display()))
}
