//! HTTP/1.1 that no client of Kubernetes sends. Whatever it is, the API server gets the requests that were judged
//! and recorded and no others, and the gateway goes on serving.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::Shutdown,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use harness::{RawClient, eventually};
use serde_json::{Value, json};

use super::Scene;

const LIMIT: Duration = Duration::from_secs(60);

/// What becomes of a request.
enum Fate {
    /// The API server's answer.
    Served(u16),
    /// A `Status` of the gateway.
    Refused(u16),
    /// hyper's own answer: a code and nothing else, and the connection closes.
    Bare(u16),
    /// No answer.
    Closed,
}

use Fate::{Bare, Closed, Refused, Served};

/// The API server heard of what the gateway allowed and recorded, and of nothing else.
pub(super) fn assert_nothing_slipped_through(scene: &Scene) -> Result<()> {
    eventually("the same calls on both sides", LIMIT, || {
        let heard = heard(scene)?;
        Ok((allowed(scene)? == heard).then_some(()))
    })
}

/// The same where calls were given up before they were sent, which are recorded too.
pub(super) fn assert_everything_heard_was_allowed(scene: &Scene) -> Result<()> {
    let heard = heard(scene)?;
    eventually("a record of every call", LIMIT, || {
        Ok(allowed(scene)?.is_superset(&heard).then_some(()))
    })
}

fn heard(scene: &Scene) -> Result<BTreeSet<String>> {
    let agent = scene.namespace.synthetic_user("coder");
    let events = scene
        .api_servers_events(|event| event["impersonatedUser"]["username"] == agent.as_str())?;
    Ok(audit_ids(&events))
}

fn allowed(scene: &Scene) -> Result<BTreeSet<String>> {
    let mut calls = scene.gateway.audit_list(&[])?;
    calls.retain(|call| call["decision"] == "allow");
    Ok(audit_ids(&calls))
}

fn audit_ids(calls: &[Value]) -> BTreeSet<String> {
    calls
        .iter()
        .filter_map(|call| call["auditID"].as_str().map(str::to_owned))
        .collect()
}

/// Others are served, and nothing of what was is still open.
pub(super) fn assert_unharmed(scene: &Scene) -> Result<()> {
    ensure!(scene.list()?.status == 200, "another call was not served");
    eventually("the end of every connection", LIMIT, || {
        let open = scene.gateway.metric("sallyport_connections")?;
        Ok((open == 0.0).then_some(()))
    })
}

/// How often a connection went wrong in that way.
pub(super) fn faults(scene: &Scene, kind: &str) -> Result<f64> {
    let metrics = scene.gateway.admin("/metrics")?;
    let name = format!("sallyport_connection_errors_total{{kind=\"{kind}\"}} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&name));
    Ok(value.map_or(Ok(0.0), str::parse)?)
}

pub(super) fn assert_counted(scene: &Scene, kind: &str) -> Result<()> {
    eventually(&format!("a connection error {kind}"), LIMIT, || {
        Ok((faults(scene, kind)? > 0.0).then_some(()))
    })
}

struct Request<'a> {
    scene: &'a Scene,
    client: RawClient,
}

impl<'a> Request<'a> {
    fn of(scene: &'a Scene) -> Result<Self> {
        let client = scene.gateway.client()?;
        Ok(Self { scene, client })
    }

    /// The first line as it is, the headers that every request needs, then `rest` as it is.
    fn bytes(&self, line: &str, rest: &[u8]) -> Vec<u8> {
        let head = format!(
            "{line}\r\nHost: {}\r\nAuthorization: Bearer {}\r\n",
            self.client.authority(),
            self.scene.token
        );
        [head.as_bytes(), rest].concat()
    }

    fn get(&self, rest: &[u8]) -> Vec<u8> {
        let line = format!("GET {} HTTP/1.1", self.scene.configmaps());
        self.bytes(&line, rest)
    }

    fn post(&self, rest: &[u8]) -> Vec<u8> {
        let line = format!(
            "POST {}?dryRun=All HTTP/1.1\r\nContent-Type: application/json",
            self.scene.configmaps()
        );
        self.bytes(&line, rest)
    }

    /// Sends it with an honest request behind it on the same connection.
    fn assert_fate(&self, name: &str, bytes: &[u8], fate: &Fate) -> Result<()> {
        let sentinel = self.get(b"X-Sentinel: yes\r\n\r\n");
        let mut exchange = self.client.start_bytes(&[bytes, &sentinel].concat())?;
        let answer = match (exchange.response(), fate) {
            (Err(_), Closed) => return Ok(()),
            (answer, _) => answer.with_context(|| format!("{name}: no answer"))?,
        };
        match fate {
            Served(code) => ensure!(
                answer.status == *code,
                "{name}: {} {}",
                answer.status,
                answer.text()
            ),
            Refused(code) => drop(answer.refusal(*code).with_context(|| name.to_owned())?),
            Bare(code) => {
                ensure!(answer.status == *code, "{name}: {}", answer.status);
                ensure!(answer.body.is_empty(), "{name}: {}", answer.text());
                ensure!(exchange.is_closed(), "{name}: the connection goes on");
            }
            Closed => anyhow::bail!("{name}: answered {}", answer.status),
        }
        Ok(())
    }

    fn assert_fates(&self, rows: &[(&str, Vec<u8>, Fate)]) -> Result<()> {
        let wrong: Vec<String> = rows
            .iter()
            .filter_map(|(name, bytes, fate)| self.assert_fate(name, bytes, fate).err())
            .map(|error| format!("{error:#}"))
            .collect();
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    }
}

/// A body that would be a request if its length were read differently.
fn smuggled(scene: &Scene) -> String {
    format!(
        "GET {}/smuggled HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {}\r\n\r\n",
        scene.configmaps(),
        scene.token
    )
}

#[test]
fn a_length_that_can_be_read_in_two_ways_makes_no_second_request() -> Result<()> {
    let scene = Scene::new()?;
    let request = Request::of(&scene)?;
    let smuggled = smuggled(&scene);
    let length = smuggled.len();
    let with = |headers: &str, body: &str| request.post(format!("{headers}\r\n{body}").as_bytes());
    let chunk = format!("{length:x}\r\n{smuggled}\r\n0\r\n\r\n");
    // Its body is not JSON of a ConfigMap, so the API server refuses what is whole.
    request.assert_fates(&[
        (
            "length, then chunked",
            with(
                &format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
                &chunk,
            ),
            Served(400),
        ),
        (
            "chunked, then length",
            with(
                "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
                &chunk,
            ),
            Served(400),
        ),
        (
            "two lengths",
            with(
                &format!("Content-Length: 0\r\nContent-Length: {length}\r\n"),
                &smuggled,
            ),
            Bare(400),
        ),
        (
            "a list of lengths",
            with(&format!("Content-Length: 0, {length}\r\n"), &smuggled),
            Bare(400),
        ),
        (
            "a length with a sign",
            with(&format!("Content-Length: +{length}\r\n"), &smuggled),
            Bare(400),
        ),
        (
            "a negative length",
            with("Content-Length: -1\r\n", &smuggled),
            Bare(400),
        ),
        (
            "a length too large for any integer",
            with("Content-Length: 18446744073709551616\r\n", &smuggled),
            Bare(400),
        ),
        (
            "chunked twice",
            with(
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                &chunk,
            ),
            Served(400),
        ),
        (
            "chunked, then something else",
            with("Transfer-Encoding: chunked, identity\r\n", &chunk),
            Bare(400),
        ),
        (
            "a coding that only looks like chunked",
            with("Transfer-Encoding: xchunked\r\n", &chunk),
            Bare(400),
        ),
        (
            "chunked behind a vertical tab",
            with("Transfer-Encoding: \x0bchunked\r\n", &chunk),
            Bare(400),
        ),
        (
            "a chunk size with 0x",
            with("Transfer-Encoding: chunked\r\n", &format!("0x{chunk}")),
            Refused(400),
        ),
        (
            "a chunk size with a sign",
            with("Transfer-Encoding: chunked\r\n", &format!("+{chunk}")),
            Refused(400),
        ),
        (
            "an empty chunk size",
            with("Transfer-Encoding: chunked\r\n", &format!("\r\n{chunk}")),
            Refused(400),
        ),
        (
            "a chunk size too large for any integer",
            with(
                "Transfer-Encoding: chunked\r\n",
                &format!("10000000000000000{chunk}"),
            ),
            Refused(400),
        ),
        (
            "a line feed alone behind a chunk size",
            with(
                "Transfer-Encoding: chunked\r\n",
                &format!("{length:x}\n{smuggled}\r\n0\r\n\r\n"),
            ),
            Refused(400),
        ),
        (
            "a chunk longer than it says",
            with(
                "Transfer-Encoding: chunked\r\n",
                &format!("1\r\n{smuggled}\r\n0\r\n\r\n"),
            ),
            Refused(400),
        ),
        (
            "trailers that are headers",
            with(
                "Transfer-Encoding: chunked\r\n",
                &format!(
                    "2\r\n{{}}\r\n0\r\nContent-Length: {length}\r\nImpersonate-User: admin\r\n\
                     Authorization: Bearer other\r\n\r\n"
                ),
            ),
            Served(422),
        ),
    ])?;
    let slipped = scene.api_servers_events(|event| {
        event["requestURI"].as_str().is_some_and(|target| {
            target.contains(&scene.namespace.name) && target.contains("smuggled")
        })
    })?;
    ensure!(slipped.is_empty(), "{slipped:#?}");
    assert_counted(&scene, "malformed")?;
    assert_unharmed(&scene)?;
    assert_nothing_slipped_through(&scene)
}

#[test]
fn header_lines_that_parsers_read_differently_are_no_requests() -> Result<()> {
    let scene = Scene::new()?;
    let request = Request::of(&scene)?;
    let line = |line: &[u8]| request.get(&[line, b"\r\n\r\n"].concat());
    let configmaps = scene.configmaps();
    request.assert_fates(&[
        ("a folded line", line(b"Accept: a\r\n b"), Bare(400)),
        ("a space before the colon", line(b"Accept : a"), Bare(400)),
        ("a tab before the colon", line(b"Accept\t: a"), Bare(400)),
        ("a line without a colon", line(b"Accept"), Bare(400)),
        ("an empty name", line(b": a"), Bare(400)),
        ("a name with a zero", line(b"Acc\0ept: a"), Bare(400)),
        ("a name with a line feed", line(b"Acc\nept: a"), Bare(400)),
        (
            "a name that is not ASCII",
            line("Akzeptiér: a".as_bytes()),
            Bare(400),
        ),
        ("a value with a zero", line(b"Accept: a\0b"), Bare(400)),
        (
            "a value with a carriage return",
            line(b"Accept: a\rb"),
            Bare(400),
        ),
        ("a value with a bell", line(b"Accept: a\x07b"), Bare(400)),
        (
            "a value that is not ASCII",
            line("User-Agent: été".as_bytes()),
            Served(200),
        ),
        (
            "line feeds alone",
            String::from_utf8(request.get(b"\r\n"))?
                .replace("\r\n", "\n")
                .into_bytes(),
            Served(200),
        ),
        (
            "empty lines before",
            [b"\r\n\r\n", &line(b"Accept: */*")[..]].concat(),
            Served(200),
        ),
        (
            "a space before the first line",
            [b" ", &line(b"Accept: */*")[..]].concat(),
            Bare(400),
        ),
        (
            "two spaces",
            request.bytes(&format!("GET  {configmaps} HTTP/1.1"), b"\r\n"),
            Bare(400),
        ),
        (
            "no version",
            request.bytes(&format!("GET {configmaps}"), b"\r\n"),
            Bare(400),
        ),
        (
            "the first HTTP",
            format!("GET {configmaps}\r\n").into_bytes(),
            Bare(400),
        ),
        (
            "HTTP/1.0",
            request.bytes(&format!("GET {configmaps} HTTP/1.0"), b"\r\n"),
            Refused(505),
        ),
        (
            "HTTP/1.2",
            request.bytes(&format!("GET {configmaps} HTTP/1.2"), b"\r\n"),
            Bare(400),
        ),
        (
            "HTTP/2 without its frames",
            request.bytes(&format!("GET {configmaps} HTTP/2.0"), b"\r\n"),
            Bare(400),
        ),
        (
            "the preface of HTTP/2",
            harness::frames::PREFACE.to_vec(),
            Closed,
        ),
    ])?;
    assert_unharmed(&scene)?;
    assert_nothing_slipped_through(&scene)
}

#[test]
fn targets_in_other_forms_mean_their_path_or_nothing() -> Result<()> {
    let scene = Scene::new()?;
    let request = Request::of(&scene)?;
    let configmaps = scene.configmaps();
    let line =
        |method: &str, target: &str| request.bytes(&format!("{method} {target} HTTP/1.1"), b"\r\n");
    request.assert_fates(&[
        (
            "absolute",
            line("GET", &format!("http://elsewhere{configmaps}")),
            Served(200),
        ),
        (
            "absolute, with a user",
            line("GET", &format!("http://a:b@elsewhere{configmaps}")),
            Served(200),
        ),
        (
            "absolute, and nothing else",
            line("GET", "http://elsewhere"),
            Refused(403),
        ),
        (
            "another scheme",
            line("GET", &format!("ftp://elsewhere{configmaps}")),
            Served(200),
        ),
        ("an authority", line("GET", "elsewhere:443"), Refused(403)),
        ("an asterisk", line("OPTIONS", "*"), Refused(400)),
        ("CONNECT", line("CONNECT", "elsewhere:443"), Refused(400)),
        (
            "CONNECT with a path",
            line("CONNECT", &configmaps),
            Refused(400),
        ),
        ("no slash", line("GET", "api/v1/pods"), Bare(400)),
        (
            "a fragment",
            line("GET", &format!("{configmaps}#x")),
            Served(200),
        ),
        (
            "a method of our own",
            line("SMUGGLE", &configmaps),
            Refused(400),
        ),
        (
            "a method in small letters",
            line("get", &configmaps),
            Refused(400),
        ),
        (
            "a method with a colon",
            line("GE:T", &configmaps),
            Bare(400),
        ),
    ])?;
    assert_unharmed(&scene)?;
    assert_nothing_slipped_through(&scene)
}

#[test]
fn heads_that_are_too_large_are_refused_before_they_cost_anything() -> Result<()> {
    let scene = Scene::new()?;
    let request = Request::of(&scene)?;
    let configmaps = scene.configmaps();
    let many = "X-Padding: x\r\n".repeat(100);
    let long = format!("X-Padding: {}\r\n\r\n", "x".repeat(80 << 10));
    let query = "x".repeat(80 << 10);
    request.assert_fates(&[
        (
            "many headers",
            request.get(format!("{many}\r\n").as_bytes()),
            Bare(431),
        ),
        ("a long header", request.get(long.as_bytes()), Bare(431)),
        (
            "a long target",
            request.bytes(&format!("GET {configmaps}?x={query} HTTP/1.1"), b"\r\n"),
            Bare(431),
        ),
    ])?;
    assert_counted(&scene, "head_too_large")?;
    assert_unharmed(&scene)?;
    assert_nothing_slipped_through(&scene)
}

#[test]
fn requests_sent_at_once_are_answered_in_their_order() -> Result<()> {
    const REQUESTS: usize = 50;
    let scene = Scene::new()?;
    let request = Request::of(&scene)?;
    let configmap = |number: usize| {
        let line = format!("GET {}/number-{number} HTTP/1.1", scene.configmaps());
        request.bytes(&line, b"\r\n")
    };
    let all: Vec<u8> = (0..REQUESTS).flat_map(configmap).collect();
    let mut exchange = request.client.start_bytes(&all)?;
    for number in 0..REQUESTS {
        let status = exchange.response()?.refusal(404)?;
        assert_eq!(status["details"]["name"], format!("number-{number}"));
    }
    drop(exchange);
    assert_unharmed(&scene)?;
    assert_nothing_slipped_through(&scene)
}

#[test]
fn a_client_that_asks_first_is_told_to_go_on_and_only_where_its_body_is_wanted() -> Result<()> {
    let scene = Scene::new()?;
    let request = Request::of(&scene)?;
    let body = serde_json::to_vec(&json!({"metadata": {"name": "paint"}}))?;
    let head = |length: usize| {
        request.post(format!("Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n").as_bytes())
    };
    let mut exchange = request.client.start_bytes(&head(body.len()))?;
    assert_eq!(exchange.interim()?, 100);
    exchange.send_again(&body)?;
    assert_eq!(exchange.response()?.status, 201);

    let mut refused = request.client.start_bytes(&head(4 << 20))?;
    assert_eq!(refused.interim()?, 413);
    drop((exchange, refused));
    assert_unharmed(&scene)?;
    assert_nothing_slipped_through(&scene)
}

#[test]
fn what_is_no_tls_is_counted_and_closed() -> Result<()> {
    let scene = Scene::new()?;
    for garbage in [
        &b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n"[..],
        harness::frames::PREFACE,
        &[0; 1 << 10],
        // A TLS record longer than any may be.
        &[22, 3, 1, 0xff, 0xff],
    ] {
        let mut socket = scene.gateway.client()?.socket()?;
        socket.write_all(garbage)?;
        // What comes, if anything, is an alert; then the end, however the kernel words it.
        let mut answer = Vec::new();
        let _reset = socket.read_to_end(&mut answer);
        assert!(answer.len() < 64, "{answer:?}");
    }
    assert_counted(&scene, "tls")?;
    assert_unharmed(&scene)
}

#[test]
fn clients_that_leave_in_the_middle_of_anything_leave_nothing_open() -> Result<()> {
    let scene = Scene::new()?;
    let request = Request::of(&scene)?;
    let whole = request.post(b"Content-Length: 100\r\n\r\n{}");
    for cut in [0, 1, 20, whole.len() - 40, whole.len()] {
        drop(request.client.start_bytes(&whole[..cut])?);
    }
    let hello = scene.gateway.client()?.socket()?;
    hello.shutdown(Shutdown::Both)?;
    assert_counted(&scene, "gone")?;
    assert_unharmed(&scene)?;
    assert_nothing_slipped_through(&scene)
}

/// Go's server takes the end of what a client sends for the end of the client, and cancels its request. Every
/// client of Kubernetes that is killed looks like this.
#[test]
fn a_client_that_closes_its_sending_side_has_left() -> Result<()> {
    let scene = Scene::new()?;
    let watch = format!("{}?watch=true", scene.configmaps());
    let mut exchange = scene.start("GET", &watch, &[], &[])?;
    let head = exchange.head()?;
    assert_eq!(head.status, 200);
    exchange.shut_write()?;
    assert_eq!(scene.record(&head)?["outcome"], "aborted");
    assert!(exchange.body(&head).is_err(), "a cut stream looks complete");
    let event = scene.api_servers_event(&head)?;
    assert_eq!(event["responseStatus"]["code"], 200, "{event}");
    drop(exchange);
    assert_unharmed(&scene)
}
