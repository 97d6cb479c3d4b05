//! The description of the interface (OpenAPI 3.1).
//!
//! `docs/openapi.json` is made from the handlers by the test below and served as it lies there: the binary carries the
//! text, not what writes it. A test fails when the two differ.

use axum::http::{HeaderName, header};
use axum::response::Redirect;

/// The whole description.
pub const DOCUMENT: &str = include_str!("../../docs/openapi.json");

/// This description.
#[utoipa::path(get, path = "/openapi/orchestrator.json", tag = "discovery",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub async fn document() -> ([(HeaderName, &'static str); 2], &'static str) {
    (
        [
            (header::CONTENT_TYPE, "application/json"),
            (header::CACHE_CONTROL, "no-cache"),
        ],
        DOCUMENT,
    )
}

/// Where the description is.
#[utoipa::path(get, path = "/.well-known/openapi", tag = "discovery",
    responses((status = 307, description = "To /openapi/orchestrator.json")))]
pub async fn well_known() -> Redirect {
    Redirect::temporary("/openapi/orchestrator.json")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use utoipa::openapi::path::Operation;
    use utoipa::openapi::security::{
        ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme,
    };
    use utoipa::openapi::{
        Components, ContentBuilder, Info, License, OpenApi, OpenApiBuilder, Ref, RefOr, ResponseBuilder,
    };
    use utoipa::{OpenApi as _, PartialSchema, ToSchema};

    use crate::api::error::{FieldError, Problem};
    use crate::api::{Access, routes};

    /// What the handlers say of themselves.
    #[derive(utoipa::OpenApi)]
    #[openapi(paths(
        crate::api::submit::submit,
        crate::api::submit::submit_batch,
        crate::api::jobs::list,
        crate::api::jobs::summary,
        crate::api::jobs::read,
        crate::api::job_history::read,
        crate::api::jobs::list_events,
        crate::api::worker_logs::read,
        crate::api::jobs::cancel,
        crate::api::jobs::schedule,
        crate::api::jobs::retry,
        crate::api::jobs::replay,
        crate::api::dead_letters::list,
        crate::api::dead_letters::stats,
        crate::api::letter_replay::replay,
        crate::api::dead_letters::resolve,
        crate::api::dead_letters::clusters,
        crate::api::packs::register,
        crate::api::packs::list,
        crate::api::packs::read,
        crate::api::packs::read_version,
        crate::api::packs::read_source,
        crate::api::pack_plan::simulate,
        crate::api::pack_plan::diff,
        crate::api::pack_runs::start,
        crate::api::pack_runs::list,
        crate::api::pack_runs::read,
        crate::api::gates::approve,
        crate::api::gates::reject,
        crate::api::pack_runs::cancel,
        crate::api::pack_runs::replay,
        crate::api::runs::start,
        crate::api::runs::list,
        crate::api::runs::read,
        crate::api::runs::at,
        crate::api::runs::cancel,
        crate::api::run_pause::pause_pack_run,
        crate::api::run_pause::resume_pack_run,
        crate::api::run_pause::pause,
        crate::api::run_pause::resume,
        crate::api::runs::replay,
        crate::api::logs::read,
        crate::api::pack_runs::artifacts,
        crate::api::runs::graph,
        crate::api::runs::timeline,
        crate::api::artifacts::content,
        crate::api::workers::claim,
        crate::api::workers::complete,
        crate::api::workers::heartbeat,
        crate::api::worker_calls::progress,
        crate::api::worker_calls::step,
        crate::api::worker_logs::receive,
        crate::api::worker_artifacts::receive,
        crate::api::worker_events::report,
        crate::api::worker_calls::release,
        crate::api::worker_registry::list,
        crate::api::worker_registry::drain,
        crate::api::events::list,
        crate::api::events::read,
        crate::api::ledger::checkpoint,
        crate::api::ledger::inclusion,
        crate::api::ledger::consistency,
        crate::api::ledger::state,
        crate::api::bundles::export,
        crate::api::bundles::list,
        crate::api::bundles::read,
        crate::api::bundles::content,
        crate::api::bundles::check,
        crate::api::bundles::take_in,
        crate::api::bundles::imports,
        crate::api::bundles::pin,
        crate::api::keys::list,
        crate::api::streams::tenant,
        crate::api::streams::job,
        crate::api::streams::run,
        crate::api::streams::pack_run_stream,
        crate::api::ws::open,
        crate::api::tenants::create,
        crate::api::tenants::list,
        crate::api::secrets::list,
        crate::api::secrets::read,
        crate::api::secrets::set,
        crate::api::secrets::delete,
        crate::api::tokens::create,
        crate::api::tokens::list,
        crate::api::tokens::revoke,
        crate::api::session::begin,
        crate::api::session::read,
        crate::api::session::end,
        crate::api::health::livez,
        crate::api::health::readyz,
        crate::api::health::healthz,
        crate::api::metrics::read,
        crate::api::health::version,
        crate::api::openapi::document,
        crate::api::openapi::well_known,
        crate::api::pack_plan::schema,
    ))]
    struct Handlers;

    /// What stands in it before any route.
    fn base() -> OpenApi {
        let mut info = Info::new("Fastness", env!("CARGO_PKG_VERSION"));
        info.description = Some(
            "Jobs, packs, runs and the ledger of one appliance. Errors are application/problem+json (RFC 9457)."
                .to_owned(),
        );
        let mut license = License::new("Apache-2.0");
        license.identifier = Some("Apache-2.0".to_owned());
        info.license = Some(license);
        let mut components = Components::new();
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        components.add_security_scheme(
            "session",
            SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new("fastness_<enclaveId>"))),
        );
        components
            .schemas
            .insert(Problem::name().into_owned(), Problem::schema());
        components
            .schemas
            .insert(FieldError::name().into_owned(), FieldError::schema());
        OpenApiBuilder::new()
            .info(info)
            .components(Some(components))
            .build()
    }

    /// The whole document.
    fn whole() -> OpenApi {
        let mut document = base();
        document.merge(Handlers::openapi());
        for route in routes() {
            let item = document.paths.paths.get_mut(route.path);
            let item = item.unwrap_or_else(|| panic!("{} is not described", route.path));
            let operation = match route.method.as_str() {
                "GET" => &mut item.get,
                "POST" => &mut item.post,
                "PUT" => &mut item.put,
                _ => &mut item.delete,
            };
            let operation = operation.as_mut();
            let operation = operation.unwrap_or_else(|| panic!("{} has another method", route.path));
            complete(operation, route.access);
        }
        document
    }

    /// What every operation has: the error answer, and what the table asks.
    fn complete(operation: &mut Operation, access: Access) {
        let content = ContentBuilder::new()
            .schema(Some(RefOr::Ref(Ref::from_schema_name(Problem::name()))))
            .build();
        let problem = ResponseBuilder::new()
            .description("A refusal or failure, by its code.")
            .content("application/problem+json", content)
            .build();
        operation
            .responses
            .responses
            .insert("default".to_owned(), RefOr::T(problem));
        let scope = match access {
            Access::Open => return,
            Access::Signed => None,
            Access::Tenant(scope) | Access::Tenants(scope) | Access::Appliance(scope) => Some(scope.as_str()),
        };
        let requirement = |scheme: &str| SecurityRequirement::new(scheme, scope);
        operation.security = Some(vec![requirement("token"), requirement("session")]);
        if let Some(scope) = scope {
            let text = operation.description.get_or_insert_default();
            if !text.is_empty() {
                text.push_str("\n\n");
            }
            text.push_str(&format!("Scope: `{scope}`."));
        }
    }

    #[test]
    fn the_document_is_what_the_handlers_say() {
        let said = whole().to_pretty_json().unwrap() + "\n";
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, &said).unwrap();
        }
        let lies = std::fs::read_to_string(&path).unwrap();
        assert!(
            lies == said,
            "docs/openapi.json is not what the handlers say; make it anew: UPDATE_DOCS=1 cargo test --lib openapi"
        );
    }
}
