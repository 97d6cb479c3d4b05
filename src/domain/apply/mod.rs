//! `apply(state, event)`: what an event changes. Total and deterministic over legal histories, and refuses an event
//! that no legal history contains. The same function serves the writer, recovery, replay and export.

mod admin;
mod dead_letter;
mod gate;
mod import;
mod job;
mod order;
mod redaction;
mod run;
mod secret;
mod step;
mod trust;
mod webhook;
mod worker;

use super::event::{Event, EventBody};
use super::run::RunStatus;
use super::state::{Changes, Key, Layered, Model, Unavailable, View};
use super::{JobId, RunId, Seq};

/// Why an event was not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// No legal history contains it here.
    #[error("event {seq} ({type_name}) is illegal here: {detail}")]
    Illegal {
        /// Which event.
        seq: Seq,
        /// Its type.
        type_name: &'static str,
        /// What does not fit.
        detail: String,
    },
    /// The rows it needs cannot be read.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Folds one event into `changes`, which lie over `below`.
///
/// # Errors
/// [`ApplyError::Illegal`] when the event does not fit the state; `changes` are then to be thrown away.
pub fn apply(below: &dyn View, changes: &mut Changes, event: &Event) -> Result<(), ApplyError> {
    let mut fold = Fold {
        below,
        changes,
        event,
    };
    fold.run()
}

/// Folds one event into a model.
///
/// # Errors
/// [`ApplyError::Illegal`] when the event does not fit; the model is then as before.
pub fn fold(model: &mut Model, event: &Event) -> Result<(), ApplyError> {
    let mut changes = Changes::default();
    apply(model, &mut changes, event)?;
    model.absorb(changes);
    Ok(())
}

struct Fold<'a> {
    below: &'a dyn View,
    changes: &'a mut Changes,
    event: &'a Event,
}

impl Fold<'_> {
    /// One line an event: what each does is told by the file of its noun.
    fn run(&mut self) -> Result<(), ApplyError> {
        match &self.event.body {
            EventBody::JobCreated(payload) => self.job_created(payload),
            EventBody::JobScheduled(payload) => self.job_scheduled(payload),
            EventBody::JobHoldEnded(_) => self.job_hold_ended(),
            EventBody::JobReplayed(_) => self.job_replayed(),
            EventBody::DeadLetterCreated(payload) => self.dead_letter_created(payload),
            EventBody::DeadLetterResolved(payload) => self.dead_letter_resolved(payload),
            EventBody::DeadLettersReplayed(payload) => self.dead_letters_replayed(payload),
            EventBody::JobStarted(payload) => self.job_started(payload),
            EventBody::JobCompleted(payload) => self.job_completed(payload),
            EventBody::JobFailed(payload) => self.job_failed(payload),
            EventBody::JobCancelled(payload) => self.job_cancelled(payload),
            EventBody::JobCancelRequested(payload) => self.job_cancel_requested(payload),
            EventBody::JobReleased(payload) => self.job_released(payload),
            EventBody::JobLateReport(payload) => self.job_late_report(payload),
            EventBody::StepStarted(payload) => self.step(payload.epoch),
            EventBody::StepCompleted(payload) | EventBody::StepFailed(payload) => self.step(payload.epoch),
            EventBody::GateStarted(payload) => self.gate_started(payload),
            EventBody::GateApproved(payload) => self.gate_approved(payload),
            EventBody::GatePassed(payload) => self.gate_passed(payload),
            EventBody::GateFailed(payload) => self.gate_failed(payload),
            EventBody::RunWaiting(_) => self.run_waiting(),
            EventBody::RunContinued(_) => self.run_continued(),
            EventBody::RunPaused(payload) => self.run_paused(payload),
            EventBody::RunResumed(_) => self.run_resumed(),
            EventBody::StepSkipped(_) | EventBody::StepMapped(_) => self.later_step(),
            EventBody::StepCancelled(_) | EventBody::StepUnresolved(_) => self.later_step(),
            EventBody::ArtifactCreated(payload) => self.artifact_created(payload),
            EventBody::AiToolCalled(payload) => self.report(payload.attempt, payload.epoch),
            EventBody::AiTokensUsed(payload) => self.report(payload.attempt, payload.epoch),
            EventBody::AiArtifactCreated(payload) => self.ai_artifact_created(payload),
            EventBody::XReported(payload) => self.report(payload.attempt, payload.epoch),
            EventBody::WorkerRegistered(_) | EventBody::WorkerDrained(_) => self.worker_event(),
            EventBody::WorkerLost(_) => self.worker_event(),
            EventBody::RunCreated(payload) => self.run_created(payload),
            EventBody::RunStarted(_) => self.run_started(),
            EventBody::RunCancelRequested(payload) => self.run_cancel_requested(payload),
            EventBody::RunCompleted(payload) => self.run_ended(payload, RunStatus::Completed),
            EventBody::RunPartiallyFailed(payload) => self.run_ended(payload, RunStatus::PartiallyFailed),
            EventBody::RunFailed(payload) => self.run_ended(payload, RunStatus::Failed),
            EventBody::RunCancelled(payload) => self.run_ended(payload, RunStatus::Cancelled),
            EventBody::PackRegistered(payload) => self.pack_registered(payload),
            EventBody::SecretSet(_) | EventBody::SecretDeleted(_) => self.secret_event(),
            EventBody::WebhookCreated(_) | EventBody::WebhookChanged(_) => self.webhook_event(),
            EventBody::WebhookDeleted(_) | EventBody::WebhookPaused(_) => self.webhook_event(),
            EventBody::WebhookResumed(_) | EventBody::WebhookDead(_) => self.webhook_event(),
            EventBody::WorkorderIssued(_) | EventBody::WorkorderRecalled(_) => self.order_event(),
            EventBody::WorkorderImported(_) | EventBody::WorkorderApproved(_) => self.order_event(),
            EventBody::WorkorderStarted(_) | EventBody::WorkorderCancelled(_) => self.order_event(),
            EventBody::WorkorderReported(_) | EventBody::OrdersKeyPinned(_) => self.order_event(),
            EventBody::DisclosureRead(_) | EventBody::DisclosureErased(_) => self.disclosures(),
            EventBody::RedactionPolicySet(_) | EventBody::RedactionPolicyDeleted(_) => self.policies(),
            EventBody::TenantCreated(payload) => self.tenant_created(payload),
            EventBody::TokenCreated(payload) => self.token_created(payload),
            EventBody::TokenRevoked(payload) => self.token_revoked(payload),
            EventBody::TrustPinned(payload) => self.trust_pinned(payload),
            EventBody::RootPinned(_) | EventBody::RootAccepted(_) => self.root_event(),
            EventBody::KeyRotated(_) | EventBody::KeyRevoked(_) => self.key_event(),
            EventBody::BundleImported(_) | EventBody::BundleImportRequested(_) => self.import_event(),
            EventBody::BundleImportApproved(_) | EventBody::BundleImportRejected(_) => self.import_event(),
            EventBody::BundleImportSuperseded(_) => self.import_event(),
            EventBody::LedgerOpened(_) => self.ledger_opened(),
            EventBody::BundleExported(_) | EventBody::BundleVerified(_) => Ok(()),
            EventBody::BundleRefused(_) | EventBody::BundleDiscarded(_) => Ok(()),
            EventBody::BundleDownloaded(_) | EventBody::BundleAttemptFailed(_) => Ok(()),
            EventBody::WorkorderRefused(_) | EventBody::DisclosureExported(_) => Ok(()),
            EventBody::TrustRefused(_) | EventBody::WebhookRefused(_) | EventBody::ClockStep(_) => Ok(()),
        }
    }

    fn job_id(&self) -> Result<JobId, ApplyError> {
        self.event
            .subject
            .job
            .ok_or_else(|| self.illegal("it names no job"))
    }

    fn run_id(&self) -> Result<RunId, ApplyError> {
        self.event
            .subject
            .run
            .ok_or_else(|| self.illegal("it names no run"))
    }

    fn refuse_existing(&self, key: &Key) -> Result<(), ApplyError> {
        match self.with(|view| view.get(key))? {
            None => Ok(()),
            Some(_) => Err(self.illegal("it exists already")),
        }
    }

    fn with<T>(&self, read: impl FnOnce(&dyn View) -> Result<T, Unavailable>) -> Result<T, ApplyError> {
        Ok(read(&Layered {
            below: self.below,
            changes: self.changes,
        })?)
    }

    fn illegal(&self, detail: impl Into<String>) -> ApplyError {
        ApplyError::Illegal {
            seq: self.event.seq,
            type_name: self.event.body.type_name(),
            detail: detail.into(),
        }
    }
}
