//! The threads around the writer: the writer's own, the projector's, the archiver's; and how they end.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::checkpoints::Checkpoints;
use super::projector;
use super::recover::Layout;
use super::request::Request;
use super::shared::Shared;
use super::snapshot;
use super::writer::{Fatal, Writer};
use crate::journal::SegmentId;
use crate::limits;

/// How often checkpoints are signed, when something is new.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
/// Events since the last snapshot that make a clean stop write a new one.
const SNAPSHOT_EVENTS_MIN: u64 = 50_000;

/// What the writer's thread is told.
#[derive(Debug)]
pub(super) enum Message {
    Request(Box<Request>),
    /// These segments' events are in history.
    Archived(Vec<SegmentId>),
    /// A pass of the projector failed.
    NotProjected,
    /// Sign what grew, and say so.
    Sign(SyncSender<()>),
    /// Sign checkpoints, flush, and end.
    Stop,
}

/// The running threads.
#[derive(Debug)]
pub(super) struct Threads {
    queue: SyncSender<Message>,
    /// Taken by whoever waits for the end.
    writer: Mutex<Option<JoinHandle<Result<(), Fatal>>>>,
}

impl Threads {
    pub(super) fn start(writer: Writer, layout: Layout, checkpoints: Checkpoints) -> std::io::Result<Self> {
        let (queue, messages) = std::sync::mpsc::sync_channel(limits::QUEUE_COMMANDS_MAX);
        let shared = writer.shared.clone();
        let archiver = ArchiverSide {
            closed: Mutex::new(Vec::new()),
            ended: Mutex::new(false),
        };
        let archiver = Arc::new(archiver);
        let to_writer = queue.clone();
        let (side, shared_too) = (archiver.clone(), shared.clone());
        let archive = std::thread::Builder::new()
            .name("archiver".to_owned())
            .spawn(move || run_archiver(&shared_too, &side, &to_writer))?;
        let (shared_too, to_writer) = (shared.clone(), queue.clone());
        let project = std::thread::Builder::new()
            .name("projector".to_owned())
            .spawn(move || {
                projector::run(&shared_too, || {
                    // A writer with a full queue looks anyway, before its next batch.
                    let _ = to_writer.try_send(Message::NotProjected);
                });
            })?;
        let handle = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || {
                let mut looped = Loop {
                    writer,
                    messages,
                    archiver,
                    checkpoints,
                    layout,
                    pending: VecDeque::new(),
                };
                let ended = looped.run();
                if let Err(fatal) = &ended {
                    tracing::error!(%fatal, "the writer ends");
                    looped.writer.shared.end_because(fatal.to_string());
                }
                looped.end([archive, project]);
                if ended.is_ok() {
                    looped.writer.shared.close_store();
                }
                ended
            })?;
        Ok(Threads {
            queue,
            writer: Mutex::new(Some(handle)),
        })
    }

    pub(super) fn queue(&self) -> &SyncSender<Message> {
        &self.queue
    }

    /// Waits for the writer's end. The first caller learns how it ended.
    pub(super) fn join(&self) -> Result<(), Fatal> {
        let handle = self
            .writer
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .take();
        match handle.map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(ended)) => ended,
            Some(Err(_)) => Err(Fatal("the writer panicked".to_owned())),
        }
    }
}

/// What writer and archiver tell each other.
#[derive(Debug)]
struct ArchiverSide {
    /// Closed segments that the writer knows of; held for a copy.
    closed: Mutex<Vec<SegmentId>>,
    ended: Mutex<bool>,
}

struct Loop {
    writer: Writer,
    messages: Receiver<Message>,
    archiver: Arc<ArchiverSide>,
    checkpoints: Checkpoints,
    layout: Layout,
    pending: VecDeque<Request>,
}

impl Loop {
    fn run(&mut self) -> Result<(), Fatal> {
        loop {
            if self.writer.shared.take_damage() {
                self.writer.rebuild("a read found a wrong checksum")?;
            }
            if let Some(error) = self.writer.shared.projector.failure() {
                self.writer.mend(Err(error))?;
            }
            let wait = if self.pending.is_empty() {
                self.writer.idle_ms()
            } else {
                0
            };
            let first = self.messages.recv_timeout(Duration::from_millis(wait));
            match first {
                Ok(message) => {
                    if !self.gather(message)? {
                        return self.stop();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.stop(),
            }
            self.writer.shared.projector.wait_for_room();
            self.writer.batch(&mut self.pending)?;
            self.note_closed();
            self.checkpoints.sign_when_due(&self.writer, CHECKPOINT_EVERY)?;
        }
    }

    /// Takes what waits. False when the end was asked for.
    fn gather(&mut self, first: Message) -> Result<bool, Fatal> {
        if !self.take(first)? {
            return Ok(false);
        }
        // No pause to make batches larger: requests gather by themselves while the batch before is flushed and projected.
        while self.pending.len() < limits::BATCH_COMMANDS_MAX {
            let Ok(message) = self.messages.try_recv() else {
                break;
            };
            if !self.take(message)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn take(&mut self, message: Message) -> Result<bool, Fatal> {
        match message {
            Message::Request(request) => self.pending.push_back(*request),
            Message::Archived(segments) => {
                self.writer.release(&segments)?;
                self.note_closed();
            }
            Message::NotProjected => {}
            Message::Sign(reply) => {
                self.checkpoints.sign_when_due(&self.writer, Duration::ZERO)?;
                // Whoever asked may have gone.
                let _ = reply.try_send(());
            }
            Message::Stop => return Ok(false),
        }
        Ok(true)
    }

    fn note_closed(&self) {
        let closed: Vec<SegmentId> = self.writer.closed_segments().iter().map(|info| info.id).collect();
        *self
            .archiver
            .closed
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = closed;
    }

    fn stop(&mut self) -> Result<(), Fatal> {
        // What was taken before the end was asked for is still answered.
        while !self.pending.is_empty() {
            self.writer.batch(&mut self.pending)?;
        }
        self.writer.flush_projection()?;
        self.checkpoints.sign_when_due(&self.writer, Duration::ZERO)?;
        self.write_snapshot();
        Ok(())
    }

    fn write_snapshot(&self) {
        let shared = &self.writer.shared;
        let position = self.writer.position().0;
        let newest = shared
            .disk
            .list(&self.layout.snapshots())
            .ok()
            .and_then(|names| names.last().and_then(|name| name.get(..20)?.parse::<u64>().ok()));
        if position < newest.unwrap_or(0) + SNAPSHOT_EVENTS_MIN {
            return;
        }
        let Ok(store) = shared.store() else { return };
        if let Err(error) = snapshot::write(shared.disk.as_ref(), &self.layout, &store, position) {
            tracing::warn!(%error, "no snapshot was written; the next rebuild takes longer");
        }
    }

    fn end(&mut self, threads: [JoinHandle<()>; 2]) {
        self.writer.shared.projector.end();
        *self
            .archiver
            .ended
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = true;
        self.writer.shared.wake_archiver();
        for request in self.pending.drain(..) {
            let _ = request.reply.send(Err(self.writer.shared.ended()));
        }
        while let Ok(message) = self.messages.try_recv() {
            if let Message::Request(request) = message {
                let _ = request.reply.send(Err(self.writer.shared.ended()));
            }
        }
        for thread in threads {
            let name = thread.thread().name().unwrap_or_default().to_owned();
            if thread.join().is_err() {
                tracing::error!(name, "a thread of the engine panicked");
            }
        }
    }
}

/// Moves events to history when a segment closed, then tells the writer which segments it may give up.
fn run_archiver(shared: &Shared, side: &ArchiverSide, writer: &SyncSender<Message>) {
    loop {
        shared.wait_for_archive();
        if *side.ended.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            return;
        }
        // Read before the archiving begins: all of what these hold is in the ledgers by now.
        let closed = side
            .closed
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .clone();
        if closed.is_empty() {
            continue;
        }
        match shared.archive_all() {
            Ok(()) => {
                // The writer may be ending and no longer listen; then the segments are given up next time.
                let _ = writer.try_send(Message::Archived(closed));
            }
            Err(error) => {
                tracing::error!(%error, "archiving failed; the journal keeps what is not in history");
                return;
            }
        }
    }
}
