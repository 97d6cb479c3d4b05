//! Who asks, for which tenant, and whether the route is theirs: decided here for every route, before its handler.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::Response;

use super::error::ApiError;
use super::idempotency;
use super::parameters::Names;
use super::request::{Query, header_text};
use super::sessions::SessionKey;
use super::{Access, Api};
use crate::domain::event::{Actor, ActorKind};
use crate::domain::token::{Scope, Token};
use crate::domain::{TenantName, TokenId};

/// Names the tenant, where the token has several.
pub const TENANT_HEADER: &str = "x-fastness-tenant";
/// Carries the session's second secret on mutations.
pub const CSRF_HEADER: &str = "x-fastness-csrf";

/// Who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The token, as it stood when the request came.
    pub token: Arc<Token>,
    /// For which tenant; always there where the route needs one.
    tenant: Option<TenantName>,
    /// The session, when it was not the token itself that was shown.
    pub session: Option<SessionKey>,
}

impl Caller {
    /// The tenant of the request.
    ///
    /// # Errors
    /// When the route's row in the table does not ask for one.
    pub fn tenant(&self) -> Result<&TenantName, ApiError> {
        self.tenant
            .as_ref()
            .ok_or_else(|| ApiError::internal("the route asks for no tenant"))
    }

    /// The tenants that a request names, each within the token; without any, that of the request.
    ///
    /// # Errors
    /// One that the token does not have, or none where it has several.
    pub fn tenants(&self, named: &[TenantName]) -> Result<Vec<TenantName>, ApiError> {
        if named.is_empty() {
            return self
                .tenant
                .clone()
                .map(|tenant| vec![tenant])
                .ok_or_else(tenant_required);
        }
        match named.iter().find(|tenant| !self.token.tenants.contains(tenant)) {
            Some(_) => Err(tenant_forbidden()),
            None => Ok(named.to_vec()),
        }
    }

    /// As events name the person.
    pub fn actor(&self) -> Actor {
        Actor {
            id: self.token.person.clone(),
            kind: ActorKind::Person,
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Caller>().cloned();
        caller.ok_or_else(|| ApiError::internal("the route asks for no token"))
    }
}

/// What stands before one route.
#[derive(Debug, Clone)]
pub struct Door {
    api: Arc<Api>,
    access: Access,
    parameters: Names,
}

impl Door {
    /// One that asks what a row of the table says, and lets these query parameters through.
    pub fn new(api: &Arc<Api>, access: Access, parameters: Names) -> Self {
        Door {
            api: api.clone(),
            access,
            parameters,
        }
    }
}

/// Lets a request through to its handler, or refuses it.
pub async fn admit(State(door): State<Door>, mut request: Request, next: Next) -> Result<Response, ApiError> {
    let Door {
        api,
        access,
        parameters,
    } = door;
    // Only here is the route known: one that does not exist says so first.
    idempotency::check_header(request.method(), request.uri().path(), request.headers())?;
    if access == Access::Open {
        Query::check(request.uri(), &parameters)?;
        return Ok(next.run(request).await);
    }
    let (token, session) = identify(&api, request.method(), request.headers())?;
    let scope = match access {
        Access::Open | Access::Signed => None,
        Access::Tenant(scope) | Access::Tenants(scope) | Access::Appliance(scope) => Some(scope),
    };
    if let Some(scope) = scope
        && !token.scopes.contains(&scope)
    {
        let detail = format!("this needs the scope {}", scope.as_str());
        return Err(ApiError::forbidden("scope_required", detail));
    }
    if api.context.is_read_only && scope.is_some() && changes(request.method(), access) {
        let detail = "this server shows bundles that were replayed: it can only be read";
        return Err(ApiError::conflict("foreign_read_only", detail));
    }
    let asked = header_text(request.headers(), TENANT_HEADER);
    let tenant = match (access, asked) {
        // The body may name them; the handler asks for one that nobody named.
        (Access::Tenants(_), None) if token.tenants.len() != 1 => None,
        (Access::Tenant(_) | Access::Tenants(_), asked) => Some(choose_tenant(&api, &token, asked).await?),
        (Access::Open | Access::Signed | Access::Appliance(_), _) => None,
    };
    if tenant.as_ref().is_some_and(TenantName::is_foreign) && writes(request.method(), access) {
        let detail = "an imported ledger can only be read";
        return Err(ApiError::conflict("foreign_read_only", detail));
    }
    if tenant.as_ref().is_some_and(TenantName::is_foreign)
        && scope == Some(Scope::Export)
        && !token.scopes.contains(&Scope::Read)
    {
        let detail = "handing on an imported ledger needs the scope orch:read as well";
        return Err(ApiError::forbidden("scope_required", detail));
    }
    // Only to those who may ask is it said what may be asked.
    Query::check(request.uri(), &parameters)?;
    request.extensions_mut().insert(Caller {
        token,
        tenant,
        session,
    });
    Ok(next.run(request).await)
}

/// Whether a route changes something of a tenant. What only needs the right to read changes nothing, whatever its method;
/// an export writes a bundle and not the ledger.
fn writes(method: &Method, access: Access) -> bool {
    let is_read = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    let only_reads = matches!(access, Access::Tenant(Scope::Read | Scope::Export));
    !is_read && !only_reads
}

/// Whether a route changes anything at all, be it a bundle that is written.
fn changes(method: &Method, access: Access) -> bool {
    let exports = access == Access::Tenant(Scope::Export) && *method == Method::POST;
    exports || writes(method, access)
}

/// The token behind a request: shown itself, or through a session.
fn identify(
    api: &Api,
    method: &Method,
    headers: &HeaderMap,
) -> Result<(Arc<Token>, Option<SessionKey>), ApiError> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let secret = value.to_str().ok().and_then(|text| {
            let (scheme, secret) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
        });
        let secret =
            secret.ok_or_else(|| ApiError::unauthenticated("the Authorization header is not Bearer"))?;
        return Ok((valid_token(api, secret)?, None));
    }
    let Some(key) = session_cookie(api, headers) else {
        return Err(ApiError::unauthenticated("a bearer token is needed"));
    };
    let over = || ApiError::unauthenticated("the session is over");
    let session = api.sessions.find(&key, api.now_ms()).ok_or_else(over)?;
    let token = api.engine().token_by_id(session.token).ok_or_else(over)?;
    check_alive(&token, api.now_ms())?;
    let is_read = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    if !is_read && header_text(headers, CSRF_HEADER) != Some(session.csrf.as_str()) {
        let detail = "a session changes things only with its X-Fastness-Csrf";
        return Err(ApiError::forbidden("csrf_required", detail));
    }
    Ok((token, Some(key)))
}

/// The token with this secret, unless it is over.
///
/// # Errors
/// The same words for one that never was and one that is over.
pub fn valid_token(api: &Api, secret: &str) -> Result<Arc<Token>, ApiError> {
    let token = api.engine().token(secret);
    let token = token.ok_or_else(|| ApiError::unauthenticated("the token is not valid"))?;
    check_alive(&token, api.now_ms())?;
    Ok(token)
}

fn check_alive(token: &Token, now_ms: i64) -> Result<(), ApiError> {
    let expired = token.expires_at.is_some_and(|end| end.as_ms() <= now_ms);
    if expired || token.revoked_at.is_some() {
        return Err(ApiError::unauthenticated("the token is not valid"));
    }
    Ok(())
}

/// Whether what a stream was opened with still holds.
pub fn still_holds(api: &Api, token: TokenId, session: Option<&SessionKey>) -> bool {
    let alive = api
        .engine()
        .token_by_id(token)
        .is_some_and(|token| check_alive(&token, api.now_ms()).is_ok());
    alive && session.is_none_or(|key| api.sessions.find(key, api.now_ms()).is_some())
}

fn session_cookie(api: &Api, headers: &HeaderMap) -> Option<SessionKey> {
    let wanted = api.cookie_name();
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == wanted)
        .and_then(|(_, value)| value.parse().ok())
}

/// Which tenant a request is for. Never a silent default where the token has several.
async fn choose_tenant(api: &Api, token: &Token, asked: Option<&str>) -> Result<TenantName, ApiError> {
    let Some(asked) = asked else {
        return match token.tenants.as_slice() {
            [only] => Ok(only.clone()),
            _ => Err(tenant_required()),
        };
    };
    let tenant: TenantName = asked.parse().map_err(|_| tenant_forbidden())?;
    if token.tenants.contains(&tenant) {
        return Ok(tenant);
    }
    let is_admin = token.scopes.contains(&Scope::Admin);
    if tenant == TenantName::system() && is_admin {
        return Ok(tenant);
    }
    if tenant.is_foreign() && (is_admin || token.scopes.contains(&Scope::Import)) {
        let named = tenant.clone();
        let held = api
            .read(&TenantName::system(), move |reading| {
                Ok(reading.view().import(&named)?.is_some())
            })
            .await?;
        if held {
            return Ok(tenant);
        }
    }
    Err(tenant_forbidden())
}

fn tenant_required() -> ApiError {
    let detail = "the token has several tenants: name one with X-Fastness-Tenant";
    ApiError::forbidden("tenant_required", detail)
}

fn tenant_forbidden() -> ApiError {
    ApiError::forbidden("tenant_forbidden", "the token does not have this tenant")
}
