//! One WebSocket from its handshake to its end: rooms are opened and closed, and what belongs to them is sent.
//!
//! One task, one reader of the ledger, one buffer: whatever a client does, it waits for itself alone. Promises of
//! `stream::rooms`: each event once with all its rooms, in order. The lines of an attempt come before the event that
//! ends it, as far as a room of its pack run is open: they are flushed before that event is submitted. However many they
//! are, they are sent a page at a time, and in between the client is heard, asked for a sign of life, and sent away.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::select_all;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Interval;

use super::Api;
use super::error::ApiError;
use super::hold::Hold;
use super::live::LiveSignal;
use super::logs::LineView;
use super::pack_runs::pack_run;
use super::ws_messages::{self, Asked, Place, Refusal, Said, Verb, event_head, name_of};
use super::ws_socket::{Closing, Heard, Socket};
use super::ws_unsent::Unsent;
use crate::clock::Clock;
use crate::domain::{RunId, Seq, TenantName};
use crate::limits;
use crate::output::{LineFilter, RunScope};
use crate::stream::{LineItem, Lines, Piece, RoomChunk, RoomKey, Rooms, StreamError};

/// One connection's state.
#[derive(Debug)]
pub struct Session {
    api: Arc<Api>,
    tenant: TenantName,
    hold: Hold,
    heart: Interval,
    rooms: Rooms,
    /// Events that wait for lines; until they are sent no others are read.
    unsent: Option<Unsent>,
    /// The rooms as the client knows them, in the order in which they were opened.
    open: Vec<OpenRoom>,
    signals: broadcast::Receiver<Arc<LiveSignal>>,
    /// Which room's lines are looked at first: each in turn.
    turn: usize,
    life: Life,
}

#[derive(Debug)]
struct OpenRoom {
    key: RoomKey,
    name: String,
    place: Place,
    /// What the steps of a pack run write.
    lines: Option<Lines>,
}

/// When the client was last known to read.
#[derive(Debug, Default)]
struct Life {
    /// Since when a ping has not been answered, by the monotonic clock.
    unanswered_ms: Option<u64>,
    /// The socket's count at the last look.
    resumed: u64,
}

/// What there is to do.
enum Due {
    Beat,
    Heard(Heard),
    Unsent,
    Events(Result<RoomChunk, StreamError>),
    Signal(Result<Arc<LiveSignal>, RecvError>),
    Lines(usize),
}

impl Session {
    /// A session without rooms.
    pub fn new(api: &Arc<Api>, tenant: TenantName, (hold, heart): (Hold, Interval), rooms: Rooms) -> Self {
        Session {
            signals: api.signals.subscribe(),
            api: api.clone(),
            tenant,
            hold,
            heart,
            rooms,
            unsent: None,
            open: Vec::new(),
            turn: 0,
            life: Life::default(),
        }
    }

    /// The clock by which it counts.
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.api.engine().clock().clone()
    }

    /// Talks until there is a reason to end.
    pub async fn run(mut self, mut socket: Socket) {
        let closing = loop {
            if let Err(closing) = self.step(&mut socket).await {
                break closing;
            }
        };
        tracing::debug!(?closing, tenant = %self.tenant, "a WebSocket ends");
        // Nothing is held for one who only has to be told the end.
        drop(self);
        socket.finish(closing).await;
    }

    async fn step(&mut self, socket: &mut Socket) -> Result<(), Closing> {
        match self.due(socket).await? {
            Due::Beat => self.beat(socket).await,
            Due::Unsent => match self.unsent.take() {
                Some(unsent) => self.send_unsent(socket, unsent).await,
                None => Ok(()),
            },
            Due::Heard(heard) => {
                self.life.unanswered_ms = None;
                self.answer(socket, heard).await
            }
            Due::Events(Ok(chunk)) => self.send_events(socket, chunk).await,
            Due::Events(Err(error)) => {
                tracing::warn!(%error, "a WebSocket was cut short");
                Err(Closing::Failed)
            }
            Due::Signal(Ok(signal)) => self.send_signal(socket, &signal).await,
            // What was missed is over; signals are of the moment.
            Due::Signal(Err(_)) => Ok(()),
            Due::Lines(index) => {
                self.turn = index + 1;
                self.send_lines(socket, index).await?;
                self.flush(socket).await
            }
        }
    }

    async fn due(&mut self, socket: &mut Socket) -> Result<Due, Closing> {
        // There may be so much to send that it is never waited: the client and the clock go first, both are bounded.
        Ok(tokio::select! {
            biased;
            ending = self.hold.over() => return Err(ending.into()),
            _ = self.heart.tick() => Due::Beat,
            heard = socket.hear() => Due::Heard(heard?),
            () = std::future::ready(()), if self.unsent.is_some() => Due::Unsent,
            due = to_send(&mut self.rooms, &mut self.signals, &mut self.open, self.turn) => due,
        })
    }

    /// Asks whether the client is there, unless it has owed an answer for too long.
    async fn beat(&mut self, socket: &mut Socket) -> Result<(), Closing> {
        let now_ms = self.api.engine().clock().monotonic_ms();
        let resumed = socket.resumed();
        if resumed != self.life.resumed {
            // It reads, slowly: the answer lies behind what it has not read yet.
            self.life = Life {
                unanswered_ms: None,
                resumed,
            };
        }
        let since_ms = *self.life.unanswered_ms.get_or_insert(now_ms);
        if Duration::from_millis(now_ms - since_ms) > self.api.context.bounds.stall {
            return Err(Closing::TooSlow);
        }
        // What came and waits for lines is not told as looked at.
        let before = self
            .unsent
            .as_ref()
            .and_then(|unsent| unsent.last_before(|_| true));
        let as_of = before.unwrap_or_else(|| self.rooms.as_of()).to_string();
        unless_over(&mut self.hold, socket.ping(as_of)).await
    }

    async fn answer(&mut self, socket: &mut Socket, heard: Heard) -> Result<(), Closing> {
        let done = match heard {
            Heard::Life => return Ok(()),
            Heard::Text(text) => match ws_messages::read(&text) {
                Ok(asked) => self.act(asked).await,
                Err(refusal) => Err(refusal),
            },
            Heard::Binary => Err(Refusal::of_none("text_expected", "messages are texts")),
            Heard::OneTooMany(text) => {
                let detail = format!(
                    "at most {} messages in a second",
                    limits::WS_MESSAGES_PER_SECOND_MAX
                );
                Err(Refusal {
                    id: ws_messages::id_of(&text),
                    error: ApiError::invalid("rate_limited", detail),
                })
            }
        };
        let text = match done {
            Ok(text) => text,
            Err(Refusal { id, error }) => {
                let problem = error.problem("");
                let (code, detail) = (error.code(), problem.detail());
                Said::Error {
                    id: &id,
                    code,
                    detail,
                }
                .text()
            }
        };
        self.push(socket, &text, &Bytes::new()).await?;
        self.flush(socket).await
    }

    /// Does what was asked. The answer comes back.
    async fn act(&mut self, Asked { id, verb, place }: Asked) -> Result<String, Refusal> {
        let name = place.name(&self.tenant);
        let known = self.open.iter().position(|room| room.name == name);
        let done = match (verb, known) {
            (Verb::Subscribe(_), Some(_)) => Err(ApiError::conflict(
                "already_subscribed",
                format!("{name} is open"),
            )),
            (Verb::Subscribe(_), None) if self.open.len() >= limits::WS_ROOMS_MAX => {
                let detail = format!("a connection has at most {} rooms", limits::WS_ROOMS_MAX);
                Err(ApiError::conflict("too_many_rooms", detail))
            }
            (Verb::Subscribe(after), None) => {
                let next = after.map(|cursor| cursor.next);
                self.enter(place, &name, next).await
            }
            (Verb::Unsubscribe, Some(index)) => self.leave(index),
            (Verb::Unsubscribe, None) => Err(ApiError::conflict(
                "not_subscribed",
                format!("{name} is not open"),
            )),
        };
        // Lines come between events, and several rooms want their names told apart.
        let alone = match self.open.as_slice() {
            [room] if room.lines.is_none() => Some(event_head(&[&room.name]).into()),
            _ => None,
        };
        self.rooms.share(alone);
        match done {
            Ok(as_of) => Ok(Said::Ack {
                id: &id,
                room: &name,
                as_of,
            }
            .text()),
            Err(error) => Err(Refusal { id, error }),
        }
    }

    async fn enter(&mut self, place: Place, name: &str, next: Option<Seq>) -> Result<i64, ApiError> {
        self.check_there(&place).await?;
        // Events first: lines of an attempt that ends in between are then still ahead of its end.
        let (key, as_of) = self.rooms.enter(place.filter(), next)?;
        let lines = match place {
            Place::PackRun(run) => match self.open_lines(run).await {
                Ok(lines) => Some(lines),
                Err(error) => {
                    self.rooms.leave(key);
                    return Err(error);
                }
            },
            Place::Job(_) | Place::Jobs | Place::Run(_) | Place::Events(_) => None,
        };
        self.open.push(OpenRoom {
            key,
            name: name.to_owned(),
            place,
            lines,
        });
        Ok(as_of)
    }

    /// Closes a room. The last event that it has seen or passed over comes back.
    fn leave(&mut self, index: usize) -> Result<i64, ApiError> {
        let key = self.open.remove(index).key;
        let passed = self.rooms.leave(key);
        // Of what waits for lines it sees nothing any more.
        let unsent = self.unsent.as_ref();
        let before = unsent.and_then(|unsent| unsent.last_before(|event| event.rooms.contains(&key)));
        let as_of = passed.map(|passed| before.unwrap_or(passed));
        as_of.ok_or_else(|| ApiError::internal("the room was not open"))
    }

    /// Whether what a room is about is there, for this tenant.
    async fn check_there(&self, place: &Place) -> Result<(), ApiError> {
        let place = place.clone();
        let there = self.api.read(&self.tenant, move |reading| {
            let view = reading.view();
            match place {
                Place::Job(id) => view.job(id)?.map(drop).ok_or_else(|| ApiError::not_found("job")),
                Place::Run(id) => view.run(id)?.map(drop).ok_or_else(|| ApiError::not_found("run")),
                Place::PackRun(id) => pack_run(reading, id).map(drop),
                Place::Jobs | Place::Events(_) => Ok(()),
            }
        });
        there.await
    }

    async fn open_lines(&self, run: RunId) -> Result<Lines, ApiError> {
        let tenant = self.tenant.clone();
        let lines = self.api.blocking(move |api| {
            let scope = RunScope { tenant, run };
            Ok(Lines::open(api.output(), scope, LineFilter::default(), None)?)
        });
        lines.await
    }

    async fn send_events(&mut self, socket: &mut Socket, chunk: RoomChunk) -> Result<(), Closing> {
        for gap in &chunk.gaps {
            let said = Said::Gap {
                rooms: &names(&self.open, &gap.rooms),
                of: "events",
                from: gap.first,
                to: gap.last,
            };
            let text = said.text();
            self.push(socket, &text, &Bytes::new()).await?;
        }
        self.send_unsent(socket, Unsent::new(chunk)).await
    }

    /// Sends events up to one before which lines go, and of these a page; the rest waits.
    async fn send_unsent(&mut self, socket: &mut Socket, mut unsent: Unsent) -> Result<(), Closing> {
        while !unsent.pieces().is_empty() {
            if let Some(index) = self.lines_before(&mut unsent) {
                self.send_lines(socket, index).await?;
                self.unsent = Some(unsent);
                return self.flush(socket).await;
            }
            let pieces = unsent.next_pieces();
            self.push_pieces(socket, pieces).await?;
            let count = pieces.len();
            unsent.pass(count);
        }
        self.flush(socket).await?;
        if unsent.is_end {
            return Err(Closing::Stopping);
        }
        Ok(())
    }

    /// The room whose lines must go out before the next event.
    fn lines_before(&self, unsent: &mut Unsent) -> Option<usize> {
        let run = unsent.run_that_waits()?;
        let is_of_run = |room: &OpenRoom| room.place == Place::PackRun(run);
        let index = self.open.iter().position(is_of_run)?;
        let room = &self.open[index];
        let lines = room.lines.as_ref()?;
        let to = unsent.lines_to(room.key, lines.highest());
        (lines.pos() < to).then_some(index)
    }

    /// Gathers events, in order; frames made for many go out at once. What is alike for many is looked up once.
    async fn push_pieces(&mut self, socket: &mut Socket, pieces: &[Piece]) -> Result<(), Closing> {
        let (mut head, mut of): (Option<String>, Option<&[RoomKey]>) = (None, None);
        let open = &self.open;
        let gathering = async {
            for piece in pieces {
                match piece {
                    Piece::Event(event) => {
                        if of != Some(&event.rooms) {
                            let rooms = names(open, &event.rooms);
                            // All of them may have been left while it waited for lines.
                            head = (!rooms.is_empty()).then(|| event_head(&rooms));
                            of = Some(&event.rooms);
                        }
                        if let Some(head) = &head {
                            socket.push(head, &event.part).await?;
                        }
                    }
                    Piece::Frames(frames) => socket.push_frames(frames).await?,
                }
            }
            Ok(())
        };
        unless_over(&mut self.hold, gathering).await
    }

    /// Sends the next lines of one room.
    async fn send_lines(&mut self, socket: &mut Socket, index: usize) -> Result<(), Closing> {
        let room = &mut self.open[index];
        let Some(lines) = &mut room.lines else {
            return Ok(());
        };
        let batch = lines.read().await.map_err(|error| {
            tracing::warn!(%error, "a WebSocket was cut short");
            Closing::Failed
        })?;
        let name = room.name.clone();
        for item in &batch.items {
            let message = match *item {
                LineItem::Line(ref line) => {
                    // Our own shapes always can be written.
                    let body = serde_json::to_vec(&LineView::new(line)).unwrap_or_default();
                    ws_messages::signal("step:output", &[&name], &body)
                }
                LineItem::Lost { from, to } => {
                    let (rooms, of) = (&[name.as_str()], "lines");
                    Said::Gap { rooms, of, from, to }.text()
                }
            };
            self.push(socket, &message, &Bytes::new()).await?;
        }
        Ok(())
    }

    async fn send_signal(&mut self, socket: &mut Socket, signal: &LiveSignal) -> Result<(), Closing> {
        if signal.tenant != self.tenant {
            return Ok(());
        }
        let rooms = self.rooms.of_signal(&signal.head);
        if rooms.is_empty() {
            return Ok(());
        }
        let name = name_of(&signal.head.type_name);
        let message = ws_messages::signal(&name, &names(&self.open, &rooms), &signal.body);
        self.push(socket, &message, &Bytes::new()).await?;
        self.flush(socket).await
    }

    async fn push(&mut self, socket: &mut Socket, head: &str, part: &Bytes) -> Result<(), Closing> {
        unless_over(&mut self.hold, socket.push(head, part)).await
    }

    async fn flush(&mut self, socket: &mut Socket) -> Result<(), Closing> {
        unless_over(&mut self.hold, socket.flush()).await
    }
}

/// How the client knows these rooms.
fn names<'a>(open: &'a [OpenRoom], keys: &[RoomKey]) -> Vec<&'a str> {
    let open = open.iter().filter(|room| keys.contains(&room.key));
    open.map(|room| room.name.as_str()).collect()
}

/// Sends, unless the stream must end meanwhile: a client that does not read does not put that off.
async fn unless_over(
    hold: &mut Hold,
    sending: impl Future<Output = Result<(), Closing>>,
) -> Result<(), Closing> {
    tokio::select! {
        biased;
        sent = sending => sent,
        ending = hold.over() => Err(ending.into()),
    }
}

/// Waits for what belongs to the rooms. Dropping the future loses nothing.
async fn to_send(
    rooms: &mut Rooms,
    signals: &mut broadcast::Receiver<Arc<LiveSignal>>,
    open: &mut [OpenRoom],
    turn: usize,
) -> Due {
    tokio::select! {
        chunk = rooms.next() => Due::Events(chunk),
        signal = signals.recv() => Due::Signal(signal),
        index = any_lines(open, turn) => Due::Lines(index),
    }
}

/// Waits until a room may have lines; which one. Looks from `turn` on, so that none is always the last.
async fn any_lines(open: &mut [OpenRoom], turn: usize) -> usize {
    let turn = turn.min(open.len());
    let (front, back) = open.split_at_mut(turn);
    let back = back.iter_mut().enumerate().map(|(at, room)| (turn + at, room));
    let rooms = back.chain(front.iter_mut().enumerate());
    let waiting: Vec<_> = rooms
        .filter_map(|(index, room)| Some((index, room.lines.as_mut()?)))
        .map(|(index, lines)| {
            Box::pin(async move {
                lines.changed().await;
                index
            })
        })
        .collect();
    if waiting.is_empty() {
        return std::future::pending().await;
    }
    select_all(waiting).await.0
}
