//! Decisions about bundles that persons have to approve before they are taken in.
//!
//! Promises: whoever asked never counts, each approval is another person's, and the last one takes the bundle in within
//! the same batch. What was decided stays decided: asking the same again changes nothing.

use super::Draft;
use super::bounds::{check_text, clip};
use crate::domain::Digest;
use crate::domain::command::{BundleCommand, Reply, Verdict};
use crate::domain::event::{ActorKind, EventBody};
use crate::domain::import_request::{ImportRequest, ImportStatus};
use crate::domain::payload::bundles::{
    BundleAttemptFailed, BundleDiscarded, BundleImportApproved, BundleImportRejected, BundleImportRequested,
    BundleImportSuperseded,
};
use crate::domain::payload::{BundleImported, TrustPinned};
use crate::domain::rejection::{Code, Refusal, Rejection};
use crate::limits;

impl Draft<'_> {
    pub(super) fn bundle(&mut self, command: &BundleCommand) -> Result<Reply, Refusal> {
        match command {
            BundleCommand::RequestImport(request) => self.request_import(request),
            BundleCommand::DecideImport {
                tar_sha256,
                verdict,
                reason,
            } => self.decide_import(*tar_sha256, *verdict, reason),
            BundleCommand::SupersedeImport(tar_sha256) => self.supersede_import(*tar_sha256),
            BundleCommand::RecordDiscard(discarded) => {
                self.record(EventBody::BundleDiscarded(BundleDiscarded {
                    reason: clip(&discarded.reason),
                    ..discarded.clone()
                }))
            }
            BundleCommand::RecordDownload(download) => {
                self.record(EventBody::BundleDownloaded(download.clone()))
            }
            BundleCommand::RecordFailure(failed) => {
                self.record(EventBody::BundleAttemptFailed(BundleAttemptFailed {
                    target: failed.target.as_deref().map(clip),
                    ..failed.clone()
                }))
            }
        }
    }

    fn request_import(&mut self, request: &BundleImportRequested) -> Result<Reply, Refusal> {
        let before = self.read(|view| view.import_request(request.tar_sha256))?;
        if let Some(before) = before
            && !before.status.may_be_asked_again()
        {
            return Ok(Reply::Import(Box::new(before)));
        }
        if !(1..=limits::APPROVERS_MAX).contains(&request.approvals) {
            let detail = format!("1 to {} persons approve", limits::APPROVERS_MAX);
            return Err(Rejection::field(Code::InvalidField, "/approvals", detail).into());
        }
        for (pointer, text) in [("/origin", Some(&request.origin))].into_iter().chain([
            ("/logKey", request.log_key.as_ref()),
            ("/exportKey", request.export_key.as_ref()),
        ]) {
            check_text(pointer, text.map_or("", String::as_str), limits::TEXT_BYTES_MAX)?;
        }
        let size = self
            .read(|view| view.import(&request.tenant))?
            .map_or(0, |held| held.size);
        if request.first != size || request.size < request.first {
            return Err(not_continuous((request.first, request.size), size).into());
        }
        let mut request = request.clone();
        if self.is_pinned(&request)? {
            (request.log_key, request.export_key) = (None, None);
        }
        let tar_sha256 = request.tar_sha256;
        self.record(EventBody::BundleImportRequested(Box::new(request)))?;
        self.reply_import(tar_sha256)
    }

    /// Whether the keys that a request brings are pinned already.
    fn is_pinned(&self, request: &BundleImportRequested) -> Result<bool, Refusal> {
        let Some(held) = self.read(|view| view.pin(&request.origin))? else {
            return Ok(false);
        };
        let is_other =
            |given: &Option<String>, held: &String| given.as_ref().is_some_and(|given| given != held);
        if is_other(&request.log_key, &held.log_key) || is_other(&request.export_key, &held.export_key) {
            let detail = format!("other keys are pinned for {}", request.origin);
            return Err(Rejection::new(Code::PinConflict, detail).into());
        }
        Ok(true)
    }

    fn decide_import(&mut self, tar: Digest, verdict: Verdict, reason: &str) -> Result<Reply, Refusal> {
        let request = self.read(|view| view.import_request(tar))?;
        let request = request.ok_or_else(|| Rejection::not_found("import"))?;
        match (request.status, verdict) {
            (ImportStatus::Waiting, Verdict::Approve) => self.approve_import(&request, reason)?,
            (ImportStatus::Waiting, Verdict::Reject) => {
                if self.stamp.actor.kind != ActorKind::Person {
                    return Err(Rejection::new(Code::SelfApproval, "a person has to reject").into());
                }
                self.record(EventBody::BundleImportRejected(BundleImportRejected {
                    reason: clip(reason),
                    tar_sha256: tar,
                }))?;
            }
            // Said before.
            (ImportStatus::Imported, Verdict::Approve) | (ImportStatus::Rejected, Verdict::Reject) => {}
            (ImportStatus::Imported, Verdict::Reject) => {
                let detail = "the bundle was imported; an import is not taken back";
                return Err(Rejection::new(Code::IllegalTransition, detail).into());
            }
            (ImportStatus::Rejected, Verdict::Approve) => {
                let detail = "the import was rejected; the bundle has to be imported anew";
                return Err(Rejection::new(Code::IllegalTransition, detail).into());
            }
            (ImportStatus::Superseded, Verdict::Approve | Verdict::Reject) => {
                let detail = "its ledger went on without the bundle: it waits no more";
                return Err(Rejection::new(Code::IllegalTransition, detail).into());
            }
        }
        self.reply_import(tar)
    }

    fn supersede_import(&mut self, tar_sha256: Digest) -> Result<Reply, Refusal> {
        let request = self.read(|view| view.import_request(tar_sha256))?;
        let request = request.ok_or_else(|| Rejection::not_found("import"))?;
        let held = self.read(|view| view.import(&request.tenant))?;
        let held = held.map_or(0, |held| held.size);
        if request.status == ImportStatus::Waiting && request.first < held {
            self.record(EventBody::BundleImportSuperseded(BundleImportSuperseded {
                held,
                tar_sha256,
            }))?;
        }
        self.reply_import(tar_sha256)
    }

    fn approve_import(&mut self, request: &ImportRequest, reason: &str) -> Result<(), Refusal> {
        let person = &self.stamp.actor.id;
        if self.stamp.actor.kind != ActorKind::Person || request.requested_by == *person {
            let detail = format!("{person} asked for the import: somebody else has to approve");
            return Err(Rejection::new(Code::SelfApproval, detail).into());
        }
        if request.approved.iter().any(|before| before.person == *person) {
            let detail = format!("{person} has approved before: another person has to");
            return Err(Rejection::new(Code::AlreadyApproved, detail).into());
        }
        let held = self
            .read(|view| view.import(&request.tenant))?
            .map_or(0, |held| held.size);
        if held != request.first {
            return Err(not_continuous((request.first, request.size), held).into());
        }
        self.record(EventBody::BundleImportApproved(BundleImportApproved {
            reason: clip(reason),
            tar_sha256: request.tar_sha256,
        }))?;
        if (request.approved.len() as u32).saturating_add(1) < request.approvals {
            return Ok(());
        }
        if let (Some(log_key), Some(export_key)) = (&request.log_key, &request.export_key) {
            self.pin_trust(&TrustPinned {
                export_key: export_key.clone(),
                log_key: log_key.clone(),
                origin: request.origin.clone(),
                replace: false,
            })?;
        }
        self.record(EventBody::BundleImported(BundleImported {
            first: request.first,
            origin: request.origin.clone(),
            root: request.root,
            size: request.size,
            tar_sha256: request.tar_sha256,
            tenant: request.tenant.clone(),
            trust_version: request.trust_version,
        }))?;
        Ok(())
    }

    fn reply_import(&self, tar: Digest) -> Result<Reply, Refusal> {
        let request = self.read(|view| view.import_request(tar))?;
        let request = request.ok_or_else(|| Rejection::not_found("import"))?;
        Ok(Reply::Import(Box::new(request)))
    }
}

/// A bundle from `first` to `end`, where `held` events are held.
pub(super) fn not_continuous((first, end): (u64, u64), held: u64) -> Rejection {
    let detail = format!("the bundle goes from {first} to {end}, {held} events are held");
    Rejection::new(Code::NotContinuous, detail)
}
