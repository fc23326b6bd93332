//! What is kept of a stream grows with it, for as long as its principal has room.

use std::sync::Arc;

use super::{budget::Room, principals::Principal};

/// How room is taken. The first step is taken before the call is sent, so that one for which there is none is refused.
pub(super) const STEP: usize = 128 << 10;

pub(super) struct Growing {
    principal: Arc<Principal>,
    /// Beyond the first step.
    room: Option<Room>,
}

impl Growing {
    pub(super) fn new(principal: Arc<Principal>) -> Self {
        Self {
            principal,
            room: None,
        }
    }

    /// Whether there is room for so many bytes in all.
    pub(super) fn holds(&mut self, bytes: usize) -> bool {
        let taken = STEP + self.room.as_ref().map_or(0, Room::bytes);
        if bytes <= taken {
            return true;
        }
        let more = (bytes - taken).next_multiple_of(STEP);
        match (&mut self.room, self.principal.buffered.try_take(more)) {
            (_, None) => return false,
            (Some(room), Some(more)) => room.join(more),
            (room @ None, more) => *room = more,
        }
        true
    }

    /// To be kept until the record is on disk.
    pub(super) fn into_room(self) -> Option<Room> {
        self.room
    }
}
