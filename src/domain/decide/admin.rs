//! Decisions of the ledger `system`: tenants, tokens, pins, bundles; and the opening of any ledger.

use super::Draft;
use super::bounds::{check_text, clip};
use super::import::not_continuous;
use crate::domain::command::{CreateToken, Reply};
use crate::domain::event::EventBody;
use crate::domain::payload::{
    BundleImported, BundleRefused, BundleVerified, LedgerOpened, TenantCreated, TokenCreated, TokenRevoked,
    TrustPinned,
};
use crate::domain::rejection::{Code, Refusal, Rejection};
use crate::domain::{Seq, TenantName, TokenId};
use crate::limits;

impl Draft<'_> {
    pub(super) fn open_ledger(&mut self, origin: &str) -> Result<Reply, Refusal> {
        if self.stamp.next != Seq(0) {
            return Err(Rejection::new(Code::NameTaken, "the ledger is open").into());
        }
        self.record(EventBody::LedgerOpened(LedgerOpened {
            origin: origin.to_owned(),
        }))
    }

    pub(super) fn create_tenant(&mut self, name: &TenantName) -> Result<Reply, Refusal> {
        let taken = *name == TenantName::system() || self.read(|view| view.tenant(name))?.is_some();
        if taken || name.is_foreign() {
            return Err(Rejection::new(Code::NameTaken, format!("tenant {name} exists")).into());
        }
        self.record(EventBody::TenantCreated(TenantCreated { name: name.clone() }))
    }

    pub(super) fn create_token(&mut self, request: &CreateToken) -> Result<Reply, Refusal> {
        check_text("/name", &request.name, limits::LABEL_BYTES_MAX)?;
        check_text("/person", &request.person, limits::LABEL_BYTES_MAX)?;
        for tenant in &request.tenants {
            let known = *tenant == TenantName::system()
                || self.read(|view| view.tenant(tenant))?.is_some()
                || self.read(|view| view.import(tenant))?.is_some();
            if !known {
                return Err(
                    Rejection::field(Code::NotFound, "/tenants", format!("no tenant {tenant}")).into(),
                );
            }
        }
        if request.expires_at.is_some_and(|end| end <= self.stamp.at) {
            return Err(Rejection::field(Code::InvalidField, "/expiresAt", "it is over already").into());
        }
        let index = self.draw_index();
        let id = TokenId::derive(self.stamp.at, self.stamp.entropy, index);
        let created = TokenCreated {
            expires_at: request.expires_at,
            id,
            name: request.name.clone(),
            person: request.person.clone(),
            scopes: request.scopes.clone(),
            secret_sha256: request.secret_sha256,
            tenants: request.tenants.clone(),
        };
        self.record(EventBody::TokenCreated(created))?;
        let token = self
            .read(|view| view.token(id))?
            .ok_or_else(|| Rejection::not_found("token"))?;
        Ok(Reply::Token(Box::new(token)))
    }

    pub(super) fn revoke_token(&mut self, id: TokenId, reason: &str) -> Result<Reply, Refusal> {
        let token = self
            .read(|view| view.token(id))?
            .ok_or_else(|| Rejection::not_found("token"))?;
        if token.revoked_at.is_none() {
            self.record(EventBody::TokenRevoked(TokenRevoked {
                id,
                reason: clip(reason),
            }))?;
        }
        Ok(Reply::Done)
    }

    pub(super) fn pin_trust(&mut self, pin: &TrustPinned) -> Result<Reply, Refusal> {
        for (pointer, text) in [
            ("/exportKey", &pin.export_key),
            ("/logKey", &pin.log_key),
            ("/origin", &pin.origin),
        ] {
            check_text(pointer, text, limits::TEXT_BYTES_MAX)?;
        }
        let held = self.read(|view| view.pin(&pin.origin))?;
        if let Some(held) = &held {
            if held.log_key == pin.log_key && held.export_key == pin.export_key {
                return Ok(Reply::Done);
            }
            if !pin.replace {
                let detail = format!("other keys are pinned for {}", pin.origin);
                return Err(Rejection::new(Code::PinConflict, detail).into());
            }
        }
        self.record(EventBody::TrustPinned(TrustPinned {
            replace: held.is_some(),
            ..pin.clone()
        }))
    }

    pub(super) fn import_bundle(&mut self, import: &BundleImported) -> Result<Reply, Refusal> {
        let held = self.read(|view| view.import(&import.tenant))?;
        if held
            .as_ref()
            .is_some_and(|held| held.bundles.iter().any(|bundle| bundle.2 == import.tar_sha256))
        {
            return Ok(Reply::Done);
        }
        let trust = held.as_ref().and_then(|held| held.trust_version);
        if import.trust_version < trust {
            let detail = "the bundle carries an older root of trust than one that came before";
            return Err(Rejection::new(Code::NotContinuous, detail).into());
        }
        let size = held.map_or(0, |held| held.size);
        if import.first != size || import.size < import.first {
            return Err(not_continuous((import.first, import.size), size).into());
        }
        self.record(EventBody::BundleImported(import.clone()))
    }

    /// What a bundle that was not found good says of itself is anybody's text.
    pub(super) fn record_verification(&mut self, verified: &BundleVerified) -> Result<Reply, Refusal> {
        self.record(EventBody::BundleVerified(BundleVerified {
            origin: verified.origin.as_deref().map(clip),
            ..verified.clone()
        }))
    }

    pub(super) fn record_refusal(&mut self, refused: &BundleRefused) -> Result<Reply, Refusal> {
        self.record(EventBody::BundleRefused(BundleRefused {
            detail: clip(&refused.detail),
            origin: refused.origin.as_deref().map(clip),
            ..refused.clone()
        }))
    }
}
