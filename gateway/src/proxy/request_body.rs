//! Request bodies are read whole: the intent records them before anything is forwarded.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use super::{
    budget::{ByteBudget, Room},
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
    _room: Option<Room>,
}

impl RequestBody {
    /// Reads `body` within the budget, the size limit and 30 s.
    pub(super) async fn read(
        budget: &ByteBudget,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Result<Self, Rejection> {
        if body.is_end_stream() {
            return Ok(Self {
                bytes: Bytes::new(),
                _room: None,
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
            _room: Some(room),
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
async fn collect(budget: &ByteBudget, mut body: Incoming) -> Result<(Bytes, Room), Rejection> {
    let mut bytes = BytesMut::new();
    let mut room = budget.take(STEP).await.ok_or(Rejection::Busy)?;
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
            room.join(budget.take(more).await.ok_or(Rejection::Busy)?);
        }
        bytes.extend_from_slice(&data);
    }
    Ok((bytes.freeze(), room))
}
