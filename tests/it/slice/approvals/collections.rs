//! Deletions of a collection: people decide on the objects that it covers, and no others are deleted.

use anyhow::{Result, ensure};
use harness::{Exchange, Response};
use serde_json::{Value, json};

use super::*;

impl Asked {
    fn make(&self, name: &str, labels: &Value) -> Result<Value> {
        let object = json!({"metadata": {"name": name, "labels": labels}});
        self.scene
            .namespace
            .api()
            .create(&self.scene.configmaps(), &object)
    }

    fn make_temporary(&self, names: &[&str]) -> Result<()> {
        let make = |name| self.make(name, &json!({"app": "temporary"})).map(drop);
        names.iter().copied().try_for_each(make)
    }

    /// The agent deletes all that is temporary.
    fn clean_up(&self, more: &str) -> Result<Exchange> {
        self.scene.start("DELETE", &self.temporary(more), &[], &[])
    }

    fn temporary(&self, more: &str) -> String {
        format!(
            "{}?labelSelector=app%3Dtemporary{more}",
            self.scene.configmaps()
        )
    }

    fn assert_there(&self, names: &[&str], expected: bool) -> Result<()> {
        for name in names {
            ensure!(self.exists(name)? == expected, "{name}: not {expected}");
        }
        Ok(())
    }

    /// Of an approved call, as the API server saw it.
    fn theirs(&self, answer: &Response) -> Result<String> {
        let event = self.scene.api_servers_event(answer)?;
        Ok(event["requestURI"].to_string())
    }
}

#[test]
fn those_that_people_were_asked_about_are_deleted_and_no_others() -> Result<()> {
    let asked = Asked::with("{hold: 60s}")?;
    asked.make_temporary(&["one", "two", "three"])?;
    asked.make("other", &json!({"app": "shop"}))?;

    // One is made meanwhile: what was approved is not what would be deleted.
    let mut call = asked.clean_up("")?;
    let request = asked.open_request()?;
    asked.make_temporary(&["four"])?;
    asked.vote(&request, &approval("ann"))?;
    let refused = call.response()?.message(403)?;
    assert!(refused.contains("not those any more"), "{refused}");
    asked.assert_there(&["one", "two", "three", "four", "other"], true)?;

    // So is one that is not the same any more.
    let mut call = asked.clean_up("")?;
    let request = asked.open_request()?;
    let touched = json!({"data": {"colour": "red"}});
    let two = format!("{}/two", asked.scene.configmaps());
    asked.scene.namespace.api().patch(&two, &touched)?;
    asked.vote(&request, &approval("ann"))?;
    let refused = call.response()?.message(403)?;
    assert!(refused.contains("not those any more"), "{refused}");

    let mut call = asked.clean_up("")?;
    let request = asked.open_request()?;
    asked.vote(&request, &approval("ann"))?;
    let answer = call.response()?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    asked.assert_there(&["one", "two", "three", "four"], false)?;
    asked.assert_there(&["other"], true)?;
    let sent = asked.theirs(&answer)?;
    assert!(sent.contains("&resourceVersionMatch=Exact"), "{sent}");
    Ok(())
}

/// What the binding rests on, tried on the API server itself.
#[test]
fn the_api_server_deletes_what_a_version_of_the_list_held() -> Result<()> {
    let asked = Asked::with("{hold: 60s}")?;
    let api = asked.scene.namespace.api();
    asked.make_temporary(&["one", "two"])?;
    let list = api.get(&asked.temporary(""))?;
    let version = list["metadata"]["resourceVersion"]
        .as_str()
        .context("a version")?;
    asked.make_temporary(&["late"])?;
    api.delete(&asked.temporary(&format!(
        "&resourceVersion={version}&resourceVersionMatch=Exact"
    )))?;
    asked.assert_there(&["one", "two"], false)?;
    asked.assert_there(&["late"], true)?;

    // So an agent that names a version, or a part, would delete others than people are shown.
    let kept = asked.make("kept", &json!({"app": "temporary"}))?;
    let version = kept["metadata"]["resourceVersion"]
        .as_str()
        .context("a version")?;
    let relabelled = json!({"metadata": {"labels": {"app": "shop"}}});
    api.patch(&format!("{}/kept", asked.scene.configmaps()), &relabelled)?;
    for part in [
        format!("&resourceVersion={version}&resourceVersionMatch=Exact"),
        format!("&resourceVersion={version}"),
        "&limit=1".to_owned(),
        "&continue=abc".to_owned(),
        "&uid=abc".to_owned(),
    ] {
        let refused = asked.clean_up(&part)?.response()?.refusal(403)?;
        let message = refused["message"].to_string();
        assert!(
            message.contains("than those they are shown"),
            "{part}: {message}"
        );
    }
    asked.assert_there(&["late", "kept"], true)
}
