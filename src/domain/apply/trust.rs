//! What the events of trust change: the one row of an enclave. Roots and replaced keys of a role have no gap.

use super::{ApplyError, Fold};
use crate::domain::event::EventBody;
use crate::domain::payload::trust::{KeyRevoked, KeyRotated, RootAccepted, RootPinned, TrustPinned};
use crate::domain::state::{Key, Row};
use crate::domain::token::Pin;
use crate::domain::trust::{HeldRoot, RetiredKey, RootPin, Trust};

impl Fold<'_> {
    pub(super) fn trust_pinned(&mut self, payload: &TrustPinned) -> Result<(), ApplyError> {
        let pin = Pin {
            export_key: payload.export_key.clone(),
            log_key: payload.log_key.clone(),
            origin: payload.origin.clone(),
        };
        self.changes.put(Key::Pin(payload.origin.clone()), Row::Pin(pin));
        Ok(())
    }

    pub(super) fn root_event(&mut self) -> Result<(), ApplyError> {
        match &self.event.body {
            EventBody::RootPinned(payload) => self.root_pinned(payload),
            EventBody::RootAccepted(payload) => self.root_accepted(payload),
            _ => Err(self.illegal("no event of a root of trust")),
        }
    }

    pub(super) fn key_event(&mut self) -> Result<(), ApplyError> {
        match &self.event.body {
            EventBody::KeyRotated(payload) => self.key_rotated(payload),
            EventBody::KeyRevoked(payload) => self.key_revoked(payload),
            _ => Err(self.illegal("no event of a key")),
        }
    }

    fn root_pinned(&mut self, payload: &RootPinned) -> Result<(), ApplyError> {
        let mut trust = self.trust(&payload.enclave)?;
        if trust.pin.is_some() {
            return Err(self.illegal("a root is pinned already"));
        }
        trust.pin = Some(RootPin {
            at: self.event.at,
            fingerprint: payload.fingerprint,
            pinned_by: payload.pinned_by,
        });
        self.put_trust(trust);
        Ok(())
    }

    fn root_accepted(&mut self, payload: &RootAccepted) -> Result<(), ApplyError> {
        let mut trust = self.trust(&payload.enclave)?;
        if payload.version != trust.version() + 1 {
            return Err(self.illegal("versions of a root of trust have no gap"));
        }
        trust.roots.push(HeldRoot {
            accepted_at: self.event.at,
            fingerprint: payload.fingerprint,
            seq: self.event.seq,
            version: payload.version,
        });
        self.put_trust(trust);
        Ok(())
    }

    fn key_rotated(&mut self, payload: &KeyRotated) -> Result<(), ApplyError> {
        let mut trust = self.trust(&payload.enclave)?;
        if payload.number != trust.replaced(&payload.role) + 1 {
            return Err(self.illegal("replaced keys of a role are numbered without a gap"));
        }
        trust.retired.push(RetiredKey {
            id: payload.from,
            number: payload.number,
            retired_at: self.event.at,
            revoked: None,
            role: payload.role.clone(),
            seq: self.event.seq,
            to: payload.to,
        });
        self.put_trust(trust);
        Ok(())
    }

    fn key_revoked(&mut self, payload: &KeyRevoked) -> Result<(), ApplyError> {
        let mut trust = self.trust(&payload.enclave)?;
        let mut of_role = trust
            .retired
            .iter_mut()
            .filter(|key| key.id == payload.key && key.role == payload.role);
        match of_role.next() {
            Some(key) if key.revoked.is_none() => key.revoked = Some(self.event.seq),
            Some(_) | None => return Err(self.illegal("only a replaced key is revoked, and once")),
        }
        self.put_trust(trust);
        Ok(())
    }

    fn trust(&self, enclave: &str) -> Result<Trust, ApplyError> {
        let held = self.with(|view| view.trust(enclave))?;
        Ok(held.unwrap_or_else(|| Trust::none(enclave)))
    }

    fn put_trust(&mut self, trust: Trust) {
        self.changes
            .put(Key::Trust(trust.enclave.clone()), Row::Trust(trust));
    }
}
