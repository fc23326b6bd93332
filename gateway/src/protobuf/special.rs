//! Messages that are one value in JSON.

use jiff::Timestamp;
use serde::de::IgnoredAny;

use super::{Malformed, description::Shape};

pub(super) const NULL: &[u8] = b"null";

/// Go's zero time, the first second of the year 1, which is null.
const ZERO_TIME: i64 = -62_135_596_800;

/// Longer than any name, quantity or percentage.
const TEXT_LIMIT: usize = 64 << 10;

/// The fields of the one such message that is open.
#[derive(Debug, Default)]
pub(super) struct Special {
    pub(super) numbers: [i64; 2],
    pub(super) text: Vec<u8>,
}

impl Special {
    pub(super) fn clear(&mut self) {
        self.numbers = [0; 2];
        self.text.clear();
        self.text.shrink_to(TEXT_LIMIT);
    }

    pub(super) fn push(&mut self, bytes: &[u8], limit: usize) -> Result<(), Malformed> {
        if self.text.len() + bytes.len() > limit {
            return Err(Malformed::TooLong);
        }
        self.text.extend_from_slice(bytes);
        Ok(())
    }

    pub(super) fn set(&mut self, field: u32, number: i64) {
        if let Some(stored) = self.numbers.get_mut(field as usize - 1) {
            *stored = number;
        }
    }

    /// How long the text of such a message may be.
    pub(super) fn limit(shape: Shape, json_limit: usize) -> usize {
        match shape {
            Shape::Json | Shape::Embedded => json_limit,
            _ => TEXT_LIMIT,
        }
    }

    /// What is written for a message of this shape.
    pub(super) fn json(&self, shape: Shape) -> Result<Vec<u8>, Malformed> {
        let [first, second] = self.numbers;
        match shape {
            Shape::Time | Shape::MicroTime if first == ZERO_TIME && second == 0 => Ok(null()),
            Shape::Time => Ok(quoted(&time(first, 0)?.to_string())),
            Shape::MicroTime => Ok(quoted(&format!("{:.6}", time(first, second)?))),
            Shape::Duration => Ok(quoted(&duration(first))),
            Shape::Quantity if self.text.is_empty() => Ok(quoted("0")),
            Shape::Quantity => self.string(),
            Shape::IntOrString if first == 0 => Ok(second.to_string().into_bytes()),
            Shape::IntOrString if first == 1 => self.string(),
            Shape::Json | Shape::Embedded if self.text.is_empty() => Ok(null()),
            Shape::Json | Shape::Embedded => self.document(),
            _ => Err(Malformed::Value),
        }
    }

    fn string(&self) -> Result<Vec<u8>, Malformed> {
        let text = std::str::from_utf8(&self.text).map_err(|_| Malformed::Utf8)?;
        serde_json::to_vec(text).map_err(|_| Malformed::Value)
    }

    /// One value and nothing behind it, or it could close what it stands in.
    fn document(&self) -> Result<Vec<u8>, Malformed> {
        match serde_json::from_slice::<IgnoredAny>(&self.text) {
            Ok(_) => Ok(self.text.clone()),
            Err(_) => Err(Malformed::Json),
        }
    }
}

fn null() -> Vec<u8> {
    NULL.to_vec()
}

fn quoted(text: &str) -> Vec<u8> {
    ["\"", text, "\""].concat().into_bytes()
}

fn time(seconds: i64, nanos: i64) -> Result<Timestamp, Malformed> {
    let micros = i32::try_from(nanos / 1000).map_err(|_| Malformed::Value)?;
    if nanos < 0 || micros >= 1_000_000 {
        return Err(Malformed::Value);
    }
    Timestamp::new(seconds, micros * 1000).map_err(|_| Malformed::Value)
}

/// As Go's `time.Duration` prints itself.
fn duration(nanos: i64) -> String {
    let magnitude = nanos.unsigned_abs();
    let sign = if nanos < 0 { "-" } else { "" };
    let text = match magnitude {
        0 => return "0s".to_owned(),
        1..1_000 => format!("{magnitude}ns"),
        1_000..1_000_000 => fraction(magnitude, 1_000, "µs"),
        1_000_000..1_000_000_000 => fraction(magnitude, 1_000_000, "ms"),
        _ => long_duration(magnitude),
    };
    format!("{sign}{text}")
}

fn long_duration(nanos: u64) -> String {
    const MINUTE: u64 = 60_000_000_000;
    let seconds = fraction(nanos % MINUTE, 1_000_000_000, "s");
    let minutes = nanos / MINUTE;
    match (minutes / 60, minutes % 60) {
        (0, 0) => seconds,
        (0, minutes) => format!("{minutes}m{seconds}"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
    }
}

fn fraction(nanos: u64, unit: u64, name: &str) -> String {
    let digits = unit.ilog10() as usize;
    let rest = format!("{:0digits$}", nanos % unit);
    match rest.trim_end_matches('0') {
        "" => format!("{}{name}", nanos / unit),
        rest => format!("{}.{rest}{name}", nanos / unit),
    }
}

/// A `double` as JSON.
pub(super) fn double(bits: u64) -> Result<Vec<u8>, Malformed> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let value = f64::from_bits(bits);
    if !value.is_finite() {
        return Err(Malformed::Value);
    }
    if value.fract() == 0.0 && value.abs() < EXACT {
        return Ok((value as i64).to_string().into_bytes());
    }
    serde_json::to_vec(&value).map_err(|_| Malformed::Value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(shape: Shape, numbers: [i64; 2], text: &str) -> Result<String, Malformed> {
        let special = Special {
            numbers,
            text: text.into(),
        };
        let json = special.json(shape)?;
        Ok(String::from_utf8(json).unwrap())
    }

    #[test]
    fn values_are_written_as_kubernetes_writes_them() {
        for (shape, numbers, text, expected) in [
            (Shape::Time, [0, 0], "", r#""1970-01-01T00:00:00Z""#),
            (
                Shape::Time,
                [1_700_000_000, 9],
                "",
                r#""2023-11-14T22:13:20Z""#,
            ),
            (Shape::Time, [ZERO_TIME, 0], "", "null"),
            (
                Shape::MicroTime,
                [0, 1_234_567],
                "",
                r#""1970-01-01T00:00:00.001234Z""#,
            ),
            (Shape::Quantity, [0, 0], "", r#""0""#),
            (Shape::Quantity, [0, 0], "1500m", r#""1500m""#),
            (Shape::IntOrString, [0, -7], "ignored", "-7"),
            (Shape::IntOrString, [1, 0], "a\"b", r#""a\"b""#),
            (Shape::Json, [0, 0], r#"{"f:a":{}}"#, r#"{"f:a":{}}"#),
            (Shape::Embedded, [0, 0], "", "null"),
            (Shape::Duration, [0, 0], "", r#""0s""#),
            (Shape::Duration, [300_000_000_000, 0], "", r#""5m0s""#),
            (Shape::Duration, [3_661_500_000_000, 0], "", r#""1h1m1.5s""#),
            (Shape::Duration, [-1_500_000, 0], "", r#""-1.5ms""#),
            (Shape::Duration, [1_001, 0], "", "\"1.001µs\""),
            (
                Shape::Duration,
                [i64::MIN, 0],
                "",
                r#""-2562047h47m16.854775808s""#,
            ),
        ] {
            assert_eq!(json(shape, numbers, text).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_kubernetes_cannot_hold_is_refused() {
        for (shape, numbers, text) in [
            (Shape::Time, [i64::MAX, 0], ""),
            (Shape::MicroTime, [0, -1], ""),
            (Shape::MicroTime, [0, 1_000_000_000], ""),
            (Shape::IntOrString, [2, 0], ""),
            (Shape::Json, [0, 0], "{}{}"),
            (Shape::Json, [0, 0], "{"),
            (Shape::Embedded, [0, 0], "\"a\",\"b\""),
        ] {
            assert!(
                json(shape, numbers, text).is_err(),
                "{shape:?} {numbers:?} {text}"
            );
        }
    }

    #[test]
    fn whole_doubles_have_no_point() {
        for (value, expected) in [(5.0, "5"), (-0.5, "-0.5"), (1e300, "1e+300"), (0.1, "0.1")] {
            assert_eq!(
                double(f64::to_bits(value)),
                Ok(expected.as_bytes().to_vec())
            );
        }
        assert_eq!(double(f64::to_bits(f64::NAN)), Err(Malformed::Value));
    }
}
