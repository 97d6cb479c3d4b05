//! One webhook's delivery: from its cursor to the end of the ledger and on, one event after the other.
//!
//! The argument for "at least once, in order, without a gap": the cursor moves past an event only when it was taken, or
//! does not pass the filters; the subscription gives each event after the cursor once and in order; and nothing is sent
//! before the event ahead of it was taken. A crash loses at most what the cursor moved since it was last written, so
//! those events come again, with the same id.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use tokio::sync::watch;

use super::cursor::Progress;
use super::keys::Keys;
use super::registry::Webhooks;
use super::request::{Line, Message, Outcome};
use super::running::{Told, cut_off, ending};
use super::saver::Saver;
use super::{Origin, Service};
use crate::domain::command::{ChangeWebhook, WebhookChange};
use crate::domain::event::Actor;
use crate::domain::webhook::Webhook;
use crate::domain::{Seq, TenantName, Timestamp};
use crate::egress::Mode;
use crate::engine::{CommandError, Handle};
use crate::limits;
use crate::stream::{Chunk, Data, Delivered, Filter, Form, StreamError, Subscription, Watched};

/// How a webhook's delivery stands, for whoever looks. Held for a few instructions; written by its courier alone.
pub type Shared = Arc<Mutex<Progress>>;

/// Looks at, or changes, how a delivery stands.
pub fn lock(shared: &Shared) -> MutexGuard<'_, Progress> {
    shared.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Brings the events of one webhook to its receiver.
#[derive(Debug)]
pub struct Courier {
    pub engine: Handle,
    pub service: Service,
    /// Gone when the server has ended.
    pub webhooks: Weak<Webhooks>,
    pub tenant: TenantName,
    pub origin: Origin,
    pub webhook: Webhook,
    pub keys: Keys,
    pub line: Line,
    pub shared: Shared,
    pub saver: Saver,
}

/// What a courier is told, and whether it has something on its way.
struct Course {
    told: watch::Receiver<Told>,
    is_on_its_way: AtomicBool,
}

impl Course {
    fn ends(&self) -> bool {
        *self.told.borrow() != Told::Deliver
    }
}

/// Why the courier goes no further, or not now.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The engine has ended.
    Over,
    /// It was told to stop, or the webhook was given up.
    Stopped,
    /// The receiver did not take it: nothing is held until the next attempt.
    Later(Pause),
    /// The appliance is sealed.
    Sealed,
}

/// What decides how long to wait.
#[derive(Debug, PartialEq, Eq)]
struct Pause {
    /// Failures in a row.
    failures: u32,
    /// What the receiver asks for.
    retry_after_ms: Option<u64>,
}

impl Courier {
    /// Delivers until it is told to stop, or the webhook is given up; then writes the cursor. What is on its way then may
    /// still be taken for a moment: otherwise it would come again.
    pub async fn run(mut self, mut told: watch::Receiver<Told>) {
        let course = Course {
            told: told.clone(),
            is_on_its_way: AtomicBool::new(false),
        };
        {
            let mut delivering = pin!(self.deliver(&course));
            tokio::select! {
                _ = &mut delivering => {}
                // Whoever would tell it is gone: the server as well.
                () = ending(&mut told) => if course.is_on_its_way.load(Ordering::Relaxed) {
                    let grace = Duration::from_millis(limits::WEBHOOK_STOP_MS_MAX);
                    tokio::select! {
                        _ = tokio::time::timeout(grace, delivering) => {}
                        () = cut_off(&mut told) => {}
                    }
                },
            }
        }
        let last = *told.borrow();
        match last {
            Told::CutOff => self.saver.settle().await,
            Told::Deliver | Told::Stop => self.save().await,
        }
    }

    async fn deliver(&mut self, course: &Course) -> End {
        self.go_on_pausing().await;
        loop {
            match self.follow(course).await {
                Ok(End::Later(pause)) => {
                    self.line.hang_up();
                    if course.ends() {
                        return End::Stopped;
                    }
                    self.pause(&pause).await;
                }
                Ok(End::Sealed) => self.line.hang_up(),
                Ok(end) => return end,
                Err(StreamError::CutShort) => return End::Over,
                Err(error) => {
                    tracing::error!(tenant = %self.tenant, webhook = %self.webhook.name, %error,
                        "a webhook cannot read the ledger");
                    lock(&self.shared).fail(&format!("the ledger cannot be read: {error}"));
                    tokio::time::sleep(Duration::from_millis(limits::WEBHOOK_SAVE_MS)).await;
                }
            }
        }
    }

    async fn follow(&mut self, course: &Course) -> Result<End, StreamError> {
        // Nothing is held while nothing may be sent.
        self.service.outlet.wait_for(Mode::Open).await;
        let mut events = self.subscribe().await?;
        let outlet = self.service.outlet.clone();
        loop {
            let chunk = tokio::select! {
                chunk = self.next_chunk(&mut events) => chunk?,
                // A connection that is kept for the next event ends too.
                () = outlet.wait_for(Mode::Sealed) => return Ok(End::Sealed),
            };
            if chunk.is_end {
                return Ok(End::Over);
            }
            if let Some((first, last)) = chunk.gap {
                tracing::warn!(tenant = %self.tenant, webhook = %self.webhook.name, first, last,
                    "events were removed before a webhook had sent them");
                lock(&self.shared).skipped += last - first + 1;
            }
            for event in &chunk.events {
                if course.ends() {
                    return Ok(End::Stopped);
                }
                course.is_on_its_way.store(true, Ordering::Relaxed);
                let ended = self.hand_over(event).await;
                course.is_on_its_way.store(false, Ordering::Relaxed);
                if let Some(end) = ended {
                    return Ok(end);
                }
            }
            self.move_to(&events);
        }
    }

    async fn subscribe(&self) -> Result<Subscription, StreamError> {
        let (engine, hub) = (self.engine.clone(), self.service.hub.clone());
        let (tenant, filter) = (self.tenant.clone(), filter_of(&self.webhook));
        let (next, floor) = (Seq(lock(&self.shared).next), self.webhook.next);
        let open = move || {
            let open = |next| {
                Subscription::open(
                    (&engine, &hub),
                    &tenant,
                    filter.clone(),
                    Form::Events(Data::CloudEvent),
                    Some(next),
                )
            };
            match open(next) {
                // The cursor is of another history than the ledger; what the ledger itself says is not.
                Err(StreamError::BeyondEnd { end }) => open(Seq(floor.0.min(end))),
                opened => opened,
            }
        };
        let opened = tokio::task::spawn_blocking(open).await;
        let opened = opened.map_err(|_| StreamError::CutShort)??;
        lock(&self.shared).next = next_of(&opened);
        Ok(opened)
    }

    /// Waits for events, and writes the cursor meanwhile when it moved.
    async fn next_chunk(&mut self, events: &mut Subscription) -> Result<Chunk, StreamError> {
        loop {
            let wait = Duration::from_millis(limits::WEBHOOK_SAVE_MS);
            match tokio::time::timeout(wait, events.next()).await {
                Ok(chunk) => return chunk,
                Err(_) => {
                    self.move_to(events);
                    if self.saver.is_due(&self.shared) {
                        self.save().await;
                    }
                }
            }
        }
    }

    /// Everything that the subscription looked at is done with.
    fn move_to(&self, events: &Subscription) {
        let mut progress = lock(&self.shared);
        progress.next = progress.next.max(next_of(events));
    }

    /// Sends an event once. None when it was taken.
    async fn hand_over(&mut self, event: &Delivered) -> Option<End> {
        lock(&self.shared).next = event.seq.0;
        let message = Message {
            id: self.origin.message_id(event.seq),
            body: event.data.clone(),
        };
        let at = self.now();
        {
            let mut progress = lock(&self.shared);
            progress.last_attempt_at = Some(at);
            progress.retry_at = None;
        }
        match self.send(&message, at).await {
            Outcome::Taken { status } => {
                self.service.counts.taken.fetch_add(1, Ordering::Relaxed);
                self.note_taken(event.seq, status);
                if self.saver.is_due(&self.shared) {
                    self.save().await;
                }
                None
            }
            Outcome::Sealed => Some(End::Sealed),
            Outcome::Gone { status } => {
                self.service.counts.gone.fetch_add(1, Ordering::Relaxed);
                let cause = format!("answered {status}: there is no receiver any more");
                tracing::warn!(tenant = %self.tenant, webhook = %self.webhook.name, %cause, "a webhook is dead");
                self.note_failed(Some(status), &cause);
                self.give_up(cause).await
            }
            Outcome::Failed {
                status,
                cause,
                retry_after_ms,
            } => {
                self.service.counts.failed.fetch_add(1, Ordering::Relaxed);
                let failures = self.note_failed(status, &cause);
                if failures == 1 {
                    tracing::warn!(tenant = %self.tenant, webhook = %self.webhook.name, %cause, "a webhook's receiver fails");
                }
                if failures >= self.service.pace.failures_max {
                    tracing::warn!(tenant = %self.tenant, webhook = %self.webhook.name, failures, "a webhook is dead");
                    return self.give_up(cause).await;
                }
                Some(End::Later(Pause {
                    failures,
                    retry_after_ms,
                }))
            }
        }
    }

    /// Sends a message, and writes the cursor when that takes long: what was taken before must not come again.
    async fn send(&mut self, message: &Message, at: Timestamp) -> Outcome {
        let Courier {
            engine,
            line,
            keys,
            saver,
            shared,
            ..
        } = self;
        let keys = keys.at(at, engine.clock().monotonic_ms());
        let now = || Timestamp::from_ms(engine.clock().wall_ms());
        let mut sending = pin!(line.send(message, &keys, &now));
        let wait = Duration::from_millis(limits::WEBHOOK_SAVE_MS);
        if let Ok(outcome) = tokio::time::timeout(wait, &mut sending).await {
            return outcome;
        }
        let (outcome, ()) = tokio::join!(sending, saver.save(shared));
        outcome
    }

    fn note_taken(&self, seq: Seq, status: u16) {
        let at = self.now();
        let mut progress = lock(&self.shared);
        progress.next = seq.0 + 1;
        progress.failures = 0;
        progress.last_delivered_at = Some(at);
        progress.last_status = Some(status);
        progress.last_error = None;
    }

    fn note_failed(&self, status: Option<u16>, cause: &str) -> u32 {
        let mut progress = lock(&self.shared);
        progress.failures = progress.failures.saturating_add(1);
        progress.last_status = status;
        progress.fail(cause);
        progress.failures
    }

    /// Waits for the attempt that was due when the server stopped; no longer than any pause, should the clock have jumped.
    async fn go_on_pausing(&self) {
        let retry_at = lock(&self.shared).retry_at;
        let wait = retry_at.map_or(0, |at| at.since_ms(self.now()));
        tokio::time::sleep(Duration::from_millis(wait.min(limits::WEBHOOK_RETRY_MS_MAX))).await;
    }

    /// Waits before the next attempt: as long as the receiver asks for, within the longest pause, and no shorter than else.
    async fn pause(&mut self, pause: &Pause) {
        let pace = self.service.pace;
        let asked = pause.retry_after_ms.unwrap_or(0).min(pace.retry_ms_max);
        let wait = pace.wait_ms(pause.failures, self.engine.clock().entropy());
        let wait = wait.max(asked);
        lock(&self.shared).retry_at = Some(self.now().plus_ms(wait));
        self.save().await;
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }

    /// Records that the webhook is dead. Whatever changed it meanwhile goes before.
    async fn give_up(&mut self, cause: String) -> Option<End> {
        self.save().await;
        let (next, failures) = {
            let progress = lock(&self.shared);
            (Seq(progress.next), progress.failures)
        };
        let change = ChangeWebhook {
            expected: None,
            name: self.webhook.name.clone(),
            change: WebhookChange::GiveUp {
                seq: self.webhook.seq,
                next,
                failures,
                cause,
            },
        };
        loop {
            let Some(webhooks) = self.webhooks.upgrade() else {
                return Some(End::Over);
            };
            let actor = Actor::system("webhooks");
            match webhooks.change(&self.tenant, &actor, change.clone()).await {
                Ok(_) | Err(CommandError::Rejected(_)) => return Some(End::Stopped),
                Err(CommandError::Failed(error)) => {
                    tracing::warn!(tenant = %self.tenant, webhook = %self.webhook.name, %error,
                        "a webhook could not be given up yet");
                    tokio::time::sleep(Duration::from_millis(limits::WEBHOOK_SAVE_MS)).await;
                }
            }
        }
    }

    async fn save(&mut self) {
        self.saver.save(&self.shared).await;
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.engine.clock().wall_ms())
    }
}

fn next_of(events: &Subscription) -> u64 {
    u64::try_from(events.as_of() + 1).unwrap_or(0)
}

fn filter_of(webhook: &Webhook) -> Filter {
    let filters = &webhook.filters;
    let job = filters.job.map(Watched::Job);
    Filter {
        types: webhook.types.clone(),
        correlation_id: filters.correlation_id.clone(),
        project: filters.project.clone(),
        watched: job.or(filters.run.map(Watched::Run)),
    }
}
