//! `decide`: (view, command, at, entropy) → events or a rejection. Pure.
//!
//! A `Draft` emits events one by one and folds each at once with the same `apply` that replay uses, so what follows
//! in the same decision already sees it. A rejected draft is dropped whole: nothing changed, no event.

mod admin;
mod bounds;
mod dead_letter;
mod gate;
mod graph;
mod import;
mod job;
mod lease;
mod order;
mod pause;
mod redaction;
mod replay;
mod report;
mod run;
mod secret;
mod step;
mod trust;
mod webhook;
mod worker;

pub use self::bounds::check_label;
pub use self::lease::was_granted;
pub use self::replay::closure;
pub use self::run::{STEP_JOB_TYPE, STEP_QUEUE};

use super::apply::{ApplyError, apply};
use super::command::{Command, Reply};
use super::event::{Actor, Event, EventBody, Subject};
use super::redaction::{Kept, Salts, Seed};
use super::rejection::{Code, Refusal, Rejection};
use super::state::{Changes, Layered, Unavailable, View};
use super::{Digest, JobId, RunId, Seq, TenantName, Timestamp, leaf_hash};
use crate::limits;

/// What a command is decided with, besides the state.
#[derive(Debug, Clone)]
pub struct Stamp {
    /// Whose ledger.
    pub tenant: TenantName,
    /// Who asks.
    pub actor: Actor,
    /// Ledger time.
    pub at: Timestamp,
    /// Drawn for this command; decides ids and jitter.
    pub entropy: u64,
    /// The ledger's size: the sequence of the first event this command makes.
    pub next: Seq,
    /// Drawn for this command; decides the salts of redacted fields.
    pub seed: Seed,
}

/// One event ready for the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The event. Boxed: it is moved from list to list.
    pub event: Box<Event>,
    /// Its canonical bytes.
    pub bytes: Vec<u8>,
    /// Its hash.
    pub leaf: Digest,
}

/// What an accepted command comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The events, in order.
    pub events: Vec<Accepted>,
    /// What they change.
    pub changes: Changes,
    /// What of their redacted fields is to be kept, and flushed before they are recorded; in the order of the events.
    pub kept: Vec<Kept>,
    /// What is answered.
    pub reply: Reply,
}

/// Decides a command.
///
/// # Errors
/// [`Refusal::Rejected`] when the caller may not; [`Refusal::Unavailable`] when the state cannot be read;
/// [`Refusal::Illegal`] when an emitted event was refused by `apply`, which is a bug and stops the writer.
pub fn decide(view: &dyn View, stamp: &Stamp, command: &Command) -> Result<Decision, Refusal> {
    if stamp.tenant.is_foreign() {
        let detail = "an imported ledger can only be read";
        return Err(Rejection::new(Code::ForeignReadOnly, detail).into());
    }
    let mut draft = Draft {
        below: view,
        stamp,
        changes: Changes::default(),
        events: Vec::new(),
        kept: Vec::new(),
        salts: Salts::new(stamp.seed),
        bytes: 0,
        bytes_max: bytes_max(command),
        drawn: 0,
    };
    let reply = draft.dispatch(command)?;
    Ok(Decision {
        events: draft.events,
        changes: draft.changes,
        kept: draft.kept,
        reply,
    })
}

struct Draft<'a> {
    below: &'a dyn View,
    stamp: &'a Stamp,
    changes: Changes,
    events: Vec<Accepted>,
    kept: Vec<Kept>,
    salts: Salts,
    /// Sum of the event and disclosure bytes so far, and its bound.
    bytes: usize,
    bytes_max: usize,
    /// Ids drawn so far.
    drawn: u32,
}

/// What brings something new is bounded more tightly than what follows from it.
fn bytes_max(command: &Command) -> usize {
    match command {
        Command::SubmitJob(_) | Command::StartGraph(_) | Command::StartRun(_) | Command::Order(_) => {
            limits::COMMAND_BYTES_MAX
        }
        _ => limits::FOLLOW_UP_BYTES_MAX,
    }
}

/// What an event is filed under besides its subject.
#[derive(Debug, Clone, Default)]
struct Labels {
    correlation_id: Option<String>,
    project: Option<String>,
}

impl Draft<'_> {
    fn dispatch(&mut self, command: &Command) -> Result<Reply, Refusal> {
        match command {
            Command::SubmitJob(job) => self.submit_job(job),
            Command::CancelJob { job, reason } => self.cancel_job(*job, reason),
            Command::StartJob {
                job,
                worker,
                lease_ms,
            } => self.start_job(*job, worker, *lease_ms),
            Command::StartStep { job, epoch, step } => self.start_step(*job, *epoch, step),
            Command::CompleteJob(report) => self.complete_job(report),
            Command::ReportStep(report) => self.report_step(report),
            Command::AddArtifact { job, epoch, artifact } => self.add_artifact(*job, *epoch, artifact),
            Command::RecordReport { job, epoch, report } => self.record_report(*job, *epoch, report),
            Command::RegisterWorker(worker) => self.register_worker(worker),
            Command::DrainWorker { name, wish, reason } => self.drain_worker(name, *wish, reason),
            Command::LoseWorker { name } => self.lose_worker(name),
            Command::ExpireLease {
                job,
                epoch,
                cause,
                logs,
            } => self.expire_lease((*job, *epoch), *cause, logs.as_deref()),
            Command::ReleaseJob {
                job,
                epoch,
                reason,
                logs,
            } => self.release_job((*job, *epoch), reason, logs.as_deref()),
            Command::WakeJob { job } => self.wake_job(*job),
            Command::ScheduleJob { job, reason } => self.schedule_job(*job, reason),
            Command::RetryJob { job, reason } => self.retry_job(*job, reason),
            Command::ReplayJob {
                job,
                reason,
                idempotency,
            } => self.replay_job(*job, reason, idempotency.as_ref()),
            Command::ReplayDeadLetter { job, reason } => self.replay_letter(*job, reason),
            Command::ResolveDeadLetter { job, how, note } => self.resolve_letter(*job, *how, note),
            Command::StartGraph(graph) => self.start_graph(graph),
            Command::ReplayRun(replay) => self.replay_run(replay),
            Command::RegisterPack(pack) => self.register_pack(pack),
            Command::StartRun(start) => self.start_run(start),
            Command::CancelRun { run, reason } => self.cancel_run(*run, reason),
            Command::TimeOutRun { run } => self.time_out_run(*run),
            Command::PauseRun { run, reason } => self.pause_run(*run, reason),
            Command::ResumeRun { run, reason } => self.resume_run(*run, reason),
            Command::DecideGate(request) => self.decide_gate(request),
            Command::SetSecret { name, version } => self.set_secret(name, *version),
            Command::DeleteSecret { name, reason } => self.delete_secret(name, reason),
            Command::Order(order) => self.change_order(order),
            Command::ChangeWebhook(request) => self.change_webhook(request),
            Command::Redaction(request) => self.redaction(request),
            Command::OpenLedger { origin } => self.open_ledger(origin),
            Command::CreateTenant { name } => self.create_tenant(name),
            Command::CreateToken(token) => self.create_token(token),
            Command::RevokeToken { id, reason } => self.revoke_token(*id, reason),
            Command::PinTrust(pin) => self.pin_trust(pin),
            Command::ChangeTrust(change) => self.change_trust(change),
            Command::RecordExport(export) => self.record(EventBody::BundleExported((**export).clone())),
            Command::RecordVerification(verified) => self.record_verification(verified),
            Command::ImportBundle(import) => self.import_bundle(import),
            Command::RecordRefusal(refused) => self.record_refusal(refused),
            Command::Bundle(command) => self.bundle(command),
            Command::RecordClockStep { offset_ms } => self.record_clock_step(*offset_ms),
        }
    }

    fn record_clock_step(&mut self, offset_ms: i64) -> Result<Reply, Refusal> {
        self.record(EventBody::ClockStep(super::payload::ClockStep { offset_ms }))
    }

    /// The state as advanced by the events emitted so far.
    fn read<T>(&self, read: impl FnOnce(&dyn View) -> Result<T, Unavailable>) -> Result<T, Refusal> {
        Ok(read(&Layered {
            below: self.below,
            changes: &self.changes,
        })?)
    }

    fn emit(&mut self, body: EventBody, subject: Subject, labels: Labels) -> Result<Seq, Refusal> {
        let seq = self.next_seq();
        let event = Box::new(Event {
            actor: self.stamp.actor.clone(),
            at: self.stamp.at,
            correlation_id: labels.correlation_id,
            body,
            project: labels.project,
            seq,
            subject,
            tenant: self.stamp.tenant.clone(),
        });
        let bytes = event.to_canonical();
        self.bytes += bytes.len();
        if bytes.len() > limits::EVENT_BYTES_MAX || self.bytes > self.bytes_max {
            return Err(Rejection::new(
                Code::TooLarge,
                format!(
                    "the request makes more than {} bytes of events, or one of more than {}",
                    self.bytes_max,
                    limits::EVENT_BYTES_MAX
                ),
            )
            .into());
        }
        apply(self.below, &mut self.changes, &event).map_err(|error| match error {
            ApplyError::Unavailable(unavailable) => Refusal::Unavailable(unavailable),
            illegal @ ApplyError::Illegal { .. } => Refusal::Illegal(illegal),
        })?;
        let leaf = leaf_hash(&bytes);
        self.events.push(Accepted { event, bytes, leaf });
        Ok(seq)
    }

    /// The number of the event that is emitted next.
    fn next_seq(&self) -> Seq {
        Seq(self.stamp.next.0 + self.events.len() as u64)
    }

    /// An event of the ledger itself, about no job or run.
    fn record(&mut self, body: EventBody) -> Result<Reply, Refusal> {
        self.emit(body, Subject::default(), Labels::default())?;
        Ok(Reply::Done)
    }

    fn draw_index(&mut self) -> u32 {
        self.drawn += 1;
        self.drawn - 1
    }

    fn draw_run(&mut self) -> RunId {
        let index = self.draw_index();
        RunId::derive(self.stamp.at, self.stamp.entropy, index)
    }

    fn draw_job(&mut self) -> JobId {
        let index = self.draw_index();
        JobId::derive(self.stamp.at, self.stamp.entropy, index)
    }
}
