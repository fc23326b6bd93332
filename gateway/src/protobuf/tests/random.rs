//! Objects of any kind with any fields, from the schema.

use super::{
    super::{
        description::{Field, Holds, Message, Shape, Written, message},
        schema::KINDS,
    },
    field, number, varint,
};

/// A generator that is the same for the same seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A body whose object has some of its fields.
    pub(crate) fn body(&mut self) -> Vec<u8> {
        let (api_version, kind, index) = KINDS[self.below(KINDS.len())];
        let object = self.message(message(index), 0);
        super::body(api_version, kind, &object)
    }

    /// xorshift64.
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }

    fn message(&mut self, message: &'static Message, depth: usize) -> Vec<u8> {
        match message.0 {
            Shape::Json => field(1, r#"{"f:a":{"k":[1]}}"#),
            Shape::Embedded if depth > 4 => Vec::new(),
            Shape::Embedded => field(1, self.body()),
            Shape::IntOrString => [
                number(1, self.below(2) as i64),
                number(2, 7),
                field(3, "x%"),
            ]
            .concat(),
            Shape::Time | Shape::MicroTime => {
                [number(1, self.below(1 << 30) as i64), number(2, 5000)].concat()
            }
            Shape::OneOrMany | Shape::OneOrBool if depth > 8 => Vec::new(),
            Shape::OneOrMany | Shape::OneOrBool => {
                let fields = message.1;
                let chosen = self.below(fields.len());
                self.field(&fields[chosen], depth)
            }
            _ => {
                let fields = message.1.iter();
                fields.flat_map(|each| self.maybe(each, depth)).collect()
            }
        }
    }

    fn maybe(&mut self, each: &'static Field, depth: usize) -> Vec<u8> {
        match self.below(depth + 3) {
            0 => self.field(each, depth),
            _ => Vec::new(),
        }
    }

    fn field(&mut self, each: &'static Field, depth: usize) -> Vec<u8> {
        let times = match each.written {
            Written::List | Written::Map => 1 + self.below(3),
            _ => 1,
        };
        let one = |time: usize| match each.written {
            Written::Map => {
                let key = field(1, format!("key\n{time}"));
                let value = self.value(2, each.holds, depth);
                field(each.number, [key, value].concat())
            }
            _ => self.value(each.number, each.holds, depth),
        };
        (0..times).flat_map(one).collect()
    }

    fn value(&mut self, at: u32, holds: Holds, depth: usize) -> Vec<u8> {
        match holds {
            Holds::Bool => number(at, self.below(2) as i64),
            Holds::Int32 | Holds::Int64 => number(at, self.below(1 << 20) as i64 - (1 << 19)),
            Holds::Double => {
                let value = self.below(1000) as f64 / 8.0;
                [varint(u64::from(at << 3 | 1)), value.to_le_bytes().to_vec()].concat()
            }
            Holds::Text => field(
                at,
                ["", "a", "\"\\\u{1}é\u{1f511}"][self.below(3)].repeat(1 + self.below(9)),
            ),
            Holds::Bytes => field(at, vec![0xfb; self.below(9)]),
            Holds::One(index) => field(at, self.message(message(index), depth + 1)),
        }
    }
}
