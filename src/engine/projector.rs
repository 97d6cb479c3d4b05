//! Bringing the projection up to date behind the writer: committed batches wait here and go into redb together.
//!
//! What was answered is in the journal and the ledgers; the projection may follow later, because whoever reads waits until
//! it shows everything answered before. A reader that waits, a full backlog, or [`LAG`] begins a *pass*: one transaction
//! over all batches that wait, in which a row that several of them changed is written once.
//!
//! Promises: whole batches, in order; never more than the journal holds. After a pass that failed nothing is taken in
//! until the writer has built the projection anew, or has ended.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use super::feed::CommittedBatch;
use super::request::SubmitError;
use super::shared::Shared;
use crate::domain::state::{Changes, Key, Row};
use crate::domain::{TenantName, Timestamp};
use crate::limits;
use crate::store::{Commit, Filing, Head, Store, StoreError};

/// How long a batch waits when nobody reads.
const LAG: Duration = Duration::from_millis(100);
/// How often the projection is flushed, when something is new.
const DURABLE_EVERY_MS: u64 = 1_000;

/// A batch that is durable in the journal, as the projection takes it in.
#[derive(Debug)]
pub(super) struct Durable {
    /// Journal position after it.
    pub(super) position: u64,
    /// Ledger time of its last event.
    pub(super) at: Timestamp,
    pub(super) events: CommittedBatch,
    pub(super) changes: BTreeMap<TenantName, Changes>,
}

impl Durable {
    /// Of its events.
    pub(super) fn bytes(&self) -> usize {
        self.events.iter().map(|event| event.bytes.len()).sum()
    }
}

/// The backlog, and how far the projection has come.
#[derive(Debug)]
pub(super) struct Projector {
    /// Journal position after the newest batch that may have been answered.
    committed: AtomicU64,
    /// Journal position up to which the projection shows everything.
    projected: AtomicU64,
    /// Held for a look or an assignment.
    queue: Mutex<Queue>,
    /// Told when a pass should begin.
    wake: Condvar,
    /// Told when a pass has ended, well or not.
    shown: Condvar,
    /// Held for a pass, and while the projection is built anew.
    writing: Mutex<()>,
}

#[derive(Debug)]
struct Queue {
    batches: Vec<Arc<Durable>>,
    /// Of their events.
    bytes: usize,
    /// When the first of them came, by the monotonic clock.
    since_ms: Option<u64>,
    /// What a pass is writing, or could not write.
    taken: Taken,
    /// How many readers wait.
    readers: usize,
    /// Committed, and lost in a crash unless flushed.
    dirty: bool,
    durable_at_ms: u64,
    failed: Option<StoreError>,
    ended: bool,
}

/// Batches that left the queue and are not shown yet.
#[derive(Debug, Default)]
struct Taken {
    batches: usize,
    bytes: usize,
    since_ms: Option<u64>,
}

/// What was answered and is not in the projection yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Batches of the journal.
    pub batches: usize,
    /// Of their events.
    pub bytes: usize,
    /// How long the oldest of them waits; 0 when there is none.
    pub age_ms: u64,
}

impl Projector {
    pub(super) fn new(position: u64, now_ms: u64) -> Self {
        Projector {
            committed: AtomicU64::new(position),
            projected: AtomicU64::new(position),
            queue: Mutex::new(Queue {
                batches: Vec::new(),
                bytes: 0,
                since_ms: None,
                taken: Taken::default(),
                readers: 0,
                dirty: false,
                durable_at_ms: now_ms,
                failed: None,
                ended: false,
            }),
            wake: Condvar::new(),
            shown: Condvar::new(),
            writing: Mutex::new(()),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Takes a durable batch. To be called before anybody is answered: readers wait for it from now on.
    pub(super) fn push(&self, batch: Arc<Durable>, now_ms: u64) {
        let mut queue = self.queue();
        queue.since_ms.get_or_insert(now_ms);
        self.committed.store(batch.position, Ordering::Release);
        let before = queue.bytes;
        queue.bytes += batch.bytes();
        queue.batches.push(batch);
        let is_full = before < limits::BACKLOG_BYTES_MAX && queue.bytes >= limits::BACKLOG_BYTES_MAX;
        if queue.batches.len() == 1 || is_full {
            self.wake.notify_one();
        }
    }

    /// Journal position up to which the projection shows everything.
    pub(super) fn projected(&self) -> u64 {
        self.projected.load(Ordering::Acquire)
    }

    /// Waits until the projection shows everything answered so far. Blocks for one pass at most.
    pub(super) fn settle(&self) -> Result<(), SubmitError> {
        let wanted = self.committed.load(Ordering::Acquire);
        if self.projected() >= wanted {
            return Ok(());
        }
        let mut queue = self.queue();
        queue.readers += 1;
        self.wake.notify_one();
        while self.projected() < wanted && queue.failed.is_none() && !queue.ended {
            queue = self
                .shown
                .wait(queue)
                .unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        queue.readers -= 1;
        if self.projected() >= wanted {
            Ok(())
        } else {
            Err(SubmitError::Rebuilding)
        }
    }

    /// Keeps the writer from running away from the projection.
    pub(super) fn wait_for_room(&self) {
        let mut queue = self.queue();
        while queue.bytes >= limits::BACKLOG_BYTES_MAX && queue.failed.is_none() && !queue.ended {
            queue = self
                .shown
                .wait(queue)
                .unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    /// What the projection does not show yet.
    pub(super) fn backlog(&self, now_ms: u64) -> Backlog {
        let queue = self.queue();
        let since_ms = queue.taken.since_ms.or(queue.since_ms);
        Backlog {
            batches: queue.taken.batches + queue.batches.len(),
            bytes: queue.taken.bytes + queue.bytes,
            age_ms: since_ms.map_or(0, |since_ms| now_ms.saturating_sub(since_ms)),
        }
    }

    /// Why the last pass failed, when it did.
    pub(super) fn failure(&self) -> Option<StoreError> {
        self.queue().failed.clone()
    }

    /// Brings the projection up to everything committed; flushed when that is due, or asked for.
    pub(super) fn pass(&self, shared: &Shared, flush: bool) -> Result<(), StoreError> {
        // Held until the outcome is told: two passes must not tell theirs in the wrong order.
        let _writing = self.hold();
        let now_ms = shared.clock.monotonic_ms();
        let (batches, commit) = {
            let mut queue = self.queue();
            if let Some(error) = &queue.failed {
                return Err(error.clone());
            }
            let is_due = queue.durable_at_ms + DURABLE_EVERY_MS <= now_ms;
            let is_durable = flush || (is_due && (queue.dirty || !queue.batches.is_empty()));
            if queue.batches.is_empty() && !is_durable {
                return Ok(());
            }
            let commit = if is_durable {
                Commit::Durable
            } else {
                Commit::Visible
            };
            queue.taken = Taken {
                batches: queue.batches.len(),
                bytes: std::mem::take(&mut queue.bytes),
                since_ms: queue.since_ms.take(),
            };
            (std::mem::take(&mut queue.batches), commit)
        };
        let written = catch_unwind(AssertUnwindSafe(|| {
            let store = shared
                .store()
                .map_err(|_| StoreError::Failed("closed".to_owned()))?;
            write(&store, &batches, commit)
        }))
        .unwrap_or_else(|_| Err(StoreError::Damaged("writing it panicked".to_owned())));
        let mut queue = self.queue();
        match &written {
            Ok(()) => {
                if let Some(last) = batches.last() {
                    self.projected.store(last.position, Ordering::Release);
                }
                queue.taken = Taken::default();
                queue.dirty = commit == Commit::Visible;
                if commit == Commit::Durable {
                    queue.durable_at_ms = now_ms;
                }
            }
            Err(error) => queue.failed = Some(error.clone()),
        }
        self.shown.notify_all();
        written
    }

    fn hold(&self) -> MutexGuard<'_, ()> {
        self.writing
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Runs `build` while no pass can; afterwards the projection shows everything up to `position`, durably. Whoever
    /// waits is told that it is being built.
    pub(super) fn rebuild<T, E>(
        &self,
        (position, now_ms): (u64, u64),
        build: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        self.queue()
            .failed
            .get_or_insert_with(|| StoreError::Damaged("it is being built anew".to_owned()));
        self.shown.notify_all();
        let writing = self.hold();
        let built = build()?;
        let mut queue = self.queue();
        queue.batches.clear();
        queue.bytes = 0;
        queue.since_ms = None;
        queue.taken = Taken::default();
        queue.failed = None;
        queue.dirty = false;
        queue.durable_at_ms = now_ms;
        self.projected.store(position, Ordering::Release);
        drop(writing);
        self.wake.notify_one();
        Ok(built)
    }

    /// No pass begins any more; who waits goes on without.
    pub(super) fn end(&self) {
        self.queue().ended = true;
        self.wake.notify_all();
        self.shown.notify_all();
    }

    /// Waits until a pass should begin. False at the end.
    fn wait_for_work(&self) -> bool {
        let mut queue = self.queue();
        loop {
            if queue.ended {
                return false;
            }
            let is_urgent = queue.readers > 0 || queue.bytes >= limits::BACKLOG_BYTES_MAX;
            let wait = if queue.failed.is_some() {
                Duration::MAX
            } else if !queue.batches.is_empty() {
                if is_urgent {
                    return true;
                }
                LAG
            } else if queue.dirty {
                Duration::from_millis(DURABLE_EVERY_MS)
            } else {
                Duration::MAX
            };
            let (woken, timeout) = self
                .wake
                .wait_timeout(queue, wait)
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            queue = woken;
            if timeout.timed_out() && !queue.ended {
                return true;
            }
        }
    }
}

/// The projector's thread. `failed` is called after each pass that failed.
pub(super) fn run(shared: &Shared, failed: impl Fn()) {
    while shared.projector.wait_for_work() {
        if let Err(error) = shared.projector.pass(shared, false) {
            tracing::error!(%error, "the projection cannot be written");
            failed();
        }
    }
}

/// What the batches come to for one tenant.
struct Sum<'b> {
    rows: BTreeMap<&'b Key, Option<&'b Arc<Row>>>,
    head: Option<Head>,
}

fn write(store: &Store, batches: &[Arc<Durable>], commit: Commit) -> Result<(), StoreError> {
    let mut sums: BTreeMap<&TenantName, Sum<'_>> = BTreeMap::new();
    for batch in batches {
        for (tenant, changes) in &batch.changes {
            let sum = sums.entry(tenant).or_insert_with(|| Sum {
                rows: BTreeMap::new(),
                head: None,
            });
            sum.rows.extend(changes.iter());
            let mut events = batch.events.iter().rev();
            if let Some(last) = events.find(|event| event.tenant == *tenant) {
                sum.head = Some(Head {
                    size: last.seq.0 + 1,
                    at: batch.at,
                });
            }
        }
    }
    let mut transaction = store.begin()?;
    for (tenant, sum) in &sums {
        transaction.write(tenant, sum.rows.iter().map(|(key, row)| (*key, *row)))?;
        let events = batches.iter().flat_map(|batch| batch.events.iter());
        let filings = events
            .filter(|event| event.tenant == **tenant)
            .map(|event| Filing::new(event.seq, (event.job, event.run), event.correlation_id.as_deref()));
        transaction.index_events(tenant, filings)?;
        if let Some(head) = sum.head {
            transaction.set_head(tenant, head)?;
        }
    }
    transaction.commit(batches.last().map(|last| last.position), commit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_is_as_old_as_its_oldest_batch() {
        let projector = Projector::new(0, 100);
        assert_eq!(projector.backlog(5_000), Backlog::default());
        for (position, now_ms) in [(1, 200), (2, 250)] {
            let batch = Durable {
                position,
                at: Timestamp::from_ms(1),
                events: Vec::new().into(),
                changes: BTreeMap::new(),
            };
            projector.push(Arc::new(batch), now_ms);
        }
        let found = projector.backlog(270);
        assert_eq!((found.batches, found.age_ms), (2, 70));
        let built: Result<(), ()> = projector.rebuild((2, 300), || Ok(()));
        assert_eq!(built, Ok(()));
        assert_eq!(projector.backlog(5_000), Backlog::default());
    }
}
