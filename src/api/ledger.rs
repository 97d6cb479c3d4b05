//! The ledger as others check it: signed checkpoints, proofs, and the digest of the state that its events lead to.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::error::ApiError;
use super::request::{Query, bad_parameter};
use crate::bundle::replay::{ScratchFolder, ScratchReplay, state_digest};
use crate::bundle::{Replay, foreign_checkpoint};
use crate::domain::{Digest, Seq, TenantName};
use crate::ledger::TenantLedger;
use crate::limits;

/// Hashes as proofs carry them.
pub fn base64_hashes(hashes: &[Digest]) -> Vec<String> {
    hashes
        .iter()
        .map(|hash| STANDARD.encode(hash.as_bytes()))
        .collect()
}

/// The size asked for, or the present one.
fn size_within(ledger: &TenantLedger, asked: Option<u64>) -> Result<u64, ApiError> {
    let end = ledger.size();
    match asked {
        Some(size) if size > end => Err(bad_parameter("size", format!("the ledger has {end} events"))),
        asked => Ok(asked.unwrap_or(end)),
    }
}

/// A signed checkpoint (C2SP tlog-checkpoint), signed when asked for. An imported ledger gives those it came with: at the
/// end of one of its bundles, the last one when no size is asked for.
#[utoipa::path(get, path = "/api/v1/ledger/checkpoint", tag = "ledger", params(("size" = Option<u64>, Query)),
    responses((status = 200, body = String, content_type = "text/plain")))]
pub async fn checkpoint(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut query: Query,
) -> Result<Response, ApiError> {
    let asked = query.count("size")?;
    query.finish()?;
    let tenant = caller.tenant()?.clone();
    api.blocking(move |api| {
        let signed = if tenant.is_foreign() {
            foreign_checkpoint(api.engine(), &tenant, asked)?
                .ok_or_else(|| ApiError::not_found("checkpoint"))?
        } else {
            let size = size_within(&*api.engine().ledger(&tenant)?, asked)?;
            api.engine().checkpoint(&tenant, size)?
        };
        let plain = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
        Ok((plain, signed.text().to_owned()).into_response())
    })
    .await
}

/// Hashes that prove something about a tree.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// Base64.
    hashes: Vec<String>,
    /// Of the event, for a proof of inclusion.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    leaf_hash: Option<Digest>,
    /// Size of the tree.
    size: u64,
}

/// That an event is in the ledger (RFC 9162, 2.1.3).
#[utoipa::path(get, path = "/api/v1/ledger/proof/inclusion", tag = "ledger",
    params(("seq" = u64, Query), ("size" = Option<u64>, Query)), responses((status = 200, body = Proof)))]
pub async fn inclusion(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut query: Query,
) -> Result<Answer<Proof>, ApiError> {
    let seq = query.count("seq")?;
    let asked = query.count("size")?;
    query.finish()?;
    let seq = seq.ok_or_else(|| bad_parameter("seq", "which event?"))?;
    let tenant = caller.tenant()?.clone();
    let proof = api.blocking(move |api| {
        let ledger = api.engine().ledger(&tenant)?;
        let size = size_within(&ledger, asked)?;
        if seq >= size {
            return Err(bad_parameter("seq", format!("the tree has {size} events")));
        }
        Ok(Proof {
            hashes: base64_hashes(&ledger.inclusion_proof(Seq(seq), size)?),
            leaf_hash: Some(ledger.leaf(Seq(seq))?),
            size,
        })
    });
    Ok(Answer(proof.await?))
}

/// That the ledger only grew between two sizes (RFC 9162, 2.1.4).
#[utoipa::path(get, path = "/api/v1/ledger/proof/consistency", tag = "ledger",
    params(("from" = u64, Query), ("to" = Option<u64>, Query)), responses((status = 200, body = Proof)))]
pub async fn consistency(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut query: Query,
) -> Result<Answer<Proof>, ApiError> {
    let from = query.count("from")?;
    let to = query.count("to")?;
    query.finish()?;
    let from = from.ok_or_else(|| bad_parameter("from", "from which size?"))?;
    let tenant = caller.tenant()?.clone();
    let proof = api.blocking(move |api| {
        let ledger = api.engine().ledger(&tenant)?;
        let end = ledger.size();
        let to = to.unwrap_or(end);
        if to > end {
            return Err(bad_parameter("to", format!("the ledger has {end} events")));
        }
        if from > to {
            return Err(bad_parameter("from", format!("{from} is not before {to}")));
        }
        Ok(Proof {
            hashes: base64_hashes(&ledger.consistency_proof(from, to)?),
            leaf_hash: None,
            size: to,
        })
    });
    Ok(Answer(proof.await?))
}

/// The digest of the state at a size.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StateView {
    size: u64,
    /// SHA-256 over the complete jobs, runs, throttles and packs lines, in that order.
    #[schema(value_type = String)]
    state_digest: Digest,
}

/// The digest of the state that the first `size` events lead to.
#[utoipa::path(get, path = "/api/v1/ledger/state", tag = "ledger", params(("size" = Option<u64>, Query)),
    responses((status = 200, body = StateView)))]
pub async fn state(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut query: Query,
) -> Result<Answer<StateView>, ApiError> {
    let asked = query.count("size")?;
    query.finish()?;
    let tenant = caller.tenant()?.clone();
    let now = api.read(&tenant, move |reading| {
        let held = u64::try_from(reading.as_of + 1).unwrap_or(0);
        if asked.is_some_and(|size| size != held) {
            return Ok(None);
        }
        let state_digest = state_digest(reading.snapshot(), reading.tenant())?;
        Ok(Some(StateView {
            size: held,
            state_digest,
        }))
    });
    if let Some(view) = now.await? {
        return Ok(Answer(view));
    }
    let past = api.blocking(move |api| {
        let ledger = api.engine().ledger(&tenant)?;
        let size = size_within(&ledger, asked)?;
        replayed(api, &ledger, &tenant, size)
    });
    Ok(Answer(past.await?))
}

/// Replays the first `size` events in a scratch folder.
fn replayed(api: &Api, ledger: &TenantLedger, tenant: &TenantName, size: u64) -> Result<StateView, ApiError> {
    if size > limits::STATE_EVENTS_MAX {
        let detail = format!(
            "an earlier state is found up to {} events",
            limits::STATE_EVENTS_MAX
        );
        return Err(bad_parameter("size", detail));
    }
    let failed = |what: String| {
        tracing::error!(error = what, "an earlier state could not be replayed");
        ApiError::internal("the state could not be replayed")
    };
    let parent = api.engine().dir().join("scratch");
    let scratch = ScratchFolder::new(&parent, api.engine().clock().entropy())
        .map_err(|error| failed(error.to_string()))?;
    let mut replay =
        ScratchReplay::new(scratch, tenant.clone(), 0).map_err(|error| failed(error.to_string()))?;
    let mut broken = None;
    ledger.scan(
        Seq(0),
        Seq(size),
        &mut |seq, bytes| match replay.event(seq.0, bytes) {
            Ok(()) => std::ops::ControlFlow::Continue(()),
            Err(error) => {
                broken = Some(error);
                std::ops::ControlFlow::Break(())
            }
        },
    )?;
    if let Some(error) = broken {
        return Err(failed(error.to_string()));
    }
    Ok(StateView {
        size,
        state_digest: replay.state_digest().map_err(|error| failed(error.to_string()))?,
    })
}
