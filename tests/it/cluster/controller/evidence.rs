//! People who read the evidence: whom the API server knows, whom RBAC lets, and that it is recorded.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use harness::{Gateway, RawClient, Response, Sallyport, Settings};

use super::*;

mod clocks;
mod pods;
mod policies;

/// What `sallyport ca control` makes, a directory of it.
pub(super) fn certificates(site: &Site) -> Result<std::path::PathBuf> {
    let directory = site.directory.path().join("control");
    if !directory.exists() {
        let person = Sallyport::with_kubeconfig(&site.cluster.kubeconfig)?;
        let place = directory.display().to_string();
        person
            .run(&["ca", "control", "--directory", &place])?
            .success()?;
    }
    Ok(directory)
}

/// The controller before these gateways, shown with a certificate for loopback and read by `client`.
pub(super) struct Evidence {
    pub(super) controller: Controller,
    client: RawClient,
}

impl Evidence {
    pub(super) fn before(
        site: &Site,
        gateways: &[std::net::SocketAddr],
        store: Option<&std::path::Path>,
    ) -> Result<Self> {
        Self::of(site, ("addresses", json!(gateways)), store)
    }

    /// Before gateways that are found in this way.
    fn of(site: &Site, way: (&str, Value), store: Option<&std::path::Path>) -> Result<Self> {
        Self::by_clock(site, way, store, None)
    }

    /// With a clock that can be set.
    fn by_clock(
        site: &Site,
        (way, gateways): (&str, Value),
        store: Option<&std::path::Path>,
        clock: Option<i64>,
    ) -> Result<Self> {
        let made = certificates(site)?;
        let mut config = site.config();
        config["evidence"] = json!({
            "listen": "127.0.0.1:0",
            "tls": {"local": {"directory": "tls", "names": ["127.0.0.1", "controller.sallyport.dev"]}},
            "gateways": {
                way: gateways,
                "caFile": made.join("ca.crt"),
                "certFile": made.join("controller.crt"),
                "keyFile": made.join("controller.key"),
            },
        });
        if let Some(store) = store {
            config["evidence"]["store"] = json!({"directory": store});
        }
        let controller = Controller::start_with_clock(&site.cluster, &config, &[], clock)?;
        let ca = fs::read(controller.path("tls/ca.crt"))?;
        let client = RawClient::new(&format!("https://{}", controller.evidence()), &ca, None)?;
        Ok(Self { controller, client })
    }

    /// The way there, for the command line.
    pub(super) fn direct(&self) -> [String; 4] {
        let url = format!("https://{}", self.controller.evidence());
        let ca = self.controller.path("tls/ca.crt").display().to_string();
        ["--server".to_owned(), url, "--server-ca".to_owned(), ca]
    }

    fn get(&self, token: &str, target: &str) -> Result<Response> {
        let person = self.client.clone().as_bearer(token);
        person.request("GET", target, &[], &[])
    }
}

impl Site {
    /// A person, as the API server knows them: here a ServiceAccount with a token for the API server itself.
    fn person(&self, name: &str) -> Result<String> {
        self.namespace.create_service_account(name)?;
        let audience = &self.cluster.service_account_issuer;
        self.namespace.token(name, audience, None)
    }

    /// The terminal of somebody with this token.
    fn terminal(&self, token: &str) -> Result<Sallyport> {
        let cluster = &self.cluster;
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "person",
            "clusters": [{"name": "cluster", "cluster": {
                "server": cluster.server, "certificate-authority": cluster.ca_file,
            }}],
            "users": [{"name": "person", "user": {"token": token}}],
            "contexts": [{"name": "person", "context": {"cluster": "cluster", "user": "person"}}],
        });
        let path = self.directory.path().join("person");
        fs::write(&path, kubeconfig.to_string())?;
        Sallyport::with_kubeconfig(&path)
    }

    fn username(&self, name: &str) -> String {
        format!("system:serviceaccount:{}:{name}", self.namespace.name)
    }
}

#[test]
fn nobody_is_shown_anything_whom_the_api_server_does_not_know_or_no_gateway_records() -> Result<()>
{
    let site = Site::new()?;
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let evidence = Evidence::before(&site, &[nowhere], None)?;
    let alice = site.person("alice")?;
    let records =
        json!([{"apiGroups": ["sallyport.dev"], "resources": ["streams"], "verbs": ["list"]}]);
    site.namespace.grant(&site.username("alice"), &records)?;
    let streams = format!("/v1/streams?namespace={}", site.namespace.name);

    let unrecorded = evidence.get(&alice, &streams)?.refusal(503)?;
    let said = text(&unrecorded["message"], "message")?;
    assert!(
        said.contains("no gateway could record this") && said.contains(&nowhere.to_string()),
        "{said}"
    );

    // An agent's token is for gateways, and a gateway's audience is not the API server's.
    let (_, agent) = site.namespace.create_coder()?;
    let refused = evidence.get(&agent, &streams)?.refusal(401)?;
    let said = text(&refused["message"], "message")?;
    assert!(said.contains("does not accept this token"), "{said}");
    evidence.get("nonsense", &streams)?.refusal(401)?;
    evidence
        .client
        .request("GET", &streams, &[], &[])?
        .refusal(401)?;

    let as_admin = [("Impersonate-User", "system:admin")];
    let person = evidence.client.clone().as_bearer(&alice);
    person
        .request("GET", &streams, &as_admin, &[])?
        .refusal(400)?;
    evidence
        .get(&alice, "/v1/streams?namspace=x")?
        .refusal(400)?;
    evidence.get(&alice, "/v1/policies")?.refusal(404)?;
    let metrics = evidence.controller.admin("/metrics")?;
    assert!(
        metrics.contains(r#"sallyport_controller_evidence_calls_total{outcome="not_recorded"} 1"#),
        "{metrics}"
    );
    Ok(())
}

/// A gateway that the controller may ask.
fn serving(site: &Site) -> Result<Settings> {
    let made = certificates(site)?;
    let mut settings = Settings::new(&site.cluster).with_policy(
        "developer.yaml",
        &crate::slice::developer_policy(&site.namespace.name),
    );
    settings.config["control"] = json!({
        "listen": "127.0.0.1:0",
        "tls": {"files": {"certFile": made.join("gateway.crt"), "keyFile": made.join("gateway.key")}},
        "clientCaFile": made.join("ca.crt"),
    });
    Ok(settings)
}

/// A call of the agent that everybody who may sees.
fn create(gateway: &Gateway, token: &str, namespace: &Namespace, name: &str) -> Result<()> {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    post(gateway, token, &namespace.path("configmaps"), &object)?;
    Ok(())
}

fn post(gateway: &Gateway, token: &str, path: &str, object: &Value) -> Result<Response> {
    let agent = gateway.agent(token)?;
    let mut sent = agent.start_object("POST", path, "application/json", object)?;
    let answer = sent.response()?;
    anyhow::ensure!(answer.status == 201, "{}: {}", answer.status, answer.text());
    Ok(answer)
}

/// An agent at work behind a real gateway, and people before the controller.
struct Scene {
    site: Site,
    gateway: Gateway,
    /// The agent's token.
    coder: String,
    evidence: Evidence,
}

impl Scene {
    fn new() -> Result<Self> {
        let site = Site::new()?;
        let settings = serving(&site)?;
        Self::behind(site, &settings)
    }

    fn behind(site: Site, settings: &Settings) -> Result<Self> {
        let (_, coder) = site.namespace.create_coder()?;
        let gateway = Gateway::start(settings)?;
        let evidence = Evidence::before(&site, &[gateway.control()], Some(&gateway.path("store")))?;
        Ok(Self {
            site,
            gateway,
            coder,
            evidence,
        })
    }

    fn namespace(&self) -> &str {
        &self.site.namespace.name
    }

    fn create(&self, name: &str) -> Result<()> {
        create(&self.gateway, &self.coder, &self.site.namespace, name)
    }

    /// What comes of `wait` while the agent makes one object after another.
    fn meanwhile_creating<T>(&self, wait: impl FnOnce() -> Result<T>) -> Result<T> {
        let enough = AtomicBool::new(false);
        thread::scope(|scope| {
            let creating = scope.spawn(|| {
                for number in 0.. {
                    if enough.load(Ordering::Relaxed) {
                        break;
                    }
                    self.create(&format!("made-{number}"))?;
                    thread::sleep(Duration::from_millis(100));
                }
                anyhow::Ok(())
            });
            let waited = wait();
            enough.store(true, Ordering::Relaxed);
            creating.join().ok().context("the agent panicked")??;
            waited
        })
    }

    /// A watch of the agent, which runs until it is ended.
    fn watch(&self) -> Result<harness::Exchange> {
        let path = self.site.namespace.path("configmaps?watch=true");
        let agent = self.gateway.agent(&self.coder)?;
        let mut watch = agent.start("GET", &path, &[], &[])?;
        anyhow::ensure!(watch.head()?.status == 200, "the watch");
        Ok(watch)
    }

    fn direct(&self) -> [String; 4] {
        self.evidence.direct()
    }

    /// A person's right here, until it counts.
    fn grant(&self, name: &str, token: &str, rules: &Value, target: &str) -> Result<()> {
        self.site
            .namespace
            .grant(&self.site.username(name), rules)?;
        eventually("the right", LIMIT, || {
            Ok((self.evidence.get(token, target)?.status == 200).then_some(()))
        })
    }

    /// What is recorded of one person's reads: verb, resource and decision.
    fn reads(&self, name: &str) -> Result<Vec<[String; 3]>> {
        let calls = self
            .gateway
            .audit_list(&["--user", &self.site.username(name)])?;
        let cell = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let read = |call: &Value| {
            let resource = format!(
                "{}.{}",
                cell(&call["objectRef"]["resource"]),
                cell(&call["objectRef"]["apiGroup"])
            );
            [cell(&call["verb"]), resource, cell(&call["decision"])]
        };
        Ok(calls.iter().map(read).collect())
    }
}

/// A person before the controller, and how they get there.
struct Terminal<'a> {
    scene: &'a Scene,
    token: String,
    person: Sallyport,
}

impl<'a> Terminal<'a> {
    fn new(scene: &'a Scene, name: &str) -> Result<Self> {
        let token = scene.site.person(name)?;
        Ok(Self {
            person: scene.site.terminal(&token)?,
            scene,
            token,
        })
    }

    /// In the agent's namespace, by the controller.
    fn at(&self, arguments: &[&str]) -> Vec<String> {
        let arguments = arguments.iter().map(|one| (*one).to_owned());
        let place = ["-n", self.scene.namespace()].map(str::to_owned);
        arguments.chain(place).chain(self.scene.direct()).collect()
    }

    fn run(&self, arguments: &[&str]) -> Result<harness::Output> {
        let arguments = self.at(arguments);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        self.person.run(&arguments)
    }

    /// What a command lists as JSON.
    fn json(&self, arguments: &[&str]) -> Result<Value> {
        let said = self.run(&[arguments, &["-o", "json"]].concat())?;
        Ok(serde_json::from_str(&said.success()?)?)
    }

    fn get(&self, target: &str) -> Result<Response> {
        self.scene.evidence.get(&self.token, target)
    }
}

fn row(verb: &str, resource: &str, decision: &str) -> [String; 3] {
    [verb, &format!("{resource}.sallyport.dev"), decision].map(str::to_owned)
}

#[test]
fn people_see_and_end_what_they_may_and_that_they_did_is_recorded() -> Result<()> {
    let scene = Scene::new()?;
    let streams = format!("/v1/streams?namespace={}", scene.namespace());
    who_has_no_right_is_told_which(&scene, &streams)?;
    let alice = Terminal::new(&scene, "alice")?;
    rights_of_one_namespace_are_of_no_other(&scene, &alice, &streams)?;
    calls_are_told_as_they_come(&alice)?;
    let ended = what_runs_is_listed_and_ended(&alice)?;
    the_finished_record_is_shown(&alice, &ended)?;
    traces_a_placeholder(&alice)?;

    let reads = scene.reads("alice")?;
    for read in [
        row("watch", "records", "allow"),
        row("list", "streams", "allow"),
        row("delete", "streams", "allow"),
        row("get", "records", "allow"),
        row("list", "records", "allow"),
        // Of the refusals that came together the first.
        row("list", "streams", "deny"),
    ] {
        assert!(reads.contains(&read), "{read:?} is not in {reads:?}");
    }
    Ok(())
}

/// In words, and the refusal is a row of its own.
fn who_has_no_right_is_told_which(scene: &Scene, streams: &str) -> Result<()> {
    let bob = scene.site.person("bob")?;
    let said = scene.evidence.get(&bob, streams)?.message(403)?;
    for part in [
        "list streams.sallyport.dev of namespace",
        "sallyport-stream-operator",
        "create rolebinding",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(scene.reads("bob")?, [row("list", "streams", "deny")]);
    Ok(())
}

fn rights_of_one_namespace_are_of_no_other(
    scene: &Scene,
    alice: &Terminal<'_>,
    streams: &str,
) -> Result<()> {
    let rules = json!([
        {"apiGroups": ["sallyport.dev"], "resources": ["records"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["sallyport.dev"], "resources": ["streams"], "verbs": ["list", "delete"]},
    ]);
    scene.grant("alice", &alice.token, &rules, streams)?;
    for elsewhere in [
        "/v1/streams",
        "/v1/records?follow=true",
        "/v1/records?namespace=default",
    ] {
        alice.get(elsewhere)?.refusal(403)?;
    }
    Ok(())
}

fn calls_are_told_as_they_come(alice: &Terminal<'_>) -> Result<()> {
    let tail = alice.at(&["audit", "tail", "-o", "json"]);
    let tail: Vec<_> = tail.iter().map(String::as_str).collect();
    let tail = alice.person.follow(&tail)?;
    let told = || tail.wait_for("a call", |line| line.contains("configmaps"));
    let line: Value = serde_json::from_str(&alice.scene.meanwhile_creating(told)?)?;
    assert_eq!(line["objectRef"]["namespace"], alice.scene.namespace());
    Ok(())
}

/// Gives the audit id of the watch.
fn what_runs_is_listed_and_ended(alice: &Terminal<'_>) -> Result<String> {
    let _watch = alice.scene.watch()?;
    let listed = alice.json(&["streams", "list"])?;
    let stream = &listed["items"][0];
    assert_eq!(
        (&stream["kind"], &stream["verb"]),
        (&json!("watch"), &json!("watch")),
        "{listed}"
    );
    let id = text(&stream["auditID"], "auditID")?.to_owned();
    let end = ["streams", "end", "--reason", "it watches too much", &id];
    let ended = alice.run(&end)?.success()?;
    assert!(ended.contains("ended on gateway"), "{ended}");
    eventually("the end of the watch", LIMIT, || {
        let listed = alice.json(&["streams", "list"])?;
        Ok((!listed.to_string().contains(&id)).then_some(()))
    })?;
    Ok(id)
}

/// With its digests computed at the person's own.
fn the_finished_record_is_shown(alice: &Terminal<'_>, id: &str) -> Result<()> {
    let shown = eventually("the record in the store", LIMIT, || {
        let target = format!("/v1/records/{id}?namespace={}", alice.scene.namespace());
        let answer = alice.get(&target)?;
        Ok((answer.status == 200)
            .then(|| answer.json())
            .transpose()?
            .filter(|found| found["outcome"].is_object()))
    })?;
    let outcome = shown["outcome"]["record"].to_string();
    let by = alice.scene.site.username("alice");
    assert!(
        outcome.contains(&by) && outcome.contains("it watches too much"),
        "{outcome}"
    );
    let calls = alice.json(&["audit", "list"])?;
    let mut all = calls.as_array().context("a list")?.iter();
    assert!(all.any(|call| call["auditID"] == id), "{calls}");
    Ok(())
}

/// From the record to the call, through the controller.
fn traces_a_placeholder(alice: &Terminal<'_>) -> Result<()> {
    let scene = alice.scene;
    let secret = json!({"metadata": {"name": "door"}, "stringData": {"key": "canary-4711"}});
    let path = scene.site.namespace.path("secrets");
    let made = post(&scene.gateway, &scene.coder, &path, &secret)?;
    let id = made.header("audit-id").context("an audit id")?.to_owned();
    let shown = eventually("the Secret's record in the store", LIMIT, || {
        let shown = alice.run(&["audit", "show", &id, "-o", "json"])?;
        Ok((shown.status == 0).then_some(shown.stdout))
    })?;
    let (_, from) = shown.split_once("masked:").context("it is masked")?;
    let placeholder = format!("masked:{}", &from[..41]);
    let traced = alice.run(&["trace", &placeholder])?.success()?;
    assert!(traced.contains(&id), "{traced}");
    assert!(!traced.contains("canary-4711"), "{traced}");
    let unknown = "masked:deadbeef:0123456789abcdef0123456789abcdef";
    let nothing = alice.run(&["trace", unknown])?;
    assert!(
        nothing.status == 1 && nothing.stdout.contains("No call in this record has it"),
        "{nothing:?}"
    );
    Ok(())
}

/// A pod that runs on this machine stands for the controller's: its port is the controller's own.
#[test]
fn people_come_by_a_port_forward_with_rights_of_their_own() -> Result<()> {
    let site = Site::new()?;
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let evidence = Evidence::before(&site, &[nowhere], None)?;
    let carol = site.person("carol")?;
    let person = site.terminal(&carol)?;
    let list = [
        "streams",
        "list",
        "--system-namespace",
        &site.namespace.name,
    ];
    let refused = person.run(&list)?.failure()?;
    assert!(
        refused.contains("you may not list pods") && refused.contains("sallyport-evidence-access"),
        "{refused}"
    );

    let rules = json!([
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["pods/portforward"], "verbs": ["get", "create"]},
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["sallyport-evidence-ca"], "verbs": ["get"]},
    ]);
    site.namespace.grant(&site.username("carol"), &rules)?;
    let missing = eventually("the right", LIMIT, || {
        Ok(Some(person.run(&list)?.failure()?).filter(|said| !said.contains("you may not")))
    })?;
    assert!(
        missing.contains("no pod of the controller is ready"),
        "{missing}"
    );

    let port = json!({"ports": [{"name": "evidence", "containerPort": evidence.controller.evidence().port()}]});
    site.namespace.create_running_pod("controller", &port)?;
    let labels =
        json!({"metadata": {"labels": {"app.kubernetes.io/name": "sallyport-controller"}}});
    site.api()
        .patch(&site.namespace.path("pods/controller"), &labels)?;
    let unknown = person.run(&list)?.failure()?;
    assert!(
        unknown.contains("has no ConfigMap sallyport-evidence-ca"),
        "{unknown}"
    );

    let ca = fs::read_to_string(evidence.controller.path("tls/ca.crt"))?;
    let map = json!({"metadata": {"name": "sallyport-evidence-ca"}, "data": {"ca.crt": ca}});
    site.api()
        .create(&site.namespace.path("configmaps"), &map)?;
    let reached = person.run(&list)?.failure()?;
    assert!(
        reached.contains("may not list streams.sallyport.dev")
            || reached.contains("no gateway could record"),
        "{reached}"
    );

    // Whoever sits between is not believed.
    let other = certificates(&site)?.join("ca.crt").display().to_string();
    let refused = person
        .run(&[&list[..], &["--server-ca", &other]].concat())?
        .failure()?;
    assert!(refused.contains("TLS handshake"), "{refused}");
    Ok(())
}
