//! What the events of secrets change: the secret's own row.

use super::{ApplyError, Fold};
use crate::domain::event::EventBody;
use crate::domain::payload::{SecretDeleted, SecretSet};
use crate::domain::secret::Secret;
use crate::domain::state::{Key, Row};

impl Fold<'_> {
    pub(super) fn secret_event(&mut self) -> Result<(), ApplyError> {
        let event = self.event;
        match &event.body {
            EventBody::SecretSet(payload) => self.secret_set(payload),
            EventBody::SecretDeleted(payload) => self.secret_deleted(payload),
            _ => Err(self.illegal("it is no event of a secret")),
        }
    }

    fn secret_set(&mut self, payload: &SecretSet) -> Result<(), ApplyError> {
        let secret = Secret {
            name: payload.name.clone(),
            seq: self.event.seq,
            set_at: self.event.at,
            set_by: self.event.actor.id.clone(),
            version: payload.version,
        };
        let key = Key::Secret(payload.name.clone());
        self.changes.put(key, Row::Secret(secret));
        Ok(())
    }

    fn secret_deleted(&mut self, payload: &SecretDeleted) -> Result<(), ApplyError> {
        let key = Key::Secret(payload.name.clone());
        if self.with(|view| view.get(&key))?.is_none() {
            return Err(self.illegal("no such secret"));
        }
        self.changes.remove(key);
        Ok(())
    }
}
