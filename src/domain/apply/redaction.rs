//! What the events of redacted fields change: that values are no more, and the rules that name fields.
//!
//! Values are not part of the state: it is the same whoever has which disclosures.

use super::{ApplyError, Fold};
use crate::domain::Seq;
use crate::domain::event::EventBody;
use crate::domain::payload::redaction::{
    DisclosureErased, DisclosureRead, RedactionPolicyDeleted, RedactionPolicySet,
};
use crate::domain::redaction::Policy;
use crate::domain::state::{Erasure, Key, Row};

impl Fold<'_> {
    /// An event about disclosures.
    pub(super) fn disclosures(&mut self) -> Result<(), ApplyError> {
        match &self.event.body {
            EventBody::DisclosureRead(payload) => self.disclosure_read(payload),
            EventBody::DisclosureErased(payload) => self.disclosure_erased(payload),
            _ => Err(self.illegal("it is not about disclosures")),
        }
    }

    /// An event about the rules that name fields.
    pub(super) fn policies(&mut self) -> Result<(), ApplyError> {
        match &self.event.body {
            EventBody::RedactionPolicySet(payload) => self.policy_set(payload),
            EventBody::RedactionPolicyDeleted(payload) => self.policy_deleted(payload),
            _ => Err(self.illegal("it is not about a redaction policy")),
        }
    }

    fn disclosure_read(&mut self, payload: &DisclosureRead) -> Result<(), ApplyError> {
        self.check_kept_with(Some(payload.disclosures))?;
        self.touch_run()
    }

    fn disclosure_erased(&mut self, payload: &DisclosureErased) -> Result<(), ApplyError> {
        self.check_kept_with(Some(payload.disclosures))?;
        let key = Key::Erasure(payload.disclosures);
        self.refuse_existing(&key)?;
        let row = Erasure {
            at: self.event.at,
            by: self.event.actor.id.clone(),
            reason: payload.reason.clone(),
            seq: self.event.seq,
        };
        self.changes.put(key, Row::Erasure(row));
        self.touch_run()
    }

    /// Disclosures are kept with an event that was there before, or with the very one.
    pub(super) fn check_kept_with(&self, with: Option<Seq>) -> Result<(), ApplyError> {
        if with.is_some_and(|with| with > self.event.seq) {
            return Err(self.illegal("disclosures are kept with an event that is still to come"));
        }
        Ok(())
    }

    fn policy_set(&mut self, payload: &RedactionPolicySet) -> Result<(), ApplyError> {
        let policy = Policy {
            name: payload.name.clone(),
            rules: payload.rules.clone(),
            seq: self.event.seq,
            set_at: self.event.at,
            set_by: self.event.actor.id.clone(),
        };
        let key = Key::Policy(payload.name.clone());
        self.changes.put(key, Row::Policy(policy));
        Ok(())
    }

    fn policy_deleted(&mut self, payload: &RedactionPolicyDeleted) -> Result<(), ApplyError> {
        let key = Key::Policy(payload.name.clone());
        if self.with(|view| view.get(&key))?.is_none() {
            return Err(self.illegal("no such redaction policy"));
        }
        self.changes.remove(key);
        Ok(())
    }
}
