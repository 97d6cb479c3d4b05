//! The accept loop: bounded connections, bounded times, one set of rules around every request, and an orderly end.
//!
//! The stock loop would leave silent and dripping connections open for ever.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener as BoundListener;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, Version, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tower::ServiceExt;

use super::body;
use super::connection::{Guarded, Handover, Leash};
use super::error::{self, ApiError};
use super::hold::Held;
use super::request::{BodyPatience, header_text};
use super::{Api, ApiContext, router};
use crate::egress::Mode;
use crate::limits;

/// Pause after a failed accept: when descriptors run out, trying again at once burns a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Answer of one connection too many, before anything of it is read.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
/// What a browser may do with an answer of the interface: nothing.
const ANSWER_POLICY: &str = "default-src 'none'; frame-ancestors 'none'; sandbox";

/// How many peers there may be, and how long each may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Connections held at once.
    pub connections: usize,
    /// To send a request's head; also how long a connection may be idle.
    pub head: Duration,
    /// To send a JSON body.
    pub body: Duration,
    /// To take something of an answer that waits.
    pub stall: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            connections: limits::CONNECTIONS_MAX,
            head: Duration::from_millis(limits::HEAD_READ_MS_MAX),
            body: Duration::from_millis(limits::BODY_READ_MS_MAX),
            stall: Duration::from_millis(limits::STREAM_STALL_MS),
        }
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    api: Arc<Api>,
    accepting: JoinHandle<()>,
    /// The deadline for open requests, once the end was asked for.
    deadline: watch::Sender<Option<Duration>>,
}

/// Serves on a listener that is already bound. Must be called within a runtime.
///
/// # Errors
/// When the listener cannot be used.
pub fn serve(listener: BoundListener, context: ApiContext) -> io::Result<Server> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let api = Api::new(context);
    let (deadline, ending) = watch::channel(None);
    let acceptor = Acceptor {
        router: router(&api)?,
        api: api.clone(),
        places: Arc::new(Semaphore::new(places(api.context.bounds.connections))),
        connections: JoinSet::new(),
        ending,
    };
    Ok(Server {
        api,
        accepting: tokio::spawn(acceptor.run(listener)),
        deadline,
    })
}

/// How many connections the system leaves room for, at most `wanted`: each takes a file of the process. Raises the soft
/// limit as far as that needs, for the steps of the local runner too; the hard one is the operator's.
fn places(wanted: usize) -> usize {
    let wanted_files = wanted.saturating_add(limits::FILES_RESERVED) as u64;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted_files) {
        let raised = limit.maximum.map_or(wanted_files, |hard| wanted_files.min(hard));
        let soft = Rlimit {
            current: Some(raised),
            ..limit
        };
        match setrlimit(Resource::Nofile, soft) {
            Ok(()) => limit = soft,
            Err(error) => tracing::warn!(%error, "the limit of open files cannot be raised"),
        }
    }
    let places = limit.current.map_or(wanted, |files| room(files, wanted));
    if places < wanted {
        tracing::warn!(places, wanted, "open files are few: so are connections");
    }
    places
}

/// What `files` leave for connections: all but those kept back, or half where that is more.
fn room(files: u64, wanted: usize) -> usize {
    let reserved = limits::FILES_RESERVED as u64;
    let left = files.saturating_sub(reserved).max(files / 2);
    usize::try_from(left).map_or(wanted, |left| left.min(wanted))
}

impl Server {
    /// Takes no more connections, lets open requests end until `deadline`, then cuts them off. Streams end at once.
    pub async fn stop(self, deadline: Duration) {
        self.api.stopping.send_replace(true);
        self.deadline.send_replace(Some(deadline));
        if let Err(error) = self.accepting.await {
            tracing::error!(%error, "the accept loop did not end well");
        }
        // Last: what was still asked may have begun a delivery.
        self.api.webhooks().stop().await;
    }
}

struct Acceptor {
    router: Router,
    api: Arc<Api>,
    /// One for each connection.
    places: Arc<Semaphore>,
    connections: JoinSet<()>,
    ending: watch::Receiver<Option<Duration>>,
}

impl Acceptor {
    async fn run(mut self, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                _ = self.ending.wait_for(Option::is_some) => break,
                accepted = listener.accept() => accepted,
                Some(_) = self.connections.join_next() => continue,
            };
            match accepted {
                Ok((socket, _)) => self.take(socket),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        let deadline = self.ending.borrow().unwrap_or_default();
        let all = async { while self.connections.join_next().await.is_some() {} };
        if tokio::time::timeout(deadline, all).await.is_err() {
            tracing::warn!(open = self.connections.len(), "connections are cut off");
            self.connections.shutdown().await;
        }
    }

    fn take(&mut self, socket: TcpStream) {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            // Best effort: the peer may also just see the connection close.
            let _ = socket.try_write(FULL);
            return;
        };
        // Answers are written whole; waiting for more only delays them.
        let _ = socket.set_nodelay(true);
        // By itself the kernel lets it grow to megabytes: many who read nothing would cost memory, and time to fill it.
        let _ = set_socket_send_buffer_size(&socket, limits::SOCKET_SEND_BYTES);
        let (router, api, ending) = (self.router.clone(), self.api.clone(), self.ending.clone());
        self.connections.spawn(async move {
            converse(socket, router, api, ending).await;
            drop(place);
        });
    }
}

/// One connection, from its first byte to its last.
async fn converse(
    socket: TcpStream,
    router: Router,
    api: Arc<Api>,
    ending: watch::Receiver<Option<Duration>>,
) {
    let handover = Handover::default();
    answer_requests(socket, (router, api), ending, handover.clone()).await;
    if let Some(takeover) = handover.take() {
        takeover.await;
    }
}

async fn answer_requests(
    socket: TcpStream,
    (router, api): (Router, Arc<Api>),
    mut ending: watch::Receiver<Option<Duration>>,
    handover: Handover,
) {
    let bounds = api.context.bounds;
    let leash = Leash::default();
    let guarded = Guarded::new(socket, bounds.stall, leash.clone());
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (router, api) = (router.clone(), api.clone());
        let (handover, leash) = (handover.clone(), leash.clone());
        async move {
            leash.untie();
            let (mut request, rest) = body::watch(request);
            request.extensions_mut().insert(handover);
            let mut response = answer(&api, router, request).await;
            let held = response.extensions_mut().remove::<Held>();
            if let Some(hold) = held.and_then(|held| held.take()) {
                leash.tie(hold.revoked());
            }
            if !rest.lets_go_on().await {
                let headers = response.headers_mut();
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .max_buf_size(limits::CONNECTION_BUFFER_BYTES)
        .max_headers(limits::HEADER_FIELDS_MAX)
        .serve_connection(TokioIo::new(guarded), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended early");
            }
            return;
        }
        _ = ending.wait_for(Option::is_some) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// What goes for every request, around its handler.
async fn answer(api: &Api, router: Router, mut request: Request) -> Response {
    request
        .extensions_mut()
        .insert(BodyPatience(api.context.bounds.body));
    let from_ms = api.engine().clock().monotonic_ms();
    let given = trace_id(&request);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = match check(api, &request) {
        Ok(()) => router
            .oneshot(request)
            .await
            .unwrap_or_else(|never| match never {}),
        Err(refusal) => refusal.into_response(),
    };
    let status = response.status();
    // Drawn only when somebody sees it: the kernel is asked for each.
    let is_seen =
        status.is_client_error() || status.is_server_error() || tracing::enabled!(tracing::Level::DEBUG);
    let trace_id = match given {
        Some(given) => given,
        None if is_seen => drawn_trace_id(api),
        None => String::new(),
    };
    let ms = api.engine().clock().monotonic_ms().saturating_sub(from_ms);
    if status.is_server_error() {
        tracing::warn!(%method, path, status = status.as_u16(), ms, traceId = trace_id, "failed");
    } else {
        tracing::debug!(%method, path, status = status.as_u16(), ms, traceId = trace_id, "answered");
    }
    let mut response = error::finish(response, &trace_id);
    add_headers(api, &mut response);
    response
}

fn add_headers(api: &Api, response: &mut Response) {
    let is_sealed = match api.context.outlet.mode() {
        Mode::Open => "false",
        Mode::Sealed => "true",
    };
    let headers = response.headers_mut();
    let fixed = [
        (HeaderName::from_static("x-fastness-version"), api.context.version),
        (HeaderName::from_static("x-sealed-mode"), is_sealed),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, ANSWER_POLICY),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// What is refused before any route is looked for.
fn check(api: &Api, request: &Request) -> Result<(), ApiError> {
    let uri = request.uri();
    if uri.path_and_query().map_or(0, |text| text.as_str().len()) > limits::URI_BYTES_MAX {
        return Err(ApiError::uri_too_long(limits::URI_BYTES_MAX));
    }
    let headers = request.headers();
    let header_bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if header_bytes > limits::HEADER_BYTES_MAX {
        return Err(ApiError::headers_too_large(limits::HEADER_BYTES_MAX));
    }
    check_once(headers)?;
    check_host(api, request.version(), uri, header_text(headers, "host"))
}

/// Header fields that say one thing: said twice, it could not be told which was meant, and others on the way may have
/// looked at the other one.
const ONCE: [&str; 8] = [
    "authorization",
    "host",
    "idempotency-key",
    "if-match",
    "last-event-id",
    "x-fastness-csrf",
    "x-fastness-reason",
    "x-fastness-tenant",
];

fn check_once(headers: &HeaderMap) -> Result<(), ApiError> {
    let twice = ONCE
        .iter()
        .find(|name| headers.get_all(**name).iter().nth(1).is_some());
    twice.map_or(Ok(()), |name| {
        let detail = format!("the header {name} may be given once");
        Err(ApiError::malformed("duplicate_header", detail))
    })
}

/// A page from elsewhere may point its own name at this address; it cannot make the browser name us.
fn check_host(api: &Api, version: Version, uri: &Uri, host: Option<&str>) -> Result<(), ApiError> {
    let listen = api.context.address.ip();
    let is_ours = |authority: &str| {
        let name = host_of(authority);
        let as_ip = name.trim_start_matches('[').trim_end_matches(']');
        name.eq_ignore_ascii_case("localhost")
            || name == "127.0.0.1"
            || name == "[::1]"
            || as_ip.parse().is_ok_and(|ip: std::net::IpAddr| ip == listen)
    };
    let is_good = match host {
        Some(host) => is_ours(host),
        None => version == Version::HTTP_10,
    };
    let is_target_good = uri
        .authority()
        .is_none_or(|authority| is_ours(authority.as_str()));
    if is_good && is_target_good {
        return Ok(());
    }
    Err(ApiError::host_not_allowed())
}

/// The host without its port; nothing when it is neither.
fn host_of(authority: &str) -> &str {
    let end = match authority.find(']') {
        Some(bracket) if authority.starts_with('[') => bracket + 1,
        Some(_) => return "",
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(end);
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    match port.strip_prefix(':') {
        None if port.is_empty() => host,
        Some(port) if is_port(port) => host,
        _ => "",
    }
}

/// The trace that the caller is in (W3C Trace Context).
fn trace_id(request: &Request) -> Option<String> {
    let value = header_text(request.headers(), "traceparent")?;
    let mut parts = value.split('-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let good = version.len() == 2
        && version != "ff"
        && trace.len() == 32
        && is_hex(version)
        && is_hex(trace)
        && trace.bytes().any(|byte| byte != b'0');
    good.then(|| trace.to_owned())
}

fn drawn_trace_id(api: &Api) -> String {
    let clock = api.engine().clock();
    format!("{:016x}{:016x}", clock.entropy(), clock.entropy())
}

#[cfg(test)]
mod tests {
    use super::{host_of, room};

    #[test]
    fn a_host_is_what_stands_before_its_port_and_nothing_else() {
        for (authority, host) in [
            ("localhost", "localhost"),
            ("localhost:8420", "localhost"),
            ("[::1]:8420", "[::1]"),
            ("[::1]", "[::1]"),
            ("[::1]evil.example:80", ""),
            ("127.0.0.1]evil.example", ""),
            ("localhost:x@evil.example", ""),
            ("", ""),
        ] {
            assert_eq!(host_of(authority), host, "{authority}");
        }
    }

    #[test]
    fn few_files_leave_room_for_few_connections() {
        for (files, places) in [
            (0, 0),
            (1_024, 512),
            (2_048, 1_024),
            (4_096, 3_072),
            (13_311, 12_287),
            (13_312, 12_288),
            (u64::MAX, 12_288),
        ] {
            assert_eq!(room(files, 12_288), places, "{files} files");
        }
    }
}
