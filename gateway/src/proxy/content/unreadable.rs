//! Why a body is not understood, in words for whoever sent it.

use crate::protobuf::Malformed;

/// A body that cannot be read as the API server would certainly read it. The text never holds a value of the body.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unreadable {
    #[error("there is no body")]
    Empty,
    #[error("it is not read as JSON: {0}")]
    Json(String),
    #[error("it is not read as YAML: {0}")]
    Yaml(String),
    #[error("{0}")]
    Protobuf(#[from] Malformed),
    #[error("{0:?} is a format that the gateway does not read")]
    Format(String),
    #[error(
        "it holds more fields than the gateway reads in {} bytes of JSON",
        super::LIMIT
    )]
    TooManyFields,
}
