//! What webhooks are told, with a real HTTPS server at the other end.

use harness::{Answers, Received, Receiver};

use super::*;

const SECRET: &str = "a shared secret of the tests";

fn hook(receiver: &Receiver, path: &str) -> Value {
    json!([{"name": "chat", "url": receiver.url(path), "secretFile": "secret", "caFile": receiver.ca_file()}])
}

fn start(site: &Site, receiver: &Receiver) -> Result<Controller> {
    let mut config = site.config();
    config["webhooks"] =
        json!({"ask": hook(receiver, "/ask"), "alerts": hook(receiver, "/alerts")});
    Controller::start(&site.cluster, &config, &[("secret", SECRET)])
}

/// Messages of this test's objects.
fn asks<'a>(site: &'a Site, name: &'a str) -> impl Fn(&Received) -> bool + 'a {
    move |received| {
        let body = String::from_utf8_lossy(&received.body);
        received.path == "/ask" && body.contains(&format!("{}/{name}/", site.namespace.name))
    }
}

fn alerts<'a>(reason: &'a str, about: &'a str) -> impl Fn(&Received) -> bool + 'a {
    move |received| {
        let body = String::from_utf8_lossy(&received.body);
        received.path == "/alerts" && body.contains(reason) && body.contains(about)
    }
}

fn wait_until_told(site: &Site, name: &str) -> Result<()> {
    let path = format!("{}/{name}", site.requests());
    eventually("the mark of what was told", LIMIT, || {
        let request = site.api().get(&path)?;
        Ok(request["status"]["toldAt"].is_string().then_some(()))
    })
}

/// Until alerts for these reasons say that they were told: a leader that ends before that lets the next one tell them
/// again. Stops of other tests are alerted here, too.
fn wait_until_marked(site: &Site, reasons: &[&str]) -> Result<()> {
    let events = site.namespace.path("events");
    let is_ours = |event: &Value| {
        let message = event["message"].as_str();
        message.is_some_and(|message| message.contains(&site.namespace.name))
    };
    eventually("the marks of the alerts that were told", LIMIT, || {
        let list = site.api().get(&events)?;
        let events = list["items"].as_array().into_iter().flatten();
        let told: Vec<_> = events
            .filter(|event| is_ours(event))
            .filter(|event| event["metadata"]["annotations"]["sallyport.dev/told"].is_string())
            .filter_map(|event| event["reason"].as_str())
            .collect();
        Ok(reasons
            .iter()
            .all(|reason| told.contains(reason))
            .then_some(()))
    })
}

#[test]
fn call_that_waits_is_told_once_signed_and_with_buttons() -> Result<()> {
    let site = Site::new()?;
    let receiver = Receiver::start()?;
    let mut first = start(&site, &receiver)?;
    let created = site.ask("a", 600)?;
    let told = receiver.wait_for("the question", 1, asks(&site, "a"))?;
    assert!(told[0].is_signed_with(SECRET), "{:?}", told[0].headers);
    assert!(!told[0].is_signed_with("another"));
    let message = told[0].json()?;
    assert_eq!(
        message["text"],
        "coder asks to patch deployments.apps/web in namespace shop (risk: high)"
    );
    let uid = text(&created["metadata"]["uid"], "UID")?;
    let value = format!("{}/a/{uid}", site.namespace.name);
    assert!(message["blocks"].to_string().contains(&value), "{message}");
    wait_until_told(&site, "a")?;

    // The next leader does not ask again.
    first.stop()?;
    let second = start(&site, &receiver)?;
    second.wait_until_it_leads()?;
    site.ask("b", 600)?;
    wait_until_told(&site, "b")?;
    assert_eq!(receiver.received(asks(&site, "a")).len(), 1);
    Ok(())
}

#[test]
fn question_that_was_under_way_when_the_leader_died_is_asked_by_the_next() -> Result<()> {
    let site = Site::new()?;
    let receiver = Receiver::start()?;
    let mut first = start(&site, &receiver)?;
    first.wait_until_it_leads()?;
    let second = start(&site, &receiver)?;
    receiver.answer(Answers::Hang);
    site.ask("a", 600)?;
    receiver.wait_for("the question of the first", 1, asks(&site, "a"))?;
    first.kill()?;
    second.wait_until_it_leads()?;
    receiver.wait_for("the question of the second", 2, asks(&site, "a"))?;
    receiver.answer(Answers::Accept);
    wait_until_told(&site, "a")
}

#[test]
fn receiver_that_fails_is_told_again_and_holds_nothing_up() -> Result<()> {
    let site = Site::new()?;
    let receiver = Receiver::start()?;
    let controller = start(&site, &receiver)?;
    receiver.answer(Answers::Refuse(503));
    site.ask("a", 600)?;
    receiver.wait_for("another attempt", 2, asks(&site, "a"))?;
    site.ask("b", 1)?;
    site.wait_for_state("b", "Expired")?;
    receiver.answer(Answers::Accept);
    wait_until_told(&site, "a")?;
    let metrics = controller.admin("/metrics")?;
    let line = "sallyport_controller_deliveries_total{kind=\"ask\",outcome=\"delivered\"}";
    assert!(metrics.contains(line), "{metrics}");
    Ok(())
}

const GLASSES: &str = "/apis/sallyport.dev/v1alpha1/breakglasses";

/// Two people break the glass for an agent that there is not; named as its test's namespace.
fn break_glass(site: &Site, receiver: &Receiver) -> Result<()> {
    let name = &site.namespace.name;
    let glass = json!({
        "apiVersion": "sallyport.dev/v1alpha1", "kind": "BreakGlass", "metadata": {"name": name},
        "spec": {"agents": [name], "namespaces": [name], "reason": "incident 7", "by": "ann", "via": "Kubernetes"},
    });
    site.api().create(GLASSES, &glass)?;
    receiver.wait_for("the wish", 1, alerts("BreakGlassAsked", name))?;
    set_glass(site, &json!({"votes": [vote("bob", "Approved")]}))?;
    receiver
        .wait_for("the opening", 1, alerts("BreakGlassOpened", name))
        .map(drop)
}

fn set_glass(site: &Site, status: &Value) -> Result<Value> {
    let path = format!("{GLASSES}/{}/status", site.namespace.name);
    site.api().patch(&path, &json!({"status": status}))
}

/// What a node agent says that sees a pod it cannot capture, and why.
fn lose_capture(site: &Site) -> Result<()> {
    const COVERAGES: &str = "/apis/sallyport.dev/v1alpha1/nodecoverages";
    let name = &site.namespace.name;
    let coverage = json!({
        "apiVersion": "sallyport.dev/v1alpha1", "kind": "NodeCoverage", "metadata": {"name": name}, "spec": {},
    });
    site.api().create(COVERAGES, &coverage)?;
    let now = Timestamp::now().to_string();
    let status = json!({
        "observedAt": now, "countedSince": now, "version": "0.1.0", "captured": 3, "denied": 0, "exempt": 0,
        "needsRecreate": 0, "unknown": 1, "problems": ["no bpffs at /sys/fs/bpf"], "pods": [],
    });
    let path = format!("{COVERAGES}/{name}/status");
    site.api()
        .patch(&path, &json!({"status": status}))
        .map(drop)
}

#[test]
fn what_somebody_must_look_at_is_alerted_once_also_by_the_next_leader() -> Result<()> {
    let site = Site::new()?;
    let receiver = Receiver::start()?;
    let mut first = start(&site, &receiver)?;
    first.wait_until_it_leads()?;
    let name = &site.namespace.name;
    let stops = "/apis/sallyport.dev/v1alpha1/agentstops";
    let stop = json!({
        "apiVersion": "sallyport.dev/v1alpha1", "kind": "AgentStop", "metadata": {"name": name},
        "spec": {"target": {"agent": name}, "reason": "it loops", "by": "alice"},
    });
    site.api().create(stops, &stop)?;
    let told = receiver.wait_for("the stop", 1, alerts("AgentsStopped", name))?;
    assert!(told[0].is_signed_with(SECRET));
    let mut critical = request("a", Timestamp::now() + SignedDuration::from_secs(600));
    critical["spec"]["risk"]["level"] = json!("Critical");
    site.api().create(&site.requests(), &critical)?;
    receiver.wait_for("the critical request", 1, alerts("CriticalRequested", name))?;

    break_glass(&site, &receiver)?;
    lose_capture(&site)?;
    let lost = receiver.wait_for("the lost capture", 1, alerts("CaptureLost", name))?;
    let lost = String::from_utf8_lossy(&lost[0].body);
    assert!(lost.contains("unknown: 1; no bpffs"), "{lost}");

    let once = [
        "AgentsStopped",
        "CriticalRequested",
        "BreakGlassAsked",
        "BreakGlassOpened",
        "CaptureLost",
    ];
    wait_until_marked(&site, &once)?;
    first.stop()?;
    let second = start(&site, &receiver)?;
    second.wait_until_it_leads()?;
    site.api().delete(&format!("{stops}/{name}"))?;
    receiver.wait_for("the end of the stop", 1, alerts("AgentsResumed", name))?;
    let closed = json!({"by": "ann", "via": "Kubernetes", "at": Timestamp::now().to_string(), "reason": "it is over"});
    set_glass(&site, &json!({"closed": closed}))?;
    let ended = receiver.wait_for("its end", 1, alerts("BreakGlassEnded", name))?;
    assert!(String::from_utf8_lossy(&ended[0].body).contains("closed by ann"));
    for reason in once {
        assert_eq!(receiver.received(alerts(reason, name)).len(), 1, "{reason}");
    }
    for object in ["breakglasses", "nodecoverages"] {
        site.api()
            .delete(&format!("/apis/sallyport.dev/v1alpha1/{object}/{name}"))?;
    }
    Ok(())
}

#[test]
fn gateways_events_are_told_and_again_when_they_count_more() -> Result<()> {
    let site = Site::new()?;
    let receiver = Receiver::start()?;
    let _controller = start(&site, &receiver)?;
    let name = &site.namespace.name;
    let event = json!({
        "metadata": {"name": "theft"},
        "involvedObject": {"kind": "Lease", "namespace": name, "name": "sallyport-controller"},
        "type": "Warning", "reason": "TokenTheft", "message": format!("pod {name}/thief"), "count": 1,
        "reportingComponent": "sallyport-alerts", "reportingInstance": "node-1",
    });
    let mut foreign = event.clone();
    foreign["metadata"]["name"] = json!("foreign");
    foreign["reportingComponent"] = json!("kubelet");
    foreign["message"] = json!(format!("pod {name}/foreign"));
    let events = site.namespace.path("events");
    site.api().create(&events, &foreign)?;
    site.api().create(&events, &event)?;
    receiver.wait_for("the alert", 1, alerts("TokenTheft", "thief"))?;
    site.api()
        .patch(&format!("{events}/theft"), &json!({"count": 3}))?;
    receiver.wait_for("the alert again", 1, alerts("3 times", "thief"))?;
    assert!(receiver.received(alerts("", "foreign")).is_empty());
    Ok(())
}
