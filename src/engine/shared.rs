//! What the writer shares with readers: the projection, the ledgers, the feed, leases, tokens, counters.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, RwLock};

use super::active::{Active, SharedLeases};
use super::auth::Auth;
use super::feed::Feed;
use super::fold;
use super::intake::IntakePolicies;
use super::leases::{LeaseOver, Lost, Named, Renewed};
use super::projector::{Backlog, Projector};
use super::request::SubmitError;
use super::workers::{SharedWorkers, Workers};
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::disclosures::Disclosures;
use crate::disk::Disk;
use crate::domain::job::Job;
use crate::domain::state::Kind;
use crate::domain::{JobId, TenantName, Timestamp};
use crate::journal::{Position, SegmentId};
use crate::ledger::{LedgerError, Ledgers, Origin};
use crate::store::{Commit, Snapshot, Store, StoreError};
use crate::trust::KeyFolder;

/// Counters of the writer, read by metrics at any time.
#[derive(Debug, Default)]
pub struct Stats {
    batches: AtomicU64,
    events: AtomicU64,
    flush_ns: AtomicU64,
    ready: AtomicUsize,
    running: AtomicUsize,
    rebuilds: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatsNow {
    /// What was answered and is not in the projection yet.
    pub backlog: Backlog,
    /// Batches flushed since the start.
    pub batches: u64,
    /// Events committed since the start.
    pub events: u64,
    /// Time spent in appends and their flushes.
    pub flush_ns: u64,
    /// Jobs that may be leased.
    pub ready: usize,
    /// Jobs under a lease.
    pub running: usize,
    /// How often the projection was thrown away and folded anew.
    pub rebuilds: u64,
}

impl Stats {
    pub(super) fn flushed(&self, ns: u64, events: usize) {
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.events.fetch_add(events as u64, Ordering::Relaxed);
        self.flush_ns.fetch_add(ns, Ordering::Relaxed);
    }

    pub(super) fn set_active(&self, ready: usize, running: usize) {
        self.ready.store(ready, Ordering::Relaxed);
        self.running.store(running, Ordering::Relaxed);
    }

    /// The counters now.
    fn now(&self, backlog: Backlog) -> StatsNow {
        StatsNow {
            backlog,
            batches: self.batches.load(Ordering::Relaxed),
            events: self.events.load(Ordering::Relaxed),
            flush_ns: self.flush_ns.load(Ordering::Relaxed),
            ready: self.ready.load(Ordering::Relaxed),
            running: self.running.load(Ordering::Relaxed),
            rebuilds: self.rebuilds.load(Ordering::Relaxed),
        }
    }
}

/// Shared by writer, archiver, checkpointer and every reader.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) dir: PathBuf,
    pub(super) ledgers: Arc<Ledgers>,
    pub(super) keys: Arc<KeyFolder>,
    pub(super) feed: Feed,
    pub(super) leases: SharedLeases,
    pub(super) workers: SharedWorkers,
    /// Takes leases whose output must be closed before their end is recorded. Held for a clone or an assignment.
    pub(super) ends: Mutex<Option<mpsc::Sender<LeaseOver>>>,
    pub(super) auth: Auth,
    pub(super) intake: IntakePolicies,
    pub(super) stats: Stats,
    /// What redacted fields stand for. The writer alone appends and erases.
    pub(super) disclosures: Arc<Disclosures>,
    /// Empty while the projection is rebuilt. The lock is held for a clone of the handle.
    store: RwLock<Option<Arc<Store>>>,
    pub(super) projector: Projector,
    /// A reader met damage: the writer rebuilds before its next batch.
    damaged: AtomicBool,
    /// Journal position up to which everything is durable.
    durable: AtomicU64,
    archive: Archive,
    /// Why the writer ended, when it was not asked to.
    ended: OnceLock<String>,
}

/// What the archiver waits for.
#[derive(Debug, Default)]
struct Archive {
    /// Held for a look or an assignment.
    wanted: Mutex<Wanted>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Wanted {
    /// Closed segments that the journal keeps until their events are in history.
    closed: Vec<SegmentId>,
    ended: bool,
}

impl Shared {
    pub(super) fn new(
        (disk, clock): (Arc<dyn Disk>, Arc<dyn Clock>),
        dir: PathBuf,
        ledgers: Arc<Ledgers>,
        (keys, disclosures): (Arc<KeyFolder>, Arc<Disclosures>),
        (store, position): (Arc<Store>, u64),
    ) -> Self {
        Shared {
            projector: Projector::new(position, clock.monotonic_ms()),
            disk,
            clock,
            dir,
            ledgers,
            keys,
            feed: Feed::default(),
            leases: SharedLeases::default(),
            workers: SharedWorkers::default(),
            ends: Mutex::default(),
            auth: Auth::default(),
            intake: IntakePolicies::default(),
            stats: Stats::default(),
            disclosures,
            store: RwLock::new(Some(store)),
            damaged: AtomicBool::new(false),
            durable: AtomicU64::new(position),
            archive: Archive::default(),
            ended: OnceLock::new(),
        }
    }

    /// From now on whoever asks is told why the writer ended.
    pub(super) fn end_because(&self, why: String) {
        let _ = self.ended.set(why);
    }

    /// What a request is answered that the writer left behind. One that ended by itself answered all that it had begun.
    pub(super) fn unanswered(&self) -> SubmitError {
        match self.ended() {
            SubmitError::Stopped => SubmitError::OutcomeUnknown("the writer ended".to_owned()),
            ended => ended,
        }
    }

    /// What a request is answered that comes after the end.
    pub(super) fn ended(&self) -> SubmitError {
        match self.ended.get() {
            Some(why) => SubmitError::Ended(why.clone()),
            None => SubmitError::Stopped,
        }
    }

    /// The counters now. Looks at the backlog, and begins no pass.
    pub(super) fn stats_now(&self) -> StatsNow {
        self.stats.now(self.projector.backlog(self.clock.monotonic_ms()))
    }

    /// The projection as it is, unless it is being rebuilt; for the writer, who knows what is not in it yet.
    pub(super) fn store(&self) -> Result<Arc<Store>, SubmitError> {
        let store = self.store.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        store.clone().ok_or(SubmitError::Rebuilding)
    }

    /// The projection as it shows whatever was answered so far.
    pub(super) fn settled_store(&self) -> Result<Arc<Store>, SubmitError> {
        self.projector.settle()?;
        self.store()
    }

    /// Lets go of the projection, so that its file is closed when this engine has stopped and not when its last handle
    /// goes: redb writes when it closes, and another engine may have opened the folder by then.
    pub(super) fn close_store(&self) {
        *self
            .store
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = None;
    }

    /// The origin of one of our own ledgers; none for a foreign one.
    pub(super) fn origin(&self, tenant: &TenantName) -> Option<Origin> {
        Origin::new(self.keys.enclave(), tenant.clone())
    }

    /// One more period for a lease, from now.
    pub(super) fn renew(
        &self,
        tenant: &TenantName,
        job: JobId,
        epoch: u64,
        worker: &str,
    ) -> Result<Renewed, Lost> {
        let now_ms = self.clock.monotonic_ms();
        let named = Named {
            tenant,
            job,
            epoch,
            worker,
        };
        let renewed = self.leases.lock().renew(named, now_ms)?;
        Ok(Renewed {
            drain: self.workers.lock().is_draining(tenant, worker),
            ..renewed
        })
    }

    /// Hands a lease that ran out to whoever closes its output. False when there is nobody, or too much to do.
    pub(super) fn hand_over(&self, over: &LeaseOver) -> bool {
        let ends = self.ends.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        ends.as_ref()
            .is_some_and(|ends| ends.try_send(over.clone()).is_ok())
    }

    /// A reader met a value that is not what was written.
    pub(super) fn report_damage(&self, error: &StoreError) {
        tracing::error!(%error, "a read found the projection damaged");
        self.damaged.store(true, Ordering::Release);
    }

    pub(super) fn take_damage(&self) -> bool {
        self.damaged.swap(false, Ordering::AcqRel)
    }

    /// Closes the projection, throws its files away and folds it anew. Readers get [`SubmitError::Rebuilding`]
    /// meanwhile, those that wait for it too. Called by the writer alone.
    pub(super) fn rebuild_projection(&self, position: u64, now_ms: u64) -> Result<Active, fold::FoldError> {
        self.projector.rebuild((position, now_ms), || {
            let path = {
                let mut slot = self
                    .store
                    .write()
                    .unwrap_or_else(|poisoned| poisoned.into_inner());
                let Some(old) = slot.take() else {
                    return Err(fold::FoldError::Store(StoreError::Failed("closed".to_owned())));
                };
                old.path().to_owned()
                // Readers that still hold the old one keep its open files until they are done.
            };
            self.stats.rebuilds.fetch_add(1, Ordering::Relaxed);
            Store::discard(self.disk.as_ref(), &path).map_err(StoreError::from)?;
            let store = Arc::new(Store::open(&self.disk, &path)?);
            fold::catch_up(&store, &self.ledgers)?;
            store.begin()?.commit(Some(position), Commit::Durable)?;
            let (active, _) = self.derive(&store, now_ms)?;
            *self
                .store
                .write()
                .unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(store);
            Ok(active)
        })
    }

    /// What is derived from the projection and kept in memory, and the running jobs.
    pub(super) fn derive(
        &self,
        store: &Store,
        now_ms: u64,
    ) -> Result<(Active, BTreeMap<TenantName, Vec<Job>>), fold::FoldError> {
        let tenants: Vec<TenantName> = self
            .ledgers
            .tenants()?
            .into_iter()
            .filter(|tenant| !tenant.is_foreign())
            .collect();
        let snapshot = store.read()?;
        self.auth.rebuild(&snapshot)?;
        self.intake.rebuild(&snapshot, &tenants)?;
        let (active, running) = Active::rebuild(&snapshot, &tenants, &self.leases, now_ms)?;
        self.leases.lock().expect_output();
        *self.workers.lock() = Workers::default();
        for tenant in &tenants {
            self.take_up_workers(&snapshot, tenant)?;
        }
        self.stats
            .set_active(active.ready.depth(), self.leases.lock().len());
        Ok((active, running))
    }

    fn take_up_workers(&self, snapshot: &Snapshot, tenant: &TenantName) -> Result<(), StoreError> {
        let mut workers = self.workers.lock();
        for row in snapshot.every_row(tenant, Kind::Worker)? {
            if let Some(worker) = row?.1.as_worker() {
                workers.insert(tenant, worker);
            }
        }
        Ok(())
    }

    /// Ledger time of the newest event of any ledger of our own.
    pub(super) fn newest(&self, store: &Store) -> Result<Option<Timestamp>, fold::FoldError> {
        let snapshot = store.read()?;
        let mut newest = None;
        for tenant in self
            .ledgers
            .tenants()?
            .iter()
            .filter(|tenant| !tenant.is_foreign())
        {
            newest = newest.max(snapshot.head(tenant)?.map(|head| head.at));
        }
        Ok(newest)
    }

    /// Moves everything committed so far to history and tiles.
    pub(super) fn archive_all(&self) -> Result<(), LedgerError> {
        for tenant in self.ledgers.tenants()? {
            let ledger = self.ledgers.ledger(&tenant)?;
            ledger.archive(ledger.size())?;
        }
        Ok(())
    }

    /// Everything up to here is durable. To be called before any ledger shows it.
    pub(super) fn set_durable(&self, position: Position) {
        self.durable.store(position.0, Ordering::Release);
    }

    /// Journal position up to which everything is durable; not before anything that a ledger shows.
    pub(super) fn durable(&self) -> Position {
        Position(self.durable.load(Ordering::Acquire))
    }

    /// Names the closed segments to the archiver, when there are any.
    pub(super) fn note_closed(&self, closed: Vec<SegmentId>) {
        if !closed.is_empty() {
            self.wanted().closed = closed;
            self.archive.changed.notify_all();
        }
    }

    /// Lets the archiver end.
    pub(super) fn end_archiver(&self) {
        self.wanted().ended = true;
        self.archive.changed.notify_all();
    }

    /// Blocks until segments have closed whose events are to be archived; none at the end. What they hold is in the ledgers.
    pub(super) fn wait_for_closed(&self) -> Option<Vec<SegmentId>> {
        let mut wanted = self.wanted();
        while wanted.closed.is_empty() && !wanted.ended {
            wanted = self
                .archive
                .changed
                .wait(wanted)
                .unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        let closed = std::mem::take(&mut wanted.closed);
        (!wanted.ended).then_some(closed)
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.archive
            .wanted
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
