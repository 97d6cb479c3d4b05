//! What a run of a pack would do, and what differs between two versions. Nothing here is recorded.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::{HeaderName, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::error::ApiError;
use super::request::{Id, Ids, OptionalJson, Query, bad_parameter};
use crate::domain::canonical::Value;
use crate::domain::pack::{FieldDiff, Foretold, Named, PackDiff, Placed, SCHEMA};
use crate::domain::{Digest, PackName, StepName};

/// Inputs to plan with.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Simulate {
    /// What a run would be given.
    #[serde(default)]
    #[schema(value_type = Object)]
    inputs: BTreeMap<String, Value>,
}

/// A run, foretold.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanView {
    as_of: i64,
    /// The longest chain of steps that wait for each other.
    #[schema(value_type = Vec<String>)]
    critical_path: Vec<StepName>,
    /// Inputs after defaults were filled in, without those that are sensitive.
    #[schema(value_type = Object)]
    inputs: BTreeMap<String, Value>,
    #[schema(value_type = String)]
    name: PackName,
    /// Every step behind all it needs.
    order: Vec<PlannedStep>,
    #[schema(value_type = String)]
    plan_hash: Digest,
    /// Why sealed mode would refuse it: `sealed_forbidden`, `network_egress`. Empty when it would not.
    sealed_refuses: Vec<&'static str>,
    version: u32,
}

/// A step in its place.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedStep {
    /// `job`, `jobs`, `asks` or `passes` (a gate), `open` (it depends on steps before it), `skipped` or `fails`, as far as the
    /// inputs tell.
    comes_to: &'static str,
    /// Steps on the longest chain before it.
    depth: u32,
    #[schema(value_type = String)]
    id: StepName,
    /// How many, where it is mapped.
    #[serde(skip_serializing_if = "Option::is_none")]
    jobs: Option<usize>,
    /// Why it is skipped or fails, or how many a gate asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl From<Placed> for PlannedStep {
    fn from(placed: Placed) -> Self {
        let (comes_to, jobs, reason) = match placed.comes_to {
            Foretold::Asks(approvers) => ("asks", None, Some(format!("{approvers} to approve"))),
            Foretold::Passes => ("passes", None, None),
            Foretold::Job => ("job", None, None),
            Foretold::Jobs(count) => ("jobs", Some(count), None),
            Foretold::Open => ("open", None, None),
            Foretold::Skipped(reason) => ("skipped", None, Some(reason.to_owned())),
            Foretold::Fails(reason) => ("fails", None, Some(reason)),
        };
        PlannedStep {
            comes_to,
            depth: placed.depth,
            id: placed.id,
            jobs,
            reason,
        }
    }
}

/// Tells what a run of a version would do with these inputs. Nothing is recorded.
#[utoipa::path(post, path = "/api/v1/packs/{name}/versions/{version}/simulate", tag = "packs",
    params(("name" = String, Path), ("version" = u32, Path)), request_body = Simulate,
    responses((status = 200, body = PlanView)))]
pub async fn simulate(
    State(api): State<Arc<Api>>,
    caller: Caller,
    ids: Result<Ids<PackName, u32>, ApiError>,
    OptionalJson(asked): OptionalJson<Simulate>,
) -> Result<Answer<PlanView>, ApiError> {
    let Ids(name, version) = ids.map_err(|_| ApiError::not_found("pack version"))?;
    let read = api.read(caller.tenant()?, move |reading| {
        let pack = reading.view().pack(&name, version)?;
        let pack = pack.ok_or_else(|| ApiError::not_found("pack version"))?;
        let plan = pack.spec.plan(&asked.inputs)?;
        let order = plan.order.into_iter().map(PlannedStep::from);
        Ok(PlanView {
            as_of: reading.as_of,
            critical_path: plan.critical_path,
            inputs: plan.inputs,
            name: pack.name.clone(),
            order: order.collect(),
            plan_hash: pack.plan_hash,
            sealed_refuses: plan
                .sealed_refuses
                .iter()
                .map(|refusal| refusal.as_str())
                .collect(),
            version: pack.version,
        })
    });
    Ok(Answer(read.await?))
}

/// What differs between two versions.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiffView {
    as_of: i64,
    from: u32,
    /// Declared inputs.
    inputs: NamedView,
    #[schema(value_type = String)]
    name: PackName,
    /// Fields of the pack besides inputs and steps.
    settings: Vec<FieldView>,
    steps: NamedView,
    to: u32,
}

/// Things with names that came, went or changed.
#[derive(Debug, Serialize, ToSchema)]
pub struct NamedView {
    added: Vec<String>,
    changed: Vec<ChangedView>,
    removed: Vec<String>,
}

/// One that changed.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChangedView {
    fields: Vec<FieldView>,
    id: String,
}

/// A field before and after; null where it was not there.
#[derive(Debug, Serialize, ToSchema)]
pub struct FieldView {
    /// As the normalised definition names it, for example `timeoutMs` or `env/LC_ALL`.
    field: String,
    #[schema(value_type = Option<serde_json::Value>)]
    from: Option<Value>,
    #[schema(value_type = Option<serde_json::Value>)]
    to: Option<Value>,
}

impl From<FieldDiff> for FieldView {
    fn from(diff: FieldDiff) -> Self {
        FieldView {
            field: diff.field,
            from: diff.from,
            to: diff.to,
        }
    }
}

impl From<Named> for NamedView {
    fn from(named: Named) -> Self {
        let changed = named.changed.into_iter().map(|(id, fields)| ChangedView {
            fields: fields.into_iter().map(FieldView::from).collect(),
            id,
        });
        NamedView {
            added: named.added,
            changed: changed.collect(),
            removed: named.removed,
        }
    }
}

/// What it takes from one version to another, in the normalised definitions.
#[utoipa::path(get, path = "/api/v1/packs/{name}/diff", tag = "packs",
    params(("name" = String, Path), ("from" = u32, Query), ("to" = u32, Query)),
    responses((status = 200, body = DiffView)))]
pub async fn diff(
    State(api): State<Arc<Api>>,
    caller: Caller,
    name: Result<Id<PackName>, ApiError>,
    mut query: Query,
) -> Result<Answer<DiffView>, ApiError> {
    let Id(name) = name.map_err(|_| ApiError::not_found("pack"))?;
    let mut version = |parameter: &str| {
        let number: Option<u32> = query.parsed(parameter)?;
        number.ok_or_else(|| bad_parameter(parameter, "a version is needed here"))
    };
    let (from, to) = (version("from")?, version("to")?);
    query.finish()?;
    let read = api.read(caller.tenant()?, move |reading| {
        let view = reading.view();
        let missing = || ApiError::not_found("pack version");
        let earlier = view.pack(&name, from)?.ok_or_else(missing)?;
        let later = view.pack(&name, to)?.ok_or_else(missing)?;
        let diff = PackDiff::between(&earlier.spec, &later.spec);
        Ok(DiffView {
            as_of: reading.as_of,
            from,
            inputs: diff.inputs.into(),
            name,
            settings: diff.settings.into_iter().map(FieldView::from).collect(),
            steps: diff.steps.into(),
            to,
        })
    });
    Ok(Answer(read.await?))
}

/// The JSON Schema of pack files.
#[utoipa::path(get, path = "/schemas/pack/v1", tag = "discovery",
    responses((status = 200, description = "JSON Schema 2020-12", body = Object,
        content_type = "application/schema+json")))]
pub async fn schema() -> ([(HeaderName, &'static str); 2], &'static str) {
    let headers = [
        (header::CONTENT_TYPE, "application/schema+json"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, SCHEMA)
}
