//! JSON as it can be read in one way only.
//!
//! The API server takes the last of two fields with one name and merges objects, so a field that is given twice is
//! refused, also where an escape hides that it is. Integers keep all 64 bits. A number that is neither an `i64`
//! nor a `u64` is a double to both sides; one beyond 2^53, or with more than 15 digits, could become another number than
//! the one that was sent, and is refused.

use std::{cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value, map::Entry};

use super::Unreadable;

/// From here on a double is not every integer.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Any number of so many digits is read as the double that is written with them.
const DIGITS: usize = 15;

/// What a value, a member and the first node of an object take in memory beyond their text, rounded up.
const VALUE: usize = 32;
const MEMBER: usize = 64;
const OBJECT: usize = 640;

/// Reads `text`, at most 128 levels deep, into a value of at most `weight` bytes of memory.
pub(super) fn read(text: &[u8], weight: usize) -> Result<Value, Unreadable> {
    read_with(text, weight, exact)
}

/// Reads what the API server itself wrote: such a number is only looked at, and never sent again.
pub(super) fn read_answer(text: &[u8], weight: usize) -> Result<Value, Unreadable> {
    read_with(text, weight, Number::from_f64)
}

fn read_with(text: &[u8], weight: usize, double: Double) -> Result<Value, Unreadable> {
    if text.is_empty() {
        return Err(Unreadable::Empty);
    }
    let room = Room::of(weight);
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let strict = Strict {
        room: &room,
        double,
    };
    let value = strict.deserialize(&mut deserializer);
    match value.and_then(|value| deserializer.end().map(|()| value)) {
        Ok(value) => Ok(value),
        Err(_) if room.is_spent() => Err(Unreadable::TooManyFields),
        Err(error) => Err(Unreadable::Json(error.to_string())),
    }
}

/// The number, where it is the one that was written. Negative zero is zero, as it is to Go.
pub(super) fn exact(number: f64) -> Option<Number> {
    if number == 0.0 {
        return Some(Number::from(0));
    }
    let digits = format!("{:e}", number.abs());
    let digits = digits.bytes().take_while(|byte| *byte != b'e');
    let kept = digits.filter(u8::is_ascii_digit).count() <= DIGITS;
    Number::from_f64(number).filter(|_| kept && number.abs() < EXACT)
}

struct Room(Cell<Option<usize>>);

impl Room {
    fn of(bytes: usize) -> Self {
        Self(Cell::new(Some(bytes)))
    }

    fn take<E: Error>(&self, bytes: usize) -> Result<(), E> {
        let left = self.0.get().and_then(|left| left.checked_sub(bytes));
        self.0.set(left);
        left.map(drop)
            .ok_or_else(|| E::custom("it holds too many fields"))
    }

    fn is_spent(&self) -> bool {
        self.0.get().is_none()
    }
}

/// What becomes of a number that is no integer.
type Double = fn(f64) -> Option<Number>;

#[derive(Clone, Copy)]
struct Strict<'r> {
    room: &'r Room,
    double: Double,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.room.take(VALUE)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        (self.double)(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number has more digits than can be kept"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.room.take(value.len())?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element_seed(self)? {
            list.push(element);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let node = if object.is_empty() { OBJECT } else { MEMBER };
            self.room.take(node + name.len())?;
            match object.entry(name) {
                Entry::Vacant(free) => free.insert(members.next_value_seed(self)?),
                Entry::Occupied(taken) => {
                    let twice = format!("the field {:?} is given twice", taken.key());
                    return Err(A::Error::custom(twice));
                }
            };
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::proxy::content::tests::any_value;

    fn read(text: &str) -> Result<Value, Unreadable> {
        super::read(text.as_bytes(), 1 << 20)
    }

    #[test]
    fn a_field_that_is_given_twice_is_refused_in_any_spelling() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":[{"a":{},"b":1,"a":{}}]}"#,
        ] {
            let refused = read(text).expect_err(text).to_string();
            assert!(refused.contains("\"a\" is given twice"), "{refused}");
        }
        assert!(read(r#"{"a":1,"A":1}"#).is_ok());
    }

    #[test]
    fn integers_keep_64_bits() {
        for text in [
            "9223372036854775807",
            "-9223372036854775808",
            "18446744073709551615",
            "9007199254740993",
        ] {
            let value = read(text).expect("an integer");
            assert_eq!(value.to_string(), text);
        }
    }

    #[test]
    fn a_number_that_a_double_does_not_hold_is_refused() {
        for text in [
            "18446744073709551616",
            "-9223372036854775809",
            "123456789012345678901234567890",
            "9007199254740993.0",
            "1e300",
            "1e999",
            "0.30000000000000004",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        assert_eq!(read("1.5e2"), Ok(json!(150.0)));
        assert_eq!(read("0.1"), Ok(json!(0.1)));
        let learned = read_answer(b"[1e300,0.30000000000000004]", 1 << 10);
        assert!(learned.is_ok(), "{learned:?}");
        assert_eq!(read("-0"), Ok(json!(0)));
        assert_eq!(read("-0.0"), Ok(json!(0)));
    }

    #[test]
    fn what_go_would_read_in_its_own_way_is_refused() {
        for text in [
            "",
            "{",
            "{} {}",
            "[1,]",
            "{a:1}",
            "NaN",
            "01",
            "\u{feff}{}",
            r#""\ud800""#,
            "{\"a\":1}\0",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(super::read(b"\"\xff\"", 100).is_err());
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
        assert!(read(&nested(127)).is_ok());
        assert!(read(&nested(129)).is_err());
        assert!(read(&nested(1 << 20)).is_err());
    }

    #[test]
    fn a_body_of_tiny_objects_does_not_grow_in_memory() {
        let text = format!("[{}]", vec![r#"{"a":0}"#; 10_000].join(","));
        assert_eq!(read(&text), Err(Unreadable::TooManyFields));
        assert!(super::read(text.as_bytes(), 8 << 20).is_ok());
    }

    #[test]
    fn a_refusal_does_not_repeat_a_value() {
        let refused = read(r#"{"password":"swordfish" "x"}"#).expect_err("no comma");
        assert!(!refused.to_string().contains("swordfish"), "{refused}");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in any_value()) {
            prop_assert_eq!(read(&value.to_string()), Ok(value));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in any::<Vec<u8>>()) {
            drop(super::read(&bytes, 1 << 10));
        }
    }
}
