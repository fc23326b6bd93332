//! What the struct tags of a Go package say about JSON: enough of Go to read lines like
//! `Name *string `json:"name,omitempty" protobuf:"bytes,1,opt,name=name"``.

use std::collections::HashMap;

/// The exported types of one package.
#[derive(Default)]
pub(super) struct Package {
    /// Empty for the core group.
    pub(super) group: Option<String>,
    structs: HashMap<String, Struct>,
    /// Types that are lists themselves, as `type Verbs []string`.
    slices: Vec<String>,
}

#[derive(Default)]
struct Struct {
    is_kind: bool,
    members: HashMap<i32, Member>,
}

/// How a field of a message looks in JSON.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Member {
    /// Empty where the members of the field are the struct's own.
    pub(super) json: String,
    /// Left out where it is empty or zero.
    pub(super) omitted: bool,
}

impl Package {
    /// Reads one file of the package.
    pub(super) fn read(&mut self, source: &str) {
        let mut open: Option<String> = None;
        for line in source.lines() {
            if let Some(group) = line.strip_prefix("const GroupName = ") {
                self.group = Some(group.trim_matches('"').to_owned());
            } else if let Some(declared) = line.strip_prefix("type ") {
                open = self.declare(declared);
            } else if line.starts_with('}') {
                open = None;
            } else if let Some(name) = &open {
                self.structs.entry(name.clone()).or_default().read(line);
            }
        }
    }

    fn declare(&mut self, declared: &str) -> Option<String> {
        let (name, is) = declared.split_once(' ')?;
        if is.starts_with("[]") {
            self.slices.push(name.to_owned());
        }
        is.starts_with("struct {").then(|| name.to_owned())
    }

    pub(super) fn member(&self, message: &str, number: i32) -> Option<&Member> {
        self.structs.get(message)?.members.get(&number)
    }

    /// It has a kind and an apiVersion of its own.
    pub(super) fn is_kind(&self, message: &str) -> bool {
        self.structs.get(message).is_some_and(|found| found.is_kind)
    }

    pub(super) fn is_slice(&self, message: &str) -> bool {
        self.slices.iter().any(|slice| slice == message)
    }
}

impl Struct {
    fn read(&mut self, line: &str) {
        let Some((declared, tags)) = line.trim().split_once('`') else {
            return;
        };
        let words: Vec<&str> = declared.split_whitespace().collect();
        self.is_kind |= matches!(words[..], [embedded] if embedded.ends_with("TypeMeta"));
        let (Some(json), Some(number)) = (tag(tags, "json"), number(tags)) else {
            return;
        };
        let (json, options) = json.split_once(',').unwrap_or((json, ""));
        let pointer = words.last().is_some_and(|kind| kind.starts_with('*'));
        let member = Member {
            json: json.to_owned(),
            omitted: !pointer && options.contains("omit"),
        };
        self.members.insert(number, member);
    }
}

/// `protobuf:"bytes,1,opt,name=name"`.
fn number(tags: &str) -> Option<i32> {
    tag(tags, "protobuf")?.split(',').nth(1)?.parse().ok()
}

fn tag<'t>(tags: &'t str, name: &str) -> Option<&'t str> {
    let (_, value) = tags.split_once(&format!("{name}:\""))?;
    Some(value.split_once('"')?.0)
}

#[cfg(test)]
mod tests {
    use super::{Member, Package};

    const SOURCE: &str = r#"
const GroupName = "batch"
type Verbs []string
type Kept string
type Job struct {
	metav1.TypeMeta `json:""`
	// Replicas it `json:"not"` has
	Replicas *int32 `json:"replicas,omitempty" protobuf:"varint,2,opt,name=replicas"`
	Name string `json:"name,omitempty" protobuf:"bytes,3,opt,name=name"`
	Handler `json:"" protobuf:"bytes,1,opt,name=handler"`
	Ref *string `json:"$ref" protobuf:"bytes,4,opt,name=ref"`
}
"#;

    #[test]
    fn members_are_what_their_tags_say() {
        let mut package = Package::default();
        package.read(SOURCE);
        assert_eq!(package.group.as_deref(), Some("batch"));
        assert!(package.is_slice("Verbs") && !package.is_slice("Kept"));
        assert!(package.is_kind("Job") && !package.is_kind("Handler"));
        for (number, json, omitted) in [
            (1, "", false),
            (2, "replicas", false),
            (3, "name", true),
            (4, "$ref", false),
        ] {
            let member = Member {
                json: json.to_owned(),
                omitted,
            };
            assert_eq!(package.member("Job", number), Some(&member), "{number}");
        }
    }
}
