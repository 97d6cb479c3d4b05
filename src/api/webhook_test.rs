//! Tests of webhooks: one event that is in no ledger, sent at once; and what the status of any receiver's answer means.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::change::Change;
use super::cloud_events::source;
use super::error::ApiError;
use super::jobs::Reason;
use crate::domain::webhook::Webhook;
use crate::domain::{TenantName, Timestamp, WebhookName};
use crate::webhooks::{Outcome, Verdict};

/// What became of a test.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TestView {
    /// How long it took.
    duration_ms: u64,
    /// What went wrong.
    error: Option<String>,
    /// `taken`, `gone` or `failed`.
    #[schema(example = "taken")]
    outcome: &'static str,
    /// The status of the answer, if there was one.
    #[schema(example = 204)]
    status: Option<u16>,
}

/// The event of a test. Attributes in the order of canonical JSON.
#[derive(Serialize)]
struct TestEvent<'a> {
    data: TestData<'a>,
    datacontenttype: &'static str,
    id: String,
    source: String,
    specversion: &'static str,
    time: Timestamp,
    #[serde(rename = "type")]
    type_name: &'static str,
}

#[derive(Serialize)]
struct TestData<'a> {
    webhook: &'a WebhookName,
}

/// What the status of a receiver's answer means. Redirects are not followed: they are failures. Two say when to come back.
pub fn judge(status: u16) -> Verdict {
    match status {
        200..=299 => Verdict::Taken,
        410 => Verdict::Gone,
        429 | 503 => Verdict::Busy,
        _ => Verdict::Failed,
    }
}

/// Sends an event `webhook.test` now, whatever the state of the webhook, and tells what came back. Its cursor and its
/// count of failures stay.
#[utoipa::path(post, path = "/api/v1/webhooks/{name}/test", tag = "administration",
    params(("name" = String, Path), ("If-Match" = Option<String>, Header,
        description = "Only what stands as this ETag says; * for what is there at all")),
    request_body = Reason, responses((status = 200, body = TestView)))]
pub async fn test(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    change: Change<WebhookName>,
) -> Result<Answer<TestView>, ApiError> {
    let tenant = change.caller.tenant()?.clone();
    let (webhook, _) = api.meant(&tenant, &change.id, &headers).await?;
    api.check_unsealed(&change.caller, &change.id, "test").await?;
    let body = test_event(&api, &tenant, &webhook)?;
    let tested = api.webhooks().test(&tenant, &webhook, body).await?;
    let (outcome, status, error) = match tested.outcome {
        Outcome::Taken { status } => ("taken", Some(status), None),
        Outcome::Gone { status } => (
            "gone",
            Some(status),
            Some("there is no receiver any more".to_owned()),
        ),
        Outcome::Failed { status, cause, .. } => ("failed", status, Some(cause)),
        // It was sealed meanwhile.
        Outcome::Sealed => {
            return Err(api.refuse_sealed(&change.caller, &change.id, "test").await?);
        }
    };
    Ok(Answer(TestView {
        duration_ms: tested.duration_ms,
        error,
        outcome,
        status,
    }))
}

fn test_event(api: &Api, tenant: &TenantName, webhook: &Webhook) -> Result<Vec<u8>, ApiError> {
    let event = TestEvent {
        data: TestData {
            webhook: &webhook.name,
        },
        datacontenttype: "application/json",
        // No event of the ledger has such an id.
        id: format!("test-{:016x}", api.engine().clock().entropy()),
        source: source(&api.enclave(), tenant),
        specversion: "1.0",
        time: Timestamp::from_ms(api.now_ms()),
        type_name: "webhook.test",
    };
    serde_json::to_vec(&event).map_err(|error| ApiError::internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_hundreds_are_taken() {
        for (status, verdict) in [
            (199, Verdict::Failed),
            (200, Verdict::Taken),
            (204, Verdict::Taken),
            (299, Verdict::Taken),
            (300, Verdict::Failed),
            (302, Verdict::Failed),
            (404, Verdict::Failed),
            (409, Verdict::Failed),
            (410, Verdict::Gone),
            (411, Verdict::Failed),
            (428, Verdict::Failed),
            (429, Verdict::Busy),
            (430, Verdict::Failed),
            (500, Verdict::Failed),
            (503, Verdict::Busy),
            (504, Verdict::Failed),
        ] {
            assert_eq!(judge(status), verdict, "{status}");
        }
    }
}
