//! exec, attach, cp and port-forward of real clients, through the gateway to real processes.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use harness::{Kubectl, Tools, WebSocket, eventually};
use serde_json::{Value, json};

use super::Scene;

mod ends;
mod refusals;

const HANDSHAKE: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// How kubectl opens its streams.
#[derive(Clone, Copy, Debug)]
enum Transport {
    WebSocket,
    Spdy,
}

const TRANSPORTS: [Transport; 2] = [Transport::WebSocket, Transport::Spdy];

impl Transport {
    fn kubectl(self, scene: &Scene) -> Result<Kubectl> {
        let websockets = match self {
            Self::WebSocket => "true",
            Self::Spdy => "false",
        };
        Ok(scene
            .kubectl()?
            .with_variable("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets)
            .with_variable("KUBECTL_PORT_FORWARD_WEBSOCKETS", websockets))
    }

    fn verb(self) -> &'static str {
        match self {
            Self::WebSocket => "get",
            Self::Spdy => "create",
        }
    }
}

impl Scene {
    /// With a pod that runs.
    fn with_shell() -> Result<Self> {
        let scene = Self::new()?;
        scene.namespace.create_running_pod("shell", &json!({}))?;
        Ok(scene)
    }

    /// The target of an exec in the pod `shell`.
    fn exec(&self, command: &[&str], streams: &[&str]) -> String {
        let words = command.iter().map(|word| {
            let escape = |byte| format!("%{byte:02X}");
            format!("command={}", word.bytes().map(escape).collect::<String>())
        });
        let streams = streams.iter().map(|stream| format!("{stream}=true"));
        let query: Vec<_> = words.chain(streams).collect();
        self.namespace
            .path(&format!("pods/shell/exec?{}", query.join("&")))
    }

    /// A WebSocket of the agent, which speaks `protocol`.
    fn websocket(&self, target: &str, protocol: &str) -> Result<WebSocket> {
        let headers = [("Sec-WebSocket-Protocol", protocol)];
        self.agent()?.websocket(target, &headers)
    }

    /// The outcome of an upgraded call that has ended.
    pub(super) fn stream(&self, subresource: &str, verb: &str) -> Result<Value> {
        let what = format!("the record of {verb} {subresource}");
        self.outcome_of(&what, |call| {
            call["objectRef"]["subresource"] == subresource && call["verb"] == verb
        })
    }
}

/// It passed, in both logs under one id.
fn assert_recorded(scene: &Scene, call: &Value) -> Result<()> {
    assert_eq!(call["responseStatus"]["code"], 101, "{call}");
    assert_eq!(
        (&call["outcome"], &call["decision"]),
        (&json!("complete"), &json!("allow")),
        "{call}"
    );
    let theirs = eventually("the API server's event", Duration::from_secs(60), || {
        let events = scene
            .cluster
            .audit_events_of(call["auditID"].as_str().context("no id")?)?;
        Ok(events
            .into_iter()
            .find(|event| event["stage"] == "ResponseComplete"))
    })?;
    assert_eq!(theirs["responseStatus"]["code"], 101, "{theirs}");
    assert_eq!(
        theirs["impersonatedUser"]["username"],
        scene.namespace.synthetic_user("coder")
    );
    Ok(())
}

#[test]
fn exec_brings_output_input_and_the_exit_code() -> Result<()> {
    let scene = Scene::with_shell()?;
    for transport in TRANSPORTS {
        let kubectl = transport.kubectl(&scene)?;
        let script = "echo out; echo aside >&2; exit 7";
        let output = kubectl.run(&["exec", "shell", "--", "sh", "-c", script])?;
        assert_eq!(
            (output.status, output.stdout.as_str()),
            (7, "out\n"),
            "{output:?}"
        );
        assert!(output.stderr.starts_with("aside\n"), "{output:?}");
        assert_recorded(&scene, &scene.stream("exec", transport.verb())?)?;

        let input = "a line\n".repeat(60_000);
        let counted = kubectl
            .run_with_input(&["exec", "-i", "shell", "--", "wc", "-c"], input.as_bytes())?
            .success()?;
        assert_eq!(counted.trim(), input.len().to_string(), "{transport:?}");
        scene.outcome_of("the bytes of both directions", |call| {
            let bytes = |name: &str| {
                call[name]
                    .as_str()
                    .and_then(|count| count.parse::<usize>().ok())
            };
            call["verb"] == transport.verb()
                && bytes("requestBytes") > Some(input.len())
                && bytes("responseBytes") > Some(counted.len())
        })?;
    }
    Ok(())
}

/// kubectl wants a terminal of its own.
const IN_TERMINAL: &str = r"
import os, pty, sys
os.environ['KUBECTL_REMOTE_COMMAND_WEBSOCKETS'] = sys.argv[1]
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[2:])))
";

#[test]
fn exec_has_a_terminal() -> Result<()> {
    let scene = Scene::with_shell()?;
    let tools = Tools::from_env()?;
    for (websockets, verb) in [("true", "get"), ("false", "create")] {
        let kubectl = scene.kubectl()?;
        let kubeconfig = kubectl.kubeconfig().display().to_string();
        let program = tools.kubectl.display().to_string();
        let exec = ["exec", "-it", "shell", "--", "sh", "-c", "tty; exit 3"];
        let arguments = [
            &[websockets, &program, "--kubeconfig", &kubeconfig][..],
            &exec,
        ];
        let output = tools.run_python(IN_TERMINAL, &arguments.concat())?;
        // What passed here says whether something was lost before or behind.
        let call = scene.stream("exec", verb)?;
        assert_eq!(output.status, 3, "{output:?}\n{call:#}");
        assert!(output.stdout.contains("/dev/pts/"), "{output:?}\n{call:#}");
    }
    Ok(())
}

#[test]
fn attach_speaks_to_a_process_that_runs() -> Result<()> {
    let scene = Scene::new()?;
    for transport in TRANSPORTS {
        let name = format!("reader-{}", transport.verb());
        let command = ["sh", "-c", "read line; echo got $line"];
        let container = json!({"command": command, "stdin": true});
        scene.namespace.create_running_pod(&name, &container)?;
        let kubectl = transport.kubectl(&scene)?;
        kubectl.run_with_input(&["attach", "-i", &name], b"attached\n")?;
        eventually("what the process said", Duration::from_secs(60), || {
            let said = kubectl.run(&["logs", &name])?.stdout;
            Ok((said == "got attached\n").then_some(()))
        })?;
        let call = scene.stream("attach", transport.verb())?;
        assert_eq!(call["responseStatus"]["code"], 101, "{call}");
    }
    Ok(())
}

#[test]
fn cp_copies_both_ways() -> Result<()> {
    let scene = Scene::with_shell()?;
    let directory = tempfile::tempdir()?;
    let path = |name: &str| directory.path().join(name).display().to_string();
    let content: Vec<u8> = (0..=255).cycle().take((1 << 20) + 1).collect();
    fs::write(path("here"), &content)?;
    for transport in TRANSPORTS {
        let kubectl = transport.kubectl(&scene)?;
        let there = path(&format!("there-{}", transport.verb()));
        kubectl.ok(&["cp", &path("here"), &format!("shell:{there}")])?;
        assert_eq!(fs::read(&there)?, content, "{transport:?}");
        let back = path(&format!("back-{}", transport.verb()));
        kubectl.ok(&["cp", &format!("shell:{there}"), &back])?;
        assert_eq!(fs::read(&back)?, content, "{transport:?}");
    }
    Ok(())
}

#[test]
fn port_forward_carries_several_connections() -> Result<()> {
    let scene = Scene::with_shell()?;
    let port = echo()?;
    for transport in TRANSPORTS {
        let kubectl = transport.kubectl(&scene)?;
        let forwarding = kubectl.follow(&["port-forward", "shell", &format!(":{port}")])?;
        let said = forwarding.wait_for("the forwarded port", |line| {
            line.starts_with("Forwarding from 127")
        })?;
        let address = said.split(' ').nth(2).context("no address")?;
        let mut connections = [TcpStream::connect(address)?, TcpStream::connect(address)?];
        for (number, connection) in connections.iter_mut().enumerate() {
            connection.set_read_timeout(Some(Duration::from_secs(30)))?;
            let question: Vec<u8> = (0..100_000).map(|byte| (byte + number) as u8).collect();
            connection.write_all(&question)?;
            let mut answer = vec![0; question.len()];
            connection.read_exact(&mut answer)?;
            assert!(answer == question, "{transport:?} changed what passed");
        }
        drop((connections, forwarding));
        let call = scene.stream("portforward", transport.verb())?;
        let bytes: u64 = call["requestBytes"].as_str().context("no count")?.parse()?;
        assert!(bytes >= 200_000, "{call}");
    }
    Ok(())
}

/// A server that says what it hears, for as long as the tests run.
fn echo() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || std::io::copy(&mut &connection, &mut &connection));
        }
    });
    Ok(port)
}

#[test]
fn every_subprotocol_of_websockets_passes() -> Result<()> {
    let scene = Scene::with_shell()?;
    let script = "read line; echo got $line; exit 5";
    let target = scene.exec(&["sh", "-c", script], &["stdin", "stdout", "stderr"]);
    for protocol in ["v4.channel.k8s.io", "v5.channel.k8s.io", "channel.k8s.io"] {
        let mut socket = scene.websocket(&target, protocol)?;
        assert_eq!(socket.header("sec-websocket-protocol"), Some(protocol));
        socket.send(0, b"word\n")?;
        let said = socket.rest()?;
        assert_eq!(said[&1], b"got word\n", "{protocol}");
        let end = String::from_utf8_lossy(&said[&3]);
        assert!(end.contains('5'), "{protocol}: {end}");
    }
    for protocol in ["v4.base64.channel.k8s.io", "base64.channel.k8s.io"] {
        let mut socket = scene.websocket(&target, protocol)?;
        socket.send_base64(0, b"word\n")?;
        assert_eq!(socket.rest()?[&1], b"got word\n", "{protocol}");
    }
    Ok(())
}

#[test]
fn a_terminal_is_resized_and_its_input_can_end() -> Result<()> {
    let scene = Scene::with_shell()?;
    let script = "until stty size | grep -q '33 100'; do sleep 0.1; done; echo fits";
    let target = scene.exec(&["sh", "-c", script], &["stdin", "stdout", "tty"]);
    let mut socket = scene.websocket(&target, "v5.channel.k8s.io")?;
    socket.send(4, br#"{"Width":100,"Height":33}"#)?;
    assert_eq!(socket.rest()?[&1], b"fits\r\n");

    let counting = scene.exec(&["wc", "-c"], &["stdin", "stdout"]);
    let mut socket = scene.websocket(&counting, "v5.channel.k8s.io")?;
    socket.send(0, b"12345")?;
    socket.send(255, &[0])?;
    assert_eq!(socket.rest()?[&1], b"5\n");
    Ok(())
}

#[test]
fn a_token_may_come_as_a_subprotocol() -> Result<()> {
    let scene = Scene::with_shell()?;
    let bearer = format!(
        "base64url.bearer.authorization.k8s.io.{}",
        BASE64_URL_SAFE_NO_PAD.encode(&scene.token)
    );
    let both = format!("{bearer}, v4.channel.k8s.io");
    let target = scene.exec(&["echo", "hello"], &["stdout"]);
    let client = scene.gateway.client()?;
    let mut socket = client.websocket(&target, &[("Sec-WebSocket-Protocol", &both)])?;
    assert_eq!(
        socket.header("sec-websocket-protocol"),
        Some("v4.channel.k8s.io")
    );
    assert_eq!(socket.rest()?[&1], b"hello\n");
    let call = scene.stream("exec", "get")?;
    assert_eq!(call["agent"]["name"], "coder", "{call}");

    let alone = [
        &HANDSHAKE[..],
        &[("Sec-WebSocket-Protocol", bearer.as_str())],
    ]
    .concat();
    client.request("GET", &target, &alone, &[])?.refusal(401)?;
    let beside = [&HANDSHAKE[..], &[("Sec-WebSocket-Protocol", both.as_str())]].concat();
    let refused = scene.call("GET", &target, &beside)?.refusal(401)?;
    let message = refused["message"].as_str().context("no message")?;
    assert!(message.contains("several credentials"), "{message}");
    Ok(())
}

const PYTHON: &str = r#"
import sys
from kubernetes import client, config
from kubernetes.stream import stream

kubeconfig, namespace = sys.argv[1:]
config.load_kube_config(config_file=kubeconfig)
core = client.CoreV1Api()
run = lambda command, **more: stream(core.connect_get_namespaced_pod_exec, "shell", namespace,
    command=command, stdout=True, stderr=True, **more)

assert run(["echo", "hello"], stdin=False, tty=False) == "hello\n"
shell = run(["sh"], stdin=True, tty=False, _preload_content=False)
shell.write_stdin("echo first; exit 6\n")
shell.run_forever(timeout=30)
assert shell.read_stdout() == "first\n"
assert shell.returncode == 6, shell.returncode
print("done")
"#;

#[test]
fn the_python_client_executes() -> Result<()> {
    let scene = Scene::with_shell()?;
    let kubeconfig = scene.kubectl()?;
    let path = kubeconfig.kubeconfig().display().to_string();
    let said = Tools::from_env()?
        .run_python(PYTHON, &[&path, &scene.namespace.name])?
        .success()?;
    assert_eq!(said.trim(), "done");
    Ok(())
}
