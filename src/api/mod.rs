//! The interface over HTTP: every route on one screen, who may use it, and the state that handlers share.
//!
//! A handler authenticates nothing and knows no rule of the domain: it turns a request into a command or a read, and the
//! answer into JSON. Statuses come from `error` alone. What has no row in the table is no route.
//!
//! Reading order: this file; `auth`, `parameters`, `request`, `negotiate`, `error`; one file per noun; `hold`, `sse`; `ws`,
//! `ws_messages`, `ws_session`, `ws_socket`; `server`, `body`, `connection`.

mod artifacts;
mod assets;
mod attempts;
mod auth;
mod binding;
mod body;
mod bundle_content;
mod bundles;
mod change;
mod cloud_events;
mod connection;
mod context;
mod dead_letters;
mod disclosures;
mod enclaves;
mod error;
mod event_proof;
mod event_range;
mod events;
mod gates;
mod health;
mod hold;
mod idempotency;
mod imports;
mod job_history;
mod job_shapes;
mod job_view;
mod jobs;
mod key_changes;
mod keys;
mod ledger;
mod letter_choice;
mod letter_replay;
mod live;
mod logs;
mod metrics;
mod negotiate;
mod openapi;
mod pack_plan;
mod pack_runs;
mod packs;
mod parameters;
mod preconditions;
mod preview;
mod ranges;
mod reading;
mod redaction;
mod request;
mod run_pause;
mod run_replay;
mod run_shape;
mod run_stream;
mod run_view;
mod runs;
mod secrets;
mod server;
mod session;
mod sessions;
mod shared;
mod sse;
mod streams;
mod submit;
mod tenants;
mod tokens;
mod trust;
mod uploads;
mod webhook_test;
mod webhook_view;
mod webhooks;
mod work_order_view;
mod work_orders;
mod worker_artifacts;
mod worker_calls;
mod worker_ends;
mod worker_events;
mod worker_logs;
mod worker_registry;
mod worker_shapes;
mod workers;
mod ws;
mod ws_frames;
mod ws_messages;
mod ws_session;
mod ws_socket;
mod ws_unsent;

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use axum::routing::{self, MethodRouter};
use tokio::sync::watch;

pub use self::assets::{Asset, FindAsset};
pub use self::context::ApiContext;
use self::live::Signals;
use self::parameters::Described;
pub use self::request::escaped;
pub use self::server::{Bounds, Server, serve};
use self::sessions::Sessions;
use crate::bundle::desk::Desk;
use crate::domain::token::Scope;
use crate::output::Inbox;
use crate::stream::Hub;

/// What a route asks of whoever calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    Open,
    /// A valid token or session, with whatever scopes.
    Signed,
    /// A scope, for one tenant.
    Tenant(Scope),
    /// A scope, for one tenant or for several that the body names.
    Tenants(Scope),
    /// A scope; the route is about the appliance and no tenant.
    Appliance(Scope),
}

/// One row of the table of routes.
#[derive(Debug)]
pub struct Route {
    /// The method; HEAD goes with GET.
    pub method: Method,
    /// The path, with names in braces for what varies.
    pub path: &'static str,
    /// Who may.
    pub access: Access,
    service: MethodRouter<Arc<Api>>,
}

fn get<H: Handler<T, Arc<Api>>, T: 'static>(path: &'static str, access: Access, handler: H) -> Route {
    Route {
        method: Method::GET,
        path,
        access,
        service: routing::get(handler),
    }
}

fn post<H: Handler<T, Arc<Api>>, T: 'static>(path: &'static str, access: Access, handler: H) -> Route {
    Route {
        method: Method::POST,
        path,
        access,
        service: routing::post(handler),
    }
}

fn put<H: Handler<T, Arc<Api>>, T: 'static>(path: &'static str, access: Access, handler: H) -> Route {
    Route {
        method: Method::PUT,
        path,
        access,
        service: routing::put(handler),
    }
}

fn delete<H: Handler<T, Arc<Api>>, T: 'static>(path: &'static str, access: Access, handler: H) -> Route {
    Route {
        method: Method::DELETE,
        path,
        access,
        service: routing::delete(handler),
    }
}

const READ: Access = Access::Tenant(Scope::Read);
const SUBMIT: Access = Access::Tenant(Scope::Submit);
const OPERATE: Access = Access::Tenant(Scope::Operate);
const APPROVE: Access = Access::Tenant(Scope::Approve);
const CLAIM: Access = Access::Tenant(Scope::Claim);
const CLAIM_SEVERAL: Access = Access::Tenants(Scope::Claim);
const EXPORT: Access = Access::Tenant(Scope::Export);
const TAKE_IN: Access = Access::Tenant(Scope::Import);
const IMPORT: Access = Access::Appliance(Scope::Import);
const APPROVE_IMPORT: Access = Access::Appliance(Scope::Approve);
const SECRETS: Access = Access::Tenant(Scope::Admin);
const ADMIN: Access = Access::Appliance(Scope::Admin);

/// Every route, the one scope that it needs, and its handler.
pub fn routes() -> Vec<Route> {
    let parts = [
        job_routes(),
        run_routes(),
        worker_routes(),
        order_routes(),
        evidence_routes(),
        house_routes(),
    ];
    parts.into_iter().flatten().collect()
}

/// Jobs, and those that are out of retries.
fn job_routes() -> Vec<Route> {
    vec![
        post("/api/v1/jobs", SUBMIT, submit::submit),
        post("/api/v1/jobs/batch", SUBMIT, submit::submit_batch),
        get("/api/v1/jobs", READ, jobs::list),
        get("/api/v1/jobs/summary", READ, jobs::summary),
        get("/api/v1/jobs/{id}", READ, jobs::read),
        get("/api/v1/jobs/{id}/history", READ, job_history::read),
        get("/api/v1/jobs/{id}/events", READ, jobs::list_events),
        get("/api/v1/jobs/{id}/logs", READ, worker_logs::read),
        post("/api/v1/jobs/{id}/cancel", OPERATE, jobs::cancel),
        post("/api/v1/jobs/{id}/schedule", OPERATE, jobs::schedule),
        post("/api/v1/jobs/{id}/retry", OPERATE, jobs::retry),
        post("/api/v1/jobs/{id}/replay", OPERATE, jobs::replay),
        post("/api/v1/jobs/{id}/disclose", SECRETS, disclosures::disclose_job),
        post("/api/v1/jobs/{id}/erase", SECRETS, disclosures::erase_job),
        get("/api/v1/dead-letters", READ, dead_letters::list),
        get("/api/v1/dead-letters/stats", READ, dead_letters::stats),
        post("/api/v1/dead-letters/replay", OPERATE, letter_replay::replay),
        post(
            "/api/v1/dead-letters/{id}/resolve",
            OPERATE,
            dead_letters::resolve,
        ),
        get("/api/v1/error-clusters", READ, dead_letters::clusters),
    ]
}

/// Packs, their runs, and runs of any graph.
fn run_routes() -> Vec<Route> {
    vec![
        post("/api/v1/packs", SUBMIT, packs::register),
        get("/api/v1/packs", READ, packs::list),
        get("/api/v1/packs/{name}", READ, packs::read),
        get(
            "/api/v1/packs/{name}/versions/{version}",
            READ,
            packs::read_version,
        ),
        get(
            "/api/v1/packs/{name}/versions/{version}/source",
            READ,
            packs::read_source,
        ),
        post(
            "/api/v1/packs/{name}/versions/{version}/simulate",
            READ,
            pack_plan::simulate,
        ),
        get("/api/v1/packs/{name}/diff", READ, pack_plan::diff),
        post("/api/v1/pack-runs", SUBMIT, pack_runs::start),
        get("/api/v1/pack-runs", READ, pack_runs::list),
        get("/api/v1/pack-runs/{id}", READ, pack_runs::read),
        post(
            "/api/v1/pack-runs/{id}/gates/{step}/approve",
            APPROVE,
            gates::approve,
        ),
        post(
            "/api/v1/pack-runs/{id}/gates/{step}/reject",
            APPROVE,
            gates::reject,
        ),
        post("/api/v1/pack-runs/{id}/cancel", OPERATE, pack_runs::cancel),
        post("/api/v1/pack-runs/{id}/pause", OPERATE, run_pause::pause_pack_run),
        post(
            "/api/v1/pack-runs/{id}/resume",
            OPERATE,
            run_pause::resume_pack_run,
        ),
        post("/api/v1/pack-runs/{id}/replay", OPERATE, pack_runs::replay),
        post("/api/v1/runs", SUBMIT, runs::start),
        get("/api/v1/runs", READ, runs::list),
        get("/api/v1/runs/{id}", READ, runs::read),
        get("/api/v1/runs/{id}/at/{seq}", READ, runs::at),
        post("/api/v1/runs/{id}/cancel", OPERATE, runs::cancel),
        post("/api/v1/runs/{id}/pause", OPERATE, run_pause::pause),
        post("/api/v1/runs/{id}/resume", OPERATE, run_pause::resume),
        post("/api/v1/runs/{id}/replay", OPERATE, runs::replay),
        post("/api/v1/runs/{id}/disclose", SECRETS, disclosures::disclose_run),
        post("/api/v1/runs/{id}/erase", SECRETS, disclosures::erase_run),
        get("/api/v1/pack-runs/{id}/logs", READ, logs::read),
        get("/api/v1/pack-runs/{id}/artifacts", READ, pack_runs::artifacts),
        get("/api/v1/runs/{id}/graph", READ, runs::graph),
        get("/api/v1/runs/{id}/timeline", READ, runs::timeline),
        get("/api/v1/artifacts/{sha256}", READ, artifacts::content),
    ]
}

/// What workers call.
fn worker_routes() -> Vec<Route> {
    vec![
        post("/api/v1/workers/claim", CLAIM_SEVERAL, workers::claim),
        post("/api/v1/workers/complete", CLAIM, workers::complete),
        post("/api/v1/workers/jobs/{id}/heartbeat", CLAIM, workers::heartbeat),
        post(
            "/api/v1/workers/jobs/{id}/progress",
            CLAIM,
            worker_calls::progress,
        ),
        post("/api/v1/workers/jobs/{id}/steps", CLAIM, worker_calls::step),
        post("/api/v1/workers/jobs/{id}/logs", CLAIM, worker_logs::receive),
        put(
            "/api/v1/workers/jobs/{id}/artifacts/{name}",
            CLAIM,
            worker_artifacts::receive,
        ),
        post("/api/v1/workers/jobs/{id}/events", CLAIM, worker_events::report),
        post("/api/v1/workers/jobs/{id}/release", CLAIM, worker_calls::release),
        get("/api/v1/workers", READ, worker_registry::list),
        post("/api/v1/workers/{id}/drain", OPERATE, worker_registry::drain),
    ]
}

/// Work orders, at the hub and at the enclave.
fn order_routes() -> Vec<Route> {
    vec![
        post("/api/v1/work-orders", EXPORT, work_orders::issue),
        get("/api/v1/work-orders", READ, work_orders::list),
        post("/api/v1/work-orders/import", TAKE_IN, work_orders::take_in),
        get("/api/v1/work-orders/{id}", READ, work_orders::read),
        get("/api/v1/work-orders/{id}/content", EXPORT, work_orders::content),
        get(
            "/api/v1/work-orders/{id}/cancellation",
            EXPORT,
            work_orders::cancellation,
        ),
        post("/api/v1/work-orders/{id}/approve", APPROVE, work_orders::approve),
        post("/api/v1/work-orders/{id}/start", SUBMIT, work_orders::start),
        post("/api/v1/work-orders/{id}/cancel", OPERATE, work_orders::cancel),
        post("/api/v1/trust/orders-pins", ADMIN, work_orders::pin),
    ]
}

/// The ledger, bundles, trust.
fn evidence_routes() -> Vec<Route> {
    vec![
        get("/api/v1/events", READ, events::list),
        get("/api/v1/events/{seq}", READ, events::read),
        get("/api/v1/events/{seq}/proof", READ, event_proof::read),
        get("/api/v1/ledger/checkpoint", READ, ledger::checkpoint),
        get("/api/v1/ledger/proof/inclusion", READ, ledger::inclusion),
        get("/api/v1/ledger/proof/consistency", READ, ledger::consistency),
        get("/api/v1/ledger/state", READ, ledger::state),
        post("/api/v1/bundles/export", EXPORT, bundles::export),
        get("/api/v1/bundles", EXPORT, bundles::list),
        get("/api/v1/bundles/{id}", EXPORT, bundles::read),
        get("/api/v1/bundles/{id}/content", EXPORT, bundle_content::content),
        post("/api/v1/bundles/disclose", SECRETS, disclosures::disclose_range),
        get("/api/v1/redaction-policies", READ, redaction::list),
        get("/api/v1/redaction-policies/{name}", READ, redaction::read),
        put("/api/v1/redaction-policies/{name}", SECRETS, redaction::set),
        delete("/api/v1/redaction-policies/{name}", SECRETS, redaction::delete),
        post("/api/v1/bundles/verify", IMPORT, bundles::check),
        put("/api/v1/uploads/{sha256}", IMPORT, uploads::receive),
        get("/api/v1/uploads/{sha256}", IMPORT, uploads::read),
        delete("/api/v1/uploads/{sha256}", IMPORT, uploads::delete),
        post("/api/v1/bundles/import", IMPORT, imports::take_in),
        get("/api/v1/imports", IMPORT, imports::list),
        get("/api/v1/imports/{id}", IMPORT, imports::read),
        delete("/api/v1/imports/{id}", IMPORT, imports::discard),
        post("/api/v1/imports/{id}/approve", APPROVE_IMPORT, imports::approve),
        post("/api/v1/imports/{id}/reject", APPROVE_IMPORT, imports::reject),
        get("/api/v1/enclaves", IMPORT, enclaves::list),
        get("/api/v1/trust", ADMIN, trust::read),
        post("/api/v1/trust/roots", ADMIN, trust::accept),
        post("/api/v1/trust/pins", ADMIN, trust::pin),
        get("/api/v1/keys", READ, keys::list),
        post("/api/v1/keys/{role}/rotate", ADMIN, key_changes::rotate),
        post("/api/v1/keys/{role}/revoke", ADMIN, key_changes::revoke),
    ]
}

/// Streams, administration.
fn house_routes() -> Vec<Route> {
    vec![
        get("/api/v1/stream", READ, streams::tenant),
        get("/api/v1/stream/jobs/{id}", READ, streams::job),
        get("/api/v1/stream/runs/{id}", READ, streams::run),
        get("/api/v1/stream/pack-runs/{id}", READ, streams::pack_run_stream),
        get("/api/v1/ws", READ, ws::open),
        post("/api/v1/tenants", ADMIN, tenants::create),
        get("/api/v1/tenants", ADMIN, tenants::list),
        get("/api/v1/secrets", SECRETS, secrets::list),
        get("/api/v1/secrets/{name}", SECRETS, secrets::read),
        put("/api/v1/secrets/{name}", SECRETS, secrets::set),
        delete("/api/v1/secrets/{name}", SECRETS, secrets::delete),
        post("/api/v1/webhooks", SECRETS, webhooks::create),
        get("/api/v1/webhooks", READ, webhooks::list),
        get("/api/v1/webhooks/{name}", READ, webhooks::read),
        put("/api/v1/webhooks/{name}", SECRETS, webhooks::set),
        delete("/api/v1/webhooks/{name}", SECRETS, webhooks::delete),
        post("/api/v1/webhooks/{name}/rotate", SECRETS, webhooks::rotate),
        post("/api/v1/webhooks/{name}/test", SECRETS, webhook_test::test),
        post("/api/v1/webhooks/{name}/pause", OPERATE, webhooks::pause),
        post("/api/v1/webhooks/{name}/resume", OPERATE, webhooks::resume),
        post("/api/v1/tokens", ADMIN, tokens::create),
        get("/api/v1/tokens", ADMIN, tokens::list),
        delete("/api/v1/tokens/{id}", ADMIN, tokens::revoke),
        post("/api/v1/session", Access::Open, session::begin),
        get("/api/v1/session", Access::Signed, session::read),
        delete("/api/v1/session", Access::Signed, session::end),
        get("/livez", Access::Open, health::livez),
        get("/readyz", Access::Open, health::readyz),
        get("/healthz", Access::Open, health::healthz),
        get("/metrics", Access::Open, metrics::read),
        get("/version", Access::Open, health::version),
        get("/openapi/orchestrator.json", Access::Open, openapi::document),
        get("/.well-known/openapi", Access::Open, openapi::well_known),
        get("/schemas/pack/v1", Access::Open, pack_plan::schema),
    ]
}

/// What handlers share.
#[derive(Debug)]
pub(crate) struct Api {
    context: ApiContext,
    sessions: Sessions,
    hub: Arc<Hub>,
    /// Where bundles come in.
    desk: Desk,
    /// Bundles on their way to it.
    uploads: uploads::Uploads,
    /// Failures about bundles that were noted.
    attempts: attempts::Attempts,
    /// What no ledger keeps.
    signals: Signals,
    /// Logs and artifacts that workers send.
    inbox: Inbox,
    /// Raised when a token was revoked or a session ended: streams look whether they may go on.
    revocations: Arc<watch::Sender<u64>>,
    /// True once the server is to end: streams close.
    stopping: watch::Sender<bool>,
}

/// The routes, each behind what its row of the table asks.
///
/// # Errors
/// When the description of the routes cannot be read.
fn router(api: &Arc<Api>) -> Result<Router, serde_json::Error> {
    let described = Described::read()?;
    let mut router = Router::new();
    for route in routes() {
        let door = auth::Door::new(api, route.access, described.of(&route));
        let admit = from_fn_with_state(door, auth::admit);
        router = router.route(route.path, route.service.route_layer(admit));
    }
    Ok(router
        .method_not_allowed_fallback(async || error::ApiError::method_not_allowed())
        .fallback(assets::serve)
        .with_state(api.clone()))
}
