//! Events of a WebSocket that came and are not sent yet. Promise: they go out in order, and before one that ends an attempt
//! its lines, as many as there were when its turn came.

use super::run_stream::ends_attempt;
use crate::domain::RunId;
use crate::stream::{Piece, RoomChunk, RoomEvent, RoomKey};

/// What came and is not sent yet, in order.
#[derive(Debug)]
pub struct Unsent {
    pieces: Vec<Piece>,
    /// How many of them were sent.
    sent: usize,
    /// Which room's lines go out before the next one, and up to which position. None until that was looked at.
    lines_to: Option<(RoomKey, u64)>,
    /// No more will come: the engine has ended.
    pub is_end: bool,
}

impl Unsent {
    /// All of a chunk but its gaps.
    pub fn new(chunk: RoomChunk) -> Self {
        Unsent {
            pieces: chunk.pieces,
            sent: 0,
            lines_to: None,
            is_end: chunk.is_end,
        }
    }

    /// What is left.
    pub fn pieces(&self) -> &[Piece] {
        self.pieces.get(self.sent..).unwrap_or_default()
    }

    /// The run whose lines go out before the next event, where that one ends an attempt.
    pub fn run_that_waits(&self) -> Option<RunId> {
        match self.pieces().first()? {
            Piece::Event(event) if ends_attempt(&event.type_name) => event.run,
            Piece::Event(_) | Piece::Frames(_) => None,
        }
    }

    /// How far the lines go that go out before the next event: as far as there were any when that was first asked. Those
    /// that are written meanwhile are not waited for, nor those of a room that was opened meanwhile: it has later ones.
    pub fn lines_to(&mut self, room: RoomKey, highest: u64) -> u64 {
        let (of, to) = *self.lines_to.get_or_insert((room, highest));
        if of == room { to } else { 0 }
    }

    /// The next event and those behind it, up to another one before which lines may go.
    pub fn next_pieces(&self) -> &[Piece] {
        let pieces = self.pieces();
        let is_free =
            |piece: &&Piece| !matches!(piece, Piece::Event(event) if ends_attempt(&event.type_name));
        let free = pieces.iter().skip(1).take_while(is_free).count();
        &pieces[..pieces.len().min(1 + free)]
    }

    /// So many of the pieces were sent.
    pub fn pass(&mut self, count: usize) {
        self.sent += count;
        self.lines_to = None;
    }

    /// The event before the first unsent one that `is_meant`; none where there is no such one.
    pub fn last_before(&self, is_meant: impl Fn(&RoomEvent) -> bool) -> Option<i64> {
        let next = self.pieces().iter().find_map(|piece| match piece {
            Piece::Event(event) if is_meant(event) => Some(event.seq.0),
            Piece::Event(_) | Piece::Frames(_) => None,
        });
        next.map(|seq| i64::try_from(seq).map_or(i64::MAX, |seq| seq - 1))
    }
}
