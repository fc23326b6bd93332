//! Request bodies are read whole: the intent records them before anything is forwarded.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use super::{
    budget::{Room, Share},
    rejection::Rejection,
};

/// kube-apiserver's own limit on a request body.
pub(super) const LIMIT: usize = 3 << 20;

const PATIENCE: Duration = Duration::from_secs(30);

/// How room in the budget is taken.
const STEP: usize = 64 << 10;

/// Not `Debug`: it may hold a secret.
pub(super) struct RequestBody {
    pub(super) bytes: Bytes,
    /// Passes to the recording, which holds the body's masked copy.
    pub(super) room: Option<Room>,
}

impl RequestBody {
    /// Reads `body` within the budget, the size limit and 30 s.
    pub(super) async fn read(
        budget: &Share,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Result<Self, Rejection> {
        if body.is_end_stream() {
            return Ok(Self {
                bytes: Bytes::new(),
                room: None,
            });
        }
        refuse_encodings(headers)?;
        if body.size_hint().lower() > LIMIT as u64 {
            return Err(Rejection::BodyTooLarge { limit: LIMIT });
        }
        let (bytes, room) = tokio::time::timeout(PATIENCE, collect(budget, body))
            .await
            .map_err(|_| Rejection::BodyTooSlow {
                seconds: PATIENCE.as_secs(),
            })??;
        Ok(Self {
            bytes,
            room: Some(room),
        })
    }
}

/// The API server decodes no request encodings; a record of encoded bytes would say nothing.
fn refuse_encodings(headers: &HeaderMap) -> Result<(), Rejection> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    match encodings.find(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        Some(encoding) => Err(Rejection::BodyEncoded {
            encoding: String::from_utf8_lossy(encoding.as_bytes()).into_owned(),
        }),
        None => Ok(()),
    }
}

/// Room is taken as bytes come, not as they are announced: an announcement costs its sender nothing.
async fn collect(budget: &Share, mut body: Incoming) -> Result<(Bytes, Room), Rejection> {
    let mut bytes = BytesMut::new();
    let mut room = budget.take(STEP).await?;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Rejection::BodyBroken)?.into_data() else {
            continue;
        };
        let length = bytes.len() + data.len();
        if length > LIMIT {
            return Err(Rejection::BodyTooLarge { limit: LIMIT });
        }
        if length > room.bytes() {
            let more = (length - room.bytes()).next_multiple_of(STEP);
            room.join(budget.take(more).await?);
        }
        bytes.extend_from_slice(&data);
    }
    // A call may be held for an hour, and most bodies are small.
    room.shrink_to(bytes.capacity());
    Ok((bytes.freeze(), room))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::{Request, Response};
    use http_body_util::Empty;
    use hyper::{server::conn::http1, service::service_fn};
    use hyper_util::rt::TokioIo;
    use tokio::{io::AsyncWriteExt, sync::mpsc};

    use super::*;
    use crate::proxy::budget::ByteBudget;

    /// What becomes of the body of a request that begins with `sent`, and goes no further.
    async fn read(sent: &[u8]) -> Result<RequestBody, Rejection> {
        let (mut client, server) = tokio::io::duplex(1 << 10);
        let (report, mut outcome) = mpsc::channel(1);
        let service = service_fn(|request: Request<Incoming>| async {
            let (head, body) = request.into_parts();
            let budget = ByteBudget::new(4 << 20);
            let share = budget.share(4 << 20, &ByteBudget::new(4 << 20));
            let read = RequestBody::read(&share, &head.headers, body).await;
            report.send(read).await.expect("the test waits");
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        });
        client.write_all(sent).await.expect("room for the request");
        http1::Builder::new()
            .keep_alive(false)
            .serve_connection(TokioIo::new(server), service)
            .await
            .expect("an answer");
        outcome.recv().await.expect("the service was called")
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stalls_is_refused_when_patience_ends() {
        for stalled in [
            "Content-Length: 10\r\n\r\nhalf",
            "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        ] {
            let started = tokio::time::Instant::now();
            let request = format!("POST / HTTP/1.1\r\nHost: gateway\r\n{stalled}");
            let refused = read(request.as_bytes()).await.err();
            assert!(
                matches!(refused, Some(Rejection::BodyTooSlow { seconds: 30 })),
                "{refused:?}"
            );
            assert_eq!(started.elapsed(), PATIENCE);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_comes_whole_is_read() {
        let whole = b"POST / HTTP/1.1\r\nHost: gateway\r\nContent-Length: 4\r\n\r\nhalf";
        let body = read(whole).await.expect("within every limit");
        assert_eq!(body.bytes, "half");
    }
}
