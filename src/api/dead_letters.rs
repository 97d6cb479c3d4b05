//! Dead letters and error clusters: list, count, resolve.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::error::ApiError;
use super::job_view::ErrorView;
use super::reading::{Asked, List, Reading, list_rows};
use super::request::{Id, Json, Query, bad_parameter};
use crate::domain::command::Command;
use crate::domain::dead_letter::{DeadLetter, ErrorCluster, Fingerprint, Resolution, Resolved};
use crate::domain::state::Kind;
use crate::domain::{JobId, RunId, StepName, Timestamp};
use crate::engine::matches;
use crate::limits;

/// A job out of retries.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterView {
    /// Attempts made.
    attempt: u32,
    #[schema(value_type = String)]
    created_at: Timestamp,
    error: ErrorView,
    /// Its error cluster.
    #[schema(value_type = String)]
    fingerprint: Fingerprint,
    /// The job's id.
    #[schema(value_type = String)]
    id: JobId,
    /// Null while it is open.
    #[schema(value_type = Option<Object>)]
    resolved: Option<Resolved>,
    #[schema(value_type = Option<String>)]
    run_id: Option<RunId>,
    #[schema(value_type = Option<String>)]
    step: Option<StepName>,
    #[serde(rename = "type")]
    job_type: String,
}

impl DeadLetterView {
    fn new(letter: &DeadLetter) -> Self {
        DeadLetterView {
            attempt: letter.attempt,
            created_at: letter.created_at,
            error: ErrorView::from(&letter.failure),
            fingerprint: letter.fingerprint.clone(),
            id: letter.job,
            resolved: letter.resolved.clone(),
            run_id: letter.run,
            step: letter.step.clone(),
            job_type: letter.job_type.clone(),
        }
    }
}

/// Which letters are meant.
#[derive(Debug, Default, Clone, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Filter {
    /// Of this error cluster.
    #[schema(value_type = Option<String>)]
    pub cluster: Option<Fingerprint>,
    /// Of this run.
    #[schema(value_type = Option<String>)]
    pub run: Option<RunId>,
    /// Job types, by glob.
    #[serde(rename = "type")]
    pub job_type: Option<String>,
}

impl Filter {
    pub fn admits(&self, letter: &DeadLetter) -> bool {
        self.cluster
            .as_ref()
            .is_none_or(|cluster| *cluster == letter.fingerprint)
            && (self.run.is_none() || self.run == letter.run)
            && self.admits_type(&letter.job_type)
    }

    pub fn admits_type(&self, job_type: &str) -> bool {
        let glob = self.job_type.as_ref();
        glob.is_none_or(|glob| matches(glob, job_type))
    }
}

/// Dead letters, newest job first.
#[utoipa::path(get, path = "/api/v1/dead-letters", tag = "dead letters",
    params(("status" = Option<String>, Query, description = "open (default), resolved, all"),
        ("cluster" = Option<String>, Query), ("run" = Option<String>, Query),
        ("type" = Option<String>, Query, description = "Glob"),
        ("limit" = Option<u64>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = List<DeadLetterView>)))]
pub async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut query: Query,
) -> Result<Answer<List<DeadLetterView>>, ApiError> {
    let asked = Asked::take(&mut query)?;
    let filter = Filter {
        cluster: query.parsed("cluster")?,
        run: query.parsed("run")?,
        job_type: query.text("type")?,
    };
    let is_open = match query.text("status")?.as_deref() {
        None | Some("open") => Some(true),
        Some("resolved") => Some(false),
        Some("all") => None,
        Some(_) => return Err(bad_parameter("status", "open, resolved or all")),
    };
    query.finish()?;
    let list = api.read(caller.tenant()?, move |reading| {
        list_rows(reading, Kind::DeadLetter, &asked, |row| {
            let wanted = row.as_dead_letter().filter(|letter| {
                is_open.is_none_or(|open| open == letter.resolved.is_none()) && filter.admits(letter)
            });
            Ok(wanted.map(DeadLetterView::new))
        })
    });
    Ok(Answer(list.await?))
}

/// How many there are.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    as_of: i64,
    /// Error clusters with open letters.
    clusters: u64,
    /// Open letters.
    open: u64,
    /// Open letters by job type.
    #[schema(value_type = Object)]
    open_by_type: BTreeMap<String, u64>,
    /// Letters ever, resolved ones included.
    total: u64,
}

/// Counts of dead letters.
#[utoipa::path(get, path = "/api/v1/dead-letters/stats", tag = "dead letters",
    responses((status = 200, body = Stats)))]
pub async fn stats(
    State(api): State<Arc<Api>>,
    caller: Caller,
    query: Query,
) -> Result<Answer<Stats>, ApiError> {
    query.finish()?;
    let stats = api.read(caller.tenant()?, |reading| {
        let mut stats = Stats {
            as_of: reading.as_of,
            ..Stats::default()
        };
        each_cluster(reading, |cluster| {
            stats.clusters += u64::from(cluster.open > 0);
            stats.open += cluster.open;
            stats.total += cluster.total;
            if cluster.open > 0 {
                *stats.open_by_type.entry(cluster.job_type.clone()).or_default() += cluster.open;
            }
        })?;
        Ok(stats)
    });
    Ok(Answer(stats.await?))
}

fn each_cluster(reading: &Reading, mut visit: impl FnMut(&ErrorCluster)) -> Result<(), ApiError> {
    let mut asked = Asked {
        limit: limits::PAGE_ITEMS_MAX,
        after: None,
    };
    loop {
        let page = list_rows(reading, Kind::Cluster, &asked, |row| {
            row.as_cluster().into_iter().for_each(&mut visit);
            Ok(Some(()))
        })?;
        let Some(cursor) = page.next_cursor else {
            return Ok(());
        };
        asked.after = super::reading::read_hex(&cursor);
    }
}

/// Failures with one fingerprint.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterView {
    #[schema(value_type = String, example = "exit")]
    class: crate::domain::job::FailureClass,
    #[schema(value_type = String)]
    fingerprint: Fingerprint,
    #[schema(value_type = String)]
    first_at: Timestamp,
    #[schema(value_type = String)]
    last_at: Timestamp,
    /// Dead letters of it that are open.
    open: u64,
    /// The message without numbers, ids, paths.
    pattern: String,
    /// Dead letters of it ever.
    total: u64,
    #[serde(rename = "type")]
    job_type: String,
}

/// Error clusters, by fingerprint.
#[utoipa::path(get, path = "/api/v1/error-clusters", tag = "dead letters",
    params(("limit" = Option<u64>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = List<ClusterView>)))]
pub async fn clusters(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut query: Query,
) -> Result<Answer<List<ClusterView>>, ApiError> {
    let asked = Asked::take(&mut query)?;
    query.finish()?;
    let list = api.read(caller.tenant()?, move |reading| {
        list_rows(reading, Kind::Cluster, &asked, |row| {
            Ok(row.as_cluster().map(|cluster| ClusterView {
                class: cluster.class,
                fingerprint: cluster.fingerprint.clone(),
                first_at: cluster.first_at,
                last_at: cluster.last_at,
                open: cluster.open,
                pattern: cluster.pattern.clone(),
                total: cluster.total,
                job_type: cluster.job_type.clone(),
            }))
        })
    });
    Ok(Answer(list.await?))
}

/// What somebody says of a letter.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// Recorded with it.
    #[schema(min_length = 1)]
    note: String,
}

/// Closes a dead letter without doing its work.
#[utoipa::path(post, path = "/api/v1/dead-letters/{id}/resolve", tag = "dead letters",
    params(("id" = String, Path)), request_body = Note, responses((status = 200, body = DeadLetterView)))]
pub async fn resolve(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<JobId>, ApiError>,
    Json(body): Json<Note>,
) -> Result<Answer<DeadLetterView>, ApiError> {
    let Id(job) = id.map_err(|_| ApiError::not_found("dead letter"))?;
    if body.note.trim().is_empty() {
        return Err(ApiError::field(
            "reason_required",
            "/note",
            "say why nothing is done",
        ));
    }
    let command = Command::ResolveDeadLetter {
        job,
        how: Resolution::Noted,
        note: body.note,
    };
    let tenant = caller.tenant()?;
    api.engine().submit(tenant, &caller.actor(), command).await?;
    let read = api.read(tenant, move |reading| {
        let letter = reading.view().dead_letter(job)?;
        Ok(DeadLetterView::new(
            &letter.ok_or_else(|| ApiError::not_found("dead letter"))?,
        ))
    });
    Ok(Answer(read.await?))
}
