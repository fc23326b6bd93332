//! From `sallyport agents stop` to the first call that is denied, and to the end of a watch that was open, on each gateway.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use harness::{Exchange, Gateway, Response, eventually};

use super::{
    row::Measured,
    site::{SOON, Site},
};

const DENIED: &str = "stop: a new call is denied";
const ENDED: &str = "stop: an open watch ends";

const APPLIED: &str = "applied by 2 of 2 gateways";

/// A first stop, and its end: by then the controller has read which authority vouches for people.
pub(crate) fn wait_until_applied(site: &Site) -> Result<()> {
    eventually("both gateways to apply a stop", SOON, || {
        let stopped = site.stop_agent()?;
        Ok(stopped.stdout.contains(APPLIED).then_some(()))
    })?;
    site.resume_agent()
}

pub(crate) fn round(site: &Site, measured: &mut Measured) -> Result<()> {
    site.wait_until_served()?;
    let watches = site.gateways.each_ref().map(|gateway| watch(site, gateway));
    let started = Instant::now();
    thread::scope(|threads| {
        let mut waiting = Vec::new();
        for (gateway, watch) in site.gateways.iter().zip(watches) {
            let (mut watch, head) = watch?;
            let denied = threads.spawn(move || until_denied(site, gateway, started));
            let ended = threads.spawn(move || {
                watch.body(&head)?;
                Ok(started.elapsed())
            });
            waiting.extend([(DENIED, denied), (ENDED, ended)]);
        }
        let stopped = site.stop_agent()?;
        measured.add_command(started.elapsed());
        let said = stopped.success()?;
        ensure!(said.contains(APPLIED), "{said}");
        for (what, time) in waiting {
            measured.add(what, time.join().expect("no panic")?);
        }
        anyhow::Ok(())
    })?;
    site.resume_agent()
}

fn watch(site: &Site, gateway: &Gateway) -> Result<(Exchange, Response)> {
    let mut watch = site.read(gateway, "?watch=true")?;
    let head = watch.head()?;
    ensure!(head.status == 200, "the watch: {}", head.status);
    Ok((watch, head))
}

/// Calls again and again.
fn until_denied(site: &Site, gateway: &Gateway, started: Instant) -> Result<Duration> {
    loop {
        let status = site.read(gateway, "")?.response().context("a call")?.status;
        match status {
            200 => {}
            403 => return Ok(started.elapsed()),
            other => anyhow::bail!("a call was answered with {other}"),
        }
    }
}
