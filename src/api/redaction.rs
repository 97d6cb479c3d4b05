//! Redaction policies of a tenant: which fields are taken out of payloads, and which an export shows.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::error::{ApiError, created, no_content};
use super::jobs::reason_of;
use super::reading::{Asked, List, list_rows};
use super::request::{Id, Json, Query};
use crate::bundle::disclosures::Showing;
use crate::domain::command::{Command, RedactionCommand, RedactionReply, Reply};
use crate::domain::redaction::{OPERATIONAL, Policy, Rule};
use crate::domain::state::Kind;
use crate::domain::token::Scope;
use crate::domain::{PolicyName, Seq, Timestamp};

/// Fields of some types of jobs.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"types": ["scan.*"], "pointers": ["/token"]}))]
pub struct RuleShape {
    /// JSON pointers into the payload; of a pack run, into its inputs. What lies inside is meant too.
    #[schema(min_items = 1, max_items = 64)]
    pointers: Vec<String>,
    /// Globs over job types; `pack.run` are the inputs of pack runs.
    #[schema(min_items = 1, max_items = 64)]
    types: Vec<String>,
}

/// The rules of a policy.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyBody {
    /// Recorded with it.
    reason: Option<String>,
    /// At most 64.
    #[schema(min_items = 1, max_items = 64)]
    rules: Vec<RuleShape>,
}

/// A policy.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyView {
    /// `intake` says what is taken out of payloads as they come in; any other name is an export's.
    #[schema(value_type = String, example = "auditor")]
    name: PolicyName,
    rules: Vec<RuleShape>,
    /// The event that set it.
    #[schema(value_type = u64)]
    seq: Seq,
    /// When that was.
    #[schema(value_type = String)]
    set_at: Timestamp,
    /// Who did it.
    set_by: String,
}

impl From<&Policy> for PolicyView {
    fn from(policy: &Policy) -> Self {
        let rule = |rule: &Rule| RuleShape {
            pointers: rule.pointers.iter().map(ToString::to_string).collect(),
            types: rule.types.clone(),
        };
        PolicyView {
            name: policy.name.clone(),
            rules: policy.rules.iter().map(rule).collect(),
            seq: policy.seq,
            set_at: policy.set_at,
            set_by: policy.set_by.clone(),
        }
    }
}

fn rules_of(shapes: Vec<RuleShape>) -> Result<Vec<Rule>, ApiError> {
    let mut rules = Vec::with_capacity(shapes.len());
    for (index, shape) in shapes.into_iter().enumerate() {
        let mut pointers = Vec::with_capacity(shape.pointers.len());
        for (place, text) in shape.pointers.iter().enumerate() {
            let pointer = text.parse();
            pointers.push(pointer.map_err(|error: crate::domain::redaction::PointerError| {
                let at = format!("/rules/{index}/pointers/{place}");
                ApiError::field("sensitive_field", at, error.to_string())
            })?);
        }
        rules.push(Rule {
            pointers,
            types: shape.types,
        });
    }
    Ok(rules)
}

fn bad_name() -> ApiError {
    ApiError::field(
        "invalid_field",
        "",
        "a redaction policy is named [a-z0-9][a-z0-9-]{0,62}",
    )
}

impl Api {
    /// What an export is to show; whoever wants to see anything needs to be an administrator.
    pub(super) async fn showing(
        self: &Arc<Api>,
        caller: &Caller,
        policy: Option<String>,
    ) -> Result<Showing, ApiError> {
        let shows = policy.as_deref().is_some_and(|name| name != OPERATIONAL);
        if shows {
            may_show(caller)?;
        }
        let tenant = caller.tenant()?.clone();
        self.blocking(move |api| Ok(Showing::find(api.engine(), &tenant, policy.as_deref())?))
            .await
    }
}

/// Whether a caller may see redacted fields.
///
/// # Errors
/// Without the scope of administrators.
pub fn may_show(caller: &Caller) -> Result<(), ApiError> {
    if caller.token.scopes.contains(&Scope::Admin) {
        return Ok(());
    }
    let detail = format!(
        "to show redacted fields needs the scope {}",
        Scope::Admin.as_str()
    );
    Err(ApiError::forbidden("scope_required", detail))
}

/// Gives a policy its rules. The policy `intake` is applied to the payloads of jobs from now on; what was recorded stays.
#[utoipa::path(put, path = "/api/v1/redaction-policies/{name}", tag = "redaction", params(("name" = String, Path)),
    request_body = PolicyBody,
    responses((status = 201, description = "It is new", body = PolicyView),
        (status = 200, description = "It had other rules before", body = PolicyView)))]
pub async fn set(
    State(api): State<Arc<Api>>,
    caller: Caller,
    name: Result<Id<PolicyName>, ApiError>,
    headers: HeaderMap,
    Json(body): Json<PolicyBody>,
) -> Result<Response, ApiError> {
    let Id(name) = name.map_err(|_| bad_name())?;
    let command = RedactionCommand::SetPolicy {
        name: name.clone(),
        reason: reason_of(body.reason, &headers),
        rules: rules_of(body.rules)?,
    };
    let command = Command::Redaction(Box::new(command));
    let receipt = api
        .engine()
        .submit(caller.tenant()?, &caller.actor(), command)
        .await?;
    let Reply::Redaction(reply) = receipt.reply else {
        return Err(ApiError::internal("the writer answered something else"));
    };
    let RedactionReply::Policy {
        now: Some(policy),
        was_there,
    } = *reply
    else {
        return Err(ApiError::internal("the writer answered something else"));
    };
    let view = PolicyView::from(&policy);
    Ok(if was_there {
        Answer(view).into_response()
    } else {
        created(format!("/api/v1/redaction-policies/{name}"), &view)
    })
}

/// The policies of a tenant, the last of the alphabet first.
#[utoipa::path(get, path = "/api/v1/redaction-policies", tag = "redaction",
    params(("limit" = Option<u64>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = List<PolicyView>)))]
pub async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut query: Query,
) -> Result<Answer<List<PolicyView>>, ApiError> {
    let asked = Asked::take(&mut query)?;
    query.finish()?;
    let list = api.read(caller.tenant()?, move |reading| {
        list_rows(reading, Kind::Policy, &asked, |row| {
            Ok(row.as_policy().map(PolicyView::from))
        })
    });
    Ok(Answer(list.await?))
}

/// One policy.
#[utoipa::path(get, path = "/api/v1/redaction-policies/{name}", tag = "redaction", params(("name" = String, Path)),
    responses((status = 200, body = PolicyView)))]
pub async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    name: Result<Id<PolicyName>, ApiError>,
) -> Result<Answer<PolicyView>, ApiError> {
    let Id(name) = name.map_err(|_| ApiError::not_found("redaction policy"))?;
    let read = api.read(caller.tenant()?, move |reading| {
        let policy = reading.view().policy(&name)?;
        let policy = policy.ok_or_else(|| ApiError::not_found("redaction policy"))?;
        Ok(PolicyView::from(&policy))
    });
    Ok(Answer(read.await?))
}

/// Ends a policy. Without `intake`, payloads come in as they are, but for what a job itself names.
#[utoipa::path(delete, path = "/api/v1/redaction-policies/{name}", tag = "redaction", params(("name" = String, Path)),
    responses((status = 204, description = "Deleted")))]
pub async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    name: Result<Id<PolicyName>, ApiError>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Id(name) = name.map_err(|_| ApiError::not_found("redaction policy"))?;
    let reason = reason_of(None, &headers);
    let command = Command::Redaction(Box::new(RedactionCommand::DeletePolicy { name, reason }));
    api.engine()
        .submit(caller.tenant()?, &caller.actor(), command)
        .await?;
    Ok(no_content().into_response())
}
