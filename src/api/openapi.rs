//! The description of the interface (OpenAPI 3.1), made from the handlers and the table of routes.

use std::sync::OnceLock;

use axum::http::{HeaderName, header};
use axum::response::Redirect;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{
    Components, ContentBuilder, Info, License, OpenApi, OpenApiBuilder, Ref, RefOr, ResponseBuilder,
};
use utoipa::{PartialSchema, ToSchema};

use super::error::{FieldError, Problem};
use super::{Access, ROUTES, handlers};

/// What stands in it before any route.
pub fn base() -> OpenApi {
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
pub fn whole() -> OpenApi {
    let (_, mut document) = handlers().split_for_parts();
    for route in ROUTES {
        let Some(item) = document.paths.paths.get_mut(route.path) else {
            continue;
        };
        let operation = match route.method.as_str() {
            "GET" => &mut item.get,
            "POST" => &mut item.post,
            "PUT" => &mut item.put,
            "DELETE" => &mut item.delete,
            _ => continue,
        };
        if let Some(operation) = operation {
            complete(operation, route.access);
        }
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

/// This description.
#[utoipa::path(get, path = "/openapi/orchestrator.json", tag = "discovery",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub async fn document() -> ([(HeaderName, &'static str); 2], &'static str) {
    static TEXT: OnceLock<String> = OnceLock::new();
    let text = TEXT.get_or_init(|| whole().to_json().unwrap_or_default());
    (
        [
            (header::CONTENT_TYPE, "application/json"),
            (header::CACHE_CONTROL, "no-cache"),
        ],
        text,
    )
}

/// Where the description is.
#[utoipa::path(get, path = "/.well-known/openapi", tag = "discovery",
    responses((status = 307, description = "To /openapi/orchestrator.json")))]
pub async fn well_known() -> Redirect {
    Redirect::temporary("/openapi/orchestrator.json")
}
