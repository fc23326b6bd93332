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
struct Person {
    sallyport: Sallyport,
    _home: tempfile::TempDir,
}

impl Person {
    fn new(cluster: &Cluster, name: &str) -> Result<Self> {
        let mut config = cluster.kubeconfig_as(name)?;
        config["users"][0]["user"]["as-groups"] = json!(["system:masters"]);
        let home = tempfile::tempdir()?;
        let path = home.path().join("config");
        fs::write(&path, config.to_string())?;
        Ok(Self {
            sallyport: Sallyport::with_kubeconfig(&path)?,
            _home: home,
        })
    }

    /// `sallyport break-glass`.
    fn runs(&self, arguments: &[&str]) -> Result<Output> {
        self.sallyport.run(&[&["break-glass"], arguments].concat())
    }

    /// Asks for this agent in all namespaces, and gives the name of what waits for a second person.
    fn asks(&self, agent: &str, lasts: &str) -> Result<String> {
        let why = ["open", "--reason", "incident 7"];
        let whom = ["--agent", agent, "-n", "*", "--for", lasts];
        let text = self.runs(&[&why[..], &whom].concat())?.success()?;
        let words: Vec<_> = text.split_whitespace().collect();
        let name = words.get(1).with_context(|| text.clone())?;
        assert!(text.contains("waits for a second person"), "{text}");
        Ok((*name).to_owned())
    }

    fn approves(&self, name: &str) -> Result<Output> {
        self.runs(&["approve", name, "--reason", "I see it too", "--yes"])
    }
}

/// An agent that may not delete `keep`, and two people.
struct Site {
    scene: Scene,
    account: String,
    ann: Person,
    bob: Person,
}

impl Site {
    fn with(change: impl FnOnce(Settings) -> Settings) -> Result<Self> {
        let scene = scene_with(change)?;
        scene.create_configmap("keep")?;
        Ok(Self {
            account: format!("system:serviceaccount:{}:coder", scene.namespace.name),
            ann: Person::new(&scene.cluster, "ann")?,
            bob: Person::new(&scene.cluster, "bob")?,
            scene,
        })
    }
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

#[test]
fn two_people_let_an_agent_pass_for_a_while_and_the_floor_and_stops_stay() -> Result<()> {
    let site = Site::with(|settings| settings)?;
    let name = nothing_opens_by_one_person(&site)?;
    it_passes_loudly(&site, &name)?;
    the_floor_and_stops_stay(&site)?;
    what_runs_by_it_ends_with_it(&site, &name)?;
    the_clock_closes_it(&site)
}

/// Nor by the same person twice.
fn nothing_opens_by_one_person(site: &Site) -> Result<String> {
    let scene = &site.scene;
    let denied = scene.delete_keep()?.message(403)?;
    assert!(denied.contains("developer/keep"), "{denied}");
    let name = site.ann.asks(&site.account, "10m")?;
    assert_eq!(scene.glass_row(&name, "ask")?["user"]["username"], "ann");
    scene.delete_keep()?.refusal(403)?;
    let own = site.ann.approves(&name)?.failure()?;
    assert!(own.contains("a second person must approve"), "{own}");
    Ok(name)
}

fn it_passes_loudly(site: &Site, name: &str) -> Result<()> {
    let scene = &site.scene;
    let said = site.bob.approves(name)?.success()?;
    assert!(said.contains("is open until"), "{said}");
    assert_eq!(scene.glass_row(name, "vote")?["approval"]["by"], "bob");
    scene.glass_row(name, "open")?;
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
    let counted = scene.gateway.metric("sallyport_break_glass_calls_total")?;
    assert_eq!(counted, 1.0);
    scene.namespace.event("BreakGlassUsed", "").map(drop)
}

fn the_floor_and_stops_stay(site: &Site) -> Result<()> {
    let scene = &site.scene;
    let floor = scene.call("GET", OWN_SECRETS, &[])?.message(403)?;
    assert!(floor.contains("floor-own-namespace"), "{floor}");
    let stop = Stopped::new(&scene.cluster, &json!({"agent": site.account}))?;
    eventually("the stop", SOON, || {
        let answer = scene.list()?;
        Ok(answer.text().contains("AgentStop/").then_some(()))
    })?;
    stop.lift()?;
    eventually("the resumed agent", SOON, || {
        Ok((scene.list()?.status == 200).then_some(()))
    })
}

/// Also where people would be asked.
fn what_runs_by_it_ends_with_it(site: &Site, name: &str) -> Result<()> {
    let scene = &site.scene;
    let (mut watch, head) = scene.watch_maps()?;
    assert_eq!(head.status, 200);
    let close = ["close", name, "--reason", "it is over"];
    assert!(site.bob.runs(&close)?.success()?.contains("is closed"));
    watch.body(&head).context("the watch ends in order")?;
    assert_eq!(scene.glass_row(name, "close")?["user"]["username"], "bob");
    scene.delete_keep()?.refusal(403)?;
    assert_eq!(scene.watch_maps()?.1.status, 403);
    let ended = scene.outcome_of("the watch", |call| {
        call["verb"] == "watch" && call["rule"] == format!("BreakGlass/{name}")
    })?;
    let why = ended["responseStatus"]["message"].to_string();
    assert!(why.contains("is over"), "{ended:#}");
    let late = site.bob.approves(name)?.failure()?;
    assert!(late.contains("make another one"), "{late}");
    let list = site.ann.runs(&["list"])?.success()?;
    assert!(list.contains(name) && list.contains("Closed"), "{list}");
    Ok(())
}

/// And ends what runs by it.
fn the_clock_closes_it(site: &Site) -> Result<()> {
    let scene = &site.scene;
    let short = site.ann.asks(&site.account, "15s")?;
    site.bob.approves(&short)?.success()?;
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
    let mut site = Site::with(|settings| settings.with_clock(-5 * MINUTE))?;
    let scene = &mut site.scene;
    // For a clock that is behind, a new token is none yet.
    scene.gateway.set_clock(0)?;
    assert_eq!(scene.list()?.status, 200);
    let name = site.ann.asks(&site.account, "10m")?;
    scene.glass_row(&name, "ask")?;
    // A token that is known for the next seconds, also to a clock for which it is none yet.
    scene.token = scene
        .namespace
        .token("coder", "sallyport", Some(&scene.pod))?;
    assert_eq!(scene.list()?.status, 200);
    scene.gateway.set_clock(-5 * MINUTE)?;
    site.bob.approves(&name)?.success()?;
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
