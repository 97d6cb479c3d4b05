//! Decisions about webhooks. Whether anything may leave is decided where connections are made, and not here.

use super::Draft;
use super::bounds::{check_correlation, check_label, clip};
use crate::domain::command::{ChangeWebhook, PutWebhook, Reply, WebhookChange};
use crate::domain::event::EventBody;
use crate::domain::payload::webhooks::{
    WebhookChanged, WebhookCreated, WebhookDead, WebhookDeleted, WebhookPaused, WebhookRefused,
    WebhookResumed,
};
use crate::domain::rejection::{Code, Refusal, Rejection};
use crate::domain::webhook::{OldKey, Webhook, WebhookState};
use crate::domain::{Seq, WebhookName};
use crate::limits;

impl Draft<'_> {
    pub(super) fn change_webhook(&mut self, request: &ChangeWebhook) -> Result<Reply, Refusal> {
        let name = &request.name;
        let before = self.read(|view| view.webhook(name))?;
        if request.expected.is_some() {
            check_unchanged(Some(there(before.as_ref())?), request.expected)?;
        }
        let body = match &request.change {
            WebhookChange::Put(put) => self.put_webhook(name, before.as_ref(), put)?,
            WebhookChange::Delete { reason } => {
                there(before.as_ref())?;
                EventBody::WebhookDeleted(WebhookDeleted {
                    name: name.clone(),
                    reason: clip(reason),
                })
            }
            WebhookChange::Pause { next, opened, reason } => {
                let webhook = there(before.as_ref())?;
                check_active(webhook)?;
                EventBody::WebhookPaused(WebhookPaused {
                    name: name.clone(),
                    next: if webhook.opened == *opened {
                        *next
                    } else {
                        webhook.next
                    },
                    reason: clip(reason),
                })
            }
            WebhookChange::Resume { reason } => {
                if there(before.as_ref())?.state == WebhookState::Active {
                    return Err(Rejection::new(Code::WebhookActive, "the webhook is active").into());
                }
                EventBody::WebhookResumed(WebhookResumed {
                    name: name.clone(),
                    reason: clip(reason),
                })
            }
            WebhookChange::GiveUp {
                seq,
                next,
                failures,
                cause,
            } => {
                let webhook = there(before.as_ref())?;
                check_unchanged(Some(webhook), Some(*seq))?;
                check_active(webhook)?;
                EventBody::WebhookDead(WebhookDead {
                    cause: clip(cause),
                    failures: *failures,
                    name: name.clone(),
                    next: *next,
                })
            }
            WebhookChange::Refuse { operation } => EventBody::WebhookRefused(WebhookRefused {
                code: "sealed_mode".to_owned(),
                name: name.clone(),
                operation: (*operation).to_owned(),
            }),
        };
        self.record(body)?;
        let now = self.read(|view| view.webhook(name))?.map(Box::new);
        Ok(Reply::Webhook {
            now,
            before: before.map(Box::new),
        })
    }

    fn put_webhook(
        &self,
        name: &WebhookName,
        before: Option<&Webhook>,
        put: &PutWebhook,
    ) -> Result<EventBody, Refusal> {
        check_unchanged(before, put.expected)?;
        check_put(put)?;
        let Some(before) = before else {
            let Some(key) = &put.key else {
                return Err(Rejection::new(Code::WebhookChanged, "the webhook has no key").into());
            };
            // By default what follows its own event.
            let following = Seq(self.stamp.next.0 + 1);
            let next = put.next.unwrap_or(following);
            if next > following {
                let detail = "it would begin beyond the end of the ledger";
                return Err(Rejection::field(Code::InvalidField, "/after", detail).into());
            }
            return Ok(EventBody::WebhookCreated(Box::new(WebhookCreated {
                filters: put.filters.clone(),
                key: key.clone(),
                name: name.clone(),
                next,
                types: put.types.clone(),
                url: put.url.clone(),
            })));
        };
        let still_signs = |old: &OldKey| old.until > self.stamp.at;
        let old_key = match &put.key {
            None => before.old_key.clone().filter(still_signs),
            Some(_) => Some(OldKey {
                key: before.key.clone(),
                until: self.stamp.at.plus_ms(put.overlap_ms),
            })
            .filter(still_signs),
        };
        Ok(EventBody::WebhookChanged(Box::new(WebhookChanged {
            filters: put.filters.clone(),
            key: put.key.as_ref().unwrap_or(&before.key).clone(),
            name: name.clone(),
            old_key,
            types: put.types.clone(),
            url: put.url.clone(),
        })))
    }
}

fn there(webhook: Option<&Webhook>) -> Result<&Webhook, Rejection> {
    webhook.ok_or_else(|| Rejection::not_found("webhook"))
}

fn check_active(webhook: &Webhook) -> Result<(), Rejection> {
    match webhook.state {
        WebhookState::Active => Ok(()),
        WebhookState::Paused | WebhookState::Dead => {
            let detail = format!("the webhook is {}", webhook.state.as_str());
            Err(Rejection::new(Code::WebhookNotActive, detail))
        }
    }
}

/// Whoever asks has seen it as it stands; none where there was none.
fn check_unchanged(webhook: Option<&Webhook>, expected: Option<Seq>) -> Result<(), Rejection> {
    if webhook.map(|webhook| webhook.seq) == expected {
        return Ok(());
    }
    Err(Rejection::new(
        Code::WebhookChanged,
        "the webhook was changed meanwhile",
    ))
}

/// What events can hold; whether the address is one is checked before.
fn check_put(put: &PutWebhook) -> Result<(), Rejection> {
    if put.url.len() > limits::WEBHOOK_URL_BYTES_MAX || !put.url.bytes().all(|byte| byte.is_ascii_graphic()) {
        let detail = format!(
            "at most {} visible ASCII characters",
            limits::WEBHOOK_URL_BYTES_MAX
        );
        return Err(Rejection::field(Code::InvalidField, "/url", detail));
    }
    if put.types.len() > limits::CLAIM_NAMES_MAX {
        let detail = format!("at most {} types", limits::CLAIM_NAMES_MAX);
        return Err(Rejection::field(Code::InvalidField, "/types", detail));
    }
    for (index, glob) in put.types.iter().enumerate() {
        let good = (1..=limits::LABEL_BYTES_MAX).contains(&glob.len())
            && glob
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_.:-*".contains(&byte));
        if !good {
            let detail = format!("1 to {} characters of [A-Za-z0-9_.:*-]", limits::LABEL_BYTES_MAX);
            return Err(Rejection::field(
                Code::InvalidField,
                format!("/types/{index}"),
                detail,
            ));
        }
    }
    let filters = &put.filters;
    check_correlation(filters.correlation_id.as_deref()).map_err(|rejection| Rejection {
        pointer: Some("/filters/correlationId".to_owned()),
        ..rejection
    })?;
    if let Some(project) = &filters.project {
        check_label("/filters/project", project)?;
    }
    if filters.job.is_some() && filters.run.is_some() {
        let detail = "one of job, run, packRun";
        return Err(Rejection::field(Code::InvalidField, "/filters/job", detail));
    }
    Ok(())
}
