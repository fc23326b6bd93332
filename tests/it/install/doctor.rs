//! `sallyport doctor`, of a cluster on which everything is installed.

use anyhow::Result;
use harness::Installation;

#[test]
fn doctor_finds_nothing_amiss_with_an_installed_cluster() -> Result<()> {
    let installation = Installation::from_env()?;
    let said = installation
        .sallyport_as_admin(&["doctor", "--only", "cluster"])?
        .success()?;
    assert!(said.contains(" 0 failed"), "{said}");
    Ok(())
}
