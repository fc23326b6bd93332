//! Values of a protobuf body by the numbers of their fields, for what no policy can allow.
//!
//! [`crate::protobuf`] reads by a schema, and refuses what that does not hold: a field of a later Kubernetes, or an
//! envelope that leaves the kind to the URL. Where a rule reads an object, that is right. These few fields are looked
//! for in every write of their resources, and the rest of such a body may be what it likes.
//!
//! The server reads with code that gogo/protobuf generates, which is laxer than the format. What the two
//! could read differently is malformed here, but for the order of fields and for one that is given twice: each counts.

const MAGIC: &[u8] = b"k8s\0";

/// The object in a body: `k8s\0`, then `runtime.Unknown{raw: 2, contentEncoding: 3, contentType: 4}`
/// (k8s.io/apimachinery/pkg/runtime/generated.proto). Of a second `raw` the server would take the last.
pub(super) fn object(body: &[u8]) -> Option<&[u8]> {
    let unknown = body.strip_prefix(MAGIC)?;
    let [raw] = fields(unknown, 2)?.try_into().ok()?;
    let absent = |number| Some(fields(unknown, number)?.iter().all(|text| text.is_empty()));
    (absent(3)? && absent(4)?).then_some(raw)
}

/// Every value at `path`, the numbers of nested fields. An embedded message that is given several times
/// is merged by the server, so each of them counts.
pub(super) fn values<'m>(message: &'m [u8], path: &[u32]) -> Option<Vec<&'m [u8]>> {
    let mut found = vec![message];
    for number in path {
        let nested: Option<Vec<_>> = found
            .into_iter()
            .map(|message| fields(message, *number))
            .collect();
        found = nested?.concat();
    }
    Some(found)
}

/// The length-delimited fields with `number`, in order; `None` where the message is malformed.
pub(super) fn fields(mut message: &[u8], number: u32) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    while !message.is_empty() {
        // Go keeps 32 bits of a tag, so a longer one would be another field there than here.
        let tag = u32::try_from(varint(&mut message)?).ok()?;
        if tag >> 3 == 0 {
            return None;
        }
        match tag & 7 {
            0 => drop(varint(&mut message)?),
            1 => drop(take(&mut message, 8)?),
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                let value = take(&mut message, length)?;
                if tag >> 3 == number {
                    found.push(value);
                }
            }
            5 => drop(take(&mut message, 4)?),
            // Groups, and what is no wire type.
            _ => return None,
        }
    }
    Some(found)
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *take(message, 1)?.first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(message: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = message.split_at_checked(length)?;
    *message = rest;
    Some(taken)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A length-delimited field.
    pub(in crate::proxy) fn field(number: u32, value: &[u8]) -> Vec<u8> {
        let mut bytes = encoded(u64::from(number << 3 | 2));
        bytes.extend(encoded(value.len() as u64));
        bytes.extend(value);
        bytes
    }

    /// A body whose object is `object`.
    pub(in crate::proxy) fn body(object: &[u8]) -> Vec<u8> {
        [MAGIC, &field(1, b""), &field(2, object)].concat()
    }

    fn encoded(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    #[test]
    fn a_field_is_found_each_time_it_is_given() {
        let spec = |text: &[u8]| field(2, &field(7, text));
        let message = [spec(b"a"), field(1, b"x"), spec(b"b")].concat();
        let message = body(&message);
        let object = object(&message).expect("it is an object");
        assert_eq!(values(object, &[2, 7]), Some(vec![&b"a"[..], b"b"]));
        assert_eq!(values(object, &[3]), Some(vec![]));
    }

    #[test]
    fn other_wire_types_are_stepped_over() {
        let message = [
            &[0x08, 0xff, 0x01][..],
            &[0x11, 1, 2, 3, 4, 5, 6, 7, 8],
            &[0x1d, 1, 2, 3, 4],
            &field(2, b"a"),
        ];
        assert_eq!(fields(&message.concat(), 2), Some(vec![&b"a"[..]]));
    }

    #[test]
    fn what_go_reads_differently_is_malformed() {
        let cut = [encoded((1 << 35) | (2 << 3) | 2), vec![0]].concat();
        for (message, why) in [
            (&cut[..], "a tag that Go cuts to 32 bits"),
            (&[0x02, 0x00], "field 0"),
            (&[0x0b, 0x0c], "a group"),
            (&[0x0e], "no wire type"),
            (&[0x12, 0x02, 0x00], "cut short"),
            (
                &[
                    0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
                ],
                "a negative length",
            ),
            (&[0xff; 11], "a varint without end"),
        ] {
            assert_eq!(fields(message, 2), None, "{why}");
        }
    }

    #[test]
    fn a_body_has_one_plain_object() {
        let raw = || field(2, b"");
        let none: &[Vec<u8>] = &[];
        for (parts, holds) in [
            (&[raw()][..], true),
            (&[raw(), field(3, b""), field(4, b"")], true),
            (none, false),
            (&[raw(), raw()], false),
            (&[raw(), field(3, b"gzip")], false),
            (&[raw(), field(4, b"application/json")], false),
        ] {
            let body = [MAGIC, &parts.concat()].concat();
            assert_eq!(object(&body).is_some(), holds, "{parts:?}");
        }
        assert_eq!(object(&raw()), None);
    }

    proptest! {
        #[test]
        fn fields_are_found_as_they_were_written(written in prop::collection::vec((1..20_u32, any::<Vec<u8>>()), 0..8), number in 1..20_u32) {
            let message: Vec<u8> = written.iter().flat_map(|(number, value)| field(*number, value)).collect();
            let expected: Vec<&[u8]> = written
                .iter()
                .filter(|(other, _)| *other == number)
                .map(|(_, value)| value.as_slice())
                .collect();
            prop_assert_eq!(fields(&message, number), Some(expected));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in any::<Vec<u8>>(), path in prop::collection::vec(0..4_u32, 0..4)) {
            values(&bytes, &path);
            object(&[MAGIC, &bytes].concat());
        }
    }
}
