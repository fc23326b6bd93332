//! Stopped agents: nothing new begins, and what runs ends, until somebody resumes them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::{
    Api, Cluster, Exchange, Namespace, Oidc, Output, RawClient, Response, Sallyport, Settings,
    WebSocket, eventually,
};
use serde_json::{Value, json};

use super::{Scene, developer_policy};

const STOPS: &str = "/apis/sallyport.dev/v1alpha1/agentstops";
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// The gateway hears of the cluster's objects.
pub(super) fn with_objects(mut settings: Settings) -> Result<Settings> {
    settings.config["objects"] = json!({});
    Ok(settings)
}

fn scene() -> Result<Scene> {
    Cluster::from_env()?.serve_objects()?;
    Scene::with(|settings, _| with_objects(settings))
}

impl Scene {
    /// As a stop names the agent: other tests' agents have the same name, but not the same account.
    fn account(&self) -> String {
        format!("system:serviceaccount:{}:coder", self.namespace.name)
    }

    /// The administrator's `sallyport agents`.
    fn agents(&self, arguments: &[&str]) -> Result<Output> {
        let person = Sallyport::with_kubeconfig(&self.cluster.kubeconfig)?;
        person.run(&[&["agents"], arguments].concat())
    }

    fn watch(&self) -> Result<(Exchange, Response)> {
        let target = format!("{}?watch=true", self.configmaps());
        let mut exchange = self.start("GET", &target, &[], &[])?;
        let head = exchange.head()?;
        ensure!(head.status == 200, "the watch: {}", head.status);
        Ok((exchange, head))
    }

    fn eventually_denied(&self, what: &str) -> Result<Value> {
        eventually(what, LIMIT, || {
            let answer = self.list()?;
            (answer.status == 403)
                .then(|| answer.refusal(403))
                .transpose()
        })
    }

    fn eventually_served(&self, what: &str) -> Result<()> {
        eventually(what, LIMIT, || {
            Ok((self.list()?.status == 200).then_some(()))
        })
    }
}

/// One user's bodies have 2 MiB.
pub(super) fn with_little_room(mut settings: Settings) -> Settings {
    settings.config["limits"] = json!({"perPrincipal": {"bufferedBytes": "2MiB"}});
    settings
}

/// Of [`with_little_room`] it leaves less than an answer may take, until it is dropped.
pub(super) fn stalled_upload(client: &RawClient, configmaps: &str) -> Result<Exchange> {
    let headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", "1572864"),
    ];
    let mut slow = client.start("POST", configmaps, &headers, &[])?;
    slow.send_again(&vec![b' '; 5 << 18])?;
    Ok(slow)
}

/// What a session is told at its end, on the channel of errors.
pub(super) fn told(shell: &mut WebSocket) -> Result<String> {
    let mut said = shell.rest()?;
    let status = said
        .remove(&3)
        .context("no word on the channel of errors")?;
    ensure!(said.is_empty(), "something else: {said:?}");
    let status: Value = serde_json::from_slice(&status)?;
    ensure!(status["status"] == "Failure", "{status}");
    Ok(status["message"].to_string())
}

/// A stop that is lifted at the latest when the test ends.
pub(super) struct Stopped {
    api: Api,
    name: String,
}

impl Stopped {
    pub(super) fn new(cluster: &Cluster, target: &Value) -> Result<Self> {
        let api = cluster.api()?;
        let stop = json!({
            "apiVersion": "sallyport.dev/v1alpha1", "kind": "AgentStop",
            "metadata": {"generateName": "test-"},
            "spec": {"target": target, "reason": "it loops", "by": "alice"},
        });
        let made = api.create(STOPS, &stop)?;
        let name = made["metadata"]["name"].as_str().context("a name")?;
        Ok(Self {
            name: name.to_owned(),
            api,
        })
    }

    pub(super) fn lift(&self) -> Result<()> {
        self.api.delete(&self.path()).map(drop)
    }

    fn path(&self) -> String {
        format!("{STOPS}/{}", self.name)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // The test may have lifted it.
        let _gone = self.api.delete(&self.path());
    }
}

#[test]
fn a_stop_denies_what_is_new_and_ends_what_runs_until_it_is_lifted() -> Result<()> {
    let scene = scene()?;
    scene.namespace.create_running_pod("shell", &json!({}))?;
    let (mut watch, watch_head) = scene.watch()?;
    let mut shell = scene.waiting()?;

    let account = scene.account();
    let said = scene.agents(&["stop", &account, "--reason", "it loops"])?;
    assert!(
        said.clone().success()?.contains("stopped by AgentStop"),
        "{said:?}"
    );
    let message = scene.eventually_denied("the stop")?["message"].to_string();
    for part in ["AgentStop/", "it loops", "Do not repeat it"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    watch.body(&watch_head).context("the watch ends in order")?;
    assert!(told(&mut shell)?.contains("it loops"));
    for (verb, resource) in [("watch", "configmaps"), ("get", "pods")] {
        let call = scene.outcome_of("what ran", |call| {
            call["verb"] == verb && call["objectRef"]["resource"] == resource
        })?;
        let why = call["responseStatus"]["message"].to_string();
        assert!(
            call["outcome"] == "aborted" && why.contains("it loops"),
            "{call:#}"
        );
    }

    let resume = ["resume", &account, "--reason", "it is mended"];
    scene.agents(&resume)?.success()?;
    scene.eventually_served("the resumed agent")?;
    let mut people = Vec::new();
    for (verb, why) in [("stop", "it loops"), ("resume", "it is mended")] {
        let call = scene.outcome_of("the record of the stop itself", |call| {
            call["verb"] == verb
                && call["responseStatus"]["message"]
                    .as_str()
                    .is_some_and(|message| message.contains(&account) && message.contains(why))
        })?;
        assert_eq!(call["objectRef"]["resource"], "agentstops", "{call:#}");
        people.push(call["user"]["username"].clone());
    }
    assert!(
        people[0].is_string() && people[0] == people[1],
        "{people:?}"
    );
    Ok(())
}

#[test]
fn a_stop_of_one_session_leaves_the_agents_other_sessions_alone() -> Result<()> {
    let scene = scene()?;
    let answer = scene.list()?;
    let session = scene.record(&answer)?["sessionID"].take();
    let other = scene.namespace.create_pod("other", "coder")?;
    let other = scene.namespace.token("coder", "sallyport", Some(&other))?;

    let stop = Stopped::new(&scene.cluster, &json!({"session": session}))?;
    let message = scene.eventually_denied("the stop of the session")?["message"].to_string();
    assert!(message.contains("session "), "{message}");
    let agent = scene.gateway.agent(&other)?;
    let answer = agent.request("GET", &scene.configmaps(), &[], &[])?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    stop.lift()?;
    scene.eventually_served("the resumed session")
}

/// A CI job that is an agent by an Agent object of the gateway's files.
struct Job {
    scene: Scene,
    token: String,
    agent: String,
    /// Its CA is a file that a gateway reads again when it starts.
    _oidc: Oidc,
}

impl Job {
    fn new(change: impl FnOnce(Settings) -> Settings) -> Result<Self> {
        let cluster = Cluster::from_env()?;
        cluster.serve_objects()?;
        let oidc = Oidc::from_env(&cluster)?;
        let claims = Oidc::github_claims("76");
        let mut agent = String::new();
        let scene = Scene::on(cluster, |settings, namespace| {
            agent = format!("job-{}", namespace.name);
            grant(namespace, &claims)?;
            let settings = settings
                .with_github(&oidc)
                .with_policy("job.yaml", &job_policy(&namespace.name))
                .with_agent("job.yaml", &job_agent(&agent));
            with_objects(change(settings))
        })?;
        Ok(Self {
            token: oidc.token(&claims)?,
            scene,
            agent,
            _oidc: oidc,
        })
    }

    fn list(&self) -> Result<Response> {
        let job = self.scene.gateway.agent(&self.token)?;
        job.request("GET", &self.scene.configmaps(), &[], &[])
    }

    fn eventually_refused(&self, by: &str) -> Result<()> {
        eventually(&format!("a refusal by {by}"), LIMIT, || {
            let answer = self.list()?;
            Ok((answer.status == 403 && answer.text().contains(by)).then_some(()))
        })
    }
}

fn grant(namespace: &Namespace, claims: &Value) -> Result<()> {
    let subject = claims["sub"].as_str().context("a subject")?;
    let user = format!("sallyport:oidc:github:{subject}");
    let rules = json!([{"verbs": ["list"], "apiGroups": [""], "resources": ["configmaps"]}]);
    namespace.grant(&user, &rules)
}

fn job_policy(namespace: &str) -> String {
    developer_policy(namespace)
        .replace("name: developer", "name: job")
        .replace(
            &format!("serviceAccount: {{namespace: {namespace}, name: coder}}"),
            "oidc: {issuer: github, claims: {repository_id: \"76\"}}",
        )
}

fn job_agent(name: &str) -> String {
    format!(
        "apiVersion: sallyport.dev/v1alpha1\nkind: Agent\nmetadata: {{name: {name}}}\nspec:\n  \
         match: {{oidc: {{issuer: github, claims: {{repository_id: \"76\"}}}}}}\n"
    )
}

#[test]
fn a_job_is_stopped_by_the_name_that_it_was_declared_with() -> Result<()> {
    let job = Job::new(|settings| settings)?;
    assert_eq!(job.list()?.status, 200);
    let stop = Stopped::new(&job.scene.cluster, &json!({"agent": job.agent}))?;
    job.eventually_refused("AgentStop/")?;
    assert_eq!(job.scene.list()?.status, 200, "another agent");
    stop.lift()?;
    eventually("the resumed job", LIMIT, || {
        Ok((job.list()?.status == 200).then_some(()))
    })
}

#[test]
fn a_gateway_that_starts_without_the_api_server_lets_nobody_pass() -> Result<()> {
    let relay = harness::Relay::before(&Cluster::from_env()?)?;
    let mut job = Job::new(|settings| settings.through(&relay))?;
    assert_eq!(job.list()?.status, 200);
    let _stop = Stopped::new(&job.scene.cluster, &json!({"agent": job.agent}))?;
    job.eventually_refused("AgentStop/")?;

    relay.hold();
    job.scene.gateway.stop()?;
    job.scene.gateway.begin_again()?;
    job.eventually_refused("built-in/not-heard")?;
    assert!(job.scene.gateway.admin("/readyz").is_err(), "it is ready");

    relay.pass();
    job.scene.gateway.wait_until_ready()?;
    let answer = job.list()?;
    assert!(answer.text().contains("AgentStop/"), "{}", answer.text());
    Ok(())
}

/// What one gateway of two has running.
struct Busy<'a> {
    scene: &'a Scene,
    watch: (Exchange, Response),
    shell: WebSocket,
}

impl<'a> Busy<'a> {
    fn new(scene: &'a Scene) -> Result<Self> {
        Ok(Self {
            watch: scene.watch()?,
            shell: scene.waiting()?,
            scene,
        })
    }

    fn ends(self) -> Result<()> {
        let (mut watch, head) = self.watch;
        watch.body(&head).context("the watch ends in order")?;
        let mut shell = self.shell;
        let said = told(&mut shell)?;
        ensure!(said.contains("incident 7"), "the shell is told {said}");
        self.scene.eventually_denied("new calls").map(drop)
    }
}

#[test]
fn a_stop_of_all_ends_everything_on_every_gateway_and_outlives_a_restart() -> Result<()> {
    let private = Cluster::start_private()?;
    private.cluster.serve_objects()?;
    let gateway = || {
        Scene::on(private.cluster.clone(), |settings, _| {
            with_objects(settings)
        })
    };
    let mut scenes = [gateway()?, gateway()?];
    for scene in &scenes {
        scene.namespace.create_running_pod("shell", &json!({}))?;
    }
    let busy = [Busy::new(&scenes[0])?, Busy::new(&scenes[1])?];
    let stop = ["stop", "--all", "--reason", "incident 7"];
    scenes[0].agents(&stop)?.success()?;
    for busy in busy {
        busy.ends()?;
    }

    scenes[0].gateway.stop()?;
    scenes[0].gateway.start_again()?;
    let message = scenes[0].list()?.message(403)?;
    assert!(message.contains("incident 7"), "{message}");

    scenes[0].agents(&["resume", "--all"])?.success()?;
    for scene in &scenes {
        scene.eventually_served("the resumed agent")?;
    }
    Ok(())
}

/// An agent that fills its own room could otherwise keep calls that were judged before people said stop.
#[test]
fn a_call_that_waits_for_room_when_its_agent_is_stopped_is_not_sent() -> Result<()> {
    Cluster::from_env()?.serve_objects()?;
    let scene = Scene::with(|settings, _| with_objects(with_little_room(settings)))?;
    // Where the deletion comes before the upload has taken its room, it has been sent when the stop comes.
    for attempt in 0..5 {
        let name = format!("kept-{attempt}");
        let made = scene.start_configmap(&name, "x")?.response()?;
        assert_eq!(made.status, 201, "{}", made.text());
        let answer = delete_while_stopping(&scene, &name)?;
        if answer.status == 403 {
            assert!(answer.text().contains("AgentStop/"), "{}", answer.text());
            let path = format!("{}/{name}", scene.configmaps());
            scene.namespace.api().get(&path)?;
            return Ok(());
        }
        scene.eventually_served("the end of the stop")?;
    }
    anyhow::bail!("each was sent, although its agent was stopped")
}

fn delete_while_stopping(scene: &Scene, name: &str) -> Result<Response> {
    let slow = stalled_upload(&scene.agent()?, &scene.configmaps())?;
    let target = format!("{}/{name}", scene.configmaps());
    let mut delete = scene.start("DELETE", &target, &[], &[])?;
    eventually("the intent to delete", LIMIT, || {
        let calls = scene.gateway.audit_list(&["--verb", "delete"])?;
        let is_intended = calls.iter().any(|call| call["objectRef"]["name"] == name);
        Ok(is_intended.then_some(()))
    })?;
    let _stopped = Stopped::new(&scene.cluster, &json!({"agent": scene.account()}))?;
    eventually("the stop", LIMIT, || {
        let answer = scene.call("GET", "/version", &[])?;
        Ok((answer.status == 403).then_some(()))
    })?;
    drop(slow);
    delete.response()
}
