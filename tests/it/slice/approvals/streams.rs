//! Terminals that people decide on, by real kubectl and on the wire.

use std::thread;

use anyhow::Result;
use harness::{Tools, WebSocket};
use serde_json::json;

use super::{super::levels::outcome, *};

const EXEC: [&str; 5] = ["exec", "shell", "--", "sh", "-c"];
/// The channel of a WebSocket.
const STDERR: u8 = 2;
const ERROR: u8 = 3;

impl Asked {
    /// With a pod that runs.
    fn with_shell(terms: &str) -> Result<Self> {
        let asked = Self::with(terms)?;
        asked
            .scene
            .namespace
            .create_running_pod("shell", &json!({}))?;
        Ok(asked)
    }

    fn spdy(&self) -> Result<Kubectl> {
        let kubectl = self.scene.kubectl()?;
        Ok(kubectl.with_variable("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false"))
    }

    /// An exec of `cat`, opened as kubectl does it.
    fn held_terminal(&self) -> Result<WebSocket> {
        let headers = [
            ("User-Agent", "kubectl/v1.37.1 (linux/amd64)"),
            ("Sec-WebSocket-Protocol", "v5.channel.k8s.io"),
        ];
        self.scene.agent()?.websocket(&self.cat(), &headers)
    }

    /// Until the gateway has heard of a withdrawal, the same call waits for what was withdrawn.
    fn terminal_with_a_request_of_its_own(&self) -> Result<(WebSocket, Value)> {
        eventually("a terminal that waits anew", SOON, || {
            let mut socket = self.held_terminal()?;
            let (channel, _) = socket.receive()?;
            let open = self.requests()?.into_iter().find(is_open);
            Ok(open
                .filter(|_| channel == STDERR)
                .map(|request| (socket, request)))
        })
    }

    fn cat(&self) -> String {
        let query = "command=cat&stdin=true&stdout=true&stderr=true";
        let path = format!("pods/shell/exec?{query}");
        self.scene.namespace.path(&path)
    }
}

/// What an exec that did not run is told.
fn refusal(mut socket: WebSocket) -> Result<String> {
    let said = socket.rest()?.remove(&ERROR).context("no error")?;
    let status: Value = serde_json::from_slice(&said)?;
    assert_eq!(
        (&status["status"], &status["code"]),
        (&json!("Failure"), &json!(403)),
        "{status}"
    );
    Ok(status["message"].as_str().context("a message")?.to_owned())
}

#[test]
fn held_exec_shows_what_it_waits_for_and_then_runs_with_its_input() -> Result<()> {
    let asked = Asked::with_shell("{hold: 60s}")?;
    // More than is kept.
    let input = "a line\n".repeat(60_000);
    let script = "cat; echo aside >&2; exit 7";
    let kubectl = asked.scene.kubectl()?;
    let run = ["exec", "-i", "shell", "--", "sh", "-c", script];
    let (output, request) = thread::scope(|threads| {
        let agent = threads.spawn(|| kubectl.run_with_input(&run, input.as_bytes()));
        let request = asked.open_request()?;
        assert_eq!(request["spec"]["call"]["argv"], json!(["sh", "-c", script]));
        asked.wait_for_held(1)?;
        asked.vote(&request, &approval("ann"))?;
        anyhow::Ok((agent.join().expect("kubectl ran")?, request))
    })?;
    assert_eq!(output.status, 7, "{}", output.stderr);
    assert!(
        output.stdout == input,
        "what was said meanwhile was changed"
    );
    let (namespace, name) = (&asked.scene.namespace.name, name(&request)?);
    for told in [
        "this call waits for approval and runs here once it is approved".to_owned(),
        format!("sallyport approvals approve -n {namespace} {name}\n"),
        format!("allowed by approval {namespace}/{name} (by ann)\naside\n"),
    ] {
        assert!(output.stderr.contains(&told), "{told:?}: {}", output.stderr);
    }
    let call = asked.scene.stream("exec", "get")?;
    assert_eq!(
        (&call["approval"]["state"], &call["responseStatus"]["code"]),
        (&json!("approved"), &json!(101)),
        "{call}"
    );
    let looks = asked.scene.gateway.audit_list(&["--resource", "pods"])?;
    let looks = looks
        .iter()
        .filter(|call| call["rule"] == "built-in/lookup" && call["responseStatus"]["code"] == 200);
    assert_eq!(looks.count(), 2, "before it is asked and before it is sent");
    Ok(())
}

/// kubectl wants a terminal of its own.
const IN_TERMINAL: &str = r"
import os, pty, sys
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))
";

#[test]
fn held_exec_in_a_terminal_shows_it_there() -> Result<()> {
    let asked = Asked::with_shell("{hold: 60s}")?;
    let tools = Tools::from_env()?;
    let kubectl = asked.scene.kubectl()?;
    let kubeconfig = kubectl.kubeconfig().display().to_string();
    let program = tools.kubectl.display().to_string();
    let exec = ["exec", "-it", "shell", "--", "sh", "-c", "tty; exit 3"];
    let arguments = [&[&*program, "--kubeconfig", &kubeconfig][..], &exec].concat();
    thread::scope(|threads| {
        let agent = threads.spawn(|| tools.run_python(IN_TERMINAL, &arguments));
        asked.wait_for_held(1)?;
        asked.vote(&asked.open_request()?, &approval("ann"))?;
        let output = agent.join().expect("kubectl ran")?;
        assert_eq!(output.status, 3, "{output:?}");
        for shown in ["waits for approval", "(by ann)\r\n", "/dev/pts/"] {
            assert!(output.stdout.contains(shown), "{shown}: {output:?}");
        }
        Ok(())
    })
}

#[test]
fn denied_exec_prints_the_reason_and_is_denied_by_every_protocol() -> Result<()> {
    let asked = Asked::with_shell("{hold: 60s}")?;
    let run = [&EXEC[..], &["echo out"]].concat();
    thread::scope(|threads| {
        let agent = asked.agent_runs(threads, &run)?;
        asked.vote(&asked.open_request()?, &denial("bob", "not today"))?;
        let output = agent.join().expect("kubectl ran")?;
        assert_eq!((output.status, &*output.stdout), (1, ""), "{output:?}");
        // In the terminal, or in place of it where the vote was quicker than the 101.
        let told = "sallyport: this call was denied by bob: not today\n";
        assert!(output.stderr.contains(told), "{}", output.stderr);
        let call = asked.scene.stream("exec", "get")?;
        assert_eq!(
            (&call["approval"]["state"], &call["responseStatus"]["code"]),
            (&json!("denied"), &json!(403)),
            "{call}"
        );
        let refused = asked.spdy()?.run(&run)?.failure()?;
        assert!(refused.contains("denied by bob: not today"), "{refused}");
        assert_eq!(asked.requests()?.len(), 1);

        // Whoever else might take a 101 for success.
        let other = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Sec-WebSocket-Protocol", "v4.channel.k8s.io"),
        ];
        let mut held = asked.scene.start("GET", &asked.cat(), &other, &[])?;
        let request = asked.open_request()?;
        asked.vote(&request, &denial("bob", "nor that"))?;
        held.response()?.refusal(403)?;
        Ok(())
    })
}

#[test]
fn exec_by_spdy_uses_what_was_approved_for_websocket() -> Result<()> {
    let asked = Asked::with_shell("{hold: 0s}")?;
    let run = [&EXEC[..], &["echo out"]].concat();
    asked.scene.kubectl()?.run(&run)?.failure()?;
    let requests = asked.requests()?;
    assert_eq!(requests.len(), 1, "each protocol asked for itself");
    asked.vote(&requests[0], &approval("ann"))?;
    let spdy = asked.spdy()?;
    assert_eq!(asked.passes(|| spdy.run(&run))?, "out\n");
    assert_eq!(asked.uses(&requests[0])?, 1);
    Ok(())
}

#[test]
fn held_attach_waits_in_view_and_what_is_typed_is_recorded_masked() -> Result<()> {
    let asked = Asked::with_settings("{hold: 60s}", |mut settings, _| {
        settings.config["upgrades"] = json!({"recordStdin": true});
        settings
    })?;
    let scene = &asked.scene;
    let reader = json!({"command": ["sh", "-c", "read line; echo got $line"], "stdin": true});
    scene.namespace.create_running_pod("reader", &reader)?;
    let token = ["gh", "p_", "0Zq1Xw2Cv3Bn4Ml5Kj6Hg7Fd8Sa9Po0Iu1Yt2"].concat();
    let typed = format!("{token} typed\n");
    let kubectl = scene.kubectl()?;
    let attach = ["attach", "-i", "reader"];
    let output = thread::scope(|threads| {
        let agent = threads.spawn(|| kubectl.run_with_input(&attach, typed.as_bytes()));
        let request = asked.open_request()?;
        assert_eq!(request["spec"]["call"]["subresource"], "attach");
        assert_eq!(kubectl.ok(&["logs", "reader"])?, "", "it was typed already");
        asked.wait_for_held(1)?;
        asked.vote(&request, &approval("ann"))?;
        agent.join().expect("kubectl ran")
    })?;
    for told in ["waits for approval", "(by ann)\n"] {
        assert!(output.stderr.contains(told), "{told:?}: {output:?}");
    }
    eventually("what the process read", SOON, || {
        let said = kubectl.ok(&["logs", "reader"])?;
        Ok((said == format!("got {typed}")).then_some(()))
    })?;

    let call = scene.stream("attach", "get")?;
    assert_eq!(
        (&call["approval"]["state"], &call["responseStatus"]["code"]),
        (&json!("approved"), &json!(101)),
        "{call}"
    );
    let call = outcome(scene, call["auditID"].as_str().context("no id")?)?;
    let said: Value = serde_json::from_str(call["responseObject"].as_str().context("no body")?)?;
    let stdin = said["stdin"].as_str().context("no stdin")?;
    assert!(
        stdin.starts_with("masked:") && stdin.ends_with(" typed\n"),
        "{call}"
    );
    assert_eq!(call["maskedRequest"], 1, "{call}");
    assert!(!call.to_string().contains(&token), "{call}");
    Ok(())
}

/// One of the same name is not the one that people were asked about.
#[test]
fn what_was_approved_for_a_pod_is_refused_in_another_of_its_name() -> Result<()> {
    let asked = Asked::with_shell("{hold: 60s}")?;
    let namespace = &asked.scene.namespace;
    let asked_about = |subresource: &str| {
        asked.request(subresource, |one| {
            one["spec"]["call"]["subresource"] == subresource && one["status"]["votes"] == json!([])
        })
    };
    let run = [&EXEC[..], &["echo out"]].concat();
    let container = json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": "registry.invalid/debug:1"}]}});
    thread::scope(|threads| {
        let mut debug = asked.scene.start(
            "PATCH",
            &namespace.path("pods/shell/ephemeralcontainers"),
            &[("Content-Type", "application/strategic-merge-patch+json")],
            container.to_string().as_bytes(),
        )?;
        let to_debug = asked_about("ephemeralcontainers")?;
        let agent = asked.agent_runs(threads, &run)?;
        let to_run = asked_about("exec")?;
        let delete = ["delete", "pod", "shell", "-n", &namespace.name];
        asked.person.ok(&delete)?;
        namespace.create_running_pod("shell", &json!({}))?;
        for request in [&to_debug, &to_run] {
            asked.vote(request, &approval("ann"))?;
        }
        let refused = agent.join().expect("kubectl ran")?.failure()?;
        assert!(
            refused.contains("that people were asked about is gone"),
            "{refused}"
        );
        assert_eq!(debug.response()?.status, 409);

        let agent = asked.agent_runs(threads, &run)?;
        let again = asked_about("exec")?;
        assert_ne!(again["spec"]["digest"], to_run["spec"]["digest"]);
        asked.vote(&again, &approval("ann"))?;
        assert_eq!(agent.join().expect("kubectl ran")?.success()?, "out\n");
        Ok(())
    })
}

#[test]
fn whatever_ends_a_held_terminal_is_said_on_its_error_channel() -> Result<()> {
    let mut asked = Asked::with_shell("{hold: 120s}")?;
    let mut socket = asked.held_terminal()?;
    let (channel, told) = socket.receive()?;
    let told = String::from_utf8_lossy(&told).into_owned();
    assert_eq!(channel, STDERR, "{told}");
    assert!(told.contains("waits for approval"), "{told}");

    drop(socket);
    asked.request("its withdrawal", |one| {
        !one["status"]["withdrawnAt"].is_null()
    })?;
    let call = asked.scene.stream("exec", "get")?;
    assert_eq!(
        (&call["approval"]["state"], &call["outcome"]),
        (&json!("withdrawn"), &json!("aborted")),
        "{call}"
    );

    let (socket, _) = asked.terminal_with_a_request_of_its_own()?;
    let asking = asking(&asked.scene.namespace.name, "{hold: 120s}");
    let deny = asking
        .replace("effect: RequireApproval", "effect: Deny")
        .replace("    approval: {hold: 120s}\n", "");
    asked.scene.gateway.write_policy("ask.yaml", &deny)?;
    asked.scene.gateway.reload()?;
    let message = refusal(socket)?;
    assert!(message.contains("denied by rule \"ask/maps\""), "{message}");

    eventually("that nobody is asked any more", SOON, || {
        let withdrawn = |one: &Value| !one["status"]["withdrawnAt"].is_null();
        Ok(asked.requests()?.iter().all(withdrawn).then_some(()))
    })?;
    asked.scene.gateway.write_policy("ask.yaml", &asking)?;
    asked.scene.gateway.reload()?;
    let (socket, request) = asked.terminal_with_a_request_of_its_own()?;
    asked.scene.gateway.terminate()?;
    let message = refusal(socket)?;
    assert!(message.contains("this gateway is going down"), "{message}");
    asked.scene.gateway.wait_for_end()?;
    assert!(asked.again(&request)?["status"]["withdrawnAt"].is_null());
    Ok(())
}
