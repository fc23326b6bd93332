//! A stop that is brought to every gateway, also to one that hears nothing of the API server.

use anyhow::ensure;
use harness::{Exchange, Gateway, Response, Sallyport, Settings};

use super::{
    evidence::{Evidence, certificates},
    *,
};

/// Two gateways before one agent, of which the other's connections to the API server are a relay's.
struct Pair {
    site: Site,
    gateways: [Gateway; 2],
    relay: harness::Relay,
    evidence: Evidence,
    token: String,
}

impl Pair {
    fn new() -> Result<Self> {
        let site = Site::new()?;
        let (_, token) = site.namespace.create_coder()?;
        let relay = harness::Relay::before(&site.cluster)?;
        let settings = settings(&site)?;
        let gateways = [
            Gateway::start(&settings)?,
            Gateway::start(&settings.through(&relay))?,
        ];
        let places = gateways.each_ref().map(Gateway::control);
        Ok(Self {
            evidence: Evidence::before(&site, &places, None)?,
            site,
            gateways,
            relay,
            token,
        })
    }

    fn list(&self, gateway: &Gateway) -> Result<Response> {
        self.start(gateway, "configmaps")?.response()
    }

    fn watch(&self, gateway: &Gateway) -> Result<Exchange> {
        self.start(gateway, "configmaps?watch=true")
    }

    fn start(&self, gateway: &Gateway, target: &str) -> Result<Exchange> {
        let path = self.site.namespace.path(target);
        gateway.agent(&self.token)?.start("GET", &path, &[], &[])
    }

    fn account(&self) -> String {
        format!("system:serviceaccount:{}:coder", self.site.namespace.name)
    }

    /// `sallyport agents stop`, with what reaches the evidence API.
    fn stop(&self, way: &[String]) -> Result<harness::Output> {
        let account = self.account();
        let stop = ["agents", "stop", account.as_str(), "--reason", "it loops"];
        let way = way.iter().map(String::as_str);
        let person = Sallyport::with_kubeconfig(&self.site.cluster.kubeconfig)?;
        person.run(&stop.into_iter().chain(way).collect::<Vec<_>>())
    }

    /// Of this agent's stop, and never two.
    fn one_record(&self, gateway: &Gateway, verb: &str) -> Result<()> {
        let account = self.account();
        let is_ours = |call: &Value| {
            call["responseStatus"]["message"]
                .to_string()
                .contains(&account)
        };
        let found = eventually(&format!("the record of the {verb}"), LIMIT, || {
            let calls = gateway.audit_list(&["--verb", verb])?;
            let found = calls.iter().filter(|call| is_ours(call)).count();
            Ok((found > 0).then_some(found))
        })?;
        ensure!(found == 1, "{found} records of one {verb}");
        Ok(())
    }
}

fn settings(site: &Site) -> Result<Settings> {
    let made = certificates(site)?;
    let policy = crate::slice::developer_policy(&site.namespace.name);
    let mut settings = Settings::new(&site.cluster).with_policy("developer.yaml", &policy);
    settings.config["objects"] = json!({});
    settings.config["control"] = json!({
        "listen": "127.0.0.1:0",
        "tls": {"files": {"certFile": made.join("gateway.crt"), "keyFile": made.join("gateway.key")}},
        "clientCaFile": made.join("ca.crt"),
    });
    Ok(settings)
}

#[test]
fn a_stop_is_applied_at_once_by_a_gateway_that_hears_nothing_and_recorded_once() -> Result<()> {
    let pair = Pair::new()?;
    for gateway in &pair.gateways {
        assert_eq!(pair.list(gateway)?.status, 200);
    }
    let mut watch = pair.watch(&pair.gateways[1])?;
    let head = watch.head()?;
    assert_eq!(head.status, 200);
    // Nothing of the API server reaches the second: it can only be the controller that tells it.
    pair.relay.hold();
    // The controller has to have read which authority vouches for people.
    eventually("both gateways to apply it", LIMIT, || {
        let said = pair.stop(&pair.evidence.direct())?.stdout;
        Ok(said.contains("applied by 2 of 2 gateways").then_some(()))
    })?;
    watch.body(&head).context("the watch ends in order")?;
    for gateway in &pair.gateways {
        pair.one_record(gateway, "stop")?;
    }
    let message = pair.list(&pair.gateways[0])?.refusal(403)?["message"].to_string();
    assert!(
        message.contains("AgentStop/") && message.contains("it loops"),
        "{message}"
    );

    // Heard of by the watch too, and lifted.
    pair.relay.pass();
    let person = Sallyport::with_kubeconfig(&pair.site.cluster.kubeconfig)?;
    person
        .run(&["agents", "resume", &pair.account()])?
        .success()?;
    for gateway in &pair.gateways {
        eventually("the resumed agent", LIMIT, || {
            Ok((pair.list(gateway)?.status == 200).then_some(()))
        })?;
        for verb in ["stop", "resume"] {
            pair.one_record(gateway, verb)?;
        }
    }
    let asked = pair.gateways.iter().map(|gateway| {
        let calls = gateway.audit_list(&["--verb", "create"])?;
        let is_it = |call: &&Value| call["objectRef"]["resource"] == "agentstops";
        Ok(calls.iter().filter(is_it).count())
    });
    assert!(asked.sum::<Result<usize>>()? > 0, "who asked is recorded");
    Ok(())
}

#[test]
fn a_stop_that_a_gateway_does_not_confirm_counts_all_the_same_and_says_so() -> Result<()> {
    let mut pair = Pair::new()?;
    let nowhere = ["--server", "https://127.0.0.1:1"].map(str::to_owned);
    let unasked = pair.stop(&nowhere)?;
    let warning = &unasked.stderr;
    assert!(
        unasked.status == 75 && warning.contains("could not be confirmed"),
        "{unasked:?}"
    );
    eventually("the stop", LIMIT, || {
        Ok((pair.list(&pair.gateways[0])?.status == 403).then_some(()))
    })?;

    let places = pair.gateways.each_ref().map(Gateway::control);
    pair.gateways[1].kill()?;
    let gone = format!("not by {}", places[1]);
    eventually("what the other says", LIMIT, || {
        let again = pair.stop(&pair.evidence.direct())?;
        let parts = ["stopped already", "applied by 1 of 2 gateways", &gone];
        let is_told = parts.iter().all(|part| again.stdout.contains(part));
        Ok((again.status == 75 && is_told).then_some(()))
    })?;
    let person = Sallyport::with_kubeconfig(&pair.site.cluster.kubeconfig)?;
    person
        .run(&["agents", "resume", &pair.account()])?
        .success()?;
    Ok(())
}
