//! The one writer: stage, hand over, a batch at a time; `engine/committer.rs` makes a batch true, and the projection
//! follows. No thread, no queue: what drives it is in `engine/thread.rs`, or a test with a manual clock.
//!
//! Commands are decided while the batch before is flushed, on the state as that batch leaves it. This is safe, in order:
//! batches become true in the order decided; nothing is answered before the flush of its own batch returned, which follows
//! those before it; rejections wait for the same flush, since they may rest on an event of any of them; after an error of
//! append or flush nothing is tried again, nothing decided later is appended, and the caller must end the process. Effects
//! in memory (ready order, leases, timers, tokens) are derived, so a batch that is dropped is followed by rebuilding them.

mod commit;
mod expiry;
mod grants;
mod waiting;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::oneshot;

use self::waiting::WaitingClaims;
use super::active::{Active, Timer};
use super::committer::{Commits, Committer, Owed, leave_unanswered};
use super::ledger_time::LedgerTime;
use super::request::{Answer, Claimed, Receipt, Request, SubmitError};
use super::shared::Shared;
use super::trial::{RowCache, Trial};
use crate::clock::Clock;
use crate::domain::command::{Command, LeaseEnd, Reply};
use crate::domain::decide::Stamp;
use crate::domain::event::{Actor, EventBody};
use crate::domain::redaction::Seed;
use crate::domain::rejection::{Refusal, Rejection};
use crate::domain::{JobId, Seq, TenantName, Timestamp};
use crate::journal::{Journal, Position};
use crate::limits;
use crate::store::StoreError;

/// Longest sleep when nothing is due.
const IDLE_MS_MAX: u64 = 1_000;

/// The writer cannot go on. Every answer still owed is [`SubmitError::OutcomeUnknown`]; the process must end.
#[derive(Debug, thiserror::Error)]
#[error("the writer has stopped for good: {0}")]
pub struct Fatal(pub String);

/// Why a batch came to nothing.
enum Dropped {
    /// The projection cannot be read: rebuild it. Nothing was appended.
    Projection(StoreError),
    /// Stop for good.
    Fatal(Fatal),
}

/// A batch that takes more commands, until it is handed over.
struct Staged {
    trial: Trial,
    owed: Vec<Owed>,
    /// Commands taken.
    taken: usize,
}

impl Staged {
    fn is_full(&self) -> bool {
        self.taken >= limits::BATCH_COMMANDS_MAX || self.trial.bytes >= limits::BATCH_GATHER_BYTES_MAX
    }
}

/// The one writer.
pub(super) struct Writer {
    clock: Arc<dyn Clock>,
    time: LedgerTime,
    pub(super) commits: Commits,
    /// Of the journal, once it holds everything handed over.
    position: Position,
    /// Of ledgers, once they hold everything handed over.
    sizes: HashMap<TenantName, u64>,
    staged: Option<Staged>,
    pub(super) shared: Arc<Shared>,
    active: Active,
    cache: RowCache,
    waiting: WaitingClaims,
    /// Whose turn it was last, among claims that reach every tenant.
    last_served: Option<TenantName>,
    /// A part of what is staged was handed over already.
    split: bool,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl Writer {
    pub(super) fn new(
        clock: Arc<dyn Clock>,
        journal: Box<dyn Journal>,
        shared: Arc<Shared>,
        active: Active,
        newest: Option<Timestamp>,
    ) -> Self {
        Writer {
            time: LedgerTime::new(clock.clone(), newest),
            clock,
            position: journal.end(),
            commits: Commits::here(Committer::new(journal, shared.clone())),
            sizes: HashMap::new(),
            staged: None,
            shared,
            active,
            cache: RowCache::default(),
            waiting: WaitingClaims::default(),
            last_served: None,
            split: false,
        }
    }

    /// Milliseconds until something is due by itself.
    pub(super) fn idle_ms(&mut self) -> u64 {
        let (now, _) = self.time.now();
        let timer = self.active.next_due().map_or(u64::MAX, |due| due.since_ms(now));
        let leases = self.shared.leases.lock().idle_ms(self.clock.monotonic_ms(), now);
        if self.commits.has_orphans() || self.is_behind() {
            return 1;
        }
        let claims = self.waiting.next_deadline_ms().map_or(u64::MAX, |deadline_ms| {
            deadline_ms.saturating_sub(self.clock.monotonic_ms())
        });
        timer.min(leases).min(claims).clamp(1, IDLE_MS_MAX)
    }

    /// One batch, staged and handed over.
    pub(super) fn batch(&mut self, requests: &mut VecDeque<Request>) -> Result<(), Fatal> {
        self.stage(requests)?;
        self.hand_over()
    }

    /// Whether what is staged is to be handed over before anything else is.
    pub(super) fn is_full(&self) -> bool {
        self.staged.as_ref().is_some_and(Staged::is_full)
    }

    /// Whether anything is to be handed over.
    pub(super) fn has_staged(&self) -> bool {
        let staged = self.staged.as_ref();
        staged.is_some_and(|staged| !staged.trial.events.is_empty() || !staged.owed.is_empty())
    }

    /// Decides what is due by itself, then the requests until the batch is full, then the claims that wait.
    pub(super) fn stage(&mut self, requests: &mut VecDeque<Request>) -> Result<(), Fatal> {
        let staged = match self.staged.take() {
            Some(staged) => Ok(staged),
            None => self.new_staged(),
        };
        let (owed, dropped) = match staged {
            Ok(mut staged) => match self.try_stage(requests, &mut staged) {
                Ok(()) => {
                    self.staged = Some(staged);
                    return Ok(());
                }
                // Asking again would not be safe: some of it is in the journal.
                Err(Dropped::Projection(error)) if self.split => {
                    (staged.owed, Dropped::Fatal(Fatal(error.to_string())))
                }
                Err(dropped) => (staged.owed, dropped),
            },
            Err(dropped) => (Vec::new(), dropped),
        };
        match dropped {
            Dropped::Projection(error) => {
                leave_unanswered(owed, &SubmitError::Rebuilding);
                self.rebuild(&error.to_string())
            }
            Dropped::Fatal(fatal) => {
                leave_unanswered(owed, &SubmitError::OutcomeUnknown(fatal.0.clone()));
                Err(fatal)
            }
        }
    }

    fn new_staged(&mut self) -> Result<Staged, Dropped> {
        self.split = false;
        Ok(Staged {
            trial: self.trial()?,
            owed: Vec::new(),
            taken: 0,
        })
    }

    fn try_stage(&mut self, requests: &mut VecDeque<Request>, staged: &mut Staged) -> Result<(), Dropped> {
        let (at, step) = self.time.now();
        if let Some(offset_ms) = step {
            let command = Command::RecordClockStep { offset_ms };
            let _ = self.system(&mut staged.trial, at, &TenantName::system(), "clock", &command)?;
        }
        self.run_due(&mut staged.trial, at)?;
        while !staged.is_full() {
            let Some(request) = requests.pop_front() else {
                break;
            };
            staged.taken += request.commands.len().max(1);
            self.run_request(&mut staged.trial, at, request, &mut staged.owed)?;
        }
        self.run_waiting(&mut staged.trial, at, &mut staged.owed)
    }

    fn run_request(
        &mut self,
        trial: &mut Trial,
        at: Timestamp,
        request: Request,
        owed: &mut Vec<Owed>,
    ) -> Result<(), Dropped> {
        let Request {
            tenant,
            actor,
            commands,
            claim,
            reply,
        } = request;
        // From here on the caller is owed an answer, whatever becomes of the batch.
        owed.push((
            reply,
            Answer {
                results: Vec::with_capacity(commands.len()),
                jobs: Vec::new(),
                claimed: Claimed::Served,
            },
        ));
        for command in &commands {
            self.make_room(trial)?;
            let result = self.decide(trial, at, &tenant, &actor, command)?;
            let last = trial
                .last_seq(&tenant)
                .map_or_else(|| self.size(&tenant), |seq| Ok(seq.0 + 1))?;
            let as_of = Seq(last.saturating_sub(1));
            if let Some((_, answer)) = owed.last_mut() {
                answer
                    .results
                    .push(result.map(|reply| Receipt { reply, as_of, at }));
            }
        }
        match claim {
            Some(claim) => self.run_claim(trial, at, tenant, claim, owed),
            None => Ok(()),
        }
    }

    fn run_due(&mut self, trial: &mut Trial, at: Timestamp) -> Result<(), Dropped> {
        for (tenant, timer) in self.active.due(at, limits::DUE_ITEMS_MAX) {
            let command = match timer {
                Timer::Wake(job) => Command::WakeJob { job },
                Timer::RunTimeout(run) => Command::TimeOutRun { run },
            };
            self.make_room(trial)?;
            // A refusal means that the timer outlived its cause.
            let _ = self.system(trial, at, &tenant, "timers", &command)?;
        }
        for (tenant, job, epoch) in self.commits.take_orphans() {
            let reason = "claim_abandoned".to_owned();
            let command = Command::ReleaseJob {
                job,
                epoch,
                reason,
                logs: None,
            };
            self.make_room(trial)?;
            let _ = self.system(trial, at, &tenant, "leases", &command)?;
        }
        self.run_expired(trial, at)
    }

    fn system(
        &mut self,
        trial: &mut Trial,
        at: Timestamp,
        tenant: &TenantName,
        part: &str,
        command: &Command,
    ) -> Result<Result<Reply, Rejection>, Dropped> {
        self.decide(trial, at, tenant, &Actor::system(part), command)
    }

    fn decide(
        &mut self,
        trial: &mut Trial,
        at: Timestamp,
        tenant: &TenantName,
        actor: &Actor,
        command: &Command,
    ) -> Result<Result<Reply, Rejection>, Dropped> {
        let next = match trial.last_seq(tenant) {
            Some(last) => last.0 + 1,
            None => self.size(tenant)?,
        };
        if next == 0
            && !matches!(command, Command::OpenLedger { .. })
            && let Some(origin) = self.shared.origin(tenant)
        {
            let open = Command::OpenLedger {
                origin: origin.to_string(),
            };
            if let Err(rejection) = self.decide(trial, at, tenant, &Actor::system("ledger"), &open)? {
                return Ok(Err(rejection));
            }
        }
        let next = trial.last_seq(tenant).map_or(next, |last| last.0 + 1);
        let stamp = Stamp {
            tenant: tenant.clone(),
            actor: actor.clone(),
            at,
            entropy: self.clock.entropy(),
            next: Seq(next),
            seed: Seed::new(self.clock.seed()),
        };
        let (first, reply) = match trial.decide(&self.cache, &stamp, command) {
            Ok(decided) => decided,
            Err(Refusal::Rejected(rejection)) => return Ok(Err(rejection)),
            Err(Refusal::Unavailable(error)) => {
                return Err(Dropped::Projection(StoreError::Damaged(error.0)));
            }
            Err(illegal @ Refusal::Illegal(_)) => return Err(Dropped::Fatal(Fatal(illegal.to_string()))),
        };
        self.observe(trial, first)?;
        Ok(Ok(reply))
    }

    fn observe(&mut self, trial: &mut Trial, first: usize) -> Result<(), Dropped> {
        let now_ms = self.clock.monotonic_ms();
        let mut opened = Vec::new();
        for accepted in &trial.events[first..] {
            let event = &accepted.event;
            let cache = &self.cache;
            let row = |key: &_| trial.get(cache, &event.tenant, key);
            self.active
                .observe(event, &self.shared.leases, now_ms, row)
                .map_err(|error| Dropped::Projection(StoreError::Damaged(error.0)))?;
            self.shared.workers.lock().observe(event);
            self.shared.auth.observe(event);
            self.shared.intake.observe(event);
            if let EventBody::WorkerDrained(drained) = &event.body {
                // Its claims that wait are to be answered.
                self.waiting.try_again_of(&drained.name);
            }
            if let EventBody::TenantCreated(created) = &event.body {
                opened.push((created.name.clone(), event.at));
            }
        }
        for (tenant, at) in opened {
            if let Some(origin) = self.shared.origin(&tenant) {
                let open = Command::OpenLedger {
                    origin: origin.to_string(),
                };
                let _ = self.system(trial, at, &tenant, "ledger", &open)?;
            }
        }
        Ok(())
    }

    fn size(&self, tenant: &TenantName) -> Result<u64, Dropped> {
        if let Some(size) = self.sizes.get(tenant) {
            return Ok(*size);
        }
        match self.shared.ledgers.ledger(tenant) {
            Ok(ledger) => Ok(ledger.size()),
            Err(error) => Err(Dropped::Fatal(Fatal(error.to_string()))),
        }
    }

    /// At start: the local runner's processes ended with the process that ran them.
    pub(super) fn lose_local_leases(
        &mut self,
        running: &BTreeMap<TenantName, Vec<(JobId, u64)>>,
    ) -> Result<(), Fatal> {
        for (tenant, jobs) in running {
            for chunk in jobs.chunks(limits::BATCH_COMMANDS_MAX / 2) {
                let commands = chunk
                    .iter()
                    .map(|(job, epoch)| Command::ExpireLease {
                        job: *job,
                        epoch: *epoch,
                        cause: LeaseEnd::WorkerLost,
                        logs: None,
                    })
                    .collect();
                let (reply, _answer) = oneshot::channel();
                let actor = Actor::system("recovery");
                let request = Request {
                    tenant: tenant.clone(),
                    actor,
                    commands,
                    claim: None,
                    reply,
                };
                self.batch(&mut VecDeque::from([request]))?;
            }
        }
        self.project()
    }
}
