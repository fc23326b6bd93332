//! What is written for a field, once its tag has been read.

use super::{
    super::{
        Malformed,
        description::{Field, Holds, Message, Shape, Written, message, message_of},
        frame::{Frame, Part, Role},
        special::{Special, double},
    },
    Bytes, JSON_LIMIT, MAX_DEPTH, State, Strictness, TYPE_LIMIT, Transcoder,
};

impl Transcoder {
    pub(super) fn length(&mut self, part: Part, length: u64) -> Result<(), Malformed> {
        let end = self.end_of(length)?;
        match part {
            Part::Unknown => self.inside_next(Bytes::Skipped, length),
            Part::Field(field) if length == 0 && field.is_left_out_empty() => self.end_field(),
            Part::Field(field) if field.written == Written::Map => self.begin_entry(field, end),
            Part::Field(field) => self.begin_value(part, field.holds, length),
            Part::Key => self.begin_value(part, Holds::Text, length),
            Part::Value(holds) => self.begin_value(part, holds, length),
        }
    }

    fn begin_entry(&mut self, map: &'static Field, end: u64) -> Result<(), Malformed> {
        self.prologue(map);
        let message = self.frames.last().ok_or(Malformed::Tag)?.message;
        self.open(Frame::new(message, Role::Entry(map.holds), end))?;
        self.end_field()
    }

    fn begin_value(&mut self, part: Part, holds: Holds, length: u64) -> Result<(), Malformed> {
        match holds {
            Holds::One(index) => self.begin_message(part, message(index), self.end_of(length)?),
            _ => self.begin_bytes(part, holds, length),
        }
    }

    fn begin_bytes(&mut self, part: Part, holds: Holds, length: u64) -> Result<(), Malformed> {
        let frame = self.frames.last().ok_or(Malformed::Tag)?;
        let (role, shape, number) = (frame.role, frame.shape(), frame.last);
        match (role, shape) {
            (Role::Type, _) => self.inside_next(Bytes::Type, length),
            (Role::Own, Shape::Envelope) if number == 2 => {
                let end = self.end_of(length)?;
                self.begin_object(end)
            }
            (Role::Own, Shape::Envelope) if length > 0 => Err(Malformed::Encoded),
            (Role::Own, Shape::Envelope) => self.end_field(),
            (Role::Own, Shape::Embedded) if length > 0 => {
                self.state = State::Embedded(self.end_of(length)?);
                Ok(())
            }
            (Role::Own, shape) if shape.is_special() => self.inside_next(Bytes::Special, length),
            _ => self.begin_string(part, holds, length),
        }
    }

    fn begin_string(&mut self, part: Part, holds: Holds, length: u64) -> Result<(), Malformed> {
        if let Part::Field(field) = part {
            self.prologue(field);
        }
        self.out.begin_string();
        match part {
            Part::Key => {
                self.special.clear();
                self.inside_next(Bytes::Key, length)
            }
            _ if holds == Holds::Bytes => self.inside_next(Bytes::Base64, length),
            _ => self.inside_next(Bytes::Text, length),
        }
    }

    /// The object in an envelope, whose kind is known by now.
    fn begin_object(&mut self, end: u64) -> Result<(), Malformed> {
        let [api_version, kind] = std::mem::take(&mut self.kind);
        let text = |bytes| String::from_utf8(bytes).map_err(|_| Malformed::UnknownKind);
        let (api_version, kind) = (text(api_version)?, text(kind)?);
        let message = message_of(&api_version, &kind).ok_or(Malformed::UnknownKind)?;
        self.open_object(message, end);
        for (name, value) in [("kind", kind), ("apiVersion", api_version)] {
            self.out.name(name);
            self.out.string(value.as_bytes());
        }
        self.end_field()
    }

    pub(super) fn open_object(&mut self, message: &'static Message, end: u64) {
        self.out.open(b'{');
        self.frames.push(Frame::new(message, Role::Own, end));
    }

    fn begin_message(
        &mut self,
        part: Part,
        message: &'static Message,
        end: u64,
    ) -> Result<(), Malformed> {
        let mut role = Role::Own;
        if let Part::Field(field) = part {
            self.prologue(field);
            if field.written == Written::Inline {
                role = match self.frames.last().map(Frame::shape) {
                    Some(Shape::Envelope) => Role::Type,
                    _ => Role::Inline,
                };
            }
        }
        self.open(Frame::new(message, role, end))?;
        self.end_field()
    }

    pub(super) fn open(&mut self, frame: Frame) -> Result<(), Malformed> {
        if self.frames.len() == MAX_DEPTH {
            return Err(Malformed::Depth);
        }
        if frame.role == Role::Own {
            match frame.shape() {
                Shape::Object => self.out.open(b'{'),
                Shape::Slice => self.out.open(b'['),
                shape if shape.is_special() => self.special.clear(),
                _ => {}
            }
        }
        self.frames.push(frame);
        Ok(())
    }

    /// What stands before a value: its name, and the bracket before the first of several.
    fn prologue(&mut self, field: &Field) {
        let Some(frame) = self.frames.last_mut() else {
            return;
        };
        let named = frame.shape() == Shape::Object && field.written != Written::Inline;
        if frame.bracket.is_some() {
            return;
        }
        if named {
            self.out.name(field.name);
        }
        let (open, close) = match field.written {
            Written::List if frame.shape() != Shape::Slice => (b'[', b']'),
            Written::Map => (b'{', b'}'),
            _ => return,
        };
        self.out.open(open);
        frame.bracket = Some(close);
    }

    pub(super) fn number(&mut self, part: Part, number: u64) -> Result<(), Malformed> {
        // Go's conversion, which `step` has made sure of for everything but a field that is cut.
        let number = number.cast_signed();
        let frame = self.frames.last_mut().ok_or(Malformed::Tag)?;
        match (part, frame.shape()) {
            (Part::Unknown, _) => {}
            (Part::Field(field), Shape::OneOrBool) if field.holds == Holds::Bool => {
                frame.role = Role::Allows(number != 0);
            }
            (Part::Field(_), shape) if frame.role == Role::Own && shape.is_special() => {
                self.special.set(frame.last, number);
            }
            (Part::Field(field), _) if number == 0 && field.written == Written::UnlessZero => {}
            _ => {
                if let Part::Field(field) = part {
                    self.prologue(field);
                }
                self.write_number(part.holds(), number)?;
            }
        }
        self.end_field()
    }

    fn write_number(&mut self, holds: Option<Holds>, number: i64) -> Result<(), Malformed> {
        match holds {
            Some(Holds::Bool) => self.out.boolean(number != 0),
            Some(Holds::Int32) if i32::try_from(number).is_err() => return Err(Malformed::Value),
            _ => self.out.value(number.to_string().as_bytes()),
        }
        Ok(())
    }

    pub(super) fn fixed(&mut self, part: Part, bits: u64) -> Result<(), Malformed> {
        if let Part::Field(field) = part {
            self.prologue(field);
        }
        self.out.value(&double(bits)?);
        self.end_field()
    }

    pub(super) fn inside(&mut self, bytes: Bytes, inside: &[u8]) -> Result<(), Malformed> {
        match bytes {
            Bytes::Text => self.out.text(inside),
            Bytes::Key => {
                self.out.text(inside);
                if self.strictness == Strictness::Exact {
                    self.special.push(inside, usize::MAX)?;
                }
            }
            Bytes::Base64 => self.out.base64(inside),
            Bytes::Type => self.learn_type(inside)?,
            Bytes::Special => {
                let shape = self.frames.last().map_or(Shape::Json, Frame::shape);
                let json_limit = match self.strictness {
                    Strictness::Exact => usize::MAX,
                    Strictness::Known => JSON_LIMIT,
                };
                self.special
                    .push(inside, Special::limit(shape, json_limit))?;
            }
            Bytes::Skipped => {}
        }
        Ok(())
    }

    fn learn_type(&mut self, inside: &[u8]) -> Result<(), Malformed> {
        let number = self.frames.last().map_or(0, |frame| frame.last);
        let text = &mut self.kind[usize::from(number == 2)];
        if text.len() + inside.len() > TYPE_LIMIT {
            return Err(Malformed::UnknownKind);
        }
        text.extend_from_slice(inside);
        Ok(())
    }

    pub(super) fn end_inside(&mut self, bytes: Bytes) -> Result<(), Malformed> {
        match bytes {
            Bytes::Text => self.out.end_string(),
            Bytes::Key => {
                self.out.end_name();
                self.learn_key()?;
            }
            Bytes::Base64 => {
                self.out.end_base64();
                self.out.end_string();
            }
            Bytes::Type | Bytes::Special | Bytes::Skipped => {}
        }
        self.end_field()
    }

    /// Of two equal keys Go takes the last.
    fn learn_key(&mut self) -> Result<(), Malformed> {
        if self.strictness == Strictness::Known {
            return Ok(());
        }
        let key = std::mem::take(&mut self.special.text);
        let map = self.frames.iter_mut().nth_back(1);
        match map.is_some_and(|map| map.keys.insert(key)) {
            true => Ok(()),
            false => Err(Malformed::Entry),
        }
    }
}
