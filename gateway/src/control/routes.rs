//! One request, one answer.

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde_json::json;

use super::{Control, asked, records, refusal::Refusal, stops};
use crate::reply::{Reply, json};

const RECORDS: &str = "/v1/records";
const STREAMS: &str = "/v1/streams";
const STOPS: &str = "/v1/stops";
const READS: &str = "/v1/reads";

pub(super) async fn answer(
    control: &Control,
    request: Request<Incoming>,
) -> Result<Reply, Refusal> {
    let (head, body) = request.into_parts();
    let (uri, path) = (&head.uri, head.uri.path());
    match path {
        RECORDS => {
            only(&head.method, Method::GET, path, "GET")?;
            follow(control, uri)
        }
        STREAMS => {
            only(&head.method, Method::GET, path, "GET")?;
            asked::nothing(uri)?;
            let items = control.gateway.live_calls();
            Ok(json(StatusCode::OK, &json!({ "items": items })))
        }
        STOPS => {
            only(&head.method, Method::POST, path, "POST")?;
            asked::nothing(uri)?;
            stops::push(control, body).await
        }
        READS => {
            only(&head.method, Method::POST, path, "POST")?;
            asked::nothing(uri)?;
            let read = asked::read_of_evidence(body).await?;
            let audit_id = control.gateway.record_read(read).await?;
            Ok(json(StatusCode::OK, &json!({ "auditID": audit_id })))
        }
        _ => {
            let id = path
                .strip_prefix(STREAMS)
                .and_then(|rest| rest.strip_prefix('/'));
            let id = id.filter(|id| !id.is_empty() && !id.contains('/'));
            let id = id.ok_or_else(|| Refusal::NoSuchPath(path.to_owned()))?;
            only(&head.method, Method::DELETE, path, "DELETE")?;
            asked::nothing(uri)?;
            end(control, id, body).await
        }
    }
}

fn follow(control: &Control, uri: &http::Uri) -> Result<Reply, Refusal> {
    let following = control.gateway.follow_records(asked::wanted(uri)?)?;
    Ok(records::reply(following, control.shutdown.clone()))
}

async fn end(control: &Control, id: &str, body: Incoming) -> Result<Reply, Refusal> {
    let ended = asked::end(body).await?;
    if control.gateway.end_call(id, ended) {
        Ok(json(StatusCode::OK, &json!({ "auditID": id })))
    } else {
        Err(Refusal::NotRunning(id.to_owned()))
    }
}

fn only(
    method: &Method,
    allowed: Method,
    path: &str,
    instead: &'static str,
) -> Result<(), Refusal> {
    if *method == allowed {
        return Ok(());
    }
    Err(Refusal::Method {
        method: method.clone(),
        path: path.to_owned(),
        instead,
    })
}
