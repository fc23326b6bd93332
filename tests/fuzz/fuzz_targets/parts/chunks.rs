//! A body in pieces.

/// Pieces of these lengths, and the rest.
pub(crate) fn chunks<'a>(mut body: &'a [u8], lengths: &[u8]) -> Vec<&'a [u8]> {
    let mut chunks = Vec::new();
    for length in lengths {
        let (chunk, rest) = body.split_at(usize::from(*length).min(body.len()));
        chunks.push(chunk);
        body = rest;
    }
    chunks.push(body);
    chunks
}
