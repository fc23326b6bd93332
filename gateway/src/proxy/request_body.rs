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
        let announced = body
            .size_hint()
            .exact()
            .map_or(LIMIT as u64, |length| length);
        if announced > LIMIT as u64 {
            return Err(Rejection::BodyTooLarge { limit: LIMIT });
        }
        let room = budget
            .take(announced as usize)
            .await
            .ok_or(Rejection::Busy)?;
        let bytes = tokio::time::timeout(PATIENCE, collect(body))
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

async fn collect(mut body: Incoming) -> Result<Bytes, Rejection> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Rejection::BodyBroken)?.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > LIMIT {
            return Err(Rejection::BodyTooLarge { limit: LIMIT });
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}
