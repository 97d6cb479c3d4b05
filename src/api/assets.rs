//! The console's files at `/`, and what no route answers. The files come from whoever carries them.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use super::Api;
use super::error::ApiError;
use super::request::header_text;

/// What a page of the console may do: nothing but what comes from here.
pub const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types svelte-trusted-html";

/// One file, ready to be sent.
#[derive(Debug, Clone)]
pub struct Asset {
    /// The bytes, in the encoding below.
    pub bytes: Cow<'static, [u8]>,
    /// For `Content-Type`.
    pub content_type: &'static str,
    /// For `Content-Encoding`.
    pub encoding: Option<&'static str>,
    /// The name changes with the content.
    pub fingerprinted: bool,
}

/// Finds a file by its path (`index.html` for an empty one) and the value of `Accept-Encoding`.
pub type FindAsset = fn(path: &str, accept_encoding: &str) -> Option<Asset>;

/// The prefixes that belong to the interface: a page never stands there.
const INTERFACE: [&str; 3] = ["/api/", "/openapi/", "/.well-known/"];

/// Answers what no route does: a file, the page that the console starts from, or that there is nothing.
pub async fn serve(State(api): State<Arc<Api>>, request: Request) -> Response {
    let path = request.uri().path();
    let nothing = || ApiError::not_found("resource").into_response();
    if INTERFACE.iter().any(|prefix| path.starts_with(prefix)) || path == "/api" {
        return nothing();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return ApiError::method_not_allowed().into_response();
    }
    let Some(find) = api.context.find_asset else {
        return nothing();
    };
    let accept = header_text(request.headers(), "accept-encoding").unwrap_or_default();
    // A path without an ending is a place inside the console.
    let is_place = path.rsplit('/').next().is_none_or(|last| !last.contains('.'));
    let found = find(path.trim_start_matches('/'), accept).or_else(|| is_place.then(|| find("", accept))?);
    found.map_or_else(nothing, answer)
}

fn answer(asset: Asset) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if let Some(encoding) = asset.encoding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    let keep = if asset.fingerprinted {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(PAGE_POLICY),
    );
    let bytes = match asset.bytes {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => Bytes::from(bytes),
    };
    (headers, Body::from(bytes)).into_response()
}
