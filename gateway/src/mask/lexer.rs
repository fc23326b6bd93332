//! JSON from chunks: RFC 8259 and nothing else, as many values as there are, no allocation.
//!
//! A pull parser whose whole state is a few bytes, so that a chunk may end anywhere. It accepts
//! exactly what `serde_json` accepts when it skips values, up to [`MAX_DEPTH`] open containers.

use self::{
    number::Number,
    text::{char_of, plain_run, simple_escape},
};
use super::scanner::Refused;

mod number;
mod text;

/// One bit each; the same depth at which `serde_json` stops.
pub(super) const MAX_DEPTH: u32 = 128;

/// What was read. Positions are those of the cursor after the call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Event {
    /// The opening quote of a member's name was read.
    Key,
    /// The first byte of a value was read.
    Begin(Shape),
    /// Bytes of the current string, from here to the cursor.
    Text(usize),
    /// An escape in the current string was read. Halves of surrogate pairs become U+FFFD, as in Go.
    Char(char),
    /// The current name, string, number or literal is complete.
    End,
    /// The closing bracket of a container was read.
    Close,
    /// The chunk is used up.
    More,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Shape {
    Object,
    Array,
    String,
    Null,
    /// A number, `true` or `false`.
    Scalar,
}

pub(super) struct Lexer {
    state: State,
    depth: u32,
    /// Bit n is set where the container at depth n is an array.
    arrays: u128,
    /// The current string is a member's name.
    name: bool,
    /// Deeper than this nothing is reported.
    reported: u32,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Top,
    /// After a number or literal at the top, which must not run into the next one.
    TopScalar,
    Value,
    FirstElement,
    FirstName,
    NextName,
    Colon,
    AfterElement,
    AfterMember,
    Text,
    Escape,
    Hex {
        digits: u8,
        unit: u16,
        high: Option<u16>,
    },
    High(u16),
    HighEscape(u16),
    /// A character that could not be delivered together with the U+FFFD before it.
    Second(char),
    Number(Number),
    Literal(&'static [u8]),
}

impl Lexer {
    pub(super) fn new() -> Self {
        Self {
            state: State::Top,
            depth: 0,
            arrays: 0,
            name: false,
            reported: MAX_DEPTH,
        }
    }

    /// Reports nothing more until the container that was just opened is closed; still checks all of it.
    pub(super) fn skip(&mut self) {
        self.reported = self.depth - 1;
    }

    /// Reads on from `at` to the next event.
    #[inline]
    pub(super) fn next(&mut self, chunk: &[u8], at: &mut usize) -> Result<Event, Refused> {
        loop {
            let Some(&byte) = chunk.get(*at) else {
                return Ok(self.at_end_of_chunk());
            };
            let event = match self.state {
                State::Text => self.text(chunk, at)?,
                _ => self.step(byte, at)?,
            };
            if let Some(event) = event
                && self.depth <= self.reported
            {
                return Ok(event);
            }
        }
    }

    /// The body is over: a number at the top ends here, anything open was cut.
    pub(super) fn finish(&mut self) -> Result<Option<Event>, Refused> {
        match self.state {
            State::Top | State::TopScalar => Ok(None),
            State::Number(number) if number.may_end() && self.depth == 0 => {
                self.after_value();
                Ok(Some(Event::End))
            }
            _ => Err(Refused::Incomplete),
        }
    }

    /// Forgets a backslash at the end of the last chunk.
    #[cfg(sallyport_bug = "chunk-boundary")]
    pub(super) fn forget_escape(&mut self) {
        if self.state == State::Escape {
            self.state = State::Text;
        }
    }

    fn at_end_of_chunk(&mut self) -> Event {
        match self.state {
            State::Second(second) => self.deliver(second, State::Text),
            _ => Event::More,
        }
    }

    #[inline]
    fn text(&mut self, chunk: &[u8], at: &mut usize) -> Result<Option<Event>, Refused> {
        let start = *at;
        *at += plain_run(&chunk[start..]);
        if *at > start && self.depth <= self.reported {
            return Ok(Some(Event::Text(start)));
        }
        let event = match chunk.get(*at) {
            None => return Ok(None),
            Some(b'"') => Some(self.end_string()),
            Some(b'\\') => self.expect(State::Escape),
            Some(_) => return Err(Refused::Malformed),
        };
        *at += 1;
        Ok(event)
    }

    #[inline]
    fn step(&mut self, byte: u8, at: &mut usize) -> Result<Option<Event>, Refused> {
        let space = matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
        let event = match self.state {
            State::Number(number) => match number.next(byte) {
                Some(next) => {
                    self.state = State::Number(next);
                    None
                }
                None if number.may_end() => {
                    self.after_value();
                    return Ok(Some(Event::End));
                }
                None => return Err(Refused::Malformed),
            },
            State::Literal(rest) => self.literal(rest, byte)?,
            State::Escape
            | State::Hex { .. }
            | State::High(_)
            | State::HighEscape(_)
            | State::Second(_) => {
                return self.escape(byte, at);
            }
            State::TopScalar if space => {
                self.state = State::Top;
                None
            }
            _ if space => None,
            State::Value | State::Top => Some(self.begin(byte)?),
            State::TopScalar if matches!(byte, b'{' | b'[' | b'"') => Some(self.begin(byte)?),
            State::FirstElement if byte == b']' => Some(self.close()),
            State::FirstElement => Some(self.begin(byte)?),
            State::FirstName if byte == b'}' => Some(self.close()),
            State::FirstName | State::NextName if byte == b'"' => Some(self.begin_name()),
            State::Colon if byte == b':' => self.expect(State::Value),
            State::AfterElement if byte == b',' => self.expect(State::Value),
            State::AfterElement if byte == b']' => Some(self.close()),
            State::AfterMember if byte == b',' => self.expect(State::NextName),
            State::AfterMember if byte == b'}' => Some(self.close()),
            _ => return Err(Refused::Malformed),
        };
        *at += 1;
        Ok(event)
    }

    fn expect(&mut self, state: State) -> Option<Event> {
        self.state = state;
        None
    }

    fn begin(&mut self, byte: u8) -> Result<Event, Refused> {
        let (state, shape) = match byte {
            b'"' => (State::Text, Shape::String),
            b'{' => (self.open(false)?, Shape::Object),
            b'[' => (self.open(true)?, Shape::Array),
            b'-' => (State::Number(Number::Minus), Shape::Scalar),
            b'0' => (State::Number(Number::Zero), Shape::Scalar),
            b'1'..=b'9' => (State::Number(Number::Integer), Shape::Scalar),
            b't' => (State::Literal(b"rue"), Shape::Scalar),
            b'f' => (State::Literal(b"alse"), Shape::Scalar),
            b'n' => (State::Literal(b"ull"), Shape::Null),
            _ => return Err(Refused::Malformed),
        };
        self.state = state;
        self.name = false;
        Ok(Event::Begin(shape))
    }

    fn begin_name(&mut self) -> Event {
        self.state = State::Text;
        self.name = true;
        Event::Key
    }

    fn open(&mut self, array: bool) -> Result<State, Refused> {
        if self.depth == MAX_DEPTH {
            return Err(Refused::Malformed);
        }
        let bit = 1 << self.depth;
        self.arrays = if array {
            self.arrays | bit
        } else {
            self.arrays & !bit
        };
        self.depth += 1;
        Ok(if array {
            State::FirstElement
        } else {
            State::FirstName
        })
    }

    fn close(&mut self) -> Event {
        self.depth -= 1;
        self.state = self.after_container();
        if self.depth == self.reported {
            self.reported = MAX_DEPTH;
        }
        Event::Close
    }

    fn end_string(&mut self) -> Event {
        self.state = if self.name {
            State::Colon
        } else {
            self.after_container()
        };
        Event::End
    }

    fn after_container(&self) -> State {
        match self.depth.checked_sub(1) {
            None => State::Top,
            Some(innermost) if self.arrays >> innermost & 1 == 1 => State::AfterElement,
            Some(_) => State::AfterMember,
        }
    }

    fn after_value(&mut self) {
        self.state = match self.after_container() {
            State::Top => State::TopScalar,
            state => state,
        };
    }

    fn literal(&mut self, rest: &'static [u8], byte: u8) -> Result<Option<Event>, Refused> {
        let [expected, rest @ ..] = rest else {
            return Err(Refused::Malformed);
        };
        if byte != *expected {
            return Err(Refused::Malformed);
        }
        if !rest.is_empty() {
            return Ok(self.expect(State::Literal(rest)));
        }
        self.after_value();
        Ok(Some(Event::End))
    }

    fn escape(&mut self, byte: u8, at: &mut usize) -> Result<Option<Event>, Refused> {
        match self.state {
            State::Second(second) => return Ok(Some(self.deliver(second, State::Text))),
            State::High(_) if byte != b'\\' => {
                return Ok(Some(self.deliver(char::REPLACEMENT_CHARACTER, State::Text)));
            }
            State::HighEscape(_) if byte != b'u' => {
                return Ok(Some(
                    self.deliver(char::REPLACEMENT_CHARACTER, State::Escape),
                ));
            }
            _ => *at += 1,
        }
        Ok(match self.state {
            State::High(high) => self.expect(State::HighEscape(high)),
            State::HighEscape(high) => self.expect(State::hex(Some(high))),
            State::Escape if byte == b'u' => self.expect(State::hex(None)),
            State::Escape => Some(self.deliver(simple_escape(byte)?, State::Text)),
            State::Hex { digits, unit, high } => {
                let digit = (byte as char).to_digit(16).ok_or(Refused::Malformed)? as u16;
                let unit = unit << 4 | digit;
                match digits {
                    3 => self.unit(unit, high),
                    _ => self.expect(State::Hex {
                        digits: digits + 1,
                        unit,
                        high,
                    }),
                }
            }
            _ => return Err(Refused::Malformed),
        })
    }

    /// A UTF-16 code unit, after the first half of a pair or alone.
    fn unit(&mut self, unit: u16, high: Option<u16>) -> Option<Event> {
        let leads = (0xd800..0xdc00).contains(&unit);
        let Some(high) = high else {
            if leads {
                return self.expect(State::High(unit));
            }
            return Some(self.deliver(char_of([unit]), State::Text));
        };
        if (0xdc00..0xe000).contains(&unit) {
            return Some(self.deliver(char_of([high, unit]), State::Text));
        }
        let next = if leads {
            State::High(unit)
        } else {
            State::Second(char_of([unit]))
        };
        Some(self.deliver(char::REPLACEMENT_CHARACTER, next))
    }

    fn deliver(&mut self, char: char, next: State) -> Event {
        self.state = next;
        Event::Char(char)
    }
}

impl State {
    fn hex(high: Option<u16>) -> Self {
        Self::Hex {
            digits: 0,
            unit: 0,
            high,
        }
    }
}

#[cfg(test)]
mod tests;
