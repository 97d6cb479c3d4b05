//! The values of redacted fields: shown, which is recorded first; sent after their range; erased.

use std::io::Write;
use std::sync::Arc;

use axum::Json as Answer;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::io::AsyncReadExt;
use utoipa::ToSchema;

use super::Api;
use super::attempts::to_its_end;
use super::auth::Caller;
use super::change::Change;
use super::error::ApiError;
use super::jobs::Reason;
use super::request::OptionalJson;
use crate::bundle::disclosures::{Showing, write_lines};
use crate::bundle::export::ExportError;
use crate::bundle::kept::remove_disclosing;
use crate::bundle::replay::ScratchFolder;
use crate::disclosures::DisclosuresError;
use crate::domain::canonical::CanonicalText;
use crate::domain::command::{Command, Redacted, RedactionCommand, RedactionReply, Reply};
use crate::domain::event::Actor;
use crate::domain::payload::redaction::DisclosureExported;
use crate::domain::{Hasher, JobId, RunId, Seq, TenantName};
use crate::engine::whole;
use crate::limits;

impl ApiError {
    /// Values of redacted fields that should be here are not: the folder of disclosures is damaged.
    pub fn disclosure_missing(detail: impl Into<String>) -> Self {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "disclosure_missing", detail)
    }
}

impl From<DisclosuresError> for ApiError {
    fn from(error: DisclosuresError) -> Self {
        match error {
            DisclosuresError::Disk { cause, .. } => ApiError::storage(&cause),
            DisclosuresError::Odd { .. } => ApiError::disclosure_missing(error.to_string()),
        }
    }
}

/// A payload, or the inputs of a run, with its redacted fields.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Disclosed {
    /// The event that records that it was looked at.
    #[schema(value_type = u64)]
    as_of: Seq,
    /// The event with which the disclosures are kept.
    #[schema(value_type = u64)]
    kept_with: Seq,
    /// What is in no event.
    #[schema(value_type = Object)]
    value: Box<RawValue>,
}

/// That values are no more.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Erased {
    /// Exported bundles with values that were kept here and are removed.
    bundles_removed: usize,
    /// The event with which the disclosures were kept; whatever repeats its digests has no values either.
    #[schema(value_type = u64)]
    kept_with: Seq,
    /// The event that records it.
    #[schema(value_type = u64)]
    seq: Seq,
}

impl Api {
    /// Records what is done with something redacted: by which event, the object with the digests, and where it is kept.
    async fn record_redaction(
        self: &Arc<Api>,
        (tenant, actor): (&TenantName, &Actor),
        command: RedactionCommand,
    ) -> Result<(Seq, CanonicalText, Seq), ApiError> {
        let command = Command::Redaction(Box::new(command));
        let receipt = self.engine().submit(tenant, actor, command).await?;
        match receipt.reply {
            Reply::Redaction(reply) => match *reply {
                RedactionReply::Kept { redacted, with } => Ok((receipt.as_of, redacted, with)),
                RedactionReply::Policy { .. } => {
                    Err(ApiError::internal("the writer answered something else"))
                }
            },
            _ => Err(ApiError::internal("the writer answered something else")),
        }
    }

    async fn disclose_one<T>(
        self: &Arc<Api>,
        change: Change<T>,
        of: impl FnOnce(T) -> Redacted,
    ) -> Result<Answer<Disclosed>, ApiError> {
        let (tenant, actor) = (change.caller.tenant()?.clone(), change.caller.actor());
        let command = RedactionCommand::Read {
            of: of(change.id),
            reason: change.reason,
        };
        let (as_of, redacted, kept_with) = self.record_redaction((&tenant, &actor), command).await?;
        let value = self.blocking(move |api| {
            let disclosures = api.engine().disclosures();
            whole(disclosures, &tenant, kept_with, &redacted).map_err(ApiError::disclosure_missing)
        });
        let value = value.await?.to_raw();
        Ok(Answer(Disclosed {
            as_of,
            kept_with,
            value,
        }))
    }

    async fn erase_one<T>(
        self: &Arc<Api>,
        change: Change<T>,
        of: impl FnOnce(T) -> Redacted,
    ) -> Result<Answer<Erased>, ApiError> {
        let (tenant, actor) = (change.caller.tenant()?.clone(), change.caller.actor());
        let of = of(change.id);
        let kept_with = self.read(&tenant, move |reading| {
            let view = reading.view();
            Ok(match of {
                Redacted::Job(job) => view.payload(job)?.and_then(|row| row.disclosures),
                Redacted::Run(run) => view.run(run)?.and_then(|run| run.disclosures),
            })
        });
        // Bundles go first: once the erasure is recorded it cannot be asked for again.
        let before = match kept_with.await? {
            Some(with) if !tenant.is_foreign() => self.remove_bundles(&tenant, with).await?,
            Some(_) | None => 0,
        };
        let command = RedactionCommand::Erase {
            of,
            reason: change.reason,
        };
        let (seq, _, kept_with) = self.record_redaction((&tenant, &actor), command).await?;
        // And those that were written in between.
        let after = self.remove_bundles(&tenant, kept_with).await?;
        Ok(Answer(Erased {
            bundles_removed: before + after,
            kept_with,
            seq,
        }))
    }

    /// Removes kept bundles that may show what is kept with an event.
    async fn remove_bundles(self: &Arc<Api>, tenant: &TenantName, with: Seq) -> Result<usize, ApiError> {
        let tenant = tenant.clone();
        self.blocking(move |api| {
            remove_disclosing(api.engine(), &tenant, with.0).map_err(|error| ApiError::storage(&error))
        })
        .await
    }
}

/// The whole payload of a job. That it was looked at is recorded before it is shown.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/disclose", tag = "redaction", params(("id" = String, Path)),
    request_body = Reason, responses((status = 200, body = Disclosed)))]
pub async fn disclose_job(
    State(api): State<Arc<Api>>,
    change: Change<JobId>,
) -> Result<Answer<Disclosed>, ApiError> {
    api.disclose_one(change, Redacted::Job).await
}

/// The inputs of a run with those that are sensitive. That they were looked at is recorded before they are shown.
#[utoipa::path(post, path = "/api/v1/runs/{id}/disclose", tag = "redaction", params(("id" = String, Path)),
    request_body = Reason, responses((status = 200, body = Disclosed)))]
pub async fn disclose_run(
    State(api): State<Arc<Api>>,
    change: Change<RunId>,
) -> Result<Answer<Disclosed>, ApiError> {
    api.disclose_one(change, Redacted::Run).await
}

/// Ends the values of a job's redacted fields, for good: they are written over before this is answered. No event, hash or
/// bundle changes. What has not been done with them yet fails when a worker would get it.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/erase", tag = "redaction", params(("id" = String, Path)),
    request_body = Reason, responses((status = 200, body = Erased)))]
pub async fn erase_job(
    State(api): State<Arc<Api>>,
    change: Change<JobId>,
) -> Result<Answer<Erased>, ApiError> {
    to_its_end(async move { api.erase_one(change, Redacted::Job).await }).await
}

/// Ends the values of a run's sensitive inputs, for its steps as well.
#[utoipa::path(post, path = "/api/v1/runs/{id}/erase", tag = "redaction", params(("id" = String, Path)),
    request_body = Reason, responses((status = 200, body = Erased)))]
pub async fn erase_run(
    State(api): State<Arc<Api>>,
    change: Change<RunId>,
) -> Result<Answer<Erased>, ApiError> {
    to_its_end(async move { api.erase_one(change, Redacted::Run).await }).await
}

/// Which disclosures to send.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DiscloseBody {
    /// First event; the first of the ledger when not given.
    from: Option<u64>,
    /// What is shown: `full`, or the name of a policy.
    #[schema(example = "full")]
    redaction: Option<String>,
    /// One more than the last; the ledger's size when not given.
    to: Option<u64>,
}

/// Disclosures of a range, for a bundle that left without them: the lines of `audit/disclosures.jsonl`. They belong to the
/// history, which has their digests, and need no signature.
#[utoipa::path(post, path = "/api/v1/bundles/disclose", tag = "redaction", request_body = DiscloseBody,
    responses((status = 200, body = String, content_type = "application/x-ndjson")))]
pub async fn disclose_range(
    State(api): State<Arc<Api>>,
    caller: Caller,
    OptionalJson(body): OptionalJson<DiscloseBody>,
) -> Result<Response, ApiError> {
    let policy = body.redaction.ok_or_else(|| {
        ApiError::field(
            "policy_required",
            "/redaction",
            "which policy says what is shown?",
        )
    })?;
    let showing = api.showing(&caller, Some(policy)).await?;
    let tenant = caller.tenant()?.clone();
    let range = (body.from.unwrap_or(0), body.to);
    let (file, exported) = api
        .blocking(move |api| Ok(write_range(api, &tenant, range, &showing)?))
        .await?;
    let bytes = file.metadata().map_err(|error| ApiError::storage(&error))?.len();
    let command = Command::Redaction(Box::new(RedactionCommand::RecordExport(exported)));
    api.engine()
        .submit(&TenantName::system(), &caller.actor(), command)
        .await?;
    let pieces = stream::unfold(tokio::fs::File::from_std(file), |mut file| async move {
        let mut piece = vec![0; limits::ARTIFACT_CHUNK_BYTES];
        match file.read(&mut piece).await {
            Ok(0) => None,
            Ok(count) => {
                piece.truncate(count);
                Some((Ok::<_, std::io::Error>(Bytes::from(piece)), file))
            }
            Err(error) => Some((Err(error), file)),
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson".to_owned()),
        (header::CONTENT_LENGTH, bytes.to_string()),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

/// Writes the lines to a file that has no name any more when this returns.
fn write_range(
    api: &Api,
    tenant: &TenantName,
    (from, to): (u64, Option<u64>),
    showing: &Showing,
) -> Result<(std::fs::File, DisclosureExported), ExportError> {
    let engine = api.engine();
    let origin = engine.origin(tenant);
    let origin = origin
        .ok_or_else(|| ExportError::Foreign(tenant.clone()))?
        .to_string();
    let ledger_size = engine.ledger(tenant)?.size();
    let size = to.unwrap_or(ledger_size);
    if size > ledger_size || from >= size {
        return Err(ExportError::Range {
            from,
            to: size,
            size: ledger_size,
        });
    }
    let dir = engine.dir().join("bundles");
    let failed = |error| ExportError::Disk(dir.display().to_string(), error);
    engine.disk().create_dir_all(&dir).map_err(failed)?;
    let scratch = ScratchFolder::new(&dir, engine.clock().entropy()).map_err(failed)?;
    let path = scratch.path().join("disclosures");
    let file = std::fs::File::create_new(&path).map_err(failed)?;
    let mut out = Hashing {
        out: std::io::BufWriter::new(file),
        hasher: Hasher::default(),
    };
    let counts = write_lines(engine, tenant, (from, size), showing, &mut out)?;
    out.flush().map_err(failed)?;
    let exported = DisclosureExported {
        first: from,
        origin,
        policy: showing.name().to_owned(),
        sha256: out.hasher.finish(),
        shown: counts.shown,
        size,
    };
    Ok((std::fs::File::open(&path).map_err(failed)?, exported))
}

/// Takes the digest of what is written.
struct Hashing {
    out: std::io::BufWriter<std::fs::File>,
    hasher: Hasher,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}
