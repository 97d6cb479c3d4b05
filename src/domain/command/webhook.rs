//! What is asked of webhooks.

use crate::domain::webhook::{WebhookFilters, WebhookKey};
use crate::domain::{Seq, WebhookName};

/// A change of one webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeWebhook {
    /// The event that last changed it, where nothing else is meant.
    pub expected: Option<Seq>,
    /// Which.
    pub name: WebhookName,
    /// To what.
    pub change: WebhookChange,
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebhookChange {
    /// It is made, or has other settings.
    Put(PutWebhook),
    /// It ends.
    Delete {
        /// Recorded with it.
        reason: String,
    },
    /// It stops.
    Pause {
        /// Every event before this one is done with.
        next: Seq,
        /// Of the webhook that was opened by this event: another may have taken its name since.
        opened: Seq,
        /// Recorded with it.
        reason: String,
    },
    /// It goes on.
    Resume {
        /// Recorded with it.
        reason: String,
    },
    /// Its receiver failed too often.
    GiveUp {
        /// The event that last changed it: nobody did since.
        seq: Seq,
        /// Every event before this one is done with.
        next: Seq,
        /// Attempts that failed in a row.
        failures: u32,
        /// What the last one came to.
        cause: String,
    },
    /// Something that would send was asked while nothing may leave: only noted.
    Refuse {
        /// What was asked.
        operation: &'static str,
    },
}

impl WebhookChange {
    /// The new key that it brings; its file is there already.
    pub fn new_key(&self) -> Option<&WebhookKey> {
        match self {
            WebhookChange::Put(put) => put.key.as_ref(),
            _ => None,
        }
    }
}

/// The settings of a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutWebhook {
    /// The event that last changed it, as whoever asks has seen it; none where there was no such webhook.
    pub expected: Option<Seq>,
    /// Which events.
    pub filters: WebhookFilters,
    /// A new key, whose file is flushed; none keeps the present one.
    pub key: Option<WebhookKey>,
    /// Where a new webhook begins; none for what follows.
    pub next: Option<Seq>,
    /// How long the key before a new one signs too.
    pub overlap_ms: u64,
    /// Globs over types.
    pub types: Vec<String>,
    /// Where to.
    pub url: String,
}
