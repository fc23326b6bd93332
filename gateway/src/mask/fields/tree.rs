//! The paths of an entry, by their segments.

use std::collections::BTreeMap;

use super::{nodes::fold, path::Segment};

#[derive(Clone, Debug, Default)]
pub(in crate::mask) struct Tree {
    /// By name, folded.
    members: BTreeMap<String, Self>,
    any: Option<Box<Self>>,
    /// A path ends here.
    pub(super) ends: bool,
}

impl Tree {
    /// With this path alone.
    pub(in crate::mask) fn of_names(path: &[&str]) -> Self {
        let mut tree = Self::default();
        let segments: Vec<_> = path
            .iter()
            .map(|name| Segment::Name((*name).to_owned()))
            .collect();
        tree.insert(&segments);
        tree
    }

    pub(super) fn insert(&mut self, path: &[Segment]) {
        match path {
            [] => self.ends = true,
            [Segment::Name(name), rest @ ..] => {
                self.members.entry(fold(name)).or_default().insert(rest);
            }
            [Segment::Any, rest @ ..] => self.any.get_or_insert_default().insert(rest),
        }
    }

    pub(super) fn named(&self, folded: &str) -> Option<&Self> {
        self.members.get(folded)
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Self> {
        self.members.values()
    }

    pub(super) fn has_members(&self) -> bool {
        !self.members.is_empty()
    }

    pub(super) fn any(&self) -> Option<&Self> {
        self.any.as_deref()
    }
}
