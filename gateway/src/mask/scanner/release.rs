//! Releases of helm's as an agent sees them, and by what helm knows the objects in them.
//!
//! Where policy shows manifests, each document of them is read by a scanner of its own, with the rule that the URL of its
//! object would have. What cannot be read in one way, or would name another object once it is masked, keeps the whole
//! release without a manifest: what is missing there helm would leave behind.

use std::sync::Arc;

use super::{
    super::{
        manifest::{Document, Head, documents, written},
        object::{Object, Place},
        release::{Hook, Manifests, NAME, Release},
        sink::Sink,
        text::hide_known,
        value::Encoding,
        view::HELD,
        yaml::{as_helm_reads, is_unambiguous},
    },
    Scanner,
    eyes::DIGITS,
};

/// Whether helm is to leave an object alone.
const POLICY: &[u8] = b"helm.sh/resource-policy";
/// Whose an object is.
const OWNERS: [&[u8]; 2] = [
    b"meta.helm.sh/release-name",
    b"meta.helm.sh/release-namespace",
];

/// A document as it is seen.
struct Seen {
    text: String,
    is_masked: bool,
}

impl Scanner {
    /// The member `name` of a Secret's data is a release of helm's.
    pub(super) fn is_release(&self, name: &[u8]) -> bool {
        let of_helm = |object: &Object| {
            let name = object.name.as_deref();
            object.secret && name.is_some_and(|name| name.starts_with(NAME))
        };
        name == b"release"
            && self.eyes.is_some()
            && !self.nested
            && self.places.last() == Some(&Place::Values(Encoding::Base64))
            && self.objects.last().is_some_and(of_helm)
    }

    /// A release as it is seen, or a placeholder where it is none.
    pub(super) fn release(&mut self, text: &[u8]) -> String {
        self.count_masked(1);
        let recorded = self.key.placeholder_base64(text);
        let object = self.seen_object();
        let Some(eyes) = &mut self.eyes else {
            return recorded;
        };
        let digest = &recorded.as_bytes()[recorded.len() - DIGITS..];
        let placeholder = eyes.viewer.placeholder(&object, &eyes.member, digest);
        let shows_manifests = eyes.viewer.shows_manifests;
        let Some(release) = Release::read(text, &mut eyes.allowance) else {
            return recorded;
        };
        let stored = shows_manifests.then(|| Manifests::read(text, &mut eyes.allowance));
        let seen = stored
            .flatten()
            .and_then(|stored| self.seen_manifests(stored));
        let shown = match seen {
            Some(manifests) => release.shown_with(manifests, &placeholder),
            None => release.shown_without(&placeholder),
        };
        if let (Some(_), Some(eyes)) = (&shown, &mut self.eyes) {
            eyes.issued.add(placeholder);
        }
        shown.unwrap_or(recorded)
    }

    fn seen_manifests(&mut self, mut stored: Manifests) -> Option<Manifests> {
        let mut places = 0..;
        stored.manifest = self.seen_stream(&stored.manifest, &mut places)?.text;
        for hook in &mut stored.hooks {
            let seen = self.seen_stream(&hook.manifest, &mut places)?;
            if !self.names_nothing_secret(hook) {
                return None;
            }
            let mut documents = documents(&hook.manifest)?.into_iter();
            hook.is_whole =
                !seen.is_masked && documents.all(|document| is_unambiguous(document.body));
            hook.manifest = seen.text;
        }
        Some(stored)
    }

    fn names_nothing_secret(&self, hook: &Hook) -> bool {
        let names = [&hook.name, &hook.kind, &hook.path];
        names
            .iter()
            .all(|name| hide_known(&self.key, name) == ***name)
    }

    fn seen_stream(
        &mut self,
        stream: &str,
        places: &mut impl Iterator<Item = usize>,
    ) -> Option<Seen> {
        let (mut text, mut is_masked) = (String::new(), false);
        for (document, place) in documents(stream)?.into_iter().zip(places) {
            let seen = self.seen_document(&document, place)?;
            text += &seen.text;
            is_masked |= seen.is_masked;
        }
        Some(Seen { text, is_masked })
    }

    /// `place`: among the documents of the release. Equal values in two of them look different.
    fn seen_document(&mut self, document: &Document<'_>, place: usize) -> Option<Seen> {
        let json = as_helm_reads(document.body).ok()?;
        // What aliases stand for is written out: a short document may become a long one.
        self.charge(json.len())?;
        let head = Head::of(&json)?;
        // By their URLs what is in them is a token; a release has no business with one.
        if ["TokenRequest", "TokenReview"].contains(&&*head.kind) {
            return None;
        }
        let rule = self.rule.of_kind(&head.api_version, &head.kind);
        let member = self.eyes.as_ref()?.member.clone();
        let mut inside = Self::new(Arc::clone(&self.key), rule, Sink::new(HELD));
        inside.nested = true;
        inside.eyes = self.eyes_within(&[&member, &place.to_be_bytes()]);
        let followed = inside.feed(&json).and_then(|()| inside.finish());
        self.take_back(&mut inside);
        followed.ok()?;
        let (findings, seen) = inside.into_parts();
        self.count_masked(findings.masked);
        let seen = String::from_utf8(seen?).ok()?;
        self.charge(seen.len())?;
        let source = document.source;
        let source = source.filter(|source| hide_known(&self.key, source) == **source);
        (Head::of(seen.as_bytes())? == head).then(|| Seen {
            text: written(source, &seen),
            is_masked: findings.masked > 0,
        })
    }

    /// To what manifests may take of the answer.
    fn charge(&mut self, bytes: usize) -> Option<()> {
        self.eyes.as_mut()?.allowance.take(bytes)
    }

    /// The annotation `name` of a Secret is one that helm decides by.
    pub(super) fn is_read_by_helm(&self, name: &[u8]) -> bool {
        self.eyes.is_some() && self.in_secret() && (name == POLICY || OWNERS.contains(&name))
    }

    /// A placeholder in its stead, unless it says what helm writes there.
    pub(super) fn owner(&mut self, text: &[u8]) -> Option<String> {
        let eyes = self.eyes.as_ref()?;
        let is_helms = match eyes.member.get(1..) {
            Some(POLICY) => text.trim_ascii().eq_ignore_ascii_case(b"keep"),
            _ => eyes.viewer.shows_manifests && self.is_name(text),
        };
        if is_helms {
            return None;
        }
        self.count_masked(1);
        Some(self.key.placeholder(text))
    }

    /// Of a release or a namespace.
    fn is_name(&self, text: &[u8]) -> bool {
        let in_names = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let may_be_in = |byte: &u8| in_names(byte) || b"-.".contains(byte);
        (1..=63).contains(&text.len())
            && text.iter().all(may_be_in)
            && [text.first(), text.last()]
                .into_iter()
                .flatten()
                .all(in_names)
            && self.key.detectors().secrets(text).is_empty()
    }
}
