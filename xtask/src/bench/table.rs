//! The measurements as a person reads them, or as a program does.

use anyhow::Result;

use super::verdict::{Better, Verdict};

pub(super) fn print(verdicts: &[Verdict], json: bool) -> Result<()> {
    if !json {
        println!(
            "{:66} {:>10} {:>10} {:>6} {:>6}",
            "", "ours", "reference", "ratio", "goal"
        );
    }
    for verdict in verdicts {
        if json {
            println!("{}", serde_json::to_string(verdict)?);
        } else {
            println!("{}", row(verdict));
        }
    }
    Ok(())
}

fn row(verdict: &Verdict) -> String {
    let unit = if verdict.unit.is_empty() {
        String::new()
    } else {
        format!(", {}", verdict.unit)
    };
    let title = format!("{}{unit}", verdict.name);
    let (ours, reference) = (number(verdict.ours), number(verdict.reference));
    let goal = verdict.goal.map_or_else(
        || "-".to_owned(),
        |goal| {
            let sign = match verdict.better {
                Better::More => '≥',
                Better::Less => '≤',
            };
            format!("{sign}{goal:.2}")
        },
    );
    let mark = if verdict.ok == Some(false) {
        "  missed"
    } else {
        ""
    };
    let ratio = verdict.ratio;
    format!(
        "{title:66} {ours:>10} {reference:>10} {ratio:>6.2} {goal:>6}{mark}{}",
        beside(verdict)
    )
}

/// What the reference is, and the other sides, on a line of their own.
fn beside(verdict: &Verdict) -> String {
    let others = verdict
        .beside
        .iter()
        .map(|(name, value)| format!("{name} {}", number(*value)));
    let others = others.collect::<Vec<_>>().join(", ");
    let against = match verdict.against.as_str() {
        "" | "goal" => String::new(),
        against => format!("against {against}"),
    };
    let parts = [against, others]
        .into_iter()
        .filter(|part| !part.is_empty());
    match parts.collect::<Vec<_>>().join("; ") {
        line if line.is_empty() => line,
        line => format!("\n    {line}"),
    }
}

/// With as many digits as mean something.
fn number(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::verdict::Measurement, *};

    fn measured(json: &str) -> String {
        let measurement: Measurement = serde_json::from_str(json).expect("a measurement");
        row(&measurement.into())
    }

    #[test]
    fn a_goal_is_missed_from_the_side_that_is_worse() {
        let missed = |better: &str, ours: f64| {
            measured(&format!(
                r#"{{"name":"x","better":"{better}","ours":{ours},"reference":10,"goal":0.8}}"#
            ))
            .contains("missed")
        };
        assert!(missed("more", 7.0));
        assert!(!missed("more", 9.0));
        assert!(missed("less", 9.0));
        assert!(!missed("less", 7.0));
    }

    #[test]
    fn a_row_says_what_the_reference_is() {
        let row = measured(
            r#"{"name":"calls","unit":"calls/s","ours":5,"reference":10,"against":"envoy","goal":null,"beside":[["nginx",1234.5]]}"#,
        );
        assert!(row.starts_with("calls, calls/s "), "{row}");
        assert!(row.ends_with("\n    against envoy; nginx 1234"), "{row}");
    }
}
