//! The interface over HTTP: every route on one screen, who may use it, and the state that handlers share.
//!
//! A handler authenticates nothing and knows no rule of the domain: it turns a request into a command or a read, and the
//! answer into JSON. Statuses come from `error` alone. A route without a row in [`ROUTES`] is closed.
//!
//! Reading order: this file; `auth`, `request`, `error`; one file per noun; `sse`; `server`, `connection`.

mod artifacts;
mod assets;
mod auth;
mod bundles;
mod connection;
mod dead_letters;
mod error;
mod events;
mod health;
mod idempotency;
mod job_history;
mod job_view;
mod jobs;
mod keys;
mod ledger;
mod logs;
mod metrics;
mod openapi;
mod pack_plan;
mod pack_runs;
mod packs;
mod reading;
mod request;
mod run_replay;
mod run_shape;
mod run_stream;
mod run_view;
mod runs;
mod server;
mod session;
mod sessions;
mod sse;
mod streams;
mod submit;
mod tenants;
mod tokens;
mod worker_artifacts;
mod worker_calls;
mod worker_ends;
mod worker_events;
mod worker_logs;
mod worker_registry;
mod worker_shapes;
mod workers;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use tokio::sync::watch;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use self::assets::{Asset, FindAsset};
pub use self::server::{Bounds, Server, serve};
use self::sessions::Sessions;
use crate::domain::token::Scope;
use crate::engine::Handle;
use crate::output::{Inbox, Output};
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
#[derive(Debug, Clone)]
pub struct Route {
    /// The method; HEAD goes with GET.
    pub method: Method,
    /// The path, with names in braces for what varies.
    pub path: &'static str,
    /// Who may.
    pub access: Access,
}

const fn get(path: &'static str, access: Access) -> Route {
    let method = Method::GET;
    Route { method, path, access }
}
const fn post(path: &'static str, access: Access) -> Route {
    let method = Method::POST;
    Route { method, path, access }
}
const fn put(path: &'static str, access: Access) -> Route {
    let method = Method::PUT;
    Route { method, path, access }
}
const fn delete(path: &'static str, access: Access) -> Route {
    let method = Method::DELETE;
    Route { method, path, access }
}

const READ: Access = Access::Tenant(Scope::Read);
const SUBMIT: Access = Access::Tenant(Scope::Submit);
const OPERATE: Access = Access::Tenant(Scope::Operate);
const CLAIM: Access = Access::Tenant(Scope::Claim);
const CLAIM_SEVERAL: Access = Access::Tenants(Scope::Claim);
const EXPORT: Access = Access::Tenant(Scope::Export);
const IMPORT: Access = Access::Appliance(Scope::Import);
const ADMIN: Access = Access::Appliance(Scope::Admin);

/// Every route and the one scope that it needs.
pub const ROUTES: &[Route] = &[
    post("/api/v1/jobs", SUBMIT),
    post("/api/v1/jobs/batch", SUBMIT),
    get("/api/v1/jobs", READ),
    get("/api/v1/jobs/summary", READ),
    get("/api/v1/jobs/{id}", READ),
    get("/api/v1/jobs/{id}/history", READ),
    get("/api/v1/jobs/{id}/events", READ),
    get("/api/v1/jobs/{id}/logs", READ),
    post("/api/v1/jobs/{id}/cancel", OPERATE),
    post("/api/v1/jobs/{id}/schedule", OPERATE),
    post("/api/v1/jobs/{id}/retry", OPERATE),
    post("/api/v1/jobs/{id}/replay", OPERATE),
    get("/api/v1/dead-letters", READ),
    get("/api/v1/dead-letters/stats", READ),
    post("/api/v1/dead-letters/replay", OPERATE),
    post("/api/v1/dead-letters/{id}/resolve", OPERATE),
    get("/api/v1/error-clusters", READ),
    post("/api/v1/packs", SUBMIT),
    get("/api/v1/packs", READ),
    get("/api/v1/packs/{name}", READ),
    get("/api/v1/packs/{name}/versions/{version}", READ),
    get("/api/v1/packs/{name}/versions/{version}/source", READ),
    post("/api/v1/packs/{name}/versions/{version}/simulate", READ),
    get("/api/v1/packs/{name}/diff", READ),
    post("/api/v1/pack-runs", SUBMIT),
    get("/api/v1/pack-runs", READ),
    get("/api/v1/pack-runs/{id}", READ),
    post("/api/v1/pack-runs/{id}/cancel", OPERATE),
    post("/api/v1/pack-runs/{id}/replay", OPERATE),
    post("/api/v1/runs", SUBMIT),
    get("/api/v1/runs", READ),
    get("/api/v1/runs/{id}", READ),
    get("/api/v1/runs/{id}/at/{seq}", READ),
    post("/api/v1/runs/{id}/cancel", OPERATE),
    post("/api/v1/runs/{id}/replay", OPERATE),
    get("/api/v1/pack-runs/{id}/logs", READ),
    get("/api/v1/pack-runs/{id}/artifacts", READ),
    get("/api/v1/runs/{id}/graph", READ),
    get("/api/v1/runs/{id}/timeline", READ),
    get("/api/v1/artifacts/{sha256}", READ),
    post("/api/v1/workers/claim", CLAIM_SEVERAL),
    post("/api/v1/workers/complete", CLAIM),
    post("/api/v1/workers/jobs/{id}/heartbeat", CLAIM),
    post("/api/v1/workers/jobs/{id}/progress", CLAIM),
    post("/api/v1/workers/jobs/{id}/steps", CLAIM),
    post("/api/v1/workers/jobs/{id}/logs", CLAIM),
    put("/api/v1/workers/jobs/{id}/artifacts/{name}", CLAIM),
    post("/api/v1/workers/jobs/{id}/events", CLAIM),
    post("/api/v1/workers/jobs/{id}/release", CLAIM),
    get("/api/v1/workers", READ),
    post("/api/v1/workers/{id}/drain", OPERATE),
    get("/api/v1/events", READ),
    get("/api/v1/events/{seq}", READ),
    get("/api/v1/ledger/checkpoint", READ),
    get("/api/v1/ledger/proof/inclusion", READ),
    get("/api/v1/ledger/proof/consistency", READ),
    get("/api/v1/ledger/state", READ),
    post("/api/v1/bundles/export", EXPORT),
    get("/api/v1/bundles", EXPORT),
    get("/api/v1/bundles/{id}", EXPORT),
    get("/api/v1/bundles/{id}/content", EXPORT),
    post("/api/v1/bundles/verify", IMPORT),
    post("/api/v1/bundles/import", IMPORT),
    get("/api/v1/imports", IMPORT),
    post("/api/v1/trust/pins", ADMIN),
    get("/api/v1/keys", READ),
    get("/api/v1/stream", READ),
    get("/api/v1/stream/jobs/{id}", READ),
    get("/api/v1/stream/runs/{id}", READ),
    get("/api/v1/stream/pack-runs/{id}", READ),
    post("/api/v1/tenants", ADMIN),
    get("/api/v1/tenants", ADMIN),
    post("/api/v1/tokens", ADMIN),
    get("/api/v1/tokens", ADMIN),
    delete("/api/v1/tokens/{id}", ADMIN),
    post("/api/v1/session", Access::Open),
    get("/api/v1/session", Access::Signed),
    delete("/api/v1/session", Access::Signed),
    get("/livez", Access::Open),
    get("/readyz", Access::Open),
    get("/healthz", Access::Open),
    get("/metrics", Access::Open),
    get("/version", Access::Open),
    get("/openapi/orchestrator.json", Access::Open),
    get("/.well-known/openapi", Access::Open),
    get("/schemas/pack/v1", Access::Open),
];

/// The handlers, by the paths that they carry themselves.
fn handlers() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::with_openapi(openapi::base())
        .merge(work_handlers())
        .merge(house_handlers())
}

/// Jobs, packs, runs, and what workers call.
fn work_handlers() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(submit::submit, jobs::list))
        .routes(routes!(submit::submit_batch))
        .routes(routes!(jobs::summary))
        .routes(routes!(jobs::read))
        .routes(routes!(job_history::read))
        .routes(routes!(jobs::list_events))
        .routes(routes!(worker_logs::read))
        .routes(routes!(jobs::cancel))
        .routes(routes!(jobs::schedule))
        .routes(routes!(jobs::retry))
        .routes(routes!(jobs::replay))
        .routes(routes!(dead_letters::list))
        .routes(routes!(dead_letters::stats))
        .routes(routes!(dead_letters::replay))
        .routes(routes!(dead_letters::resolve))
        .routes(routes!(dead_letters::clusters))
        .merge(pack_handlers())
        .routes(routes!(runs::start, runs::list))
        .routes(routes!(runs::read))
        .routes(routes!(runs::at))
        .routes(routes!(runs::cancel))
        .routes(routes!(runs::replay))
        .routes(routes!(logs::read))
        .routes(routes!(runs::graph))
        .routes(routes!(runs::timeline))
        .routes(routes!(artifacts::content))
        .routes(routes!(workers::claim))
        .routes(routes!(workers::complete))
        .routes(routes!(workers::heartbeat))
        .routes(routes!(worker_calls::progress))
        .routes(routes!(worker_calls::step))
        .routes(routes!(worker_logs::receive))
        .routes(routes!(worker_artifacts::receive))
        .routes(routes!(worker_events::report))
        .routes(routes!(worker_calls::release))
        .routes(routes!(worker_registry::list))
        .routes(routes!(worker_registry::drain))
}

/// The ledger, bundles, streams, administration.
fn house_handlers() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(events::list))
        .routes(routes!(events::read))
        .routes(routes!(ledger::checkpoint))
        .routes(routes!(ledger::inclusion))
        .routes(routes!(ledger::consistency))
        .routes(routes!(ledger::state))
        .routes(routes!(bundles::export))
        .routes(routes!(bundles::list))
        .routes(routes!(bundles::read))
        .routes(routes!(bundles::content))
        .routes(routes!(bundles::check))
        .routes(routes!(bundles::take_in))
        .routes(routes!(bundles::imports))
        .routes(routes!(bundles::pin))
        .routes(routes!(keys::list))
        .routes(routes!(streams::tenant))
        .routes(routes!(streams::job))
        .routes(routes!(streams::run))
        .routes(routes!(streams::pack_run_stream))
        .routes(routes!(tenants::create, tenants::list))
        .routes(routes!(tokens::create, tokens::list))
        .routes(routes!(tokens::revoke))
        .routes(routes!(session::begin, session::read, session::end))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::healthz))
        .routes(routes!(metrics::read))
        .routes(routes!(health::version))
        .routes(routes!(openapi::document))
        .routes(routes!(openapi::well_known))
}

/// Those of packs and their runs.
fn pack_handlers() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(packs::register, packs::list))
        .routes(routes!(packs::read))
        .routes(routes!(packs::read_version))
        .routes(routes!(packs::read_source))
        .routes(routes!(pack_plan::simulate))
        .routes(routes!(pack_plan::diff))
        .routes(routes!(pack_plan::schema))
        .routes(routes!(pack_runs::start, pack_runs::list))
        .routes(routes!(pack_runs::read))
        .routes(routes!(pack_runs::cancel))
        .routes(routes!(pack_runs::replay))
        .routes(routes!(pack_runs::artifacts))
}

/// What the interface is given.
#[derive(Debug, Clone)]
pub struct ApiContext {
    engine: Handle,
    output: Arc<Output>,
    /// Where the server listens; one of the hosts it answers to.
    address: SocketAddr,
    /// The program's version, sent with each answer.
    version: &'static str,
    find_asset: Option<FindAsset>,
    bounds: Bounds,
}

impl ApiContext {
    /// Everything but the console.
    pub fn new(engine: Handle, output: Arc<Output>, address: SocketAddr) -> Self {
        ApiContext {
            engine,
            output,
            address,
            version: env!("CARGO_PKG_VERSION"),
            find_asset: None,
            bounds: Bounds::default(),
        }
    }

    /// Other bounds than the usual ones.
    #[must_use]
    pub fn with_bounds(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// Serves the console's files at `/`.
    #[must_use]
    pub fn with_assets(mut self, find: FindAsset) -> Self {
        self.find_asset = Some(find);
        self
    }
}

/// What handlers share.
#[derive(Debug)]
pub(crate) struct Api {
    context: ApiContext,
    sessions: Sessions,
    hub: Hub,
    /// Logs and artifacts that workers send.
    inbox: Inbox,
    /// Raised when a token was revoked or a session ended: streams look whether they may go on.
    revocations: Arc<watch::Sender<u64>>,
    /// True once the server is to end: streams close.
    stopping: watch::Sender<bool>,
}

impl Api {
    /// Must be called within a runtime.
    fn new(context: ApiContext) -> Arc<Self> {
        let revocations = Arc::new(watch::Sender::new(0));
        let hub = Hub::start(&context.engine, sse::encode_event, revocations.clone());
        let api = Arc::new(Api {
            inbox: Inbox::new(context.output.clone()),
            context,
            sessions: Sessions::default(),
            hub,
            revocations,
            stopping: watch::Sender::new(false),
        });
        tokio::spawn(worker_ends::end_leases(Arc::downgrade(&api)));
        api
    }

    fn engine(&self) -> &Handle {
        &self.context.engine
    }

    fn output(&self) -> &Arc<Output> {
        &self.context.output
    }

    fn now_ms(&self) -> i64 {
        self.engine().clock().wall_ms()
    }

    /// The cookie of this enclave: several on one host do not sign each other out.
    fn cookie_name(&self) -> String {
        use crate::trust::EnclaveId;
        let enclave = EnclaveId::of(&self.engine().keys().log().public());
        format!("fastness_{enclave}")
    }
}

/// The routes, each behind its row of the table.
fn router(api: &Arc<Api>) -> Router {
    let (router, _) = handlers().split_for_parts();
    router
        .method_not_allowed_fallback(async || error::ApiError::method_not_allowed())
        .route_layer(axum::middleware::from_fn_with_state(api.clone(), auth::admit))
        .fallback(assets::serve)
        .with_state(api.clone())
}

/// What the table says of a route.
fn access_of(method: &Method, path: &str) -> Option<Access> {
    let method = if method == Method::HEAD {
        &Method::GET
    } else {
        method
    };
    let found = ROUTES
        .iter()
        .find(|route| route.method == *method && route.path == path);
    found.map(|route| route.access)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_and_the_handlers_name_the_same_routes() {
        let table: BTreeSet<(String, String)> = ROUTES
            .iter()
            .map(|route| (route.path.to_owned(), route.method.as_str().to_lowercase()))
            .collect();
        assert_eq!(table.len(), ROUTES.len(), "a route stands twice in the table");
        let document = serde_json::to_value(openapi::whole()).unwrap();
        let mut described = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                described.insert((path.clone(), method.clone()));
            }
        }
        assert_eq!(described, table);
    }
}
