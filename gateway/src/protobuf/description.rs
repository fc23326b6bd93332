//! What the generated tables are made of.

use super::schema::{KINDS, MESSAGES, WATCH_EVENT};

/// What a message is in JSON, and its fields in the order of their numbers.
#[derive(Debug)]
pub(super) struct Message(pub(super) Shape, pub(super) &'static [Field]);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Shape {
    Object,
    /// A list: its one field is not named.
    Slice,
    /// `runtime.RawExtension`: JSON, or another envelope.
    Embedded,
    /// `runtime.Unknown`.
    Envelope,
    /// Bytes that are JSON.
    Json,
    Time,
    MicroTime,
    Duration,
    Quantity,
    IntOrString,
    /// One schema, or a list.
    OneOrMany,
    /// One schema, or a boolean.
    OneOrBool,
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) number: u32,
    pub(super) name: &'static str,
    pub(super) holds: Holds,
    pub(super) written: Written,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Holds {
    Text,
    Bytes,
    Bool,
    Int32,
    Int64,
    Double,
    /// The message with this index.
    One(u16),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Written {
    /// Whenever it is there.
    Always,
    /// Unless it is empty or zero.
    UnlessZero,
    List,
    /// By keys that are texts.
    Map,
    /// As members of the message around it.
    Inline,
}

pub(super) const fn must(number: u32, name: &'static str, holds: Holds) -> Field {
    field(number, name, holds, Written::Always)
}

pub(super) const fn may(number: u32, name: &'static str, holds: Holds) -> Field {
    field(number, name, holds, Written::UnlessZero)
}

pub(super) const fn many(number: u32, name: &'static str, holds: Holds) -> Field {
    field(number, name, holds, Written::List)
}

pub(super) const fn map(number: u32, name: &'static str, holds: Holds) -> Field {
    field(number, name, holds, Written::Map)
}

pub(super) const fn inline(number: u32, holds: Holds) -> Field {
    field(number, "", holds, Written::Inline)
}

const fn field(number: u32, name: &'static str, holds: Holds, written: Written) -> Field {
    Field {
        number,
        name,
        holds,
        written,
    }
}

impl Shape {
    /// A value that is written when its message is over.
    pub(super) fn is_special(self) -> bool {
        !matches!(
            self,
            Self::Object | Self::Slice | Self::Envelope | Self::OneOrMany | Self::OneOrBool
        )
    }
}

impl Field {
    /// It is left out where it has no bytes. Go leaves out no struct but a time.
    pub(super) fn is_left_out_empty(&self) -> bool {
        self.written == Written::UnlessZero
            && match self.holds {
                Holds::One(index) => matches!(message(index).0, Shape::Time | Shape::MicroTime),
                _ => true,
            }
    }
}

/// Of every group and version, as the API server registers them there too.
const META: &str = "meta.k8s.io/v1";

/// The message of a kind.
pub(super) fn message_of(api_version: &str, kind: &str) -> Option<&'static Message> {
    // An event has no kind of its own, and still is one.
    if kind == "WatchEvent" {
        return Some(message(WATCH_EVENT));
    }
    [api_version, META].iter().find_map(|version| {
        let found =
            KINDS.binary_search_by(|(other, name, _)| (*other, *name).cmp(&(version, kind)));
        Some(message(KINDS[found.ok()?].2))
    })
}

pub(super) fn has_group(group: &str) -> bool {
    let group_of = |version: &'static str| version.split_once('/').map_or("", |(group, _)| group);
    KINDS.iter().any(|(version, ..)| group_of(version) == group)
}

pub(super) fn message(index: u16) -> &'static Message {
    &MESSAGES[usize::from(index)]
}
