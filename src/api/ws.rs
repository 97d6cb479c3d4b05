//! The WebSocket: who may open one, and the handshake (RFC 6455, section 4.2).
//!
//! `auth` has admitted the caller before. A browser lets any page open a WebSocket anywhere and sends its cookies along;
//! only the Origin tells where the page is from.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper_util::rt::TokioIo;
use sha1::{Digest as _, Sha1};

use super::Api;
use super::auth::Caller;
use super::connection::{Guarded, Handover};
use super::error::ApiError;
use super::hold::{Hold, heartbeat};
use super::request::{Query, header_text};
use super::ws_session::Session;
use super::ws_socket::Socket;
use crate::stream::Rooms;

/// The one protocol spoken here.
const PROTOCOL: &str = "fastness.v1";
/// Said with the client's key, shows that the server speaks RFC 6455.
const ACCEPT_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Events, output and progress over one WebSocket, by rooms. `docs/streams.md` tells the messages.
#[utoipa::path(get, path = "/api/v1/ws", tag = "streams",
    params(("heartbeatMs" = Option<u64>, Query), ("Sec-WebSocket-Protocol" = String, Header, description = "fastness.v1"),
        ("Origin" = Option<String>, Header, description = "Where there is one, that of this server")),
    responses((status = 101, description = "The connection is a WebSocket from here on")))]
pub async fn open(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Extension(handover): Extension<Handover>,
    mut query: Query,
    mut request: Request,
) -> Result<Response, ApiError> {
    let headers = request.headers();
    check_origin(headers)?;
    let key = match check_upgrade(&request) {
        Ok(key) => key,
        Err(NotUpgraded::Refused(error)) => return Err(error),
        Err(NotUpgraded::AskedOtherwise) => return Ok(upgrade_required()),
    };
    let accept = accept_of(key)?;
    let heart = heartbeat(&mut query)?;
    query.finish()?;
    let hold = Hold::new(&api, &caller);
    let tenant = caller.tenant()?.clone();
    let rooms = {
        let tenant = tenant.clone();
        api.blocking(move |api| Ok(Rooms::open((api.engine(), &api.hub), &tenant)?))
            .await?
    };
    let upgrade = hyper::upgrade::on(&mut request);
    let session = Session::new(&api, tenant, (hold, heart), rooms);
    handover.leave(Box::pin(async move {
        // None when the connection ended before its answer was sent.
        let Ok(upgraded) = upgrade.await else { return };
        match upgraded.downcast::<TokioIo<Guarded>>() {
            Ok(parts) => {
                let clock = session.clock();
                let socket = Socket::new(parts.io.into_inner(), &parts.read_buf, clock).await;
                session.run(socket).await;
            }
            Err(_) => tracing::error!("an upgraded connection is not of the server's kind"),
        }
    }));
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("Upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
        (header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL)),
    ];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

/// A page's Origin must be this server as the page itself reached it. Programs send none.
fn check_origin(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else {
        return Ok(());
    };
    let authority = origin.to_str().ok().and_then(|origin| {
        let stripped = origin.strip_prefix("http://");
        stripped.or_else(|| origin.strip_prefix("https://"))
    });
    let is_ours = authority
        .zip(header_text(headers, "host"))
        .is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host));
    if is_ours && origins.next().is_none() {
        return Ok(());
    }
    let detail = "the page that opens this WebSocket is not from this server";
    Err(ApiError::forbidden("origin_not_allowed", detail))
}

/// Why there is no upgrade.
enum NotUpgraded {
    /// It does not ask for the version of the protocol that is spoken here, or for none.
    AskedOtherwise,
    Refused(ApiError),
}

/// The client's key, when its request is a handshake.
fn check_upgrade(request: &Request) -> Result<&HeaderValue, NotUpgraded> {
    let headers = request.headers();
    if request.method() != Method::GET {
        return Err(NotUpgraded::Refused(ApiError::method_not_allowed()));
    }
    let is_asked = request.version() == Version::HTTP_11
        && has_item(headers, &header::CONNECTION, "upgrade")
        && has_item(headers, &header::UPGRADE, "websocket")
        && header_text(headers, "sec-websocket-version") == Some("13");
    if !is_asked {
        return Err(NotUpgraded::AskedOtherwise);
    }
    // What follows an upgrade is frames: a body before them could not be told from these.
    let has_body = headers.contains_key(header::TRANSFER_ENCODING)
        || headers
            .get(header::CONTENT_LENGTH)
            .is_some_and(|length| length.as_bytes() != b"0");
    if has_body {
        let refusal = ApiError::malformed("body_unexpected", "an upgrade has no body");
        return Err(NotUpgraded::Refused(refusal));
    }
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let mut offered = offered
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    if !offered.any(|name| name.trim() == PROTOCOL) {
        let detail = format!("Sec-WebSocket-Protocol must name {PROTOCOL}");
        let refusal = ApiError::malformed("subprotocol_required", detail);
        return Err(NotUpgraded::Refused(refusal));
    }
    headers
        .get(header::SEC_WEBSOCKET_KEY)
        .ok_or_else(|| NotUpgraded::Refused(bad_key()))
}

/// Whether a header that is a list holds an item, in any case.
fn has_item(headers: &HeaderMap, name: &HeaderName, item: &str) -> bool {
    let values = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(item))
}

fn upgrade_required() -> Response {
    let detail = "this is a WebSocket of version 13";
    let error = ApiError::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", detail);
    let headers = [
        (header::CONNECTION, "Upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_VERSION, "13"),
    ];
    (headers, error).into_response()
}

fn bad_key() -> ApiError {
    ApiError::malformed(
        "invalid_handshake",
        "Sec-WebSocket-Key must be 16 bytes in base64",
    )
}

/// What the client is answered to its key.
fn accept_of(key: &HeaderValue) -> Result<HeaderValue, ApiError> {
    if STANDARD.decode(key.as_bytes()).map_or(0, |bytes| bytes.len()) != 16 {
        return Err(bad_key());
    }
    let digest = Sha1::new()
        .chain_update(key.as_bytes())
        .chain_update(ACCEPT_GUID)
        .finalize();
    HeaderValue::from_str(&STANDARD.encode(digest)).map_err(|error| ApiError::internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_rfc_is_answered_as_there() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept_of(&key).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        for bad in ["", "dGhlIHNhbXBsZQ==", "?"] {
            let error = accept_of(&HeaderValue::from_static(bad)).unwrap_err();
            assert_eq!(error.code(), "invalid_handshake", "{bad:?}");
        }
    }

    #[test]
    fn only_the_server_itself_is_an_origin() {
        for (origin, host, is_ours) in [
            (Some("http://127.0.0.1:7420"), "127.0.0.1:7420", true),
            (Some("https://LOCALHOST:7420"), "localhost:7420", true),
            (Some("http://[::1]:7420"), "[::1]:7420", true),
            (None, "localhost", true),
            (Some("http://localhost:7421"), "localhost:7420", false),
            (
                Some("http://localhost.evil.example:7420"),
                "localhost:7420",
                false,
            ),
            (Some("null"), "localhost:7420", false),
            (Some("file://"), "localhost:7420", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            assert_eq!(check_origin(&headers).is_ok(), is_ours, "{origin:?} at {host}");
        }
    }
}
