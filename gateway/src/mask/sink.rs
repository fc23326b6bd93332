//! Where masked bytes go while the body may still be recorded inline.

/// A buffer with a hard limit. Beyond it the bytes are given up, and the buffer with them.
pub(super) struct Sink {
    bytes: Vec<u8>,
    /// What was handed on already. Positions count it.
    handed_on: usize,
    limit: usize,
    open: bool,
}

impl Sink {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            handed_on: 0,
            limit,
            open: true,
        }
    }

    pub(super) fn closed() -> Self {
        Self {
            open: false,
            ..Self::new(0)
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if !self.open {
            return;
        }
        if self.limit - self.bytes.len() < bytes.len() {
            return self.close();
        }
        self.reserve(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn close(&mut self) {
        self.open = false;
        self.bytes = Vec::new();
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn len(&self) -> usize {
        self.handed_on + self.bytes.len()
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.bytes.truncate(self.index(len));
    }

    /// Takes back what was written since the buffer had this length.
    pub(super) fn take_from(&mut self, len: usize) -> Vec<u8> {
        self.bytes.split_off(self.index(len))
    }

    /// What was written since then.
    pub(super) fn since(&self, len: usize) -> &[u8] {
        &self.bytes[self.index(len)..]
    }

    /// Whether everything since then is still here.
    pub(super) fn holds(&self, len: usize) -> bool {
        len >= self.handed_on
    }

    /// Hands on what was written before the buffer had this length.
    pub(super) fn hand_on(&mut self, len: usize) -> Vec<u8> {
        let rest = self.bytes.split_off(self.index(len));
        let handed = std::mem::replace(&mut self.bytes, rest);
        self.handed_on += handed.len();
        handed
    }

    fn index(&self, len: usize) -> usize {
        len.saturating_sub(self.handed_on).min(self.bytes.len())
    }

    pub(super) fn into_bytes(self) -> Option<Vec<u8>> {
        self.open.then_some(self.bytes)
    }

    /// It holds more than it may, so what room there is cannot be told.
    #[cfg(test)]
    pub(super) fn broken() -> Self {
        Self {
            bytes: vec![0],
            ..Self::new(0)
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Doubles like `Vec`, but never reserves beyond the limit.
    fn reserve(&mut self, more: usize) {
        let needed = self.bytes.len() + more;
        if needed > self.bytes.capacity() {
            let target = needed.max(self.bytes.capacity() * 2).min(self.limit);
            self.bytes.reserve_exact(target - self.bytes.len());
        }
    }
}
