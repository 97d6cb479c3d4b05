//! What the events of imports change: what is held of foreign ledgers, and what persons are asked about.
//!
//! Promises: a bundle continues what is held. It must never count whoever asked, or a person twice.

use super::{ApplyError, Fold};
use crate::domain::Digest;
use crate::domain::event::{ActorKind, EventBody};
use crate::domain::import_request::{ImportApproval, ImportRequest, ImportStatus};
use crate::domain::payload::BundleImported;
use crate::domain::payload::bundles::{
    BundleImportApproved, BundleImportRejected, BundleImportRequested, BundleImportSuperseded,
};
use crate::domain::state::{Key, Row};
use crate::domain::token::Import;

impl Fold<'_> {
    /// One line an event, as in the table that leads here.
    pub(super) fn import_event(&mut self) -> Result<(), ApplyError> {
        let event = self.event;
        match &event.body {
            EventBody::BundleImported(payload) => self.bundle_imported(payload),
            EventBody::BundleImportRequested(payload) => self.import_requested(payload),
            EventBody::BundleImportApproved(payload) => self.import_approved(payload),
            EventBody::BundleImportRejected(payload) => self.import_rejected(payload),
            EventBody::BundleImportSuperseded(payload) => self.import_superseded(payload),
            _ => Err(self.illegal("it is no event of an import")),
        }
    }

    fn bundle_imported(&mut self, payload: &BundleImported) -> Result<(), ApplyError> {
        let held = self.with(|view| view.import(&payload.tenant))?;
        let mut bundles = held
            .as_ref()
            .map(|import| import.bundles.clone())
            .unwrap_or_default();
        let held_trust = held.as_ref().and_then(|import| import.trust_version);
        if payload.first != held.map_or(0, |import| import.size) || payload.size < payload.first {
            return Err(self.illegal("the bundle does not continue what is held"));
        }
        bundles.push((payload.first, payload.size, payload.tar_sha256));
        let import = Import {
            bundles,
            imported_at: self.event.at,
            origin: payload.origin.clone(),
            root: payload.root,
            size: payload.size,
            tenant: payload.tenant.clone(),
            // Never less: an older root of trust would be a roll-back.
            trust_version: payload.trust_version.max(held_trust),
        };
        self.changes
            .put(Key::Import(payload.tenant.clone()), Row::Import(import));
        // Asked for before, and taken in now: by the last approval, or because nobody has to approve any more.
        if let Some(request) = self.with(|view| view.import_request(payload.tar_sha256))? {
            self.put_request(ImportRequest {
                status: ImportStatus::Imported,
                ..request
            });
        }
        Ok(())
    }

    fn import_requested(&mut self, payload: &BundleImportRequested) -> Result<(), ApplyError> {
        let before = self.with(|view| view.import_request(payload.tar_sha256))?;
        if before.is_some_and(|before| !before.status.may_be_asked_again()) {
            return Err(self.illegal("the import was asked for before"));
        }
        self.put_request(ImportRequest {
            approvals: payload.approvals,
            approved: Vec::new(),
            export_key: payload.export_key.clone(),
            first: payload.first,
            log_key: payload.log_key.clone(),
            origin: payload.origin.clone(),
            rejected: None,
            requested_at: self.event.at,
            requested_by: self.event.actor.id.clone(),
            root: payload.root,
            seq: self.event.seq,
            size: payload.size,
            status: ImportStatus::Waiting,
            tar_sha256: payload.tar_sha256,
            tenant: payload.tenant.clone(),
            trust_version: payload.trust_version,
        });
        Ok(())
    }

    fn import_approved(&mut self, payload: &BundleImportApproved) -> Result<(), ApplyError> {
        let mut request = self.waiting_request(payload.tar_sha256)?;
        let person = &self.event.actor.id;
        let is_known = request.approved.iter().any(|before| before.person == *person);
        if self.event.actor.kind != ActorKind::Person || request.requested_by == *person || is_known {
            return Err(self.illegal("each approval is another person's, and not of whoever asked"));
        }
        request.approved.push(self.said(&payload.reason));
        self.put_request(request);
        Ok(())
    }

    fn import_rejected(&mut self, payload: &BundleImportRejected) -> Result<(), ApplyError> {
        let mut request = self.waiting_request(payload.tar_sha256)?;
        request.status = ImportStatus::Rejected;
        request.rejected = Some(self.said(&payload.reason));
        self.put_request(request);
        Ok(())
    }

    fn import_superseded(&mut self, payload: &BundleImportSuperseded) -> Result<(), ApplyError> {
        let mut request = self.waiting_request(payload.tar_sha256)?;
        let held = self.with(|view| view.import(&request.tenant))?;
        if held.is_none_or(|held| held.size != payload.held || request.first >= held.size) {
            return Err(self.illegal("it can still be taken in"));
        }
        request.status = ImportStatus::Superseded;
        self.put_request(request);
        Ok(())
    }

    fn said(&self, reason: &str) -> ImportApproval {
        ImportApproval {
            at: self.event.at,
            person: self.event.actor.id.clone(),
            reason: reason.to_owned(),
        }
    }

    fn waiting_request(&self, tar: Digest) -> Result<ImportRequest, ApplyError> {
        let found = self.with(|view| view.import_request(tar))?;
        found
            .filter(|request| request.status == ImportStatus::Waiting)
            .ok_or_else(|| self.illegal("no import of this bundle waits"))
    }

    fn put_request(&mut self, mut request: ImportRequest) {
        request.seq = self.event.seq;
        self.changes.put(
            Key::ImportRequest(request.tar_sha256),
            Row::ImportRequest(request),
        );
    }
}
