//! A change that the API server refuses already in the dry run.

use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    mask::{self, Rule},
    proxy::rejection::Rejection,
    request_info::RequestInfo,
};

/// Fields that a message names.
const NAMED: usize = 10;

pub(in crate::proxy) struct Refused {
    /// An apply that would take a field from another manager conflicts with that, whatever the version.
    pub(super) is_of_field_managers: bool,
    /// For the record.
    pub(super) message: String,
    body: Value,
}

impl Refused {
    /// What the API server says of the change is what it would have said without us.
    pub(in crate::proxy) fn in_its_words(
        key: &mask::Key,
        status: Value,
        request: &RequestInfo,
    ) -> Self {
        let message = status["message"].as_str().unwrap_or_default();
        let message = match Rule::select(request).hides_all() {
            true => of_a_secret(&status),
            false => mask::unquoted(key, request, message),
        };
        Self {
            is_of_field_managers: is_of_field_managers(&status),
            message,
            body: status,
        }
    }

    /// Its words may quote the object, which the caller may not read: fields and reasons only.
    pub(super) fn withheld(code: StatusCode, status: &Value) -> Self {
        let message = format!(
            "{code}{}; its own words are withheld, because they may quote values that policy lets you see only masked",
            named(status)
        );
        let body = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": format!("sallyport: the API server refuses it: {message}"),
            "reason": status["reason"].as_str().unwrap_or_default(),
            "details": {"causes": causes(status).map(|cause| json!({
                "field": cause["field"].as_str().unwrap_or_default(),
                "reason": cause["reason"].as_str().unwrap_or_default(),
            })).collect::<Vec<_>>()},
            "code": code.as_u16(),
        });
        Self {
            is_of_field_managers: is_of_field_managers(status),
            message,
            body,
        }
    }

    pub(in crate::proxy) fn into_rejection(self, code: StatusCode) -> Rejection {
        Rejection::RefusedByApiServer {
            code,
            message: self.message,
            body: self.body.to_string().into(),
        }
    }
}

/// What is no text where one should be, such as a number, is quoted behind no word that is known.
fn of_a_secret(status: &Value) -> String {
    let reason = status["reason"].as_str().unwrap_or("Unknown");
    format!(
        "{reason}{}; the API server's words are withheld, because they may quote a Secret",
        named(status)
    )
}

fn is_of_field_managers(status: &Value) -> bool {
    causes(status).any(|cause| cause["reason"] == "FieldManagerConflict")
}

fn causes(status: &Value) -> impl Iterator<Item = &Value> {
    status["details"]["causes"].as_array().into_iter().flatten()
}

fn named(status: &Value) -> String {
    let fields = causes(status).filter_map(|cause| cause["field"].as_str());
    let fields: Vec<_> = fields.take(NAMED).collect();
    match &fields[..] {
        [] => String::new(),
        fields => format!(" for {}", fields.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invalid() -> Value {
        let words = r#"Pod "p" is invalid: spec: Forbidden: pod updates may not change fields core.PodSpec{Value: "hunter2"}"#;
        json!({
            "kind": "Status", "message": words, "reason": "Invalid", "code": 422,
            "details": {"name": "p", "causes": [
                {"reason": "FieldValueForbidden", "message": words, "field": "spec"}
            ]},
        })
    }

    fn pods() -> RequestInfo {
        RequestInfo {
            resource: "pods".into(),
            ..RequestInfo::default()
        }
    }

    #[test]
    fn who_may_not_read_an_object_is_told_its_fields_alone() {
        let code = StatusCode::UNPROCESSABLE_ENTITY;
        let refused = Refused::withheld(code, &invalid());
        assert!(!refused.body.to_string().contains("hunter2"));
        assert!(
            refused
                .message
                .starts_with("422 Unprocessable Entity for spec; ")
        );
        assert_eq!(refused.body["reason"], "Invalid");
        assert_eq!(
            refused.body["details"],
            json!({"causes": [{"field": "spec", "reason": "FieldValueForbidden"}]})
        );
        assert_eq!(refused.into_rejection(code).code(), code);
    }

    #[test]
    fn who_may_read_it_is_told_all_and_the_record_is_not() {
        let refused = Refused::in_its_words(&mask::Key::from_bytes([7; 32]), invalid(), &pods());
        assert_eq!(refused.body, invalid());
        assert!(!refused.message.contains("hunter2"), "{}", refused.message);
        assert!(refused.message.contains("spec: Forbidden: withheld"));
    }

    #[test]
    fn the_record_of_a_refused_secret_has_no_words_about_it() {
        let secrets = RequestInfo {
            resource: "secrets".into(),
            ..RequestInfo::default()
        };
        let words = ".stringData.pin: expected string, got &value.valueUnstructured{Value:4711}";
        let status = json!({"kind": "Status", "message": words, "code": 500});
        let key = mask::Key::from_bytes([7; 32]);
        let refused = Refused::in_its_words(&key, status.clone(), &secrets);
        assert_eq!(refused.body, status);
        assert!(!refused.message.contains("4711"), "{}", refused.message);
    }

    #[test]
    fn a_conflict_of_field_managers_stays_one() {
        let status = json!({"reason": "Conflict", "details": {"causes": [
            {"reason": "FieldManagerConflict", "message": "conflict with \"kubectl\"", "field": ".spec.replicas"}
        ]}});
        let refused = Refused::withheld(StatusCode::CONFLICT, &status);
        assert!(refused.is_of_field_managers);
        assert!(refused.message.contains(".spec.replicas"));
    }
}
