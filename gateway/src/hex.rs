//! Bytes as lower-case hexadecimal digits, as digests are written.

/// Without the formatter, since every placeholder and digest of a record comes through here.
pub fn encode(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_is_two_digits() {
        assert_eq!(encode(&[0, 0x0a, 0xff]), "000aff");
    }
}
