//! Why a body cannot be followed.

/// Each is a sentence about the body that a client sent; the remedy is the same for all of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    #[error("the protobuf body does not begin with `k8s` and a zero byte")]
    Magic,
    #[error(
        "the protobuf body is of no apiVersion and kind that this gateway knows; send it as JSON"
    )]
    UnknownKind,
    #[error("the protobuf body holds no object")]
    NoObject,
    #[error("the object in the protobuf body is encoded once more; send it as JSON")]
    Encoded,
    #[error("the protobuf body ends inside of a field")]
    Cut,
    #[error("a field of the protobuf body is longer than the message it is in")]
    Overlong,
    #[error("the protobuf body holds a tag that is none")]
    Tag,
    #[error(
        "field {0} of a message in the protobuf body has another type than it should; send it as JSON"
    )]
    WireType(u32),
    #[error(
        "field {0} of a message in the protobuf body comes after one with a higher number; send it as JSON"
    )]
    Order(u32),
    #[error("field {0} of a message in the protobuf body is given twice; send it as JSON")]
    Twice(u32),
    #[error(
        "a map in the protobuf body has a key without a value, or one key twice; send it as JSON"
    )]
    Entry,
    #[error(
        "the protobuf body has a field, number {0} of its message, that this gateway does not know; send it as JSON"
    )]
    UnknownField(u32),
    #[error("the protobuf body is nested too deep")]
    Depth,
    #[error("the protobuf body holds a number, time or quantity that Kubernetes cannot hold")]
    Value,
    #[error("the protobuf body holds bytes that should be JSON and are not")]
    Json,
    #[error("the protobuf body holds a text that is longer than it may be")]
    TooLong,
    #[error("the protobuf body holds a text that is not UTF-8")]
    Utf8,
}
