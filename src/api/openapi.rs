//! The description of the interface (OpenAPI 3.1).
//!
//! `docs/openapi.json` is made from the handlers by the test below; the binary carries that text without its white space, not
//! what writes it. A test fails when the two differ.

use axum::http::{HeaderName, header};
use axum::response::Redirect;

/// The whole description.
pub const DOCUMENT: &str = include_str!(concat!(env!("OUT_DIR"), "/openapi.json"));

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

    use utoipa::openapi::path::{Operation, Parameter};
    use utoipa::openapi::security::{
        ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme,
    };
    use utoipa::openapi::{
        Components, ContentBuilder, Info, License, OpenApi, OpenApiBuilder, Ref, RefOr, ResponseBuilder,
        Schema,
    };
    use utoipa::{OpenApi as _, PartialSchema, ToSchema};

    use crate::api::error::{FieldError, Problem};
    use crate::api::{Access, Route, routes};
    use crate::limits;

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
        crate::api::disclosures::disclose_job,
        crate::api::disclosures::erase_job,
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
        crate::api::disclosures::disclose_run,
        crate::api::disclosures::erase_run,
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
        crate::api::event_proof::read,
        crate::api::ledger::checkpoint,
        crate::api::ledger::inclusion,
        crate::api::ledger::consistency,
        crate::api::ledger::state,
        crate::api::bundles::export,
        crate::api::bundles::list,
        crate::api::bundles::read,
        crate::api::bundle_content::content,
        crate::api::disclosures::disclose_range,
        crate::api::redaction::list,
        crate::api::redaction::read,
        crate::api::redaction::set,
        crate::api::redaction::delete,
        crate::api::bundles::check,
        crate::api::uploads::receive,
        crate::api::uploads::read,
        crate::api::uploads::delete,
        crate::api::imports::take_in,
        crate::api::imports::list,
        crate::api::imports::read,
        crate::api::imports::discard,
        crate::api::imports::approve,
        crate::api::imports::reject,
        crate::api::enclaves::list,
        crate::api::work_orders::issue,
        crate::api::work_orders::list,
        crate::api::work_orders::take_in,
        crate::api::work_orders::read,
        crate::api::work_orders::content,
        crate::api::work_orders::cancellation,
        crate::api::work_orders::approve,
        crate::api::work_orders::start,
        crate::api::work_orders::cancel,
        crate::api::work_orders::pin,
        crate::api::trust::read,
        crate::api::trust::accept,
        crate::api::trust::pin,
        crate::api::keys::list,
        crate::api::key_changes::rotate,
        crate::api::key_changes::revoke,
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
        crate::api::webhooks::create,
        crate::api::webhooks::list,
        crate::api::webhooks::read,
        crate::api::webhooks::set,
        crate::api::webhooks::delete,
        crate::api::webhooks::rotate,
        crate::api::webhook_test::test,
        crate::api::webhooks::pause,
        crate::api::webhooks::resume,
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
            complete(operation, &route);
        }
        document
    }

    /// Where a request needs no body although it may have one: `OptionalJson`, `Change`, and `Keyed` of what is optional.
    const OPTIONAL_BODIES: &[&str] = &[
        "/api/v1/bundles/export",
        "/api/v1/work-orders/{id}/approve",
        "/api/v1/work-orders/{id}/cancel",
        "/api/v1/jobs/{id}/disclose",
        "/api/v1/jobs/{id}/erase",
        "/api/v1/runs/{id}/disclose",
        "/api/v1/runs/{id}/erase",
        "/api/v1/jobs/{id}/cancel",
        "/api/v1/jobs/{id}/schedule",
        "/api/v1/jobs/{id}/retry",
        "/api/v1/jobs/{id}/replay",
        "/api/v1/packs/{name}/versions/{version}/simulate",
        "/api/v1/pack-runs/{id}/cancel",
        "/api/v1/pack-runs/{id}/pause",
        "/api/v1/pack-runs/{id}/resume",
        "/api/v1/pack-runs/{id}/replay",
        "/api/v1/runs/{id}/cancel",
        "/api/v1/runs/{id}/pause",
        "/api/v1/runs/{id}/resume",
        "/api/v1/runs/{id}/replay",
        "/api/v1/webhooks/{name}/test",
        "/api/v1/webhooks/{name}/rotate",
        "/api/v1/webhooks/{name}/pause",
        "/api/v1/webhooks/{name}/resume",
    ];

    /// `GET /api/v1/runs/{id}/at/{seq}` is `get_runs_by_id_at_by_seq`: one name for each operation, as OpenAPI asks.
    fn name_of(method: &str, path: &str) -> String {
        let path = path.strip_prefix("/api/v1").unwrap_or(path);
        let part = |part: &str| {
            let named = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
            let part = named.map_or(part.to_owned(), |name| format!("by_{name}"));
            part.replace(['-', '.'], "_").trim_matches('_').to_owned()
        };
        let parts = path.split('/').filter(|part| !part.is_empty()).map(part);
        let parts: Vec<String> = std::iter::once(method.to_lowercase()).chain(parts).collect();
        parts.join("_")
    }

    /// What a number may be that has one meaning on every route.
    fn bound(operation: &mut Operation) {
        let found = operation.parameters.iter_mut().flatten();
        let mut parameters: Vec<&mut Parameter> = found
            .filter_map(|parameter| match parameter {
                RefOr::T(parameter) => Some(parameter),
                RefOr::Ref(_) => None,
            })
            .collect();
        let is_list = parameters.iter().any(|parameter| parameter.name == "cursor");
        for parameter in &mut parameters {
            let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema else {
                continue;
            };
            let bounds = match parameter.name.as_str() {
                "limit" if is_list => (1, limits::PAGE_ITEMS_MAX),
                "proof" => (0, 1),
                "heartbeatMs" => (
                    limits::HEARTBEAT_STREAM_MS_MIN as usize,
                    limits::HEARTBEAT_STREAM_MS_MAX as usize,
                ),
                _ => continue,
            };
            schema.minimum = Some(bounds.0.into());
            schema.maximum = Some(bounds.1.into());
        }
    }

    /// What every operation has: its name, the error answer, and what the table asks.
    fn complete(operation: &mut Operation, route: &Route) {
        operation.operation_id = Some(name_of(route.method.as_str(), route.path));
        bound(operation);
        if let Some(RefOr::T(body)) = &mut operation.request_body
            && OPTIONAL_BODIES.contains(&route.path)
        {
            body.required = None;
        }
        let content = ContentBuilder::new()
            .schema(Some(RefOr::Ref(Ref::from_schema_name(Problem::name()))))
            .build();
        let problem = ResponseBuilder::new()
            .description("A refusal or failure, by its code.")
            .content("application/problem+json", content)
            .build();
        let answers = &mut operation.responses.responses;
        for answer in answers.values_mut() {
            if let RefOr::T(answer) = answer
                && let Some(RefOr::T(stream)) = answer.content.get_mut("text/event-stream")
            {
                // A schema would be of one message, and OpenAPI 3.1 has no way to tell messages apart.
                stream.schema = None;
            }
        }
        answers.insert("default".to_owned(), RefOr::T(problem));
        let scope = match route.access {
            Access::Open => return,
            Access::Signed => None,
            Access::Tenant(scope) | Access::Tenants(scope) | Access::Appliance(scope) => Some(scope.as_str()),
        };
        let requirement = |scheme: &str| SecurityRequirement::new(scheme, scope);
        let is_of_session = route.access == Access::Signed;
        let schemes = if is_of_session {
            &["session"][..]
        } else {
            &["token", "session"]
        };
        operation.security = Some(schemes.iter().map(|scheme| requirement(scheme)).collect());
        if let Some(scope) = scope {
            let text = operation.description.get_or_insert_default();
            if !text.is_empty() {
                text.push_str("\n\n");
            }
            text.push_str(&format!("Scope: `{scope}`."));
        }
    }

    #[test]
    fn no_two_operations_have_one_name() {
        let mut names: Vec<_> = routes()
            .iter()
            .map(|route| name_of(route.method.as_str(), route.path))
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(
            names.contains(&"get_runs_by_id_at_by_seq".to_owned()),
            "{names:?}"
        );
    }

    #[test]
    fn what_is_served_is_the_document_in_fewer_bytes() {
        use super::DOCUMENT;
        let lies = include_str!("../../docs/openapi.json");
        let [served, lies_as_json] =
            [DOCUMENT, lies].map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap());
        assert!(
            served == lies_as_json,
            "build this again: docs/openapi.json has changed"
        );
        assert!(DOCUMENT.len() < lies.len());
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
