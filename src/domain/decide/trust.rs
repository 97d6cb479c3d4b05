//! Decisions about trust: what may follow what is held. Whether signatures hold was judged before.

use super::Draft;
use super::bounds::{check_text, clip};
use crate::domain::command::{ChangeTrust, Reply};
use crate::domain::event::EventBody;
use crate::domain::payload::trust::{KeyRevoked, KeyRotated, RootAccepted, RootPinned, TrustRefused};
use crate::domain::rejection::{Code, Refusal, Rejection};
use crate::domain::trust::{RetiredKey, Trust};
use crate::limits;

impl Draft<'_> {
    pub(super) fn change_trust(&mut self, change: &ChangeTrust) -> Result<Reply, Refusal> {
        match change {
            ChangeTrust::PinRoot(pin) => self.pin_root(pin),
            ChangeTrust::AcceptRoot(root) => self.accept_root(root),
            ChangeTrust::NoteRotation(rotated) => self.note_rotation(rotated),
            ChangeTrust::RevokeKey(revoked) => self.revoke_key(revoked),
            ChangeTrust::Refuse(refused) => self.record(EventBody::TrustRefused(TrustRefused {
                detail: clip(&refused.detail),
                ..refused.clone()
            })),
        }
    }

    fn pin_root(&mut self, pin: &RootPinned) -> Result<Reply, Refusal> {
        check_text("/enclave", &pin.enclave, limits::TEXT_BYTES_MAX)?;
        if let Some(held) = self.trust(&pin.enclave)?.pin {
            if held.fingerprint == pin.fingerprint {
                return Ok(Reply::Done);
            }
            let detail = format!("another root of trust is pinned for enclave {}", pin.enclave);
            return Err(Rejection::new(Code::PinConflict, detail).into());
        }
        self.record(EventBody::RootPinned(pin.clone()))
    }

    fn accept_root(&mut self, root: &RootAccepted) -> Result<Reply, Refusal> {
        let held = self.trust(&root.enclave)?;
        let same = |one: &&crate::domain::trust::HeldRoot| one.version == root.version;
        if held
            .roots
            .iter()
            .find(same)
            .is_some_and(|one| one.fingerprint == root.fingerprint)
        {
            return Ok(Reply::Done);
        }
        if root.version != held.version() + 1 {
            let detail = format!(
                "version {} of the root of trust does not follow version {}",
                root.version,
                held.version()
            );
            return Err(Rejection::new(Code::NotContinuous, detail).into());
        }
        self.record(EventBody::RootAccepted(Box::new(root.clone())))
    }

    fn note_rotation(&mut self, rotated: &KeyRotated) -> Result<Reply, Refusal> {
        let held = self.trust(&rotated.enclave)?;
        let replaced = held.replaced(&rotated.role);
        let is_it = |key: &&RetiredKey| key.role == rotated.role && key.number == rotated.number;
        if let Some(known) = held.retired.iter().find(is_it) {
            if (known.id, known.to) == (rotated.from, rotated.to) {
                return Ok(Reply::Done);
            }
            let detail = format!(
                "key {} of the role {} was recorded as another one",
                rotated.number, rotated.role
            );
            return Err(Rejection::new(Code::NotContinuous, detail).into());
        }
        if rotated.number != replaced + 1 {
            let detail = format!(
                "key {} of the role {} is not the next one",
                rotated.number, rotated.role
            );
            return Err(Rejection::new(Code::NotContinuous, detail).into());
        }
        self.record(EventBody::KeyRotated(Box::new(rotated.clone())))
    }

    fn revoke_key(&mut self, revoked: &KeyRevoked) -> Result<Reply, Refusal> {
        let held = self.trust(&revoked.enclave)?;
        let key = held
            .retired
            .iter()
            .find(|key| key.id == revoked.key && key.role == revoked.role);
        match key {
            None => Err(Rejection::not_found("replaced key of this role").into()),
            Some(key) if key.revoked.is_some() => Ok(Reply::Done),
            Some(_) => self.record(EventBody::KeyRevoked(Box::new(KeyRevoked {
                reason: clip(&revoked.reason),
                ..revoked.clone()
            }))),
        }
    }

    fn trust(&self, enclave: &str) -> Result<Trust, Refusal> {
        let held = self.read(|view| view.trust(enclave))?;
        Ok(held.unwrap_or_else(|| Trust::none(enclave)))
    }
}
