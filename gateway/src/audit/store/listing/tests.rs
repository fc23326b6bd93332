use super::*;
use crate::audit::store::{Archive, Directory, name};

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

/// Puts an empty file.
fn put(root: &Path, cluster: &str, (first, last): (u64, u64), appended: &str) -> PathBuf {
    let name = name(cluster, &range(first, last), time(appended));
    Directory::open(root).unwrap().put(&name, b"").unwrap()
}

fn list(root: &Path) -> Vec<StoredFile> {
    Archive::Directory(root.to_owned())
        .newest_first(|location, error| panic!("{location}: {error}"))
}

#[test]
fn a_file_is_filed_under_the_hour_of_its_first_record() {
    let directory = tempfile::tempdir().unwrap();
    let path = put(
        directory.path(),
        "prod",
        (1, 20),
        "2026-03-04T05:59:59.999999Z",
    );
    let expected = "v=1/cluster=prod/date=2026-03-04/hour=05/0197-log-00000000000000000001-00000000000000000020.parquet";
    assert_eq!(path, directory.path().join(expected));
    let [file] = &list(directory.path())[..] else {
        panic!("one file")
    };
    assert_eq!(file.location, Location::Path(path));
    assert_eq!(
        (&file.range, file.hour),
        (&range(1, 20), time("2026-03-04T05:00:00Z"))
    );
}

#[test]
fn what_no_gateway_put_there_is_not_listed() {
    let directory = tempfile::tempdir().unwrap();
    let path = put(directory.path(), "prod", (1, 2), "2026-03-04T05:00:00Z");
    let name = path.file_name().unwrap().to_str().unwrap();
    fs::rename(&path, path.with_file_name(format!(".{name}.tmp"))).unwrap();
    fs::write(path.with_file_name(format!(".{name}")), b"").unwrap();
    fs::write(directory.path().join("v=1/README.parquet"), b"").unwrap();
    assert!(list(directory.path()).is_empty());
}

#[test]
fn files_are_listed_newest_first_with_the_end_of_their_appends() {
    let directory = tempfile::tempdir().unwrap();
    for (range, appended) in [
        ((1, 9), "2026-03-04T05:10:00Z"),
        ((10, 99), "2026-03-04T05:20:00Z"),
        ((100, 100), "2026-03-05T00:00:00Z"),
    ] {
        put(directory.path(), "prod", range, appended);
    }
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
        put(directory.path(), cluster, (1, 9), "2026-03-04T05:10:00Z");
    }
    assert!(
        list(directory.path())
            .iter()
            .all(|file| file.appended_before.is_none())
    );
}
