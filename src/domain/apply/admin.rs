//! What the administrative events change: packs, tenants, tokens.
//!
//! Promises: versions of a pack have no gaps. It must never overwrite a tenant, a token
//! or a pack version.

use super::{ApplyError, Fold};
use crate::domain::payload::{PackRegistered, TenantCreated, TokenCreated, TokenRevoked};
use crate::domain::state::{Key, Pack, Row};
use crate::domain::token::{Tenant, Token};
use crate::domain::{Digest, Seq};

impl Fold<'_> {
    pub(super) fn ledger_opened(&self) -> Result<(), ApplyError> {
        if self.event.seq == Seq(0) {
            Ok(())
        } else {
            Err(self.illegal("a ledger is opened by its first event"))
        }
    }

    pub(super) fn tenant_created(&mut self, payload: &TenantCreated) -> Result<(), ApplyError> {
        let key = Key::Tenant(payload.name.clone());
        self.refuse_existing(&key)?;
        let tenant = Tenant {
            created_at: self.event.at,
            name: payload.name.clone(),
            seq: self.event.seq,
        };
        self.changes.put(key, Row::Tenant(tenant));
        Ok(())
    }

    pub(super) fn token_created(&mut self, payload: &TokenCreated) -> Result<(), ApplyError> {
        let key = Key::Token(payload.id);
        self.refuse_existing(&key)?;
        let token = Token {
            created_at: self.event.at,
            expires_at: payload.expires_at,
            id: payload.id,
            name: payload.name.clone(),
            person: payload.person.clone(),
            revoked_at: None,
            scopes: payload.scopes.clone(),
            secret_sha256: payload.secret_sha256,
            tenants: payload.tenants.clone(),
        };
        self.changes.put(key, Row::Token(token));
        Ok(())
    }

    pub(super) fn token_revoked(&mut self, payload: &TokenRevoked) -> Result<(), ApplyError> {
        let found = self.with(|view| view.token(payload.id))?;
        let mut token = found.ok_or_else(|| self.illegal("no such token"))?;
        token.revoked_at = Some(self.event.at);
        self.changes.put(Key::Token(payload.id), Row::Token(token));
        Ok(())
    }

    pub(super) fn pack_registered(&mut self, payload: &PackRegistered) -> Result<(), ApplyError> {
        let (name, version) = (&payload.name, payload.version);
        let latest = self.with(|view| view.pack_head(name))?.unwrap_or(0);
        if version != latest + 1 {
            return Err(self.illegal("versions of a pack have no gaps"));
        }
        if Digest::of(payload.source.as_bytes()) != payload.source_sha256 {
            return Err(self.illegal("the source does not have the recorded digest"));
        }
        let pack = Pack {
            created_at: self.event.at,
            name: name.clone(),
            plan_hash: payload.plan_hash,
            seq: self.event.seq,
            source_sha256: payload.source_sha256,
            spec: payload.spec.clone(),
            version,
        };
        self.changes
            .put(Key::Pack(name.clone(), version), Row::Pack(Box::new(pack)));
        self.changes
            .put(Key::PackHead(name.clone()), Row::PackHead(version));
        self.changes.put(
            Key::PackSource(name.clone(), version),
            Row::PackSource(payload.source.clone()),
        );
        self.changes.put(
            Key::PackBytes(name.clone(), payload.source_sha256),
            Row::PackBytes(version),
        );
        Ok(())
    }
}
