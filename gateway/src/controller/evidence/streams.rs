//! What runs on gateways now, and its end.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::{
    gateways::{CallError, Gateway, Reach, Unreachable},
    refusal::Refusal,
};

const PATH: &str = "/v1/streams";

/// What was found, and who could not be asked.
struct Running {
    items: Vec<Value>,
    unreachable: Vec<Unreachable>,
}

/// Of every gateway, each with its gateway's name; of one namespace where that is named.
pub(super) async fn list(reach: &Reach, namespace: Option<&str>) -> Bytes {
    let Running { items, unreachable } = running(reach, namespace).await;
    Bytes::from(json!({ "items": items, "unreachable": unreachable }).to_string())
}

async fn running(reach: &Reach, namespace: Option<&str>) -> Running {
    let answers = reach.ask_each(&Method::GET, PATH, None).await;
    let (mut items, mut unreachable) = (Vec::new(), Vec::new());
    for (gateway, answer) in answers {
        match answer {
            Ok(answer) => match items_of(gateway, answer, namespace) {
                Some(found) => items.extend(found),
                None => unreachable.push(Unreachable {
                    gateway: gateway.name.clone(),
                    error: "it answered what is no list of streams".to_owned(),
                }),
            },
            Err(error) => unreachable.push(error.of(gateway)),
        }
    }
    items.sort_by_key(|item| item["since"].as_str().map(str::to_owned));
    Running { items, unreachable }
}

/// `None` where this is no list.
fn items_of(gateway: &Gateway, mut answer: Value, namespace: Option<&str>) -> Option<Vec<Value>> {
    let Value::Array(items) = answer.get_mut("items")?.take() else {
        return None;
    };
    let wanted = |item: &Value| {
        item.is_object()
            && namespace.is_none_or(|of| item["objectRef"]["namespace"].as_str() == Some(of))
    };
    let named = items.into_iter().filter(wanted).map(|mut item| {
        item["gateway"] = json!(gateway.name);
        item
    });
    Some(named.collect())
}

/// Asks for the end of one, wherever it runs. With a namespace it must be known to be of it first.
pub(super) async fn end(
    reach: &Reach,
    id: &str,
    namespace: Option<&str>,
    order: &Value,
) -> Result<Bytes, Refusal> {
    if namespace.is_some() {
        let Running { items, unreachable } = running(reach, namespace).await;
        if !items.iter().any(|item| item["auditID"] == id) {
            return Err(Refusal::NoSuchStream(id.to_owned(), unasked(&unreachable)));
        }
    }
    let path = format!("{PATH}/{id}");
    let answers = reach.ask_each(&Method::DELETE, &path, Some(order)).await;
    let (mut ended, mut unreachable) = (Vec::new(), Vec::new());
    for (gateway, answer) in answers {
        match answer {
            // What it answers in its body does not matter.
            Ok(_) | Err(CallError::NotJson(_)) => ended.push(gateway.name.clone()),
            Err(error) if error.is_not_found() => {}
            Err(error) => unreachable.push(error.of(gateway)),
        }
    }
    if ended.is_empty() {
        return Err(Refusal::NoSuchStream(id.to_owned(), unasked(&unreachable)));
    }
    let answer = json!({ "ended": ended, "unreachable": unreachable });
    Ok(Bytes::from(answer.to_string()))
}

fn unasked(unreachable: &[Unreachable]) -> String {
    if unreachable.is_empty() {
        return "; it may have ended".to_owned();
    }
    let each = unreachable.iter();
    let named: Vec<_> = each
        .map(|one| format!("{} ({})", one.gateway, one.error))
        .collect();
    format!("; these could not be asked: {}", named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway() -> Gateway {
        Gateway {
            name: "g1".to_owned(),
            address: "127.0.0.1:1".parse().expect("an address"),
        }
    }

    #[test]
    fn streams_of_another_namespace_are_not_shown() {
        let answer = json!({"items": [
            {"auditID": "1", "objectRef": {"namespace": "shop"}},
            {"auditID": "2", "objectRef": {"namespace": "bank"}},
            {"auditID": "3"},
        ]});
        let ids = |namespace| {
            let items = items_of(&gateway(), answer.clone(), namespace).expect("a list");
            let ids: Vec<_> = items
                .iter()
                .map(|item| item["auditID"].to_string())
                .collect();
            ids.join(" ")
        };
        assert_eq!(ids(None), r#""1" "2" "3""#);
        assert_eq!(ids(Some("shop")), r#""1""#);
        let named = items_of(&gateway(), answer.clone(), None).expect("a list");
        assert_eq!(named[0]["gateway"], "g1");
    }

    #[test]
    fn what_is_no_list_is_not_an_empty_one() {
        for answer in [json!({}), json!({"items": {}}), json!([]), json!(null)] {
            assert!(items_of(&gateway(), answer, None).is_none());
        }
    }
}
