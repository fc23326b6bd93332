use std::fs;

use super::{Cache, digest};

fn cache(name: &str) -> Cache {
    let root = std::env::temp_dir().join(format!("sallyport-xtask-{}-{name}", std::process::id()));
    fs::create_dir_all(&root).unwrap();
    Cache { root }
}

#[test]
fn a_failed_download_leaves_nothing_that_looks_finished() {
    let cache = cache("failed");
    let fill = |directory: &std::path::Path| {
        fs::write(directory.join("half"), "half")?;
        anyhow::bail!("the network went away")
    };
    cache.ensure("tool", "1", "tool", fill).unwrap_err();
    assert!(!cache.root.join("tool/1").exists());

    let finished = cache
        .ensure("tool", "1", "tool", |directory| {
            Ok(fs::write(directory.join("whole"), "")?)
        })
        .unwrap();
    assert!(finished.join("whole").exists());
    assert!(
        !finished.join("half").exists(),
        "what the first attempt left is not carried over"
    );
    fs::remove_dir_all(cache.root).unwrap();
}

#[test]
fn a_warm_cache_does_nothing() {
    let cache = cache("warm");
    cache.ensure("tool", "1", "tool", |_| Ok(())).unwrap();
    cache
        .ensure("tool", "1", "tool", |_| panic!("filled again"))
        .unwrap();
    fs::remove_dir_all(cache.root).unwrap();
}

#[test]
fn concurrent_runs_fill_a_directory_once() {
    let cache = cache("concurrent");
    let fills = std::sync::atomic::AtomicUsize::new(0);
    let fill = |_: &std::path::Path| {
        fills.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    };
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| cache.ensure("tool", "1", "tool", fill).unwrap());
        }
    });
    assert_eq!(fills.into_inner(), 1);
    fs::remove_dir_all(cache.root).unwrap();
}

#[test]
fn the_digest_follows_names_and_contents() {
    let root = cache("digest").root;
    let mut seen = std::collections::BTreeSet::new();
    for (name, content) in [("a", "1"), ("a", "2"), ("b", "2")] {
        fs::write(root.join(name), content).unwrap();
        assert!(seen.insert(digest(&root).unwrap()));
        assert!(
            !seen.insert(digest(&root).unwrap()),
            "the same files have the same digest"
        );
    }
    fs::remove_dir_all(root).unwrap();
}
