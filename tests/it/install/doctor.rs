//! `sallyport doctor`, of a cluster on which everything is installed, and no node agent runs yet.

use anyhow::Result;
use harness::Installation;

#[test]
fn doctor_misses_nothing_of_an_installed_cluster_but_its_node_agents() -> Result<()> {
    let installation = Installation::from_env()?;
    let said = installation.sallyport_as_admin(&["doctor", "--only", "cluster"])?;
    let failed: Vec<_> = said
        .stdout
        .lines()
        .filter(|line| line.contains("FAILED"))
        .collect();
    assert!(said.status == 3 && failed.len() == 1, "{said:?}");
    assert!(failed[0].starts_with("node agents"), "{said:?}");
    // What it may not see, it has not checked.
    assert!(!said.stdout.contains("not known"), "{said:?}");
    Ok(())
}
