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
    mask::{self, Digest, ExitStatus, Masked, OutputMasker, RecordedOutput},
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
    stdin: Option<OutputMasker>,
    stdout: OutputMasker,
    stderr: OutputMasker,
    error: Vec<u8>,
    growing: Growing,
    has_failed: bool,
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
        let streams = if with_stdin { 3 } else { 2 };
        let masker = || OutputMasker::new(key, INLINE_LIMIT / streams);
        Self {
            key: Arc::clone(key),
            digest_up: key.digest(),
            digest_down: key.digest(),
            channels: Channels::of(answer),
            unreadable: None,
            stdin: with_stdin.then(masker),
            stdout: masker(),
            stderr: masker(),
            error: Vec::new(),
            growing,
            has_failed: false,
        }
    }

    fn hear(&mut self, direction: Direction, bytes: &[u8]) {
        match direction {
            Direction::Up => self.digest_up.update(bytes),
            Direction::Down => self.digest_down.update(bytes),
        }
        let Self {
            channels: Some(channels),
            stdin,
            stdout,
            stderr,
            error,
            ..
        } = self
        else {
            return;
        };
        let mut said = |channel: Channel, said: &[u8]| match channel {
            Channel::Stdin => stdin.iter_mut().for_each(|stdin| stdin.update(said)),
            Channel::Stdout => stdout.update(said),
            Channel::Stderr => stderr.update(said),
            Channel::Error => {
                let room = STATUS_MOST - error.len();
                error.extend_from_slice(&said[..said.len().min(room)]);
            }
        };
        if let Err(unreadable) = channels.feed(direction, bytes, &mut said) {
            self.unreadable.get_or_insert(unreadable);
        }
        self.keep_within_room();
    }

    fn keep_within_room(&mut self) {
        let Self {
            stdin,
            stdout,
            stderr,
            growing,
            ..
        } = self;
        let mut maskers: Vec<_> = stdin.iter_mut().chain([stdout, stderr]).collect();
        let size = maskers.iter().map(|masker| masker.size()).sum();
        if !growing.holds(size) {
            maskers.iter_mut().for_each(|masker| masker.cut());
        }
    }

    fn finish(self) -> Heard {
        let is_read = self.channels.is_some() && self.unreadable.is_none() && !self.has_failed;
        let (digest_up, digest_down) = (self.digest_up.finish(), self.digest_down.finish());
        let room = self.growing.into_room();
        if self.channels.is_none() || self.has_failed {
            return Heard {
                object: None,
                is_read,
                exit: None,
                masked_up: None,
                masked_down: 0,
                digest_up,
                digest_down,
                room,
            };
        }
        let exit = ExitStatus::read(&self.key, &self.error);
        let stdin = self.stdin.map(OutputMasker::finish);
        let outputs = [self.stdout, self.stderr].map(OutputMasker::finish);
        let masked = |output: &RecordedOutput| output.masked;
        let masked_up = stdin.as_ref().map(masked);
        let masked_down = outputs.iter().map(masked).sum();
        let [stdout, stderr] = outputs;
        let said = stdin
            .map(|stdin| ("stdin", stdin))
            .into_iter()
            .chain([("stdout", stdout), ("stderr", stderr)])
            .collect();
        let unread = self.unreadable.map(|unreadable| unreadable.to_string());
        Heard {
            object: mask::session(&self.key, said, exit.as_ref(), unread.as_deref()),
            is_read,
            exit,
            masked_up,
            masked_down,
            digest_up,
            digest_down,
            room,
        }
    }
}
