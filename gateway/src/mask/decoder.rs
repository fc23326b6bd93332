//! From the format of a body to JSON.

use super::{scanner::Refused, yaml::Yaml};
use crate::protobuf::{Framing, Malformed, Strictness, Transcoder};

#[derive(Default)]
pub(super) enum Decoder {
    #[default]
    Json,
    Protobuf(Box<Transcoder>),
    Yaml(Yaml),
}

impl Decoder {
    /// For a content type, if it is of a format that is read. kube-apiserver reads a body without one as JSON. CBOR,
    /// which it does not speak unless it is told to, and text are not read.
    pub(super) fn of(content_type: Option<&str>) -> Option<Self> {
        let content_type = content_type.unwrap_or("application/json");
        let (media_type, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
        Some(match &*media_type.trim().to_ascii_lowercase() {
            "application/json"
            | "application/json-patch+json"
            | "application/merge-patch+json"
            | "application/strategic-merge-patch+json" => Self::Json,
            "application/yaml" | "application/apply-patch+yaml" => Self::Yaml(Yaml::default()),
            "application/vnd.kubernetes.protobuf" => {
                let framing = match is_watch(parameters) {
                    true => Framing::Watch,
                    false => Framing::Object,
                };
                // What a newer server adds could not be masked, so the record is better without it.
                Self::Protobuf(Box::new(Transcoder::new(framing, Strictness::Known)))
            }
            _ => return None,
        })
    }

    pub(super) fn feed(
        &mut self,
        chunk: &[u8],
        mut json: impl FnMut(&[u8]) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        match self {
            Self::Json => json(chunk),
            Self::Protobuf(transcoder) => transcoder.feed(chunk, json),
            Self::Yaml(yaml) => yaml.feed(chunk, json),
        }
    }

    /// The body is over: hands on the rest.
    pub(super) fn finish(
        &mut self,
        json: impl FnMut(&[u8]) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        match self {
            Self::Json => Ok(()),
            Self::Protobuf(transcoder) => transcoder.finish(json),
            Self::Yaml(yaml) => yaml.finish(json),
        }
    }
}

impl From<Malformed> for Refused {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::Cut => Self::Incomplete,
            Malformed::UnknownKind => Self::Unknown,
            Malformed::TooLong => Self::TooLong,
            _ => Self::Malformed,
        }
    }
}

fn is_watch(parameters: &str) -> bool {
    parameters
        .split(';')
        .any(|parameter| parameter.trim().eq_ignore_ascii_case("stream=watch"))
}
