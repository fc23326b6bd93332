//! A message that is open, and the order in which its fields may come.

use std::collections::HashSet;

use super::{
    Malformed,
    description::{Field, Holds, Message, Shape, Written},
};

#[derive(Debug)]
pub(super) struct Frame {
    /// Where it ends, counted from the first byte.
    pub(super) end: u64,
    pub(super) role: Role,
    pub(super) message: &'static Message,
    /// The number of the last field.
    pub(super) last: u32,
    /// The number of the last field that was written.
    pub(super) known: u32,
    repeats: bool,
    /// The fields before this have lower numbers.
    next: usize,
    /// The bracket that closes the list or map that is open.
    pub(super) bracket: Option<u8>,
    /// The keys of that map, where they are compared.
    pub(super) keys: HashSet<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Role {
    /// What the message's shape says.
    Own,
    /// Its fields are members of the message around it.
    Inline,
    /// `apiVersion` and `kind` of the envelope around it.
    Type,
    /// An entry of a map with such values.
    Entry(Holds),
    /// A `RawExtension` that held an envelope, which has been written.
    Opened,
    /// A schema or boolean that was this boolean.
    Allows(bool),
}

/// What comes next in a message.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    Field(&'static Field),
    /// The key of an entry.
    Key,
    /// The value of an entry.
    Value(Holds),
    Unknown,
}

impl Frame {
    pub(super) fn new(message: &'static Message, role: Role, end: u64) -> Self {
        Self {
            end,
            role,
            message,
            last: 0,
            known: 0,
            repeats: false,
            next: 0,
            bracket: None,
            keys: HashSet::new(),
        }
    }

    pub(super) fn shape(&self) -> Shape {
        self.message.0
    }

    /// Goes on to the field with this number.
    pub(super) fn step(&mut self, number: u32) -> Result<Part, Malformed> {
        if number < self.last {
            return Err(Malformed::Order(number));
        }
        let both = self.message.0 == Shape::OneOrMany && self.role == Role::Own && self.known == 1;
        if (number == self.last && !self.repeats) || (both && number == 2) {
            return Err(Malformed::Twice(number));
        }
        self.last = number;
        let part = self.part(number)?;
        if !matches!(part, Part::Unknown) {
            self.known = number;
        }
        self.repeats = match part {
            Part::Field(field) => matches!(field.written, Written::List | Written::Map),
            Part::Unknown => true,
            Part::Key | Part::Value(_) => false,
        };
        Ok(part)
    }

    fn part(&mut self, number: u32) -> Result<Part, Malformed> {
        if let Role::Entry(value) = self.role {
            let keyed = std::mem::replace(&mut self.next, 1) == 1;
            return match number {
                1 => Ok(Part::Key),
                2 if keyed => Ok(Part::Value(value)),
                2 => Err(Malformed::Entry),
                _ => Ok(Part::Unknown),
            };
        }
        let rest = &self.message.1[self.next..];
        self.next += rest
            .iter()
            .take_while(|field| field.number < number)
            .count();
        match self.message.1.get(self.next) {
            Some(field) if field.number == number => Ok(Part::Field(field)),
            _ => Ok(Part::Unknown),
        }
    }
}

impl Part {
    pub(super) fn holds(&self) -> Option<Holds> {
        match self {
            Self::Field(field) => Some(field.holds),
            Self::Key => Some(Holds::Text),
            Self::Value(holds) => Some(*holds),
            Self::Unknown => None,
        }
    }

    /// What its tag should say.
    pub(super) fn wire_type(&self) -> Option<u32> {
        if matches!(self, Self::Field(field) if field.written == Written::Map) {
            return Some(2);
        }
        Some(match self.holds()? {
            Holds::Bool | Holds::Int32 | Holds::Int64 => 0,
            Holds::Double => 1,
            Holds::Text | Holds::Bytes | Holds::One(_) => 2,
        })
    }
}
