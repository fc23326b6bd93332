//! Where Kubernetes keeps secrets inside a body: from a place and a member's name to the next place.

use super::{rule::Secret, value::Encoding};

pub(super) const LAST_APPLIED: &[u8] = b"kubectl.kubernetes.io/last-applied-configuration";

/// A container that is open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// Nothing in it matters.
    Opaque,
    /// What a Table's cells are.
    Columns,
    /// A Kubernetes object, a list, a Table, a watch event, a patch: they are told apart by their members.
    Object,
    /// A JSON Patch.
    Operations,
    Items,
    Rows,
    Row,
    Metadata,
    /// Or a Secret's labels.
    Annotations,
    /// `data` or `stringData`: every member is secret.
    Values(Encoding),
    /// `spec` or `status` beside a token.
    Tokens,
}

/// What a value is, before its first byte is seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Slot {
    Opaque,
    /// `columnDefinitions` of a Table.
    Columns,
    Top,
    Inside(Place),
    /// A text, number or literal that is never secret; anything else there may be.
    Scalar,
    /// `status`: a text in a `metav1.Status`, else an object.
    Status,
    Field(Field),
    LastApplied,
    /// Of helm's, for an agent.
    Release,
    /// By which helm knows what is its own, for an agent.
    Owner,
    Message,
    Secret(Encoding),
    /// A list that is left out: it says who set which fields, and with them values that lists are keyed by.
    Emptied,
}

/// A short value that is learned while it is copied.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Field {
    ApiVersion,
    Kind,
    Name,
    GenerateName,
    Namespace,
    Uid,
    ResourceVersion,
    Status,
    Reason,
    Code,
    Path,
}

/// An object that is open.
#[derive(Default)]
pub(super) struct Object {
    /// Its own values are secret.
    pub(super) secret: bool,
    /// Its items are Secrets.
    pub(super) lists_secrets: bool,
    /// It became known as secret only after something in it had been copied.
    pub(super) late: bool,
    pub(super) exposed: bool,
    /// It has said what it is, or what it is in has.
    pub(super) settled: bool,
    /// It said so, and then that it is a Secret after all.
    pub(super) turned: bool,
    /// Its objects have begun, and each is looked into on its own.
    pub(super) listed: bool,
    /// A list that was read before it said its kind.
    pub(super) unnamed: bool,
    /// A list whose items are of the kind that its own kind names.
    pub(super) typed_list: bool,
    /// A `metav1.Status`.
    pub(super) is_status: bool,
    /// Taken for a watch event, so nothing else may be in it.
    pub(super) event: bool,
    /// Members so far.
    pub(super) names: u32,
    /// Where it begins in the output.
    pub(super) mark: usize,
    pub(super) operation: bool,
    pub(super) path: Option<PathClass>,
    pub(super) has_type: bool,
    pub(super) has_object: bool,
    pub(super) name: Option<String>,
    pub(super) namespace: Option<String>,
    /// The sum of its members' digests.
    pub(super) members: u128,
    pub(super) has_members: bool,
}

/// What a JSON Patch operation touches in a Secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum PathClass {
    Data,
    Secret,
    Harmless,
}

impl PathClass {
    /// The API server's library ignores everything before the first slash, so `x/data/y` is `/data/y`.
    pub(super) fn of(path: &[u8]) -> Self {
        let Some(slash) = memchr::memchr(b'/', path) else {
            return Self::Secret;
        };
        let path = &path[slash..];
        if begins(path, b"/data") {
            return Self::Data;
        }
        let scalar = [&b"/apiVersion"[..], b"/kind", b"/type", b"/immutable"].contains(&path);
        let metadata = path
            .strip_prefix(b"/metadata/")
            .is_some_and(|member| !begins(member, b"annotations") && !begins(member, b"labels"));
        if scalar || metadata {
            Self::Harmless
        } else {
            Self::Secret
        }
    }
}

/// Without case: see [`Object::member`].
fn begins(path: &[u8], prefix: &[u8]) -> bool {
    path.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

impl Object {
    /// What the member called `name` holds. Field names are compared without case: the API server would
    /// drop `StringData`, but an agent that misspelt it has still sent a secret. So has one that puts a
    /// value into a member which no Secret has, hence what is not known to be harmless is secret.
    pub(super) fn member(&mut self, name: &[u8], rule: Secret) -> Slot {
        let slot = match name {
            b"kind" => return Slot::Field(Field::Kind),
            b"apiVersion" => return Slot::Field(Field::ApiVersion),
            b"reason" => return Slot::Field(Field::Reason),
            b"code" => return Slot::Field(Field::Code),
            b"type" => {
                self.has_type = true;
                return Slot::Scalar;
            }
            // Of a Secret, and of the `DeleteOptions` for one.
            b"immutable" | b"gracePeriodSeconds" | b"propagationPolicy" | b"orphanDependents" => {
                return Slot::Scalar;
            }
            b"preconditions" | b"dryRun" => Slot::Opaque,
            b"columnDefinitions" => Slot::Columns,
            b"op" | b"from" if self.operation => return Slot::Scalar,
            b"path" if self.operation => return Slot::Field(Field::Path),
            b"value" if self.operation => self.operand(),
            // A refusal may quote the stored object, whole and in any encoding.
            b"message" | b"details" if self.secret || rule == Secret::Tokens => {
                Slot::Secret(Encoding::Plain)
            }
            b"message" => Slot::Message,
            b"items" => Slot::Inside(Place::Items),
            b"rows" => Slot::Inside(Place::Rows),
            b"object" => {
                self.has_object = true;
                Slot::Inside(Place::Object)
            }
            b"status" => return Slot::Status,
            _ if rule == Secret::Tokens
                && (name.eq_ignore_ascii_case(b"spec") || name.eq_ignore_ascii_case(b"status")) =>
            {
                return Slot::Inside(Place::Tokens);
            }
            _ if name.eq_ignore_ascii_case(b"metadata") => Slot::Inside(Place::Metadata),
            _ if name.eq_ignore_ascii_case(b"data") => {
                Slot::Inside(Place::Values(Encoding::Base64))
            }
            #[cfg(sallyport_bug = "masked-field-skipped")]
            b"stringData" => return Slot::Opaque,
            _ if name.eq_ignore_ascii_case(b"stringData") => {
                Slot::Inside(Place::Values(Encoding::Plain))
            }
            _ if self.secret => Slot::Secret(Encoding::Plain),
            _ => Slot::Opaque,
        };
        self.exposed |= !self.secret;
        match slot {
            Slot::Inside(Place::Values(_)) if !self.secret => Slot::Opaque,
            slot => slot,
        }
    }

    /// `value` of a JSON Patch operation. Before the path is known it may be anything.
    fn operand(&self) -> Slot {
        match self.path {
            _ if !self.secret => Slot::Inside(Place::Object),
            Some(PathClass::Harmless) => Slot::Opaque,
            Some(PathClass::Data) => Slot::Secret(Encoding::Base64),
            Some(PathClass::Secret) | None => Slot::Secret(Encoding::Plain),
        }
    }

    pub(super) fn is_event(&self) -> bool {
        self.has_type && self.has_object
    }
}

/// What the member called `name` of `metadata` holds. A JSON Patch can copy a value into a label.
pub(super) fn metadata_member(name: &[u8], secret: bool) -> Slot {
    match name {
        b"name" => Slot::Field(Field::Name),
        b"generateName" => Slot::Field(Field::GenerateName),
        b"namespace" => Slot::Field(Field::Namespace),
        b"uid" => Slot::Field(Field::Uid),
        b"resourceVersion" => Slot::Field(Field::ResourceVersion),
        b"managedFields" => Slot::Emptied,
        _ if name.eq_ignore_ascii_case(b"annotations") => Slot::Inside(Place::Annotations),
        _ if secret && name.eq_ignore_ascii_case(b"labels") => Slot::Inside(Place::Annotations),
        _ => Slot::Opaque,
    }
}
