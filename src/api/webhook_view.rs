//! The shapes of webhooks: what is given, and what is shown. A secret goes in, and comes out in the one answer that drew it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::webhook::{SignatureKind, Webhook, WebhookFilters, WebhookState};
use crate::domain::{JobId, RunId, Seq, Timestamp, WebhookName};
use crate::webhooks::Progress;

/// Which events, besides their types; of `job`, `run` and `packRun` one may be given.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GivenFilters {
    /// Exactly this correlation id.
    pub correlation_id: Option<String>,
    /// About this job.
    #[schema(value_type = Option<String>)]
    pub job: Option<JobId>,
    /// About this pack run.
    #[schema(value_type = Option<String>)]
    pub pack_run: Option<RunId>,
    /// Exactly this project.
    pub project: Option<String>,
    /// About this run.
    #[schema(value_type = Option<String>)]
    pub run: Option<RunId>,
}

/// A webhook to make or change.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookSettings {
    /// Begin after this event; −1 for the whole ledger. Only for a new webhook; without it, with what follows.
    #[schema(example = -1, minimum = -1)]
    pub after: Option<i64>,
    /// Which events.
    #[serde(default)]
    pub filters: GivenFilters,
    /// How long the secret before a new one signs too.
    #[schema(maximum = 2_592_000_000_u64)]
    pub overlap_ms: Option<u64>,
    /// `whsec_…` or `whsk_…`; drawn for a new webhook, and kept for another, when it is not given.
    pub secret: Option<String>,
    /// How a secret that is drawn signs.
    #[schema(value_type = Option<String>, example = "hmac-sha256")]
    pub signature: Option<SignatureKind>,
    /// Globs over types; none means every type.
    #[serde(default)]
    #[schema(example = json!(["job.*"]))]
    pub types: Vec<String>,
    /// Where to.
    #[schema(example = "http://10.0.0.7:8080/hooks/fastness")]
    pub url: String,
}

/// A webhook to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewWebhook {
    /// Begin after this event; −1 for the whole ledger. Without it, with what follows.
    #[schema(example = -1, minimum = -1)]
    after: Option<i64>,
    /// Which events.
    #[serde(default)]
    filters: GivenFilters,
    /// Drawn when it is not given.
    #[schema(value_type = Option<String>, example = "deploy-board")]
    name: Option<WebhookName>,
    /// `whsec_…` or `whsk_…`; drawn when it is not given.
    secret: Option<String>,
    /// How a secret that is drawn signs.
    #[schema(value_type = Option<String>, example = "hmac-sha256")]
    signature: Option<SignatureKind>,
    /// Globs over types; none means every type.
    #[serde(default)]
    #[schema(example = json!(["job.*"]))]
    types: Vec<String>,
    /// Where to.
    #[schema(example = "http://10.0.0.7:8080/hooks/fastness")]
    url: String,
}

impl NewWebhook {
    /// Its name, where it has one, and its settings.
    pub fn split(self) -> (Option<WebhookName>, WebhookSettings) {
        let settings = WebhookSettings {
            after: self.after,
            filters: self.filters,
            overlap_ms: None,
            secret: self.secret,
            signature: self.signature,
            types: self.types,
            url: self.url,
        };
        (self.name, settings)
    }
}

/// Another secret for a webhook.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rotation {
    /// How long the one before signs too; a day when it is not said.
    #[schema(maximum = 2_592_000_000_u64)]
    pub overlap_ms: Option<u64>,
    /// Drawn when it is not given.
    pub secret: Option<String>,
    /// How a secret that is drawn signs; as the one before when it is not said.
    #[schema(value_type = Option<String>, example = "ed25519")]
    pub signature: Option<SignatureKind>,
}

/// A webhook and how it stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookView {
    /// When it was last changed, paused, resumed or given up.
    #[schema(value_type = String)]
    changed_at: Timestamp,
    /// Who did that.
    changed_by: String,
    /// When it was made.
    #[schema(value_type = String)]
    created_at: Timestamp,
    /// How its delivery stands; null in an imported ledger, of which nothing is sent.
    delivery: Option<DeliveryView>,
    /// Which events.
    #[schema(value_type = Object, example = json!({"project": "core"}))]
    filters: WebhookFilters,
    /// Its name.
    #[schema(value_type = String, example = "deploy-board")]
    name: WebhookName,
    /// Until when the secret before the present one signs too.
    #[schema(value_type = Option<String>)]
    previous_until: Option<Timestamp>,
    /// `whpk_…`: what verifies its signatures, where that is no secret.
    public_key: Option<String>,
    /// Why it is paused or dead, or was resumed.
    reason: Option<String>,
    /// The secret; only in the answer that drew it.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// The event that last changed it.
    #[schema(value_type = u64)]
    seq: Seq,
    /// How it signs.
    #[schema(value_type = String, example = "hmac-sha256")]
    signature: SignatureKind,
    /// Whether events are sent.
    #[schema(value_type = String, example = "active")]
    state: WebhookState,
    /// Globs over types; none means every type.
    types: Vec<String>,
    /// Where to.
    url: String,
}

/// How a delivery stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryView {
    /// How many events the ledger has after the cursor, whether they pass the filters or not.
    behind: u64,
    /// `sealed_mode` while nothing may leave.
    blocked: Option<&'static str>,
    /// The last event that is done with; −1 before the first.
    cursor: i64,
    /// Attempts that failed in a row.
    failures: u32,
    /// When something was last sent.
    #[schema(value_type = Option<String>)]
    last_attempt_at: Option<Timestamp>,
    /// When an event was last taken.
    #[schema(value_type = Option<String>)]
    last_delivered_at: Option<Timestamp>,
    /// What the last failure was, until an event is taken.
    last_error: Option<String>,
    /// The status of the last answer.
    last_status: Option<u16>,
    /// When the next attempt is made, after a failure.
    #[schema(value_type = Option<String>)]
    retry_at: Option<Timestamp>,
    /// Events that were gone before they were sent.
    skipped: u64,
}

impl DeliveryView {
    /// As it stands with a ledger of this size.
    pub fn new(progress: Progress, size: u64, blocked: Option<&'static str>) -> Self {
        DeliveryView {
            behind: size.saturating_sub(progress.next),
            blocked,
            cursor: i64::try_from(progress.next).map_or(i64::MAX, |next| next - 1),
            failures: progress.failures,
            last_attempt_at: progress.last_attempt_at,
            last_delivered_at: progress.last_delivered_at,
            last_error: progress.last_error,
            last_status: progress.last_status,
            retry_at: progress.retry_at,
            skipped: progress.skipped,
        }
    }
}

impl WebhookView {
    /// As it stands at this time.
    pub fn new(webhook: &Webhook, delivery: Option<DeliveryView>, now: Timestamp) -> Self {
        let previous = webhook.old_key.as_ref().map(|old| old.until);
        WebhookView {
            changed_at: webhook.changed_at,
            changed_by: webhook.changed_by.clone(),
            created_at: webhook.created_at,
            delivery,
            filters: webhook.filters.clone(),
            name: webhook.name.clone(),
            previous_until: previous.filter(|until| *until > now),
            public_key: webhook.key.public_key.clone(),
            reason: webhook.reason.clone(),
            secret: None,
            seq: webhook.seq,
            signature: webhook.key.kind,
            state: webhook.state,
            types: webhook.types.clone(),
            url: webhook.url.clone(),
        }
    }

    /// Shows the secret, this once.
    #[must_use]
    pub fn with_secret(mut self, secret: Option<String>) -> Self {
        self.secret = secret;
        self
    }

    /// Names the last change, as an entity tag.
    pub fn tag(&self) -> String {
        format!("\"{}\"", self.seq)
    }
}
