//! Reads along what a program and its client say to each other, for the record.
//!
//! The bytes pass whatever becomes of this: what is not understood, or fails, ends the reading alone, and the record
//! says so.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
};

use http::HeaderMap;

use crate::{
    mask::{self, Digest, ExitStatus, Masked, OutputMasker},
    proxy::{
        budget::Room,
        channels::{Channel, Channels, Direction, Unreadable},
        growing::Growing,
        recorder::INLINE_LIMIT,
        recording::Recording,
    },
};

/// A `metav1.Status` is far shorter.
const STATUS_MOST: usize = 64 << 10;

/// Nothing is read where the record level leaves out what is said.
#[derive(Default)]
pub(super) struct Tap(Option<Mutex<Ear>>);

struct Ear {
    key: Arc<mask::Key>,
    digest_up: Digest,
    digest_down: Digest,
    /// `None` where the connection speaks nothing that is read.
    channels: Option<Channels>,
    unreadable: Option<Unreadable>,
    said: Said,
    growing: Growing,
    has_failed: bool,
}

/// By channel.
struct Said {
    stdin: Option<OutputMasker>,
    stdout: OutputMasker,
    stderr: OutputMasker,
    error: Vec<u8>,
}

/// What the record gets.
pub(in crate::proxy) struct Heard {
    pub(in crate::proxy) object: Option<Masked<String>>,
    /// Nothing was left unread, though it may be cut.
    pub(in crate::proxy) is_read: bool,
    pub(in crate::proxy) exit: Option<ExitStatus>,
    pub(in crate::proxy) masked_up: Option<u32>,
    pub(in crate::proxy) masked_down: u32,
    pub(in crate::proxy) digest_up: String,
    pub(in crate::proxy) digest_down: String,
    pub(in crate::proxy) room: Option<Room>,
}

impl Tap {
    /// Of a connection whose 101 has these headers.
    pub(super) fn of(recording: &Recording, answer: &HeaderMap, with_stdin: bool) -> Self {
        let growing = recording.growing().filter(|_| recording.wants_session());
        Self(growing.map(|growing| Mutex::new(Ear::new(recording, growing, answer, with_stdin))))
    }

    /// Before the bytes pass, so that a stream is known before anything comes back on it.
    pub(super) fn hear(&self, direction: Direction, bytes: &[u8]) {
        let Some(ear) = &self.0 else { return };
        let mut ear = ear.lock().unwrap_or_else(PoisonError::into_inner);
        if !ear.has_failed {
            let heard = catch_unwind(AssertUnwindSafe(|| ear.hear(direction, bytes)));
            ear.has_failed = heard.is_err();
        }
    }

    pub(super) fn finish(self) -> Option<Heard> {
        let ear = self.0?.into_inner();
        Some(ear.unwrap_or_else(PoisonError::into_inner).finish())
    }
}

impl Ear {
    fn new(recording: &Recording, growing: Growing, answer: &HeaderMap, with_stdin: bool) -> Self {
        let key = recording.key();
        Self {
            key: Arc::clone(key),
            digest_up: key.digest(),
            digest_down: key.digest(),
            channels: Channels::of(answer),
            unreadable: None,
            said: Said::new(key, with_stdin),
            growing,
            has_failed: false,
        }
    }

    fn hear(&mut self, direction: Direction, bytes: &[u8]) {
        match direction {
            Direction::Up => self.digest_up.update(bytes),
            Direction::Down => self.digest_down.update(bytes),
        }
        let Some(channels) = &mut self.channels else {
            return;
        };
        let mut hear = |channel, bytes: &[u8]| self.said.hear(channel, bytes);
        if let Err(unreadable) = channels.feed(direction, bytes, &mut hear) {
            self.unreadable.get_or_insert(unreadable);
        }
        if !self.growing.holds(self.said.size()) {
            self.said.cut();
        }
    }

    fn finish(self) -> Heard {
        let is_heard = self.channels.is_some() && !self.has_failed;
        let mut heard = Heard {
            object: None,
            is_read: is_heard && self.unreadable.is_none(),
            exit: None,
            masked_up: None,
            masked_down: 0,
            digest_up: self.digest_up.finish(),
            digest_down: self.digest_down.finish(),
            room: self.growing.into_room(),
        };
        if is_heard {
            self.said.tell(&self.key, self.unreadable, &mut heard);
        }
        heard
    }
}

impl Said {
    fn new(key: &Arc<mask::Key>, with_stdin: bool) -> Self {
        let streams = if with_stdin { 3 } else { 2 };
        let masker = || OutputMasker::new(key, INLINE_LIMIT / streams);
        Self {
            stdin: with_stdin.then(masker),
            stdout: masker(),
            stderr: masker(),
            error: Vec::new(),
        }
    }

    fn hear(&mut self, channel: Channel, bytes: &[u8]) {
        match channel {
            Channel::Stdin => self.stdin.iter_mut().for_each(|stdin| stdin.update(bytes)),
            Channel::Stdout => self.stdout.update(bytes),
            Channel::Stderr => self.stderr.update(bytes),
            Channel::Error => {
                let room = STATUS_MOST - self.error.len();
                self.error
                    .extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
        }
    }

    fn size(&self) -> usize {
        let stdin = self.stdin.as_ref().map_or(0, OutputMasker::size);
        stdin + self.stdout.size() + self.stderr.size()
    }

    fn cut(&mut self) {
        self.stdin.iter_mut().for_each(OutputMasker::cut);
        self.stdout.cut();
        self.stderr.cut();
    }

    fn tell(self, key: &mask::Key, unreadable: Option<Unreadable>, heard: &mut Heard) {
        let stdin = self.stdin.map(OutputMasker::finish);
        let (stdout, stderr) = (self.stdout.finish(), self.stderr.finish());
        heard.masked_up = stdin.as_ref().map(|stdin| stdin.masked);
        heard.masked_down = stdout.masked.saturating_add(stderr.masked);
        heard.exit = ExitStatus::read(key, &self.error);
        let stdin = stdin.map(|stdin| ("stdin", stdin));
        let said = [("stdout", stdout), ("stderr", stderr)];
        let said = stdin.into_iter().chain(said).collect();
        let unread = unreadable.map(|unreadable| unreadable.to_string());
        heard.object = mask::session(key, said, heard.exit.as_ref(), unread.as_deref());
    }
}
