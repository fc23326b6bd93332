//! JSON in any order and with any escapes.

use serde_json::Value;

use self::Json::{List, Map, Plain, Text};

/// Its members keep their order.
pub(crate) enum Json {
    Text(String),
    Plain(&'static str),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

pub(crate) fn member(name: &str, value: Json) -> (String, Json) {
    (name.to_owned(), value)
}

pub(crate) fn plain(text: &str) -> Json {
    Text(text.to_owned())
}

pub(crate) struct Printer {
    /// So many members of each object come last instead of first.
    pub(crate) turned: usize,
    /// Texts are escaped whole.
    pub(crate) escaped: bool,
}

impl Printer {
    pub(crate) fn print(&self, json: &Json) -> String {
        match json {
            Text(text) => self.text(text),
            Plain(plain) => (*plain).to_owned(),
            List(elements) => {
                let elements = elements.iter().map(|element| self.print(element));
                format!("[{}]", elements.collect::<Vec<_>>().join(","))
            }
            Map(members) => {
                let turn = self.turned % members.len().max(1);
                let members = members[turn..].iter().chain(&members[..turn]);
                let members = members
                    .map(|(name, value)| format!("{}:{}", self.text(name), self.print(value)));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            }
        }
    }

    fn text(&self, text: &str) -> String {
        if !self.escaped {
            return Value::from(text).to_string();
        }
        let units = text.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
        format!("\"{}\"", units.collect::<String>())
    }
}
