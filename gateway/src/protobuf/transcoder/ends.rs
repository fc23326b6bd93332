//! Where a field ends, and the messages around it with it.

use super::{
    super::{
        Malformed,
        description::{Holds, Shape},
        frame::{Frame, Role},
        special::NULL,
        varint::Varint,
    },
    State, Transcoder,
};

impl Transcoder {
    /// A field is over, and with it perhaps the messages around it.
    pub(super) fn end_field(&mut self) -> Result<(), Malformed> {
        self.state = State::Tag(Varint::default());
        while self.frames.last().is_some_and(|frame| frame.end == self.at) {
            self.close()?;
        }
        if self.frames.is_empty() {
            self.out.end_line();
            self.state = State::Prefix(0, 0);
        }
        Ok(())
    }

    pub(super) fn close_bracket(&mut self) {
        if let Some(frame) = self.frames.last_mut()
            && let Some(bracket) = frame.bracket.take()
        {
            self.out.close(bracket);
            frame.keys.clear();
        }
    }

    pub(super) fn close(&mut self) -> Result<(), Malformed> {
        self.close_bracket();
        let Some(frame) = self.frames.pop() else {
            return Ok(());
        };
        match (frame.role, frame.shape()) {
            (Role::Inline | Role::Type | Role::Opened, _) => {}
            (Role::Entry(value), _) => self.close_entry(&frame, value)?,
            (Role::Allows(allows), _) if frame.known == 1 => self.out.boolean(allows),
            (Role::Own, Shape::OneOrBool) if frame.known == 0 => self.out.boolean(false),
            (Role::Own, Shape::OneOrMany) if frame.known == 0 => self.out.value(NULL),
            (_, Shape::OneOrMany | Shape::OneOrBool) => {}
            (_, Shape::Object) => self.out.close(b'}'),
            (_, Shape::Slice) => self.out.close(b']'),
            (_, Shape::Envelope) if frame.known < 2 => return Err(Malformed::NoObject),
            (_, Shape::Envelope) => {}
            (_, Shape::Time | Shape::MicroTime) if frame.known == 0 => self.out.value(NULL),
            (_, shape) => self.out.value(&self.special.json(shape)?),
        }
        Ok(())
    }

    /// Go leaves out a value of bytes that are none, and reads one as empty.
    fn close_entry(&mut self, entry: &Frame, value: Holds) -> Result<(), Malformed> {
        match (entry.known, value) {
            (2.., _) => Ok(()),
            (1, Holds::Text | Holds::Bytes) => {
                self.out.string(b"");
                Ok(())
            }
            _ => Err(Malformed::Entry),
        }
    }
}
