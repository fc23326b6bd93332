//! Where one is in an object: which paths still lead on from here.

use super::tree::Tree;

/// A patch says of these what becomes of the member behind the slash.
const DIRECTIVES: [&str; 2] = ["$setelementorder/", "$deletefromprimitivelist/"];

/// From here no path leads to anything hidden, or some do, or everything is hidden.
#[derive(Clone, Debug, Default)]
pub(in crate::mask) struct Nodes<'t> {
    trees: Vec<&'t Tree>,
    /// In a list that a path does not speak of: only its names lead on from here.
    through: Vec<&'t Tree>,
    /// A path has ended here or above.
    pub(in crate::mask) hides: bool,
}

impl<'t> Nodes<'t> {
    pub(super) fn of(trees: impl IntoIterator<Item = &'t Tree>) -> Self {
        let mut nodes = Self::default();
        trees.into_iter().for_each(|tree| nodes.add(tree));
        nodes
    }

    /// Everything is hidden.
    pub(in crate::mask) fn all() -> Self {
        Self {
            hides: true,
            ..Self::default()
        }
    }

    pub(in crate::mask) fn and(mut self, tree: &'t Tree) -> Self {
        self.add(tree);
        self
    }

    pub(in crate::mask) fn is_empty(&self) -> bool {
        self.trees.is_empty() && self.through.is_empty() && !self.hides
    }

    /// Whether it makes no difference what a member is called.
    pub(in crate::mask) fn leads_anywhere(&self) -> bool {
        self.hides || self.trees.iter().any(|tree| tree.any().is_some())
    }

    /// At the member `name`; one that cannot be read may have any.
    pub(in crate::mask) fn member(&self, name: Option<&str>) -> Self {
        if self.hides {
            return Self::all();
        }
        let mut below = Self::of(self.trees.iter().filter_map(|tree| tree.any()));
        let folded = name.map(fold);
        for tree in self.trees.iter().chain(&self.through) {
            match &folded {
                Some(name) => meant(name)
                    .filter_map(|name| tree.named(name))
                    .for_each(|tree| below.add(tree)),
                None => tree.members().for_each(|tree| below.add(tree)),
            }
        }
        below
    }

    /// At an element of a list. A path without `[*]` leads through it all the same.
    pub(in crate::mask) fn element(&self) -> Self {
        if self.hides {
            return Self::all();
        }
        let mut below = Self::of(self.trees.iter().filter_map(|tree| tree.any()));
        let through = self.trees.iter().chain(&self.through);
        below.through = through.filter(|tree| tree.has_members()).copied().collect();
        below
    }

    /// Where a JSON Pointer leads. The API server's library ignores what is before the first slash.
    pub(in crate::mask) fn pointer(&self, pointer: &str) -> Self {
        let mut nodes = self.clone();
        for token in pointer.split('/').skip(1) {
            let name = token.replace("~1", "/").replace("~0", "~");
            let member = nodes.member(Some(&name));
            nodes = match is_index(&name) {
                true => member.or(nodes.element()),
                false => member,
            };
        }
        nodes
    }

    fn or(mut self, other: Self) -> Self {
        self.trees.extend(other.trees);
        self.through.extend(other.through);
        self.hides |= other.hides;
        self
    }

    fn add(&mut self, tree: &'t Tree) {
        self.hides |= tree.ends;
        self.trees.push(tree);
    }
}

/// What a name in a body may stand for.
fn meant(folded: &str) -> impl Iterator<Item = &str> {
    let behind = DIRECTIVES
        .iter()
        .find_map(|directive| folded.strip_prefix(directive));
    [Some(folded), behind].into_iter().flatten()
}

/// As the API server's library takes it: also `-`, `-1` and `+0`.
fn is_index(token: &str) -> bool {
    let digits = token.strip_prefix(['-', '+']).unwrap_or(token);
    token == "-" || !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Equal for names that a reader of JSON may take for the same, as Go's does.
pub(in crate::mask) fn fold(name: &str) -> String {
    let folded = name.chars().flat_map(char::to_lowercase);
    folded
        .map(|character| match character {
            '\u{17f}' => 's',
            other => other,
        })
        .collect()
}
