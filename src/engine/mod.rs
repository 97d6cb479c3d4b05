//! The engine: the one writer, and the handle by which everything above talks to it.
//!
//! Commands go down through a bounded queue, answers come back once they are durable; reads go to the projection and
//! the ledgers without passing the writer. Promises: an acknowledged command survives any crash; a reader sees whole
//! batches, each at a stated `asOf`. It must never wait for a subscriber, a worker or the network.
//!
//! Reading order: `request`, `trips`, `writer`, `committer`, `projector`, `thread`; then `trial`, `graphs`, `active`, `ready`, `lanes`, `leases`, `workers`,
//! `worker_calls`, `ledger_time`; `recover`, `fold`, `snapshot`, `checkpoints`, `rotation`; `shared`, `auth`, `intake`, `feed`.

mod active;
mod auth;
mod checkpoints;
mod committer;
mod feed;
mod floor;
mod fold;
mod graphs;
mod intake;
mod lanes;
mod leases;
mod ledger_time;
mod own_keys;
mod packed;
mod projector;
mod ready;
mod recover;
mod request;
mod rotation;
mod shared;
mod snapshot;
mod thread;
mod trial;
mod trips;
mod worker_calls;
mod workers;
mod writer;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::oneshot;

use self::checkpoints::Checkpoints;
use self::shared::Shared;
use self::thread::{Message, Threads};
use crate::clock::Clock;
use crate::disclosures::Disclosures;
use crate::disk::Disk;
use crate::domain::command::{Command, Reply};
use crate::domain::event::Actor;
use crate::domain::redaction::Policy;
use crate::domain::rejection::Rejection;
use crate::domain::token::Token;
use crate::domain::{JobId, TenantName, TokenId};
use crate::journal::Options;
use crate::ledger::{LedgerError, Origin, SignedCheckpoint, TenantLedger};
use crate::store::{Snapshot, Store, StoreError};
use crate::trust::KeyFolder;

pub use self::checkpoints::CheckpointError;
pub use self::feed::{Committed, CommittedBatch, Feed};
pub use self::floor::read_floor;
pub use self::fold::{FoldError, Folder, catch_up_one};
pub use self::leases::{LeaseNow, LeaseOver, Lost, Named, Progress, Renewed};
pub use self::projector::Backlog;
pub use self::ready::Wanted;
pub use self::recover::{LOCAL_WORKER, Layout, Report, StartError, Trusted};
pub use self::request::{Answer, Claim, Claimed, Reach, Receipt, SubmitError};
pub use self::rotation::RotationError;
pub use self::shared::StatsNow;
pub use self::trips::whole;
pub use self::workers::{Offer, WorkerNow};
pub use self::writer::Fatal;
pub use crate::domain::glob::matches;

/// Why one command was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The caller may not.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The system could not.
    #[error(transparent)]
    Failed(#[from] SubmitError),
}

/// What the engine is opened with.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Where it lies.
    pub dir: PathBuf,
    /// The storage.
    pub disk: Arc<dyn Disk>,
    /// Time and randomness.
    pub clock: Arc<dyn Clock>,
    /// The enclave's keys.
    pub keys: Arc<KeyFolder>,
    /// Whether the projection's file may be opened in this process.
    pub trusted: Trusted,
    /// Sizes of journal segments.
    pub journal: Options,
}

/// The handle. Cheap to clone; the engine ends when [`Handle::stop`] was called.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    threads: Arc<Threads>,
}

impl Handle {
    /// Opens the data folder, brings everything up to date and starts the writer.
    ///
    /// # Errors
    /// [`StartError`] names what is damaged or missing. Nothing is served then.
    pub fn start(setup: Setup) -> Result<(Self, Report), StartError> {
        let layout = Layout(setup.dir);
        let (writer, report) = recover::open(
            (setup.disk, setup.clock),
            &layout,
            setup.keys,
            setup.trusted,
            setup.journal,
        )?;
        let shared = writer.shared.clone();
        let checkpoints = Checkpoints::new(layout.clone());
        let threads = Threads::start(writer, layout, checkpoints).map_err(|source| StartError::Disk {
            what: "starting a thread".to_owned(),
            source,
        })?;
        Ok((
            Handle {
                shared,
                threads: Arc::new(threads),
            },
            report,
        ))
    }

    /// Renews a lease. No event, no flush, no trip to the writer.
    ///
    /// # Errors
    /// [`Lost`] when there is no such lease any more.
    pub fn renew(&self, tenant: &TenantName, job: JobId, epoch: u64, worker: &str) -> Result<Renewed, Lost> {
        self.shared.renew(tenant, job, epoch, worker)
    }

    /// A consistent view of the projection. Keep it short.
    ///
    /// # Errors
    /// [`SubmitError::Rebuilding`] while it is being rebuilt.
    pub fn read(&self) -> Result<Snapshot, SubmitError> {
        let store = self.shared.settled_store()?;
        store.read().map_err(|error| {
            self.report_damage(&error);
            SubmitError::Rebuilding
        })
    }

    /// Tells the writer that a read failed: it rebuilds the projection before its next batch.
    pub fn report_damage(&self, error: &StoreError) {
        self.shared.report_damage(error);
    }

    /// The ledger of a tenant.
    ///
    /// # Errors
    /// [`LedgerError`] names file and offset.
    pub fn ledger(&self, tenant: &TenantName) -> Result<Arc<TenantLedger>, LedgerError> {
        self.shared.ledgers.ledger(tenant)
    }

    /// Every tenant that has a ledger here, foreign ones included.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn tenants(&self) -> Result<Vec<TenantName>, LedgerError> {
        self.shared.ledgers.tenants()
    }

    /// Signs the checkpoint of one of our own ledgers at a size.
    ///
    /// # Errors
    /// [`CheckpointError`] when the ledger is shorter, damaged, or foreign.
    pub fn checkpoint(&self, tenant: &TenantName, size: u64) -> Result<SignedCheckpoint, CheckpointError> {
        checkpoints::sign(&self.shared, &self.keys().log(), tenant, size)
    }

    /// The origin of one of our own ledgers; none for a foreign one.
    pub fn origin(&self, tenant: &TenantName) -> Option<Origin> {
        self.shared.origin(tenant)
    }

    /// The enclave's keys.
    pub fn keys(&self) -> &Arc<KeyFolder> {
        &self.shared.keys
    }

    /// The projection, for folding imported ledgers into it.
    ///
    /// # Errors
    /// [`SubmitError::Rebuilding`] while it is being rebuilt.
    pub fn store(&self) -> Result<Arc<Store>, SubmitError> {
        self.shared.settled_store()
    }

    /// The token with this secret, revoked and expired ones included.
    pub fn token(&self, secret: &str) -> Option<Arc<Token>> {
        self.shared.auth.find(secret)
    }

    /// The token with this id, as it stands now.
    pub fn token_by_id(&self, id: TokenId) -> Option<Arc<Token>> {
        self.shared.auth.by_id(id)
    }

    /// What a tenant takes out of payloads as they come in, as decided last. Does not wait for the projection.
    pub fn intake_policy(&self, tenant: &TenantName) -> Option<Arc<Policy>> {
        self.shared.intake.find(tenant)
    }

    /// What is committed from now on.
    pub fn feed(&self) -> &Feed {
        &self.shared.feed
    }

    /// Counters.
    pub fn stats(&self) -> StatsNow {
        self.shared.stats_now()
    }

    /// Time and randomness.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }

    /// What redacted fields stand for.
    pub fn disclosures(&self) -> &Arc<Disclosures> {
        &self.shared.disclosures
    }

    /// The storage.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.shared.disk
    }

    /// The data folder.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// Answers what is queued, flushes, signs, and ends. Blocks until done.
    ///
    /// # Errors
    /// [`Fatal`] when the writer had stopped, or stops now, for good.
    pub fn stop(&self) -> Result<(), Fatal> {
        // A full queue is being worked off; the writer that has ended answers by the join.
        let _ = self.threads.queue().send(Message::Stop);
        self.threads.join()
    }

    /// Waits until the writer has ended, and says how. Blocks.
    ///
    /// # Errors
    /// [`Fatal`] when it stopped for good.
    pub fn wait(&self) -> Result<(), Fatal> {
        self.threads.join()
    }
}

/// The writer without threads, for tests that decide themselves when a batch happens, and what the disk does.
#[derive(Debug)]
pub struct ManualEngine {
    writer: writer::Writer,
    lags: bool,
    overlaps: bool,
    checkpoints: Checkpoints,
    layout: Layout,
}

impl ManualEngine {
    /// Opens the data folder and brings everything up to date.
    ///
    /// # Errors
    /// As [`Handle::start`].
    pub fn open(setup: Setup) -> Result<(Self, Report), StartError> {
        let layout = Layout(setup.dir);
        let (writer, report) = recover::open(
            (setup.disk, setup.clock),
            &layout,
            setup.keys,
            setup.trusted,
            setup.journal,
        )?;
        let checkpoints = Checkpoints::new(layout.clone());
        Ok((
            ManualEngine {
                writer,
                lags: false,
                overlaps: false,
                checkpoints,
                layout,
            },
            report,
        ))
    }

    /// One batch of trips, each of one tenant. The answers are there when this returns, unless a claim waits.
    ///
    /// # Errors
    /// [`Fatal`]: drop the engine then, as a process would end.
    pub fn batch(
        &mut self,
        trips: Vec<(TenantName, Actor, Vec<Command>, Option<Claim>)>,
    ) -> Result<Vec<Option<Result<Answer, SubmitError>>>, Fatal> {
        let mut answers = Vec::with_capacity(trips.len());
        let mut requests = VecDeque::with_capacity(trips.len());
        for (tenant, actor, commands, claim) in trips {
            let (reply, answer) = oneshot::channel();
            requests.push_back(request::Request {
                tenant,
                actor,
                commands,
                claim,
                reply,
            });
            answers.push(answer);
        }
        while self.overlaps
            && let Some(request) = requests.pop_front()
        {
            self.writer.batch(&mut VecDeque::from([request]))?;
        }
        while !requests.is_empty() {
            self.step(&mut requests)?;
        }
        self.step(&mut requests)?;
        Ok(answers
            .into_iter()
            .map(|mut answer| answer.try_recv().ok())
            .collect())
    }

    fn step(&mut self, requests: &mut VecDeque<request::Request>) -> Result<(), Fatal> {
        if let Some(error) = self.writer.shared.projector.failure() {
            self.writer.mend(Err(error))?;
        }
        self.writer.batch(requests)?;
        self.writer.commits.settle()?;
        if self.lags {
            return Ok(());
        }
        self.writer.project()
    }

    /// Whether from now on the projection follows only when it is read or flushed, as it may behind a busy writer.
    ///
    /// # Errors
    /// [`Fatal`]: drop the engine then.
    pub fn let_projection_lag(&mut self, lags: bool) -> Result<(), Fatal> {
        self.lags = lags;
        if lags { Ok(()) } else { self.writer.project() }
    }

    /// Whether from now on each trip is a batch of its own, decided before the one before it is flushed.
    pub fn let_flushes_overlap(&mut self, overlaps: bool) {
        self.overlaps = overlaps;
        self.writer.commits.let_lag(overlaps);
    }

    /// One command, as a trip of its own.
    ///
    /// # Errors
    /// [`Fatal`]: drop the engine then.
    pub fn submit(
        &mut self,
        tenant: &TenantName,
        actor: &Actor,
        command: Command,
    ) -> Result<Result<Reply, CommandError>, Fatal> {
        let trips = vec![(tenant.clone(), actor.clone(), vec![command], None)];
        let answer = self.batch(trips)?.pop().flatten();
        Ok(match answer {
            None => Err(SubmitError::Stopped.into()),
            Some(Err(error)) => Err(error.into()),
            Some(Ok(mut answer)) => match answer.results.pop() {
                Some(Ok(receipt)) => Ok(receipt.reply),
                Some(Err(rejection)) => Err(rejection.into()),
                None => Err(SubmitError::Stopped.into()),
            },
        })
    }

    /// The token with this secret, as [`Handle::token`].
    pub fn token(&self, secret: &str) -> Option<Arc<Token>> {
        self.writer.shared.auth.find(secret)
    }

    /// Renews a lease, as [`Handle::renew`].
    ///
    /// # Errors
    /// [`Lost`] when there is no such lease any more.
    pub fn renew(&self, tenant: &TenantName, job: JobId, epoch: u64, worker: &str) -> Result<Renewed, Lost> {
        self.writer.shared.renew(tenant, job, epoch, worker)
    }

    /// Signs checkpoints of all that grew.
    ///
    /// # Errors
    /// [`Fatal`]: drop the engine then.
    pub fn sign(&mut self) -> Result<(), Fatal> {
        self.checkpoints
            .sign_when_due(&self.writer.shared, std::time::Duration::ZERO)
    }

    /// Moves everything to history and gives closed segments up.
    ///
    /// # Errors
    /// [`Fatal`]: drop the engine then.
    pub fn archive(&mut self) -> Result<(), Fatal> {
        let closed = self.writer.commits.closed();
        self.writer
            .shared
            .archive_all()
            .map_err(|error| Fatal(error.to_string()))?;
        self.writer.commits.release(&closed)
    }

    /// Makes the projection durable.
    ///
    /// # Errors
    /// [`Fatal`]: drop the engine then.
    pub fn flush(&mut self) -> Result<(), Fatal> {
        self.writer.flush_projection()
    }

    /// Writes a state snapshot now.
    ///
    /// # Errors
    /// What the disk said.
    pub fn snapshot(&mut self) -> std::io::Result<()> {
        let store = self
            .store()
            .map_err(|error| std::io::Error::other(error.to_string()))?;
        snapshot::write(
            self.writer.shared.disk.as_ref(),
            &self.layout,
            &store,
            self.writer.shared.durable().0,
        )
    }

    /// The projection, with everything answered in it.
    ///
    /// # Errors
    /// [`SubmitError::Rebuilding`] while there is none; the next batch builds it.
    pub fn store(&self) -> Result<Arc<Store>, SubmitError> {
        let shared = &self.writer.shared;
        shared
            .projector
            .pass(shared, false)
            .map_err(|_| SubmitError::Rebuilding)?;
        shared.store()
    }

    /// The ledger of a tenant.
    ///
    /// # Errors
    /// [`LedgerError`] names file and offset.
    pub fn ledger(&self, tenant: &TenantName) -> Result<Arc<TenantLedger>, LedgerError> {
        self.writer.shared.ledgers.ledger(tenant)
    }

    /// Every tenant with a ledger.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn tenants(&self) -> Result<Vec<TenantName>, LedgerError> {
        self.writer.shared.ledgers.tenants()
    }

    /// What is committed from now on.
    pub fn feed(&self) -> &Feed {
        &self.writer.shared.feed
    }

    /// What redacted fields stand for.
    pub fn disclosures(&self) -> &Arc<Disclosures> {
        &self.writer.shared.disclosures
    }
}
