//! Changes that were made and not synced, and what becomes of them.

use std::collections::BTreeMap;

use super::super::random::Random;

const SECTOR: usize = 512;

#[derive(Clone, Default)]
pub(super) struct Inode {
    /// What a read sees.
    pub(super) cache: Vec<u8>,
    pub(super) durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone)]
pub(super) enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Clone)]
pub(super) enum NameChange {
    Add(String, usize),
    Rename(String, String, usize),
    Remove(String, usize),
}

impl Inode {
    /// Lost, whole, or torn: every change on its own.
    pub(super) fn settle(&mut self, random: &mut Random) {
        for change in std::mem::take(&mut self.unsynced) {
            match (change, random.below(3)) {
                (_, 0) => {}
                (Change::Write { offset, bytes }, 1) => {
                    tear(&mut self.durable, offset, &bytes, random)
                }
                (change, _) => apply(&mut self.durable, &change),
            }
        }
    }

    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            apply(&mut self.durable, &change);
        }
    }

    pub(super) fn change(&mut self, change: Change) {
        apply(&mut self.cache, &change);
        self.unsynced.push(change);
    }
}

fn apply(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Length(length) => content.resize(*length, 0),
        Change::Write { offset, bytes } => {
            if content.len() < offset + bytes.len() {
                content.resize(offset + bytes.len(), 0);
            }
            content[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
    }
}

/// Each sector is written whole or not at all.
fn tear(content: &mut Vec<u8>, offset: usize, bytes: &[u8], random: &mut Random) {
    let mut at = 0;
    while at < bytes.len() {
        let until = ((offset + at) / SECTOR * SECTOR + SECTOR - offset).min(bytes.len());
        if random.below(2) == 0 {
            apply(
                content,
                &Change::Write {
                    offset: offset + at,
                    bytes: bytes[at..until].to_vec(),
                },
            );
        }
        at = until;
    }
}

impl NameChange {
    pub(super) fn apply(self, names: &mut BTreeMap<String, usize>) {
        let mut take = |name: &str, file: usize| {
            if names.get(name) == Some(&file) {
                names.remove(name);
            }
        };
        match self {
            Self::Add(name, file) => drop(names.insert(name, file)),
            Self::Remove(name, file) => take(&name, file),
            Self::Rename(from, to, file) => {
                take(&from, file);
                names.insert(to, file);
            }
        }
    }
}
