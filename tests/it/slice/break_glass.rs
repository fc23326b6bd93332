//! Two people let an agent do what policies deny, for a while and loudly; the floor and stops stay.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use harness::{Cluster, Output, Response, Sallyport, Settings, eventually};
use serde_json::{Value, json};

use super::{Scene, stops::Stopped};

const SOON: Duration = Duration::from_secs(60);
const OWN_SECRETS: &str = "/api/v1/namespaces/sallyport-system/secrets";

/// Beside the developer's rules.
fn no_watch(namespace: &str) -> String {
    format!(
        r#"apiVersion: sallyport.dev/v1alpha1
kind: AgentPolicy
metadata: {{name: quiet}}
spec:
  subjects:
  - serviceAccount: {{namespace: {namespace}, name: coder}}
  rules:
  - name: watches
    effect: RequireApproval
    verbs: [watch]
    apiGroups: [""]
    resources: [configmaps]
    namespaces: [{namespace}]
    names: ["*"]
    approval: {{hold: 0s}}
"#
    )
}

/// The command line of a person whom RBAC lets do everything.
fn person(cluster: &Cluster, name: &str) -> Result<(tempfile::TempDir, Sallyport)> {
    let mut config = cluster.kubeconfig_as(name)?;
    config["users"][0]["user"]["as-groups"] = json!(["system:masters"]);
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("config");
    fs::write(&path, config.to_string())?;
    Ok((directory, Sallyport::with_kubeconfig(&path)?))
}

fn scene() -> Result<Scene> {
    scene_with(|settings| settings)
}

fn scene_with(change: impl FnOnce(Settings) -> Settings) -> Result<Scene> {
    Cluster::from_env()?.serve_objects()?;
    Scene::with(|mut settings: Settings, namespace| {
        settings.config["objects"] = json!({"namespace": namespace.name});
        let settings = settings.with_policy("quiet.yaml", &no_watch(&namespace.name));
        Ok(change(settings))
    })
}

impl Scene {
    fn delete_keep(&self) -> Result<Response> {
        self.call("DELETE", &format!("{}/keep", self.configmaps()), &[])
    }

    fn watch_maps(&self) -> Result<(harness::Exchange, Response)> {
        let target = format!("{}?watch=true", self.configmaps());
        let mut exchange = self.start("GET", &target, &[], &[])?;
        let head = exchange.head()?;
        Ok((exchange, head))
    }

    /// The row of what became of a BreakGlass.
    fn glass_row(&self, name: &str, verb: &str) -> Result<Value> {
        let row = self.outcome_of(&format!("the row {verb} of {name}"), |call| {
            call["verb"] == verb && call["objectRef"]["name"] == name
        })?;
        assert_eq!(row["objectRef"]["resource"], "breakglasses", "{row:#}");
        assert_eq!(row["rule"], format!("BreakGlass/{name}"), "{row:#}");
        Ok(row)
    }
}

/// Of what `break-glass open` said.
fn asked(said: Output) -> Result<String> {
    let text = said.success()?;
    let words: Vec<_> = text.split_whitespace().collect();
    let name = words.get(1).with_context(|| text.clone())?;
    assert!(text.contains("waits for a second person"), "{text}");
    Ok((*name).to_owned())
}

#[test]
fn two_people_let_an_agent_pass_for_a_while_and_the_floor_and_stops_stay() -> Result<()> {
    let scene = scene()?;
    scene.create_configmap("keep")?;
    let (_ann_home, ann) = person(&scene.cluster, "ann")?;
    let (_bob_home, bob) = person(&scene.cluster, "bob")?;
    let account = format!("system:serviceaccount:{}:coder", scene.namespace.name);
    let open = |lasts: &str| {
        let reason = "incident 7";
        let whom = ["--agent", &account, "-n", "*", "--for", lasts];
        asked(ann.run(&[&["break-glass", "open", "--reason", reason], &whom[..]].concat())?)
    };
    let denied = scene.delete_keep()?.message(403)?;
    assert!(denied.contains("developer/keep"), "{denied}");

    // One person is not enough, nor is the same person twice.
    let name = open("10m")?;
    assert_eq!(scene.glass_row(&name, "ask")?["user"]["username"], "ann");
    scene.delete_keep()?.refusal(403)?;
    let own = ann
        .run(&["break-glass", "approve", &name, "--yes"])?
        .failure()?;
    assert!(own.contains("a second person must approve"), "{own}");

    let approve = [
        "break-glass",
        "approve",
        &name,
        "--reason",
        "I see it too",
        "--yes",
    ];
    let said = bob.run(&approve)?.success()?;
    assert!(said.contains("is open until"), "{said}");
    assert_eq!(scene.glass_row(&name, "vote")?["approval"]["by"], "bob");
    scene.glass_row(&name, "open")?;
    let passed = scene.delete_keep()?;
    assert_eq!(passed.status, 200, "{}", passed.text());
    let warning = passed.header("warning").context("it warns")?;
    assert!(
        warning.contains("allowed by BreakGlass") && warning.contains("developer/keep"),
        "{warning}"
    );
    let row = scene.record(&passed)?;
    assert_eq!(
        (&row["decision"], &row["rule"], &row["level"]),
        (
            &json!("allow"),
            &json!(format!("BreakGlass/{name}")),
            &json!("RequestResponse")
        ),
        "{row:#}"
    );
    let reasons = row["riskReasons"].to_string();
    assert!(reasons.contains("denies it"), "{reasons}");
    assert_eq!(
        scene.gateway.metric("sallyport_break_glass_calls_total")?,
        1.0
    );
    scene.namespace.event("BreakGlassUsed", "")?;

    // The floor and stops.
    let floor = scene.call("GET", OWN_SECRETS, &[])?.message(403)?;
    assert!(floor.contains("floor-own-namespace"), "{floor}");
    let stop = Stopped::new(&scene.cluster, &json!({"agent": account}))?;
    eventually("the stop", SOON, || {
        let answer = scene.list()?;
        Ok(answer.text().contains("AgentStop/").then_some(()))
    })?;
    stop.lift()?;
    eventually("the resumed agent", SOON, || {
        Ok((scene.list()?.status == 200).then_some(()))
    })?;

    // What runs by it alone ends with it, also where people would be asked.
    let (mut watch, head) = scene.watch_maps()?;
    assert_eq!(head.status, 200);
    let close = ["break-glass", "close", &name, "--reason", "it is over"];
    assert!(bob.run(&close)?.success()?.contains("is closed"));
    watch.body(&head).context("the watch ends in order")?;
    assert_eq!(scene.glass_row(&name, "close")?["user"]["username"], "bob");
    scene.delete_keep()?.refusal(403)?;
    assert_eq!(scene.watch_maps()?.1.status, 403);
    let ended = scene.outcome_of("the watch", |call| {
        call["verb"] == "watch" && call["rule"] == format!("BreakGlass/{name}")
    })?;
    let why = ended["responseStatus"]["message"].to_string();
    assert!(why.contains("is over"), "{ended:#}");
    let late = bob.run(&approve)?.failure()?;
    assert!(late.contains("make another one"), "{late}");
    let list = ann.run(&["break-glass", "list"])?.success()?;
    assert!(list.contains(&name) && list.contains("Closed"), "{list}");

    // The clock closes it too, and ends what runs by it.
    let short = open("15s")?;
    bob.run(&["break-glass", "approve", &short, "--yes"])?
        .success()?;
    let (mut watch, head) = eventually("the second opening", SOON, || {
        let (watch, head) = scene.watch_maps()?;
        Ok((head.status == 200).then_some((watch, head)))
    })?;
    watch.body(&head).context("the watch ends in order")?;
    scene.glass_row(&short, "expire")?;
    scene.delete_keep()?.refusal(403)?;
    Ok(())
}

/// Whoever made it and whoever voted have another clock than the gateway.
#[cfg(target_os = "linux")]
#[test]
fn a_gateway_opens_and_closes_by_its_own_clock() -> Result<()> {
    const MINUTE: i64 = 60;
    let mut scene = scene_with(|settings| settings.with_clock(-5 * MINUTE))?;
    scene.create_configmap("keep")?;
    // For a clock that is behind, a new token is none yet.
    scene.gateway.set_clock(0)?;
    assert_eq!(scene.list()?.status, 200);
    let (_ann_home, ann) = person(&scene.cluster, "ann")?;
    let (_bob_home, bob) = person(&scene.cluster, "bob")?;
    let account = format!("system:serviceaccount:{}:coder", scene.namespace.name);
    let whom = ["--agent", &account, "-n", "*", "--for", "10m"];
    let open = ["break-glass", "open", "--reason", "incident 8"];
    let name = asked(ann.run(&[&open[..], &whom].concat())?)?;
    scene.glass_row(&name, "ask")?;
    // A token that is known for the next seconds, also to a clock for which it is none yet.
    scene.token = scene
        .namespace
        .token("coder", "sallyport", Some(&scene.pod))?;
    assert_eq!(scene.list()?.status, 200);
    scene.gateway.set_clock(-5 * MINUTE)?;
    let approve = ["break-glass", "approve", &name, "--yes"];
    bob.run(&approve)?.success()?;
    scene.glass_row(&name, "vote")?;
    scene.delete_keep()?.refusal(403)?;
    scene.gateway.set_clock(0)?;
    assert_eq!(scene.delete_keep()?.status, 200);
    scene.create_configmap("keep")?;
    scene.gateway.set_clock(5 * MINUTE)?;
    assert_eq!(scene.delete_keep()?.status, 200);
    scene.create_configmap("keep")?;
    scene.gateway.set_clock(11 * MINUTE)?;
    scene.delete_keep()?.refusal(403)?;
    Ok(())
}
