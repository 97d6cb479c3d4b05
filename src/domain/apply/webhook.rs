//! What the events of webhooks change: the webhook's own row.

use super::{ApplyError, Fold};
use crate::domain::event::EventBody;
use crate::domain::payload::webhooks::{
    WebhookChanged, WebhookCreated, WebhookDead, WebhookDeleted, WebhookPaused, WebhookResumed,
};
use crate::domain::state::{Key, Row};
use crate::domain::webhook::{Webhook, WebhookState};
use crate::domain::{Seq, WebhookName};

impl Fold<'_> {
    /// One line an event, as in the table that leads here.
    pub(super) fn webhook_event(&mut self) -> Result<(), ApplyError> {
        let event = self.event;
        match &event.body {
            EventBody::WebhookCreated(payload) => self.webhook_created(payload),
            EventBody::WebhookChanged(payload) => self.webhook_changed(payload),
            EventBody::WebhookDeleted(payload) => self.webhook_deleted(payload),
            EventBody::WebhookPaused(payload) => self.webhook_paused(payload),
            EventBody::WebhookResumed(payload) => self.webhook_resumed(payload),
            EventBody::WebhookDead(payload) => self.webhook_dead(payload),
            _ => Err(self.illegal("it is no event of a webhook")),
        }
    }

    fn webhook_created(&mut self, payload: &WebhookCreated) -> Result<(), ApplyError> {
        self.refuse_existing(&Key::Webhook(payload.name.clone()))?;
        self.put_webhook(Webhook {
            changed_at: self.event.at,
            changed_by: self.event.actor.id.clone(),
            created_at: self.event.at,
            filters: payload.filters.clone(),
            key: payload.key.clone(),
            name: payload.name.clone(),
            next: payload.next,
            old_key: None,
            opened: self.event.seq,
            reason: None,
            seq: self.event.seq,
            state: WebhookState::Active,
            types: payload.types.clone(),
            url: payload.url.clone(),
        });
        Ok(())
    }

    fn webhook_changed(&mut self, payload: &WebhookChanged) -> Result<(), ApplyError> {
        let webhook = self.webhook(&payload.name)?;
        self.put_webhook(Webhook {
            filters: payload.filters.clone(),
            key: payload.key.clone(),
            old_key: payload.old_key.clone(),
            types: payload.types.clone(),
            url: payload.url.clone(),
            ..webhook
        });
        Ok(())
    }

    fn webhook_deleted(&mut self, payload: &WebhookDeleted) -> Result<(), ApplyError> {
        let webhook = self.webhook(&payload.name)?;
        self.changes.remove(Key::Webhook(webhook.name));
        Ok(())
    }

    fn webhook_paused(&mut self, payload: &WebhookPaused) -> Result<(), ApplyError> {
        let webhook = self.webhook(&payload.name)?;
        if webhook.state != WebhookState::Active {
            return Err(self.illegal("only an active webhook is paused"));
        }
        self.stop_webhook(webhook, WebhookState::Paused, payload.next, &payload.reason);
        Ok(())
    }

    fn webhook_dead(&mut self, payload: &WebhookDead) -> Result<(), ApplyError> {
        let webhook = self.webhook(&payload.name)?;
        if webhook.state != WebhookState::Active {
            return Err(self.illegal("only an active webhook is given up"));
        }
        self.stop_webhook(webhook, WebhookState::Dead, payload.next, &payload.cause);
        Ok(())
    }

    fn webhook_resumed(&mut self, payload: &WebhookResumed) -> Result<(), ApplyError> {
        let webhook = self.webhook(&payload.name)?;
        if webhook.state == WebhookState::Active {
            return Err(self.illegal("an active webhook is not resumed"));
        }
        self.put_webhook(Webhook {
            reason: Some(payload.reason.clone()),
            state: WebhookState::Active,
            ..webhook
        });
        Ok(())
    }

    fn stop_webhook(&mut self, webhook: Webhook, state: WebhookState, next: Seq, reason: &str) {
        self.put_webhook(Webhook {
            next: webhook.next.max(next),
            reason: Some(reason.to_owned()),
            state,
            ..webhook
        });
    }

    fn webhook(&self, name: &WebhookName) -> Result<Webhook, ApplyError> {
        let webhook = self.with(|view| view.webhook(name))?;
        webhook.ok_or_else(|| self.illegal("no such webhook"))
    }

    /// Every change says when, by whom and by which event.
    fn put_webhook(&mut self, webhook: Webhook) {
        let key = Key::Webhook(webhook.name.clone());
        let row = Webhook {
            changed_at: self.event.at,
            changed_by: self.event.actor.id.clone(),
            seq: self.event.seq,
            ..webhook
        };
        self.changes.put(key, Row::Webhook(row));
    }
}
