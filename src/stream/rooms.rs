//! Several rooms over one ledger, read together: each event once, with all the rooms that it belongs to.
//!
//! There is one place, `next`, for all rooms of a reader, and the argument is that of a [`super::Subscription`]: the live
//! side gives an event only when it is exactly the next one, and takes a later one as the sign to read the ledger. A
//! room that asks for the past moves the place back; each room says from where on it wants to see anything (`from`), so
//! that the others do not see again what they have seen. They wait until the newcomer has caught up: only then can an
//! event be given once and in order.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::task::JoinHandle;

use super::channels::Live;
use super::cursor::last_before;
use super::events::StreamError;
use super::filter::{EventHead, Filter};
use super::hub::{EncodePart, Hub, Published};
use crate::domain::{RunId, Seq, TenantName, leaf_hash};
use crate::engine::Handle;
use crate::ledger::LedgerError;
use crate::limits;
use crate::store::{Direction, Page};

/// Names a room of one reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoomKey(u64);

/// One event and where it belongs.
#[derive(Debug, Clone)]
pub struct RoomEvent {
    /// Its sequence.
    pub seq: Seq,
    /// Its type.
    pub type_name: Cow<'static, str>,
    /// The run it names.
    pub run: Option<RunId>,
    /// The rooms that it belongs to, in the order in which they were opened; never none. Shared with the event before
    /// when they are the same.
    pub rooms: Arc<[RoomKey]>,
    /// Its sent part, the same for every reader.
    pub part: Bytes,
}

/// What is sent next.
#[derive(Debug, Clone)]
pub enum Piece {
    /// One event.
    Event(RoomEvent),
    /// The frames of several, shared by all readers of the one room that this reader has.
    Frames(Bytes),
}

/// Some events, in order.
#[derive(Debug, Clone, Default)]
pub struct RoomChunk {
    /// What is sent, in order.
    pub pieces: Vec<Piece>,
    /// Events that are gone for good, before those above. Each room is in one at most.
    pub gaps: Vec<RoomGap>,
    /// No more will come: the engine has ended.
    pub is_end: bool,
}

/// Events that are gone for good.
#[derive(Debug, Clone)]
pub struct RoomGap {
    /// The rooms that would have seen them, and none of which has seen any.
    pub rooms: Vec<RoomKey>,
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

/// The rooms of one reader.
#[derive(Debug)]
pub struct Rooms {
    source: Source,
    live: Live,
    /// The first event not yet looked at.
    next: u64,
    /// The ledger may hold events from `next` on.
    is_behind: bool,
    /// A read of the ledger from `next` on for the rooms there are. Kept while others are waited for, so that whoever
    /// is called away again and again still gets on.
    reading: Option<Reading>,
    /// Raised with every change of the rooms: what was read for others is of no use.
    changes: u64,
    keys_given: u64,
    /// What stands before each event, while there is one room and nothing that must come in between.
    head: Option<Arc<str>>,
}

/// A read of the ledger, and for which rooms.
#[derive(Debug)]
struct Reading {
    changes: u64,
    task: JoinHandle<Result<(RoomChunk, u64), StreamError>>,
}

/// What reading the ledger needs.
#[derive(Debug, Clone)]
struct Source {
    engine: Handle,
    tenant: TenantName,
    rooms: Arc<Vec<Room>>,
    encode: EncodePart,
}

#[derive(Debug, Clone)]
struct Room {
    key: RoomKey,
    filter: Filter,
    /// The first event that it wants to see.
    from: u64,
}

impl Room {
    fn wants(&self, seq: Seq) -> bool {
        self.from <= seq.0
    }
}

impl Rooms {
    /// A reader without rooms. May block on the disk.
    ///
    /// # Errors
    /// The ledger cannot be opened.
    pub fn open((engine, hub): (&Handle, &Hub), tenant: &TenantName) -> Result<Self, StreamError> {
        // Before the size is looked at: nothing can fall between.
        let live = hub.subscribe(tenant, None);
        let next = engine.ledger(tenant)?.size();
        Ok(Rooms {
            source: Source {
                engine: engine.clone(),
                tenant: tenant.clone(),
                rooms: Arc::default(),
                encode: hub.encode_part(),
            },
            live,
            next,
            is_behind: true,
            reading: None,
            changes: 0,
            keys_given: 0,
            head: None,
        })
    }

    /// Opens a room from `next` on; none is from now on. The last event there is now comes back with its key.
    ///
    /// # Errors
    /// [`StreamError::BeyondEnd`]; the ledger cannot be opened.
    pub fn enter(&mut self, filter: Filter, next: Option<Seq>) -> Result<(RoomKey, i64), StreamError> {
        let end = self.source.engine.ledger(&self.source.tenant)?.size();
        let from = next.map_or(end, |seq| seq.0);
        if from > end {
            return Err(StreamError::BeyondEnd { end });
        }
        let key = RoomKey(self.keys_given);
        self.keys_given += 1;
        self.changes += 1;
        let seen = self.next;
        let rooms = Arc::make_mut(&mut self.source.rooms);
        if rooms.is_empty() {
            self.next = from;
            self.is_behind = true;
        } else if from < seen {
            for room in rooms.iter_mut() {
                room.from = room.from.max(seen);
            }
            self.next = from;
            self.is_behind = true;
        }
        rooms.push(Room { key, filter, from });
        Ok((key, last_before(end)))
    }

    /// Closes a room. The last event that it has seen or passed over comes back; none when it is not open.
    pub fn leave(&mut self, key: RoomKey) -> Option<i64> {
        let at = self.source.rooms.iter().position(|room| room.key == key)?;
        self.changes += 1;
        let room = Arc::make_mut(&mut self.source.rooms).remove(at);
        // Others may be read from further back.
        Some(last_before(room.from.max(self.next)))
    }

    /// From now on whole batches may be given as frames, with this before each event; none for event by event. To be set
    /// anew with every change of the rooms: it counts only while there is one.
    pub fn share(&mut self, head: Option<Arc<str>>) {
        self.head = head;
    }

    /// The last event that was looked at; −1 before the first.
    pub fn as_of(&self) -> i64 {
        last_before(self.next)
    }

    /// The rooms that a signal belongs to, which is in no ledger.
    pub fn of_signal(&self, head: &EventHead<'_>) -> Vec<RoomKey> {
        let rooms = self.source.rooms.iter();
        let found = rooms.filter(|room| room.filter.admits_head(head));
        found.map(|room| room.key).collect()
    }

    /// Waits for the next events; without a room for the end alone. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`StreamError`] when the history cannot be read.
    pub async fn next(&mut self) -> Result<RoomChunk, StreamError> {
        while self.source.rooms.is_empty() {
            // What nobody wants is let go: it would be held for this reader.
            if let Err(RecvError::Closed) = self.live.recv().await {
                return Ok(RoomChunk {
                    is_end: true,
                    ..RoomChunk::default()
                });
            }
        }
        loop {
            let chunk = if self.is_behind {
                self.catch_up().await?
            } else {
                self.live_chunk().await
            };
            if !chunk.pieces.is_empty() || !chunk.gaps.is_empty() || chunk.is_end {
                return Ok(chunk);
            }
        }
    }

    /// Reads what the ledger holds from `next` on, a piece at a time.
    async fn catch_up(&mut self) -> Result<RoomChunk, StreamError> {
        let (source, from, changes) = (&self.source, self.next, self.changes);
        if let Some(old) = self.reading.as_mut().filter(|reading| reading.changes != changes) {
            // It cannot be stopped; two at a time would add up with rooms that come and go.
            let _ = (&mut old.task).await;
            self.reading = None;
        }
        let reading = self.reading.get_or_insert_with(|| {
            let source = source.clone();
            let task = tokio::task::spawn_blocking(move || source.read(from));
            Reading { changes, task }
        });
        let read = (&mut reading.task).await;
        self.reading = None;
        let (chunk, next) = read.map_err(|_| StreamError::CutShort)??;
        self.is_behind = next > self.next;
        self.next = next;
        Ok(chunk)
    }

    async fn live_chunk(&mut self) -> RoomChunk {
        let (mut chunk, mut bytes) = (RoomChunk::default(), 0);
        match self.live.recv().await {
            Ok(published) => self.take(&published, &mut chunk, &mut bytes),
            Err(RecvError::Lagged(_)) => self.is_behind = true,
            Err(RecvError::Closed) => chunk.is_end = true,
        }
        while !self.is_behind && bytes < limits::STREAM_CHUNK_BYTES_MAX {
            match self.live.try_recv() {
                Ok(published) => self.take(&published, &mut chunk, &mut bytes),
                Err(TryRecvError::Lagged(_)) => self.is_behind = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        chunk
    }

    fn take(&mut self, published: &Published, chunk: &mut RoomChunk, bytes: &mut usize) {
        if published.batch.is_empty() {
            self.is_behind = true;
            return;
        }
        if let Some(frames) = self.take_frames(published) {
            if !frames.is_empty() {
                *bytes += frames.len();
                chunk.pieces.push(Piece::Frames(frames));
            }
            return;
        }
        let before = chunk.pieces.len();
        for (index, event) in published.batch.iter().enumerate() {
            if event.tenant != self.source.tenant || event.seq.0 < self.next {
                continue;
            }
            if event.seq.0 > self.next {
                self.is_behind = true;
                break;
            }
            self.next += 1;
            let Some(rooms) = self
                .source
                .rooms_of(event.seq, chunk, |filter| filter.admits(event))
            else {
                continue;
            };
            chunk.pieces.push(Piece::Event(RoomEvent {
                seq: event.seq,
                type_name: Cow::Borrowed(event.type_name),
                run: event.run,
                rooms,
                part: published.part_of(index),
            }));
        }
        if chunk.pieces.len() > before {
            // One part keeps the parts of the whole batch in memory, which nothing else counts once the batch is let go.
            *bytes += published.parts_bytes();
        }
    }

    /// A batch of which all is new to this reader, as frames. Nothing when it must be gone through.
    fn take_frames(&mut self, published: &Published) -> Option<Bytes> {
        let (head, tenant) = (self.head.as_ref()?, &self.source.tenant);
        let [room] = self.source.rooms.as_slice() else {
            return None;
        };
        let mut events = published.batch.iter().filter(|event| event.tenant == *tenant);
        let first = events.next()?.seq;
        if first.0 != self.next || !room.wants(first) {
            return None;
        }
        let frames = published.frames(tenant, head, &room.filter)?;
        self.next += 1 + events.count() as u64;
        Some(frames)
    }
}

impl Source {
    /// Events from `from` on, and where to go on. Blocks on the disk.
    fn read(&self, from: u64) -> Result<(RoomChunk, u64), StreamError> {
        let mut chunk = RoomChunk::default();
        // Up to here the same rooms want to see what there is.
        let later = self
            .rooms
            .iter()
            .map(|room| room.from)
            .filter(|first| *first > from);
        let until = later.min();
        let wanting = self.rooms.iter().filter(|room| room.from <= from);
        let filters: Vec<_> = wanting.map(|room| &room.filter).collect();
        let next = match (filters.iter().all(|filter| filter.is_indexed()), until) {
            (true, Some(until)) if filters.is_empty() => return Ok((chunk, until)),
            (true, _) => self.read_index(&filters, (from, until), &mut chunk),
            (false, _) => self.read_range((from, until), &mut chunk),
        };
        match next {
            Err(StreamError::Ledger(LedgerError::Pruned { first, .. })) if first > from => {
                chunk.gaps = gaps(&self.rooms, (from, first));
                chunk.pieces.clear();
                Ok((chunk, first))
            }
            other => Ok((chunk, other?)),
        }
    }

    fn read_range(
        &self,
        (from, until): (u64, Option<u64>),
        chunk: &mut RoomChunk,
    ) -> Result<u64, StreamError> {
        let ledger = self.engine.ledger(&self.tenant)?;
        let end = ledger.size().min(from + limits::STREAM_SCAN_EVENTS_MAX);
        let end = end.min(until.unwrap_or(u64::MAX));
        let (mut next, mut bytes, mut looked_at) = (from, 0, 0);
        ledger.scan(Seq(from), Seq(end), &mut |seq, event| {
            bytes += self.add(seq, event, chunk);
            looked_at += event.len();
            next = seq.0 + 1;
            if bytes < limits::STREAM_CHUNK_BYTES_MAX && looked_at < limits::STREAM_SCAN_BYTES_MAX {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        Ok(next)
    }

    /// Where each room's filter has an order of its own, these orders tell which events to read.
    fn read_index(
        &self,
        filters: &[&Filter],
        (from, until): (u64, Option<u64>),
        chunk: &mut RoomChunk,
    ) -> Result<u64, StreamError> {
        let snapshot = self.engine.read()?;
        let mut end = snapshot.head(&self.tenant)?.map_or(0, |head| head.size);
        end = end.min(until.unwrap_or(u64::MAX));
        let after = from.checked_sub(1).map(u64::to_be_bytes);
        let limit = limits::STREAM_SCAN_EVENTS_MAX as usize;
        let mut found = Vec::new();
        for filter in filters {
            let page = Page {
                after: after.as_ref().map(|bytes| bytes.as_slice()),
                direction: Direction::Forward,
                limit,
            };
            let seqs = filter.candidates(&snapshot, &self.tenant, page)?;
            if let Some(last) = seqs.last().filter(|_| seqs.len() == limit) {
                end = end.min(last.0 + 1);
            }
            found.extend(seqs);
        }
        drop(snapshot);
        found.sort_unstable();
        found.dedup();
        let ledger = self.engine.ledger(&self.tenant)?;
        let (mut bytes, mut looked_at) = (0, 0);
        for seq in found.into_iter().take_while(|seq| seq.0 < end) {
            let event = ledger.event(seq)?;
            bytes += self.add(seq, &event, chunk);
            looked_at += event.len();
            if bytes >= limits::STREAM_CHUNK_BYTES_MAX || looked_at >= limits::STREAM_SCAN_BYTES_MAX {
                return Ok(seq.0 + 1);
            }
        }
        Ok(end.max(from))
    }

    /// The rooms that an event belongs to; nothing when there are none. Mostly they are those of the event before.
    fn rooms_of(
        &self,
        seq: Seq,
        chunk: &RoomChunk,
        admits: impl Fn(&Filter) -> bool,
    ) -> Option<Arc<[RoomKey]>> {
        let wanting = self
            .rooms
            .iter()
            .filter(|room| room.wants(seq) && admits(&room.filter));
        let keys = wanting.map(|room| room.key);
        match chunk.pieces.last() {
            Some(Piece::Event(before)) if keys.clone().eq(before.rooms.iter().copied()) => {
                Some(before.rooms.clone())
            }
            _ => Some(keys.collect::<Arc<[_]>>()).filter(|keys| !keys.is_empty()),
        }
    }

    /// Adds an event if it belongs anywhere; how many bytes came.
    fn add(&self, seq: Seq, bytes: &Bytes, chunk: &mut RoomChunk) -> usize {
        let head: EventHead<'_> = match serde_json::from_slice(bytes) {
            Ok(head) => head,
            Err(error) => {
                // Its bytes can still be read one by one; a stream must not stop at it for ever.
                tracing::error!(%seq, %error, "an event of the ledger cannot be read");
                return 0;
            }
        };
        let Some(rooms) = self.rooms_of(seq, chunk, |filter| filter.admits_head(&head)) else {
            return 0;
        };
        let mut part = Vec::with_capacity(bytes.len() + 160);
        (self.encode)(seq, &head.type_name, bytes, &leaf_hash(bytes), &mut part);
        chunk.pieces.push(Piece::Event(RoomEvent {
            seq,
            type_name: Cow::Owned(head.type_name.into_owned()),
            run: head.subject.run,
            rooms,
            part: part.into(),
        }));
        bytes.len()
    }
}

/// What is lost to which rooms of the events from `from` up to before `first`: to each from where on it wants to see any.
fn gaps(rooms: &[Room], (from, first): (u64, u64)) -> Vec<RoomGap> {
    let mut by_begin: BTreeMap<u64, Vec<RoomKey>> = BTreeMap::new();
    for room in rooms.iter().filter(|room| room.from < first) {
        by_begin.entry(room.from.max(from)).or_default().push(room.key);
    }
    let gaps = by_begin.into_iter().map(|(begin, rooms)| RoomGap {
        rooms,
        first: begin,
        last: first - 1,
    });
    gaps.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_room_is_told_as_lost_what_it_has_seen() {
        let room = |key, from| Room {
            key: RoomKey(key),
            filter: Filter::default(),
            from,
        };
        let rooms = [room(0, 7), room(1, 2), room(2, 10), room(3, 0), room(4, 9)];
        let told: Vec<_> = gaps(&rooms, (2, 10))
            .into_iter()
            .map(|gap| {
                let rooms: Vec<u64> = gap.rooms.iter().map(|key| key.0).collect();
                (gap.first, gap.last, rooms)
            })
            .collect();
        assert_eq!(told, [(2, 9, vec![1, 3]), (7, 9, vec![0]), (9, 9, vec![4])]);
    }
}
