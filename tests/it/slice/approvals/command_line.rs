//! The same decisions by `sallyport approvals`, and `sallyport wait` for scripts.

use std::thread;

use anyhow::Result;
use serde_json::json;

use super::*;

impl Asked {
    fn sallyport(&self) -> Result<Sallyport> {
        Sallyport::with_kubeconfig(&self.person.kubeconfig())
    }
}

const CREATE: [&str; 4] = ["create", "configmap", "web", "--from-literal=colour=green"];

#[test]
fn person_lists_sees_and_approves_from_a_terminal() -> Result<()> {
    let asked = Asked::with("{hold: 60s, scopes: [Once]}")?;
    let sallyport = asked.sallyport()?;
    let namespace = asked.scene.namespace.name.as_str();
    thread::scope(|threads| {
        let agent = asked.agent_runs(threads, &CREATE)?;
        let request = asked.open_request()?;
        let name = name(&request)?;

        let list = sallyport
            .run(&["approvals", "list", "-n", namespace, "--pending"])?
            .success()?;
        assert!(
            list.contains(name) && list.contains("Pending") && list.contains("coder"),
            "{list}"
        );
        let show = sallyport
            .run(&["approvals", "show", "-n", namespace, name])?
            .success()?;
        for part in [
            "coder wants to create configmaps",
            "big-model 2026-10 acme  [operator-declared]",
            "+  colour: green",
            "ConfigMaps are looked at first",
            "--subresource=status --type=json",
        ] {
            assert!(show.contains(part), "{part:?} is not in {show}");
        }
        let wide = [
            "approvals",
            "approve",
            "-n",
            namespace,
            name,
            "--scope",
            "session",
            "--yes",
        ];
        let refused = sallyport.run(&wide)?.failure()?;
        assert!(
            refused.contains("takes no approval with --scope session"),
            "{refused}"
        );
        let unasked = sallyport
            .run(&["approvals", "approve", "-n", namespace, name])?
            .failure()?;
        assert!(unasked.contains("give --yes"), "{unasked}");

        let key = format!("{namespace}/{name}");
        let waited = sallyport.run(&["wait", &key, "--timeout", "0s"])?;
        assert_eq!(waited.status, 75, "{}", waited.stderr);
        let approve = ["approvals", "approve", &key, "--reason", "Friday", "--yes"];
        let said = sallyport.run(&approve)?.success()?;
        assert!(said.starts_with("approved by "), "{said}");
        agent.join().expect("kubectl ran")?.success()?;
        let call = asked.outcome("approved")?;
        assert_eq!(call["approval"]["reason"], "Friday");
        assert_eq!(sallyport.run(&["wait", &key])?.status, 0);
        let late = sallyport
            .run(&["approvals", "deny", &key, "--yes"])?
            .failure()?;
        assert!(late.contains("is Used already"), "{late}");
        Ok(())
    })
}

/// By the very text that the command shows.
#[test]
fn command_that_is_shown_for_kubectl_alone_works() -> Result<()> {
    let asked = Asked::with("{hold: 0s}")?;
    asked.scene.kubectl()?.run(&CREATE)?.failure()?;
    let request = asked.open_request()?;
    let key = format!("{}/{}", asked.scene.namespace.name, name(&request)?);
    let show = asked
        .sallyport()?
        .run(&["approvals", "show", &key])?
        .success()?;
    let line = show
        .lines()
        .find(|line| line.trim_start().starts_with("kubectl -n"));
    let line = line.context("the command is shown")?.trim();
    asked.person.shell(line)?;
    let voted = asked.again(&request)?;
    assert_eq!(voted["status"]["votes"][0]["result"], "Approved", "{voted}");
    let kubectl = asked.scene.kubectl()?;
    asked.passes(|| kubectl.run(&CREATE))?;
    assert_eq!(asked.uses(&request)?, 1);
    Ok(())
}

#[test]
fn denied_request_ends_a_wait_with_an_error() -> Result<()> {
    let asked = Asked::with("{hold: 0s}")?;
    asked.scene.kubectl()?.run(&CREATE)?.failure()?;
    let request = asked.open_request()?;
    let key = format!("{}/{}", asked.scene.namespace.name, name(&request)?);
    let sallyport = asked.sallyport()?;
    thread::scope(|threads| {
        let waiting = threads.spawn(|| sallyport.run(&["wait", &key]));
        asked.vote(&request, &denial("bob", "no"))?;
        let waited = waiting.join().expect("it ran")?;
        assert_eq!(
            (waited.status, waited.stdout.as_str()),
            (1, "Denied by bob\n")
        );
        let missing = sallyport.run(&["wait", "nowhere/nothing"])?.failure()?;
        assert!(missing.contains("approvals list -A"), "{missing}");
        Ok(())
    })
}

#[test]
fn requests_are_told_as_they_come_and_are_decided() -> Result<()> {
    let asked = Asked::with("{hold: 0s}")?;
    let namespace = asked.scene.namespace.name.as_str();
    let watch = asked.sallyport()?;
    let told = watch.follow(&["approvals", "watch", "-n", namespace])?;
    asked.scene.kubectl()?.run(&CREATE)?.failure()?;
    told.wait_for("a request that waits", |line| {
        line.contains("Pending") && line.contains("coder")
    })?;
    asked.vote(&asked.open_request()?, &json!(denial("bob", "no")))?;
    told.wait_for("its denial", |line| line.contains("Denied"))?;
    Ok(())
}
