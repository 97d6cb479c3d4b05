//! The payloads of what happens to webhooks. They never carry a secret, nor anything computed from one.

use serde::{Deserialize, Serialize};

use crate::domain::webhook::{OldKey, WebhookFilters, WebhookKey};
use crate::domain::{Seq, WebhookName};

payload!(
    /// A webhook was made; the file of its key is flushed before this is recorded.
    WebhookCreated {
        /// Which events.
        filters: WebhookFilters,
        /// What signs.
        key: WebhookKey,
        /// Its name.
        name: WebhookName,
        /// The first event that it looks at.
        next: Seq,
        /// Globs over types.
        types: Vec<String>,
        /// Where to.
        url: String,
    }
);

payload!(
    /// A webhook was changed. Its cursor stays.
    WebhookChanged {
        /// Which events.
        filters: WebhookFilters,
        /// What signs.
        key: WebhookKey,
        /// Its name.
        name: WebhookName,
        /// What signs too for a while.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        old_key: Option<OldKey>,
        /// Globs over types.
        types: Vec<String>,
        /// Where to.
        url: String,
    }
);

payload!(
    /// A webhook is no more.
    WebhookDeleted {
        /// Its name.
        name: WebhookName,
        /// Why.
        reason: String,
    }
);

payload!(
    /// Somebody stopped a webhook.
    WebhookPaused {
        /// Its name.
        name: WebhookName,
        /// Every event before this one is done with.
        next: Seq,
        /// Why.
        reason: String,
    }
);

payload!(
    /// A webhook goes on where it stopped.
    WebhookResumed {
        /// Its name.
        name: WebhookName,
        /// Why.
        reason: String,
    }
);

payload!(
    /// A webhook was given up: its receiver failed too often, or said that it is gone.
    WebhookDead {
        /// What the last attempt came to.
        cause: String,
        /// Attempts that failed in a row.
        failures: u32,
        /// Its name.
        name: WebhookName,
        /// Every event before this one is done with.
        next: Seq,
    }
);

payload!(
    /// Something was asked of a webhook that would send, while nothing may leave.
    WebhookRefused {
        /// What was answered.
        code: String,
        /// Its name, which may be of none.
        name: WebhookName,
        /// What was asked.
        operation: String,
    }
);
