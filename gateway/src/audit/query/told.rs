//! What is found of a call as JSON, and back. Whoever reads it computes digests again, and takes nobody's word for them.

use serde_json::{Map, Value, json};

use super::{Digest, Evidence, Found, Record, file::Stored};
use crate::hex;

/// This is not what [`Found::to_json`] makes.
#[derive(Debug, thiserror::Error)]
#[error("{0} is missing, or not what it should be")]
pub struct NotTold(&'static str);

impl Found {
    pub fn to_json(&self) -> Value {
        json!({
            "intent": self.intent.as_ref().map(evidence),
            "holds": self.holds.iter().map(evidence).collect::<Vec<_>>(),
            "outcome": self.outcome.as_ref().map(evidence),
        })
    }

    pub fn from_json(value: &Value) -> Result<Self, NotTold> {
        let end = |name: &'static str| match &value[name] {
            Value::Null => Ok(None),
            value => read(value, name).map(Some),
        };
        let holds = value["holds"].as_array().ok_or(NotTold("holds"))?;
        let holds = holds.iter().map(|hold| read(hold, "a hold"));
        Ok(Self {
            intent: end("intent")?,
            holds: holds.collect::<Result<_, _>>()?,
            outcome: end("outcome")?,
        })
    }
}

fn evidence(evidence: &Evidence) -> Value {
    json!({
        "record": evidence.record,
        "source": evidence.source,
        "digest": digest(evidence.digest),
    })
}

fn digest(digest: Digest) -> Value {
    match digest {
        Digest::Matches(digest) => {
            json!({"state": "matches", "recorded": hex::encode(&digest), "computed": hex::encode(&digest)})
        }
        Digest::Differs { recorded, computed } => {
            json!({"state": "differs", "recorded": hex::encode(&recorded), "computed": hex::encode(&computed)})
        }
        Digest::NotYetRecorded(computed) => {
            json!({"state": "not-yet-recorded", "computed": hex::encode(&computed)})
        }
        Digest::NotComputable => json!({"state": "not-computable"}),
    }
}

fn read(value: &Value, name: &'static str) -> Result<Evidence, NotTold> {
    let row: &Map<String, Value> = value["record"].as_object().ok_or(NotTold(name))?;
    let digest = match &value["digest"]["recorded"] {
        Value::Null => None,
        digits => Some(decoded(digits).ok_or(NotTold("a digest"))?),
    };
    let stored = Stored {
        record: Record(row.clone()),
        digest,
    };
    let source = value["source"].as_str().ok_or(NotTold("a source"))?;
    Ok(Evidence::new(stored, source))
}

fn decoded(digits: &Value) -> Option<[u8; 32]> {
    let digits = digits.as_str()?;
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    let byte = |at: usize| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok();
    let bytes: Option<Vec<u8>> = (0..32).map(byte).collect();
    bytes?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(recorded: bool) -> Found {
        let row = json!({"auditID": "1", "stage": "ResponseComplete", "verb": "get"});
        let row = row.as_object().expect("an object").clone();
        let bytes = crate::audit::canonical::row_bytes(&row).expect("canonical");
        let stored = Stored {
            record: Record(row),
            digest: recorded.then(|| crate::audit::canonical::digest(&bytes)),
        };
        Found {
            outcome: Some(Evidence::new(stored, "a file")),
            ..Found::default()
        }
    }

    #[test]
    fn what_is_told_is_what_was_found() {
        for recorded in [true, false] {
            let told = found(recorded).to_json();
            let read = Found::from_json(&told).expect("ours");
            assert_eq!(read.to_json(), told);
        }
    }

    #[test]
    fn a_row_that_was_changed_on_the_way_does_not_match() {
        let mut told = found(true).to_json();
        told["outcome"]["record"]["verb"] = json!("list");
        let read = Found::from_json(&told).expect("ours");
        let outcome = read.outcome.expect("there is one");
        assert!(matches!(outcome.digest, Digest::Differs { .. }));
        told["outcome"]["digest"]["recorded"] = json!("00");
        Found::from_json(&told).expect_err("that is no digest");
    }
}
