/// Why a request is refused before anything judges it: it could mean one thing here and another to the
/// API server. The text is for the caller, with status 400.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Ambiguous {
    #[error(
        "the method {0:?} has no meaning in the Kubernetes API; use GET, HEAD, POST, PUT, PATCH or DELETE"
    )]
    UnsupportedMethod(String),
    #[error("the request target is not a path; it must start with '/'")]
    NotAPath,
    #[error("the request target has a fragment ('#'), which is never sent to a server")]
    Fragment,
    #[error("the request target has a '%' that is not followed by two hexadecimal digits")]
    BadEscape,
    #[error("the request target is not valid UTF-8 once decoded")]
    NotUtf8,
    #[error("the request target contains a control character")]
    ControlCharacter,
    #[error(
        "the path has an empty segment (\"//\"), which would shift the meaning of those after it; \
         send it without"
    )]
    EmptySegment,
    #[error(
        "the path has a segment \".\" or \"..\", which some servers resolve and the API server does not; \
         send the path it should lead to"
    )]
    DotSegment,
    #[error(
        "the path has an encoded slash (\"%2F\"), which the API server reads as a separator; send '/' where one is meant"
    )]
    EncodedSlash,
    #[error(
        "the path has an encoded percent sign (\"%25\"), which could be decoded twice; no name in the API has one"
    )]
    EncodedPercent,
    #[error("the path ends after \"watch\" or \"proxy\"; name a resource")]
    NoResource,
    #[error(
        "the \"/proxy/\" path prefix was removed from Kubernetes; use the \"proxy\" subresource of the object"
    )]
    ProxyVerb,
    #[error("the query has more than {limit} parameters", limit = super::query::MAX_PARAMETERS)]
    TooManyParameters,
    #[error("the query has a ';' or a '%' that is not followed by two hexadecimal digits")]
    PassedOver,
}
