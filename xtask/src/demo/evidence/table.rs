//! The calls in the columns that matter for two agents side by side.

use std::iter::once;

use serde_json::Value;

const COLUMNS: [&str; 7] = [
    "AGENT",
    "MODEL AND WHO SAYS SO",
    "CI RUN",
    "VERB",
    "OBJECT",
    "STATUS",
    "DECISION",
];

/// A table of what `sallyport audit list --output ndjson` prints.
pub(super) fn calls(records: &[Value]) -> String {
    let rows: Vec<_> = once(COLUMNS.map(str::to_owned))
        .chain(records.iter().map(row))
        .collect();
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<_> = (0..COLUMNS.len()).map(width).collect();
    let lines = rows.iter().map(|row| {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        format!("  {}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    });
    lines.collect()
}

fn row(record: &Value) -> [String; COLUMNS.len()] {
    let text = |pointer: &str| {
        record
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or("-")
    };
    let model = format!(
        "{} ({})",
        text("/gen_ai/request_model"),
        text("/provenanceSource/model")
    );
    let run = match record["cicd"].is_null() {
        true => "-".to_owned(),
        false => format!("{} #{}", text("/cicd/repository"), text("/cicd/run_id")),
    };
    let object = match text("/objectRef/name") {
        "-" => text("/objectRef/resource").to_owned(),
        name => format!("{}/{name}", text("/objectRef/resource")),
    };
    let status = record
        .pointer("/responseStatus/code")
        .map_or_else(|| "unknown".to_owned(), Value::to_string);
    let (agent, verb, decision) = (text("/agent/name"), text("/verb"), text("/decision"));
    [
        agent.to_owned(),
        model,
        run,
        verb.to_owned(),
        object,
        status,
        decision.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::calls;

    #[test]
    fn columns_line_up_and_what_is_absent_is_a_dash() {
        let record = json!({
            "agent": { "name": "coder" },
            "gen_ai": { "request_model": "m" },
            "provenanceSource": { "model": "operator-declared" },
            "verb": "list",
            "objectRef": { "resource": "pods" },
            "responseStatus": { "code": 200 },
            "decision": "allow",
        });
        let table = calls(&[record]);
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(
            lines[0].find("MODEL"),
            lines[1].find("m (operator-declared)")
        );
        assert_eq!(lines[0].find("DECISION"), lines[1].find("allow"));
        assert!(lines[1].contains("  -  "), "no CI run: {}", lines[1]);
    }
}
