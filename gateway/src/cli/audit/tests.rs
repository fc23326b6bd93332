use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::{
    table::Column,
    text::{Cut, printable, shortened},
    *,
};
use crate::{
    audit::{
        log::Log,
        query::{Filter, newest_calls, show},
        record::{Approval, DecisionKind, Record, sample},
    },
    config::{ByteSize, Flush, Recording, WalConfig},
    mask::Masked,
};

fn now() -> Timestamp {
    "2026-03-04T12:00:00Z".parse().unwrap()
}

#[test]
fn a_directory_that_is_not_there_is_not_an_empty_record() {
    let directory = tempfile::tempdir().unwrap();
    let location = |store: &str, wal: Option<&str>| Files {
        config: None,
        store: Some(directory.path().join(store).display().to_string()),
        wal: wal.map(|wal| directory.path().join(wal)),
    };
    assert!(location("", Some("")).sources().is_ok());
    let error = location("stroe", None).sources().unwrap_err().to_string();
    assert!(
        error.contains("--store") && error.contains("stroe"),
        "{error}"
    );
    assert!(location("", Some("lost")).sources().is_err());
}

#[test]
fn times_are_ages_or_points() {
    for (text, expected) in [
        ("10m", "2026-03-04T11:50:00Z"),
        ("2h", "2026-03-04T10:00:00Z"),
        ("1h30m", "2026-03-04T10:30:00Z"),
        ("90s", "2026-03-04T11:58:30Z"),
        ("7d", "2026-02-25T12:00:00Z"),
        ("2026-01-31T08:00:00Z", "2026-01-31T08:00:00Z"),
        ("2026-01-31T08:00:00+02:00", "2026-01-31T06:00:00Z"),
    ] {
        assert_eq!(
            time(text, now()).unwrap(),
            expected.parse().unwrap(),
            "{text}"
        );
    }
    let problem = flag_time("--since", "yesterday", now()).unwrap_err();
    assert!(format!("{problem:#}").starts_with("--since: \"yesterday\" is not"));
    for text in ["", "10", "yesterday", "-1d", "2026-01-31", "99999999999d"] {
        assert!(time(text, now()).is_err(), "{text}");
    }
}

#[test]
fn recorded_text_cannot_command_the_terminal() {
    let text = "\u{1b}[2J\u{7}\r\n\u{9b}31m\u{202e}txt\u{200b} é 😀";
    assert_eq!(
        printable(text),
        "\\u{1b}[2J\\u{7}\\u{d}\\u{a}\\u{9b}31m\\u{202e}txt\\u{200b} é 😀"
    );
}

#[test]
fn long_values_end_in_an_ellipsis() {
    assert_eq!(shortened("deployments", 8, Cut::End), "deploym…");
    assert_eq!(shortened("ééééé", 5, Cut::End), "ééééé");
    assert_eq!(shortened("ab", 1, Cut::End), "…");
    assert_eq!(shortened("acme/shop#42", 8, Cut::Start), "…shop#42");
    assert_eq!(shortened("ab", 1, Cut::Start), "…");
}

const THREE: [Column; 3] = [
    Column::shortened("ONE", 1, 10, Cut::End),
    Column::fixed("TWO"),
    Column::optional("THREE", 0, 20, Cut::Start),
];

fn table(rows: &[Vec<String>], width: Option<usize>) -> Vec<String> {
    let mut out = Vec::new();
    table::print(&THREE, rows, width, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn columns_give_way_in_order_down_to_their_floor() {
    let rows = vec![
        vec!["a".repeat(30), "b".repeat(50), "c".repeat(99) + "end"],
        vec!["x".into(), "y".into(), "z".into()],
    ];
    let lines = table(&rows, Some(140));
    assert_eq!(
        lines.iter().map(|line| line.chars().count()).max(),
        Some(140)
    );
    assert!(lines[1].starts_with(&format!("{}  b", "a".repeat(30))));
    assert!(
        lines[1].contains("  …c") && lines[1].ends_with("cend"),
        "cut at its start: {}",
        lines[1]
    );
    assert_eq!(
        lines[2].split_whitespace().collect::<Vec<_>>(),
        ["x", "y", "z"]
    );

    let lines = table(&rows, Some(94));
    assert!(lines[1].starts_with(&format!("{}…  b", "a".repeat(19))));
    assert_eq!(lines[1].chars().count(), 94);
}

#[test]
fn an_optional_column_is_left_out_before_another_is_cut_beyond_recognition() {
    let rows = vec![vec!["a".repeat(30), "b".repeat(50), "c".repeat(100)]];
    let lines = table(&rows, Some(83));
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>(),
        ["ONE", "TWO"]
    );
    assert_eq!(lines[1], format!("{}  {}", "a".repeat(30), "b".repeat(50)));
    // What must not be shortened is whole, however narrow the terminal is.
    assert!(table(&rows, Some(10))[1].contains(&"b".repeat(50)));
}

#[test]
fn nothing_is_cut_without_a_width() {
    let rows = vec![vec!["a".repeat(300), "b".repeat(500), "c".repeat(100)]];
    let line = &table(&rows, None)[1];
    assert_eq!(line.chars().count(), 300 + 2 + 500 + 2 + 100);
}

/// One call, appended and shipped by the real log into a store.
async fn recorded(directory: &Path, record: &Record) -> Sources {
    let recording = Recording {
        policy_file: None,
        allow_none: false,
        read_lag: false,
        wal: WalConfig {
            directory: directory.join("wal"),
            limit: ByteSize(16 << 20),
            segment_size: ByteSize(1 << 20),
        },
        store: config::Store::Directory(directory.join("store")),
        flush: Flush::default(),
    };
    let (log, shipper) = Log::open(&recording, "prod").unwrap();
    log.append(&sample::intent(&record.audit_id)).await.unwrap();
    log.append(record).await.unwrap();
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    shipper.run(shutdown).await;
    log.close().await;
    Sources {
        store: Archive::open(&recording.store).unwrap(),
        wal: Some(recording.wal.directory),
        deadline: None,
    }
}

fn listed(sources: &Sources, output: printed::Output) -> String {
    listed_as(sources, output, &view())
}

fn view() -> printed::View {
    printed::View {
        width: Some(140),
        today: jiff::civil::date(2026, 3, 4),
        namespace: None,
    }
}

fn listed_as(sources: &Sources, output: printed::Output, view: &printed::View) -> String {
    let (calls, _) = newest_calls(sources, &Filter::default(), 100);
    let mut out = Vec::new();
    printed::print(&calls, output, view, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[tokio::test]
async fn a_list_says_who_did_what_and_what_came_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let sources = recorded(directory.path(), &sample::complete()).await;
    let table = listed(&sources, printed::Output::Table);
    let expected = "\
TIME                  AGENT     MODEL (BY)  CI RUN          VERB    OBJECT                              STATUS  DECISION  RULE
2026-01-02 03:04:05Z  Deployer  m-1 (oidc)  acme/shop#42.1  create  deployments.apps/web/scale -n shop  201     allow     shop/deploy
";
    assert_eq!(table, expected);
    let wide = listed(&sources, printed::Output::Wide);
    assert!(wide.contains(&sample::complete().audit_id) && wide.contains("m-1 (oidc-claim)"));

    let lines = listed(&sources, printed::Output::Ndjson);
    let call: Value = serde_json::from_str(&lines).unwrap();
    assert_eq!(call["responseStatus"]["code"], 201);
    assert!(call.get("requestObject").is_none(), "lists hold no bodies");
    let all: Value = serde_json::from_str(&listed(&sources, printed::Output::Json)).unwrap();
    assert_eq!(all, serde_json::json!([call]));
}

#[tokio::test]
async fn a_list_does_not_repeat_what_was_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let sources = recorded(directory.path(), &sample::complete()).await;
    let view = printed::View {
        today: jiff::civil::date(2026, 1, 2),
        namespace: Some("shop".into()),
        ..view()
    };
    let expected = "\
TIME       AGENT     MODEL (BY)  CI RUN          VERB    OBJECT                      STATUS  DECISION  RULE
03:04:05Z  Deployer  m-1 (oidc)  acme/shop#42.1  create  deployments.apps/web/scale  201     allow     shop/deploy
";
    assert_eq!(listed_as(&sources, printed::Output::Table, &view), expected);
    let wide = listed_as(&sources, printed::Output::Wide, &view);
    assert!(wide.contains("2026-01-02 03:04:05Z") && wide.contains("-n shop"));
}

#[tokio::test]
async fn a_narrow_list_still_says_who_did_what() {
    let directory = tempfile::tempdir().unwrap();
    let sources = recorded(directory.path(), &sample::complete()).await;
    let view = printed::View {
        width: Some(80),
        namespace: Some("shop".into()),
        ..view()
    };
    let expected = "\
TIME                  AGENT     VERB    OBJECT                  STATUS  DECISION
2026-01-02 03:04:05Z  Deployer  create  deployments.apps/web/…  201     allow
";
    assert_eq!(listed_as(&sources, printed::Output::Table, &view), expected);
}

#[tokio::test]
async fn one_call_is_told_in_sections_with_its_checked_digests() {
    let directory = tempfile::tempdir().unwrap();
    let record = sample::complete();
    let sources = recorded(directory.path(), &record).await;
    let (found, _) = show(&sources, &record.audit_id);
    let mut out = Vec::new();
    show::sections::print(&found, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let headings: Vec<_> = text
        .lines()
        .filter(|line| line.chars().all(|letter| letter.is_ascii_uppercase()))
        .collect();
    assert_eq!(
        headings.join(" ").split_whitespace().collect::<Vec<_>>(),
        ["WHO", "WHAT", "DECISION", "RESPONSE", "EVIDENCE"]
    );
    for expected in [
        "Deployer did create deployments.apps/web/scale -n shop: 201",
        "m-1 2026-01 example  [oidc-claim]",
        "        \"p\": \"hmac-sha256:k1:00\"",
        "kubectl/v1.36.0 (linux/amd64) \\u{1b}[31m",
        "shop/deploy",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    assert_eq!(text.matches("computed again: matches").count(), 2);
    assert!(!text.contains('\u{1b}'));
}

#[tokio::test]
async fn a_denied_call_is_told_as_denied_in_words_and_lines() {
    let directory = tempfile::tempdir().unwrap();
    let mut record = sample::complete();
    record.decision = Some(DecisionKind::Deny);
    record.duration_micros = Some(7_712_522);
    record.held_micros = Some(12_345);
    record.risk_reasons = vec!["one".to_owned(), "another".to_owned()];
    record.approval = Some(Approval {
        id: "shop/one".to_owned(),
        state: "denied",
        by: Some("admin".to_owned()),
        via: Some("Kubernetes"),
        scope: Some("Once"),
        reason: Some(Masked::in_test("walk\nhome".to_owned())),
        decided_at: None,
        view_digest: None,
    });
    let sources = recorded(directory.path(), &record).await;
    let (found, _) = show(&sources, &record.audit_id);
    let mut out = Vec::new();
    show::sections::print(&found, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    for expected in [
        "Deployer was denied: create deployments.apps/web/scale -n shop: ",
        "  took              7.7 s\n",
        "  held              12 ms\n",
        "  approval          denied by admin, via Kubernetes, once: \"walk\\nhome\"\n",
        "  risk reasons      one\n                    another\n",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
}

#[tokio::test]
async fn a_call_without_outcome_says_what_is_not_known() {
    let directory = tempfile::tempdir().unwrap();
    let sources = recorded(directory.path(), &sample::intent("lost")).await;
    assert!(listed(&sources, printed::Output::Table).contains("  unknown  "));
    let (found, _) = show(&sources, "lost");
    let mut out = Vec::new();
    show::sections::print(&found, &mut out).unwrap();
    assert!(
        String::from_utf8(out)
            .unwrap()
            .contains("Whether the API server acted on it is unknown")
    );
}
