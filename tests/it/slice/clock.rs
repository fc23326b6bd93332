//! A gateway whose clock is set while it runs: whom it knows, and what it records.

use std::time::Duration;

use anyhow::Result;
use harness::eventually;

use super::Scene;

const SOON: Duration = Duration::from_secs(60);
const MINUTES: i64 = 5 * 60;
const HOURS: i64 = 2 * 3600;

impl Scene {
    /// Calls with a token that was made now, which nothing is remembered of, and gives what came of it.
    fn call_with_new_token(&self, name: &str) -> Result<(u16, String)> {
        let namespace = &self.namespace;
        let token = namespace.token("coder", "sallyport", Some(&self.pod))?;
        self.call_with(&token, name)
    }

    fn call_with(&self, token: &str, name: &str) -> Result<(u16, String)> {
        let target = format!("{}/{name}", self.configmaps());
        let client = self.gateway.agent(token)?;
        let answer = client.request("GET", &target, &[], &[])?;
        Ok((answer.status, answer.text()))
    }

    /// Waits until these are in the record, and gives when each was received.
    fn received(&self, names: &[&str]) -> Result<Vec<String>> {
        eventually("every call", SOON, || {
            let calls = self.gateway.audit_list(&["--since", "1h"])?;
            let received = |name: &&str| {
                let mut calls = calls.iter();
                let call = calls.find(|call| call["objectRef"]["name"] == **name)?;
                Some(call["requestReceivedTimestamp"].as_str()?.to_owned())
            };
            Ok(names.iter().map(received).collect())
        })
    }
}

#[test]
fn tokens_are_judged_and_calls_recorded_by_a_clock_that_is_set() -> Result<()> {
    let mut scene = Scene::with(|settings, _| Ok(settings.with_clock(MINUTES)))?;
    assert_eq!(scene.call_with(&scene.token, "ahead")?.0, 404);
    scene.gateway.set_clock(-MINUTES)?;
    let (status, said) = scene.call_with_new_token("unborn")?;
    assert_eq!(status, 401, "{said}");
    assert!(said.contains("check the clocks"), "{said}");
    // Who was known before goes on.
    assert_eq!(scene.call_with(&scene.token, "behind")?.0, 404);
    scene.gateway.set_clock(HOURS)?;
    let (status, said) = scene.call_with_new_token("expired")?;
    assert_eq!(status, 401, "{said}");
    scene.gateway.set_clock(0)?;
    assert_eq!(scene.call_with(&scene.token, "right")?.0, 404);

    let times = scene.received(&["behind", "right", "ahead"])?;
    assert!(times.is_sorted(), "{times:?}");
    // The log's last word is hours ahead.
    scene.gateway.kill()?;
    scene.gateway.start_again()?;
    assert_eq!(scene.call_with(&scene.token, "again")?.0, 404);
    let times = scene.received(&["behind", "right", "again", "ahead"])?;
    assert!(times.is_sorted(), "{times:?}");
    scene.gateway.stop()
}
