//! One event taken out of the ledger: the proof that stands beside its bytes (C2SP tlog-proof).

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::Api;
use super::auth::Caller;
use super::error::ApiError;
use super::request::{Id, Query, bad_parameter};
use crate::bundle::foreign_checkpoint;
use crate::domain::Seq;
use crate::ledger::EventProof;

/// The proof that an event is in the ledger, with a signed checkpoint: checked offline against the event's exact bytes.
/// An imported ledger gives the checkpoint that its own enclave signed.
#[utoipa::path(get, path = "/api/v1/events/{seq}/proof", tag = "ledger",
    params(("seq" = u64, Path), ("size" = Option<u64>, Query, description = "In the tree of this size; now when not given")),
    responses((status = 200, body = String, content_type = "text/plain")))]
pub async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    seq: Result<Id<u64>, ApiError>,
    mut query: Query,
) -> Result<Response, ApiError> {
    let asked = query.count("size")?;
    query.finish()?;
    let Id(index) = seq.map_err(|_| ApiError::not_found("event"))?;
    let tenant = caller.tenant()?.clone();
    api.blocking(move |api| {
        let ledger = api.engine().ledger(&tenant)?;
        if index >= ledger.size() {
            return Err(ApiError::not_found("event"));
        }
        let end = ledger.size();
        let checkpoint = if tenant.is_foreign() {
            foreign_checkpoint(api.engine(), &tenant, asked)?
                .ok_or_else(|| bad_parameter("size", "no checkpoint of this size came with the ledger"))?
        } else {
            let size = asked.unwrap_or(end);
            if size > end {
                return Err(bad_parameter("size", format!("the ledger has {end} events")));
            }
            api.engine().checkpoint(&tenant, size)?
        };
        let size = checkpoint.checkpoint().head.size;
        if index >= size {
            return Err(bad_parameter("size", format!("the tree has {size} events")));
        }
        let proof = EventProof {
            index,
            hashes: ledger.inclusion_proof(Seq(index), size)?,
            checkpoint,
        };
        let plain = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
        Ok((plain, proof.to_text()).into_response())
    })
    .await
}
