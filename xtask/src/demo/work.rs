//! What the two agents do.

use anyhow::Result;

use super::Agents;

/// A refusal by policy, as kubectl prints it.
const FORBIDDEN: &str = "(Forbidden)";

pub(super) fn all(agents: &Agents) -> Result<()> {
    println!(
        "\nAn assistant works in pod coder-0. Its ServiceAccount token is for the audience sallyport."
    );
    let coder = &agents.coder;
    coder.does(&["get", "pods"])?;
    coder.does(&["apply", "-f", "secret.yaml"])?;
    coder.does(&[
        "get",
        "secret",
        "shop-database",
        "-o",
        "jsonpath={.data.password}{\"\\n\"}",
    ])?;
    coder.does(&["apply", "-f", "configmap.yaml"])?;
    coder.does(&[
        "patch",
        "configmap",
        "shop-settings",
        "--type",
        "merge",
        "-p",
        r#"{"data":{"replicas":"3"}}"#,
    ])?;
    coder.is_refused(&["delete", "secret", "shop-database"], FORBIDDEN)?;

    println!(
        "\nA bot works in a CI job. Its OIDC token says which repository, workflow and run it is."
    );
    let release_bot = &agents.release_bot;
    release_bot.does(&["apply", "-f", "deployment.yaml"])?;
    release_bot.does(&[
        "set",
        "image",
        "deployment/shop",
        "shop=registry.k8s.io/pause:3.10",
    ])?;
    release_bot.does(&["get", "deployment", "shop"])?;
    release_bot.is_refused(&["get", "secret", "shop-database"], FORBIDDEN)?;
    release_bot.is_refused(&["delete", "deployment", "shop"], FORBIDDEN)
}
