//! Who writes.

use nix::sys::signal::Signal;

use super::*;

/// The writes of each user to objects of this namespace, Leases excepted, in order.
fn writers(site: &Site, users: [&str; 2]) -> Result<Vec<String>> {
    let is_write = |event: &Value| {
        let verb = event["verb"].as_str().unwrap_or_default();
        ["create", "update", "patch", "delete"].contains(&verb)
            && event["stage"] == "ResponseComplete"
            && event["objectRef"]["resource"] != "leases"
            && users
                .map(Value::from)
                .contains(&event["impersonatedUser"]["username"])
    };
    let mut events = site.cluster.audit_events(is_write)?;
    events.sort_by_key(|event| event["requestReceivedTimestamp"].to_string());
    let writers = events.iter().map(|event| {
        let user = event["impersonatedUser"]["username"].as_str();
        user.unwrap_or_default().to_owned()
    });
    Ok(writers.collect())
}

fn changes(writers: &[String]) -> usize {
    writers.windows(2).filter(|pair| pair[0] != pair[1]).count()
}

#[test]
fn other_replica_takes_over_from_one_that_was_killed_and_only_the_leader_ever_writes() -> Result<()>
{
    let site = Site::new()?;
    let users = ["a", "b"].map(|name| format!("{name}-{}", site.namespace.name));
    let users = [users[0].as_str(), users[1].as_str()];
    let mut first = site.start_as(users[0])?;
    first.wait_until_it_leads()?;
    // For its clock, what the first says of its Lease is over.
    let second = site.start_elsewhere(users[1], 120)?;
    for number in 0..10 {
        site.ask(&format!("before-{number}"), 1)?;
    }
    site.wait_for_state("before-9", "Expired")?;
    assert!(!second.leads()?);
    first.kill()?;
    for number in 0..10 {
        site.ask(&format!("after-{number}"), 1)?;
    }
    second.wait_until_it_leads()?;
    site.wait_for_state("after-9", "Expired")?;
    // The audit log is written after what it tells of can be seen.
    let writers = eventually("all writes in the audit log", LIMIT, || {
        let writers = writers(&site, users)?;
        Ok((writers.len() >= 20).then_some(writers))
    })?;
    assert_eq!(changes(&writers), 1, "{writers:?}");
    Ok(())
}

#[test]
fn leader_that_ends_in_order_lets_another_lead_at_once() -> Result<()> {
    let site = Site::new()?;
    let mut first = site.start()?;
    first.wait_until_it_leads()?;
    let second = site.start()?;
    let holder = || {
        let lease = site.api().get(&site.lease())?;
        text(&lease["spec"]["holderIdentity"], "holder").map(str::to_owned)
    };
    let before = holder()?;
    first.stop()?;
    // Nobody's, or the other's already.
    assert_ne!(holder()?, before);
    second.wait_until_it_leads()?;
    let lease = site.api().get(&site.lease())?;
    assert_eq!(lease["spec"]["leaseTransitions"], 1, "{lease}");
    Ok(())
}

/// A leader that was stopped like a machine that was suspended still believes to lead when it goes on.
#[test]
fn leader_that_was_suspended_writes_nothing_when_it_goes_on() -> Result<()> {
    let site = Site::new()?;
    let users = ["a", "b"].map(|name| format!("{name}-{}", site.namespace.name));
    let users = [users[0].as_str(), users[1].as_str()];
    let first = site.start_as(users[0])?;
    first.wait_until_it_leads()?;
    site.ask("before", 1)?;
    site.wait_for_state("before", "Expired")?;
    let second = site.start_as(users[1])?;
    first.signal(Signal::SIGSTOP)?;
    second.wait_until_it_leads()?;
    first.signal(Signal::SIGCONT)?;
    site.ask("after", 1)?;
    site.wait_for_state("after", "Expired")?;
    eventually("the first replica's insight", LIMIT, || {
        Ok((!first.leads()?).then_some(()))
    })?;
    assert!(second.leads()?);
    let writers = eventually("the second's write in the audit log", LIMIT, || {
        let writers = writers(&site, users)?;
        let is_seen = writers.last().is_some_and(|last| last == users[1]);
        Ok(is_seen.then_some(writers))
    })?;
    assert_eq!(changes(&writers), 1, "{writers:?}");
    Ok(())
}

#[test]
fn leader_whose_clock_is_wrong_by_decades_is_left_to_lead() -> Result<()> {
    let site = Site::new()?;
    let lease = |renewed: &str| {
        json!({
            "metadata": {"name": "sallyport-controller"},
            "spec": {"holderIdentity": "another", "leaseDurationSeconds": 15, "renewTime": renewed},
        })
    };
    let leases = site.lease();
    let leases = leases.trim_end_matches("/sallyport-controller");
    site.api()
        .create(leases, &lease("1999-01-01T00:00:00.000000Z"))?;
    let controller = site.start()?;
    for renewal in 0..10 {
        let year = if renewal % 2 == 0 { 2099 } else { 1999 };
        let renewed = format!("{year}-01-01T00:00:{renewal:02}.000000Z");
        site.api().patch(&site.lease(), &lease(&renewed))?;
        // The other leader's rhythm.
        std::thread::sleep(Duration::from_secs(2));
        assert!(!controller.leads()?, "after {renewal} renewals");
    }
    controller.wait_until_it_leads()
}
