//! The one writer: decide → journal → publish and reply, a batch at a time; the projection follows. No thread, no queue: what drives
//! it is in `engine/thread.rs`, or a test with a manual clock.
//!
//! The safety argument, in order: nothing is answered before the journal's flush returned; rejections wait for the same
//! flush, since they may rest on an event of the batch; after an error of append or flush nothing is tried again and the
//! caller must end the process. Effects in memory (ready order, leases, timers) are derived, so a batch that is dropped
//! is followed by rebuilding them.

mod commit;
mod expiry;
mod grants;
mod waiting;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::oneshot;

use self::waiting::WaitingClaims;
use super::active::{Active, Timer};
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
use crate::journal::{Journal, Position, Term};
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

type Owed = (oneshot::Sender<Result<Answer, SubmitError>>, Answer);

/// The one writer.
pub(super) struct Writer {
    clock: Arc<dyn Clock>,
    time: LedgerTime,
    journal: Box<dyn Journal>,
    term: Term,
    position: Position,
    pub(super) shared: Arc<Shared>,
    active: Active,
    cache: RowCache,
    waiting: WaitingClaims,
    /// Whose turn it was last, among claims that reach every tenant.
    last_served: Option<TenantName>,
    /// Leases granted to a caller that had gone by the time of the answer.
    orphans: Vec<(TenantName, JobId, u64)>,
    /// A part of the batch at work is in the journal already.
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
        let term = Term(journal.term().0 + 1);
        let position = journal.end();
        Writer {
            time: LedgerTime::new(clock.clone(), newest),
            clock,
            journal,
            term,
            position,
            shared,
            active,
            cache: RowCache::default(),
            waiting: WaitingClaims::default(),
            last_served: None,
            orphans: Vec::new(),
            split: false,
        }
    }

    /// Milliseconds until something is due by itself.
    pub(super) fn idle_ms(&mut self) -> u64 {
        let (now, _) = self.time.now();
        let timer = self.active.next_due().map_or(u64::MAX, |due| due.since_ms(now));
        let leases = self.shared.leases.lock().idle_ms(self.clock.monotonic_ms(), now);
        if !self.orphans.is_empty() || self.is_behind() {
            return 1;
        }
        let claims = self.waiting.next_deadline_ms().map_or(u64::MAX, |deadline_ms| {
            deadline_ms.saturating_sub(self.clock.monotonic_ms())
        });
        timer.min(leases).min(claims).clamp(1, IDLE_MS_MAX)
    }

    /// One batch: what is due by itself, then the requests, then the claims that wait.
    pub(super) fn batch(&mut self, requests: &mut VecDeque<Request>) -> Result<(), Fatal> {
        let mut owed: Vec<Owed> = Vec::new();
        self.split = false;
        let ended = match self.try_batch(requests, &mut owed) {
            // Asking again would not be safe: some of it is in the journal.
            Err(Dropped::Projection(error)) if self.split => Err(Dropped::Fatal(Fatal(error.to_string()))),
            ended => ended,
        };
        match ended {
            Ok(()) => Ok(()),
            Err(Dropped::Projection(error)) => {
                for (reply, _) in owed {
                    let _ = reply.send(Err(SubmitError::Rebuilding));
                }
                self.rebuild(&error.to_string())
            }
            Err(Dropped::Fatal(fatal)) => {
                for (reply, _) in owed {
                    let _ = reply.send(Err(SubmitError::OutcomeUnknown(fatal.0.clone())));
                }
                Err(fatal)
            }
        }
    }

    fn try_batch(&mut self, requests: &mut VecDeque<Request>, owed: &mut Vec<Owed>) -> Result<(), Dropped> {
        let mut trial = self.trial()?;
        let (at, step) = self.time.now();
        if let Some(offset_ms) = step {
            let command = Command::RecordClockStep { offset_ms };
            let _ = self.system(&mut trial, at, &TenantName::system(), "clock", &command)?;
        }
        self.run_due(&mut trial, at)?;
        let mut taken = 0;
        while taken < limits::BATCH_COMMANDS_MAX && trial.bytes < limits::BATCH_GATHER_BYTES_MAX {
            let Some(request) = requests.pop_front() else {
                break;
            };
            taken += request.commands.len().max(1);
            self.run_request(&mut trial, at, request, owed)?;
        }
        self.run_waiting(&mut trial, at, owed)?;
        self.commit(trial, owed)
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
        for (tenant, job, epoch) in std::mem::take(&mut self.orphans) {
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
        match self.shared.ledgers.ledger(tenant) {
            Ok(ledger) => Ok(ledger.size()),
            Err(error) => Err(Dropped::Fatal(Fatal(error.to_string()))),
        }
    }

    /// Moves what closed segments hold to history, and gives the segments up. `archive` is called without any lock.
    pub(super) fn closed_segments(&self) -> Vec<crate::journal::SegmentInfo> {
        self.journal.closed()
    }

    /// Gives up segments whose events are in history.
    pub(super) fn release(&mut self, segments: &[crate::journal::SegmentId]) -> Result<(), Fatal> {
        // The archiver may name a segment twice: it was woken again before the first word of it arrived here.
        let closed: Vec<_> = self.journal.closed().iter().map(|info| info.id).collect();
        for id in segments.iter().filter(|id| closed.contains(id)) {
            self.journal
                .release(*id)
                .map_err(|error| Fatal(format!("the journal: {error}")))?;
        }
        Ok(())
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

    /// Up to where the journal holds everything.
    pub(super) fn position(&self) -> Position {
        self.position
    }
}
