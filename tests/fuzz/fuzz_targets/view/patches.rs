//! JSON Patches, and what they read by a slow reading of the pointer in what is stored and in what is seen.

use libfuzzer_sys::{arbitrary, arbitrary::Arbitrary};
use serde_json::{Value, json};

#[derive(Arbitrary, Debug)]
pub(crate) enum Patch<'a> {
    Known(Vec<Operation<'a>>),
    Any(&'a [u8]),
}

#[derive(Arbitrary, Debug)]
pub(crate) struct Operation<'a> {
    op: Op,
    /// Which of the places in the object.
    place: u16,
    /// What stands before the first slash, which the API server ignores.
    before: &'a str,
    /// Indices count from the end.
    backwards: bool,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Op {
    Add,
    Replace,
    Remove,
    Move,
    Copy,
    Test,
}

impl Patch<'_> {
    /// Whoever sees only `seen` of `stored` reads nothing else by a patch that `passes`.
    pub(crate) fn check(&self, stored: &Value, seen: &Value, passes: impl Fn(&[u8]) -> bool) {
        let body = self.body(stored);
        let operations = match serde_json::from_slice(&body) {
            Ok(Value::Array(operations)) => operations,
            _ => Vec::new(),
        };
        let read = operations.iter().filter_map(read_by);
        let mut hidden = read.filter(|pointer| {
            let stored = place(stored, pointer);
            stored.is_some() && stored != place(seen, pointer)
        });
        if let Some(pointer) = hidden.next() {
            assert!(!passes(&body), "{pointer:?} can be read");
        }
        // Whatever it is, it is judged.
        passes(&body);
    }

    fn body(&self, stored: &Value) -> Vec<u8> {
        let operations = match self {
            Self::Any(body) => return body.to_vec(),
            Self::Known(operations) => operations,
        };
        let mut places = Vec::new();
        let root = Place {
            pointer: String::new(),
            backwards: String::new(),
        };
        list_places(stored, root, &mut places);
        let operations = operations.iter().map(|operation| operation.on(&places));
        Value::Array(operations.collect()).to_string().into_bytes()
    }
}

impl Operation<'_> {
    fn on(&self, places: &[Place]) -> Value {
        let place = &places[usize::from(self.place) % places.len()];
        let pointer = match self.backwards {
            true => &place.backwards,
            false => &place.pointer,
        };
        let before: String = self.before.split('/').take(1).collect();
        let pointer = [&before, &**pointer].concat();
        match self.op {
            Op::Add => json!({"op": "add", "path": pointer, "value": 1}),
            Op::Replace => json!({"op": "replace", "path": pointer, "value": 1}),
            Op::Remove => json!({"op": "remove", "path": pointer}),
            Op::Move => json!({"op": "move", "from": pointer, "path": "/metadata/labels/a"}),
            Op::Copy => json!({"op": "copy", "from": pointer, "path": "/metadata/labels/a"}),
            Op::Test => json!({"op": "test", "path": pointer, "value": "guess"}),
        }
    }
}

fn read_by(operation: &Value) -> Option<&str> {
    match operation["op"].as_str()? {
        "test" => operation["path"].as_str(),
        "move" | "copy" => operation["from"].as_str(),
        _ => None,
    }
}

/// A place in an object, by pointers to it.
struct Place {
    pointer: String,
    /// With indices from the end.
    backwards: String,
}

fn list_places(value: &Value, place: Place, places: &mut Vec<Place>) {
    let below = |token: &str, backwards: &str| Place {
        pointer: format!("{}/{token}", place.pointer),
        backwards: format!("{}/{backwards}", place.backwards),
    };
    match value {
        Value::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                let from_end = format!("-{}", elements.len() - index);
                list_places(element, below(&index.to_string(), &from_end), places);
            }
        }
        Value::Object(members) => {
            for (name, value) in members {
                let token = name.replace('~', "~0").replace('/', "~1");
                list_places(value, below(&token, &token), places);
            }
        }
        _ => {}
    }
    places.push(place);
}

/// What is at the place, as evanphx/json-patch v4 finds it.
fn place<'v>(value: &'v Value, pointer: &str) -> Option<&'v Value> {
    let mut tokens = pointer.split('/').skip(1);
    tokens.try_fold(value, |value, token| match value {
        Value::Array(elements) => elements.get(index(token, elements.len())?),
        Value::Object(members) => members.get(&token.replace("~1", "/").replace("~0", "~")),
        _ => None,
    })
}

fn index(token: &str, length: usize) -> Option<usize> {
    let index: isize = token.parse().ok()?;
    match index < 0 {
        true => length.checked_sub(index.unsigned_abs()),
        false => index.try_into().ok(),
    }
}
