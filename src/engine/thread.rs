//! The threads around the writer: the writer's own, the committer's, the projector's, the archiver's; and how they end.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;
use std::time::Duration;

use super::checkpoints::Checkpoints;
use super::committer::Hatch;
use super::projector;
use super::recover::Layout;
use super::request::Request;
use super::shared::Shared;
use super::snapshot;
use super::writer::{Fatal, Writer};
use crate::limits;

/// How often checkpoints are signed, when something is new.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
/// Events since the last snapshot that make a clean stop write a new one.
const SNAPSHOT_EVENTS_MIN: u64 = 50_000;

/// How long the writer leaves requests alone that come while a batch is flushed: it looks at many at once.
const GATHER: Duration = Duration::from_micros(250);

/// What the writer's thread is told.
#[derive(Debug)]
pub(super) enum Message {
    Request(Box<Request>),
    /// A pass of the projector failed, the committer ended, or left leases of callers that had gone.
    Look,
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
    pub(super) fn start(
        mut writer: Writer,
        layout: Layout,
        checkpoints: Checkpoints,
    ) -> std::io::Result<Self> {
        let (queue, messages) = std::sync::mpsc::sync_channel(limits::QUEUE_COMMANDS_MAX);
        let (commits, hatch) = writer.commits.go_behind();
        writer.commits = commits;
        let look = || {
            let queue = queue.clone();
            // A writer with a full queue looks anyway, before its next batch.
            move || drop(queue.try_send(Message::Look))
        };
        let (served, looked) = (hatch.clone(), look());
        let commit = spawn("committer", move || served.serve(looked))?;
        let (shared, released) = (writer.shared.clone(), hatch.clone());
        let archive = spawn("archiver", move || run_archiver(&shared, &released))?;
        let (shared, looked) = (writer.shared.clone(), look());
        let project = spawn("projector", move || projector::run(&shared, looked))?;
        let handle = spawn("writer", move || {
            let mut looped = Loop {
                writer,
                messages,
                checkpoints,
                layout,
                pending: VecDeque::new(),
            };
            let ended = looped.run();
            if let Err(fatal) = &ended {
                tracing::error!(%fatal, "the writer ends");
                looped.writer.shared.end_because(fatal.to_string());
            }
            hatch.end();
            looped.end([commit, archive, project]);
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

fn spawn<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<JoinHandle<T>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

struct Loop {
    writer: Writer,
    messages: Receiver<Message>,
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
            if let Some(fatal) = self.writer.commits.failure() {
                return Err(fatal);
            }
            let wait = if self.pending.is_empty() {
                self.writer.idle_ms()
            } else {
                0
            };
            let first = self.messages.recv_timeout(Duration::from_millis(wait));
            let goes_on = match first {
                Ok(message) => self.take(message)? && self.gather()?,
                Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Disconnected) => false,
            };
            if !goes_on || !self.batch()? {
                return self.stop();
            }
            self.checkpoints
                .sign_when_due(&self.writer.shared, CHECKPOINT_EVERY)?;
        }
    }

    /// Stages what waits, and hands it over as soon as the batch before is flushed. False when the end was asked for.
    fn batch(&mut self) -> Result<bool, Fatal> {
        self.writer.shared.projector.wait_for_room();
        self.writer.stage(&mut self.pending)?;
        while self.writer.has_staged() && !self.writer.is_full() {
            let is_free = self.writer.commits.wait_free(GATHER);
            if !self.gather()? {
                return Ok(false);
            }
            if !self.pending.is_empty() {
                self.writer.stage(&mut self.pending)?;
            }
            if is_free {
                break;
            }
        }
        self.writer.hand_over()?;
        Ok(true)
    }

    /// Takes what waits in the queue. False when the end was asked for.
    fn gather(&mut self) -> Result<bool, Fatal> {
        // No pause to make batches larger: requests gather by themselves while the batch before is flushed.
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
            Message::Look => {}
            Message::Sign(reply) => {
                self.checkpoints
                    .sign_when_due(&self.writer.shared, Duration::ZERO)?;
                // Whoever asked may have gone.
                let _ = reply.try_send(());
            }
            Message::Stop => return Ok(false),
        }
        Ok(true)
    }

    fn stop(&mut self) -> Result<(), Fatal> {
        // What was taken before the end was asked for is still answered.
        while !self.pending.is_empty() {
            self.writer.batch(&mut self.pending)?;
        }
        self.writer.hand_over()?;
        self.writer.flush_projection()?;
        self.checkpoints
            .sign_when_due(&self.writer.shared, Duration::ZERO)?;
        self.write_snapshot();
        Ok(())
    }

    fn write_snapshot(&self) {
        let shared = &self.writer.shared;
        let position = shared.durable().0;
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

    fn end(&mut self, threads: [JoinHandle<()>; 3]) {
        self.writer.shared.projector.end();
        self.writer.shared.end_archiver();
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

/// Moves events to history when a segment closed, then tells the committer which segments it may give up.
fn run_archiver(shared: &Shared, hatch: &Hatch) {
    // Named before the archiving begins: all of what these hold is in the ledgers by now.
    while let Some(closed) = shared.wait_for_closed() {
        match shared.archive_all() {
            Ok(()) => hatch.release(&closed),
            Err(error) => {
                tracing::error!(%error, "archiving failed; the journal keeps what is not in history");
                return;
            }
        }
    }
}
