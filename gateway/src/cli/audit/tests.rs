use super::{
    text::{printable, shortened},
    *,
};

fn now() -> Timestamp {
    "2026-03-04T12:00:00Z".parse().unwrap()
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
        assert_eq!(time(text, now()).unwrap(), expected.parse().unwrap(), "{text}");
    }
    for text in ["", "10", "yesterday", "-1d", "2026-01-31", "99999999999d"] {
        assert!(time(text, now()).is_err(), "{text}");
    }
}

#[test]
fn recorded_text_cannot_command_the_terminal() {
    let text = "\u{1b}[2J\u{7}\r\n\u{9b}31m\u{202e}txt\u{200b} é 😀";
    assert_eq!(printable(text), "\\u{1b}[2J\\u{7}\\u{d}\\u{a}\\u{9b}31m\\u{202e}txt\\u{200b} é 😀");
}

#[test]
fn long_values_end_in_an_ellipsis() {
    assert_eq!(shortened("deployments", 8), "deploym…");
    assert_eq!(shortened("ééééé", 5), "ééééé");
    assert_eq!(shortened("ab", 1), "…");
}

#[test]
fn a_table_fits_140_columns_and_takes_from_the_widest() {
    let rows = vec![vec!["a".repeat(30), "b".repeat(100), "c".repeat(100)], vec!["x".into(), "y".into(), "z".into()]];
    let mut out = Vec::new();
    table::print(&["ONE", "TWO", "THREE"], &rows, true, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.iter().map(|line| line.chars().count()).max(), Some(140));
    assert!(lines[1].starts_with(&format!("{}  b", "a".repeat(30))));
    assert_eq!(lines[2].split_whitespace().collect::<Vec<_>>(), ["x", "y", "z"]);

    let mut wide = Vec::new();
    table::print(&["ONE", "TWO", "THREE"], &rows, false, &mut wide).unwrap();
    assert!(String::from_utf8(wide).unwrap().contains(&"c".repeat(100)));
}
