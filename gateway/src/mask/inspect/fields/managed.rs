//! `managedFields`, which name what they say who has set.

use super::{
    super::super::{fields::Nodes, spans},
    Walk,
    identity::named,
};

impl Walk<'_, '_> {
    /// `managedFields`, which only an agent is shown, have elements of sets and keys of lists in their names.
    pub(super) fn managers(&mut self, metadata: usize, nodes: &Nodes<'_>) {
        let json = self.json;
        if self.inspection.by_name || nodes.is_empty() {
            return;
        }
        let managers = named(json, metadata, "managedfields", b'[');
        let managers = managers.flat_map(|managers| spans::elements(json, managers));
        let managers = managers.filter(|manager| json[manager.start] == b'{');
        for fields in managers.flat_map(|manager| named(json, manager.start, "fieldsv1", b'{')) {
            if tells(json, fields, nodes) {
                let fields = fields..spans::value_end(json, fields);
                self.inspection.edits.push((fields, "{}".to_owned()));
            }
        }
    }
}

/// Whether a name in `fieldsV1` is, or holds, a value that is hidden.
fn tells(json: &[u8], start: usize, nodes: &Nodes<'_>) -> bool {
    if nodes.is_empty() || json.get(start) != Some(&b'{') {
        return false;
    }
    spans::members(json, start).any(|(name, value)| {
        let Some(name) = spans::decoded(&json[name]) else {
            return true;
        };
        match name.split_once(':') {
            Some(("f", name)) => tells(json, value.start, &nodes.member(Some(name))),
            Some(("i", _)) => tells(json, value.start, &nodes.element()),
            Some(("v", _)) => nodes.element().hides,
            Some(("k", keys)) => {
                let element = nodes.element();
                are_told(keys, &element) || tells(json, value.start, &element)
            }
            _ => false,
        }
    })
}

fn are_told(keys: &str, element: &Nodes<'_>) -> bool {
    let keys = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(keys);
    keys.map_or(!element.is_empty(), |keys| {
        keys.keys().any(|name| element.member(Some(name)).hides)
    })
}
