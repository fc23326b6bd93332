//! Where one of many texts begins, without case.
//!
//! Every third pair of bytes is looked up in a table of the pairs that texts begin with, so a text is met whatever its
//! place is, and no step waits for the one before. A shift that depends on what was read, as in Wu and Manber's search,
//! looks at fewer bytes and takes three times as long.

use std::collections::BTreeMap;

/// As much of each text as the search looks at first.
pub(super) const SHORTEST: usize = 4;
const PAIRS: usize = SHORTEST - 1;
const SLOTS: usize = 1 << 13;

#[derive(Debug)]
pub(super) struct Search {
    texts: Vec<Vec<u8>>,
    /// Of a pair, a bit for each place that it has in the beginning of some text.
    places: Box<[u8; SLOTS]>,
    /// By their first four bytes.
    begin: BTreeMap<u32, Vec<usize>>,
}

/// Texts that may begin at a place, by their indices.
pub(super) struct Hit<'s> {
    pub(super) at: usize,
    pub(super) texts: &'s [usize],
}

impl Search {
    /// Each of `texts` has at least [`SHORTEST`] bytes, all of them ASCII.
    pub(super) fn new<'t>(texts: impl IntoIterator<Item = &'t str>) -> Self {
        let mut search = Self {
            texts: texts
                .into_iter()
                .map(|text| text.as_bytes().to_vec())
                .collect(),
            places: Box::new([0; SLOTS]),
            begin: BTreeMap::new(),
        };
        for (index, text) in search.texts.iter().enumerate() {
            for place in 0..PAIRS {
                search.places[slot(text[place], text[place + 1])] |= 1 << place;
            }
            search.begin.entry(start(text)).or_default().push(index);
        }
        search
    }

    /// The next place from `from` where some of the texts may begin; [`Search::begins`] says which do.
    pub(super) fn next(&self, text: &[u8], from: usize) -> Option<Hit<'_>> {
        let mut at = from + PAIRS - 1;
        loop {
            at += PAIRS * self.empty_steps(text.get(at..)?);
            let places = self.places_at(text, at)?;
            let first = at + 1 - PAIRS;
            let candidates = (first..=at).filter(|start| places >> (at - start) & 1 == 1);
            if let Some(hit) = candidates
                .filter_map(|start| self.candidate(text, start))
                .next()
            {
                return Some(hit);
            }
            at += PAIRS;
        }
    }

    /// How many steps may be skipped at once, four by four.
    fn empty_steps(&self, text: &[u8]) -> usize {
        const TOGETHER: usize = 4;
        let pieces = text.chunks_exact(TOGETHER * PAIRS);
        let empty = |piece: &&[u8]| {
            let places =
                |step: usize| self.places[slot(piece[step * PAIRS], piece[step * PAIRS + 1])];
            places(0) | places(1) | places(2) | places(3) == 0
        };
        TOGETHER * pieces.take_while(empty).count()
    }

    fn places_at(&self, text: &[u8], at: usize) -> Option<u8> {
        let pair = text.get(at..at + 2)?;
        Some(self.places[slot(pair[0], pair[1])])
    }

    fn candidate(&self, text: &[u8], at: usize) -> Option<Hit<'_>> {
        let beginning = text.get(at..at + SHORTEST)?;
        let likely = (0..PAIRS).all(|place| {
            self.places[slot(beginning[place], beginning[place + 1])] >> place & 1 == 1
        });
        let texts = likely.then(|| self.begin.get(&start(beginning)))??;
        Some(Hit { at, texts })
    }

    /// Where the text with this index ends, if it begins at `at`.
    pub(super) fn begins(&self, index: usize, text: &[u8], at: usize) -> Option<usize> {
        let end = at + self.texts[index].len();
        let found = text.get(at..end)?;
        found
            .eq_ignore_ascii_case(&self.texts[index])
            .then_some(end)
    }
}

fn slot(first: u8, second: u8) -> usize {
    let (first, second) = (usize::from(first | 0x20), usize::from(second | 0x20));
    (first << 5 ^ second) % SLOTS
}

fn start(text: &[u8]) -> u32 {
    let first = [text[0], text[1], text[2], text[3]];
    u32::from_le_bytes(first.map(|byte| byte | 0x20))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXTS: [&str; 5] = ["bear", "bearer ", "-----BEGIN", "aaab", "abab"];

    fn found(text: &[u8]) -> Vec<(usize, usize)> {
        let search = Search::new(TEXTS);
        let (mut found, mut at) = (Vec::new(), 0);
        while let Some(hit) = search.next(text, at) {
            let begin = hit
                .texts
                .iter()
                .filter(|index| search.begins(**index, text, hit.at).is_some());
            found.extend(begin.map(|index| (hit.at, *index)));
            at = hit.at + 1;
        }
        found.sort_unstable();
        found
    }

    proptest! {
        #[test]
        fn every_text_is_found_wherever_it_begins(parts in prop::collection::vec(prop_oneof![
            "[ab]{0,6}", Just("Bearer ".to_owned()), Just("-----begin".to_owned()), any::<String>(),
        ], 0..8)) {
            let text = parts.concat();
            let bytes = text.as_bytes();
            let naive: Vec<_> = (0..bytes.len())
                .flat_map(|at| TEXTS.iter().enumerate().map(move |(index, text)| (at, index, *text)))
                .filter(|(at, _, text)| bytes[*at..].get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text.as_bytes())))
                .map(|(at, index, _)| (at, index))
                .collect();
            prop_assert_eq!(found(bytes), naive);
        }
    }
}
