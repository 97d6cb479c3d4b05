//! The client of the interface: one request after the other over one connection, on one thread.
//!
//! Errors carry their exit code; a refusal is told in the server's own words. Tokens are taken from files or the
//! environment, never from the command line, where everybody could read them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Request, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::exit::{Exit, Failure};
use super::problem::Problem;
use super::read;
pub use crate::api::escaped;
use crate::egress::{self, Body, Channel, Target};
use crate::limits;

/// Which server, and as whom.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Server")]
pub struct Server {
    /// Address of the server
    #[arg(
        long,
        env = "FASTNESS_SERVER",
        value_name = "URL",
        default_value = "http://127.0.0.1:8420"
    )]
    server: String,
    /// File that holds the token [or the token itself in FASTNESS_TOKEN]
    #[arg(long, env = "FASTNESS_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<OsString>,
    /// Tenant, where the token has several
    #[arg(long, env = "FASTNESS_TENANT", value_name = "NAME")]
    tenant: Option<String>,
    /// Give up after this time, for example 30s; the exit code is then 124
    #[arg(long, value_name = "TIME", value_parser = read::duration)]
    timeout: Option<Duration>,
}

impl Server {
    /// A server that needs no more than this.
    pub fn new(server: &str, token_file: PathBuf, tenant: Option<String>) -> Self {
        let server = server.to_owned();
        Server {
            server,
            token_file: Some(token_file.into_os_string()),
            tenant,
            timeout: None,
        }
    }

    /// Which tenant was named.
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref().filter(|tenant| !tenant.is_empty())
    }

    fn token(&self) -> Result<Option<String>> {
        // A variable that is empty counts as one that is not set.
        let path = self
            .token_file
            .as_ref()
            .filter(|path| !path.is_empty())
            .map(Path::new);
        let Some(path) = path else {
            let given = std::env::var("FASTNESS_TOKEN").ok();
            return Ok(given.filter(|token| !token.is_empty()));
        };
        let bytes = read::file(path, limits::KEY_FILE_BYTES_MAX)?;
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        if text.is_empty() {
            return Err(Failure::usage(format!("{} holds no token", path.display())).into());
        }
        Ok(Some(text))
    }
}

/// Runs `work` with a client, until it ends, its time is over, or the operator interrupts it.
///
/// # Errors
/// What the work says; 124 when its time is over, 130 when it was interrupted.
pub fn online<W>(server: &Server, work: impl FnOnce(Client) -> W) -> Result<Exit>
where
    W: Future<Output = Result<Exit>>,
{
    let client = Client::new(server)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(async {
        let limit = async {
            match server.timeout {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = work(client) => ended,
            () = limit => Err(Failure::new(Exit::TimedOut, "the given time is over").into()),
            _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
        }
    });
    // A read of standard input that still waits must not hold the program.
    runtime.shutdown_background();
    ended
}

/// A client of one server.
#[derive(Debug)]
pub struct Client {
    target: Target,
    token: Option<HeaderValue>,
    tenant: Option<HeaderValue>,
    channel: Option<Channel>,
}

/// An answer, whole.
#[derive(Debug, Clone)]
pub struct Answer(pub Bytes);

impl Answer {
    /// Reads it as JSON.
    ///
    /// # Errors
    /// When it has another shape: a server of another version.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.0)
            .context("the server's answer has a shape that this version does not know")
    }
}

/// A request in the making.
#[derive(Debug)]
pub struct Ask {
    method: Method,
    path: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Option<Body>,
}

impl Ask {
    /// Reads what is at `path`.
    pub fn get(path: impl Into<String>) -> Self {
        Ask {
            method: Method::GET,
            path: path.into(),
            headers: Vec::new(),
            body: None,
        }
    }

    /// Posts a JSON body to `path`.
    ///
    /// # Errors
    /// When the body cannot be written.
    pub fn post(path: impl Into<String>, body: &impl Serialize) -> Result<Self> {
        Ok(Ask::post_bytes(
            path,
            "application/json",
            serde_json::to_vec(body)?.into(),
        ))
    }

    /// Posts bytes.
    pub fn post_bytes(path: impl Into<String>, media_type: &'static str, bytes: Bytes) -> Self {
        let body = Full::new(bytes).map_err(|never| match never {}).boxed_unsync();
        Ask::post_body(path, media_type, body)
    }

    /// Posts what a body brings.
    pub fn post_body(path: impl Into<String>, media_type: &'static str, body: Body) -> Self {
        let headers = vec![(hyper::header::CONTENT_TYPE, HeaderValue::from_static(media_type))];
        Ask {
            method: Method::POST,
            path: path.into(),
            headers,
            body: Some(body),
        }
    }

    /// Puts bytes at `path`.
    pub fn put_bytes(path: impl Into<String>, media_type: &'static str, bytes: Bytes) -> Self {
        Ask {
            method: Method::PUT,
            ..Ask::post_bytes(path, media_type, bytes)
        }
    }

    /// Puts what a body brings at `path`.
    pub fn put_body(path: impl Into<String>, media_type: &'static str, body: Body) -> Self {
        Ask {
            method: Method::PUT,
            ..Ask::post_body(path, media_type, body)
        }
    }

    /// Removes what is at `path`.
    pub fn delete(path: impl Into<String>) -> Self {
        Ask {
            method: Method::DELETE,
            ..Ask::get(path)
        }
    }

    /// Adds a header.
    ///
    /// # Errors
    /// When the value cannot stand in one.
    pub fn header(mut self, name: &'static str, value: &str) -> Result<Self> {
        let fits = HeaderValue::from_str(value);
        let value = fits.map_err(|_| Failure::usage(format!("{value:?} cannot be sent as {name}")))?;
        self.headers.push((HeaderName::from_static(name), value));
        Ok(self)
    }

    /// Adds a header whose value is sent in base64.
    ///
    /// # Errors
    /// Never, with base64.
    pub fn header_base64(self, name: &'static str, value: &[u8]) -> Result<Self> {
        self.header(name, &STANDARD.encode(value))
    }
}

impl Client {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// A server address that is not allowed; a token file that cannot be read.
    pub fn new(server: &Server) -> Result<Self> {
        let target: Target = server.server.parse()?;
        let as_header = |what: &str, text: String| {
            let fits = HeaderValue::from_str(&text);
            fits.map_err(|_| Failure::usage(format!("the {what} holds characters that no {what} has")))
        };
        let token = server
            .token()?
            .map(|token| as_header("token", format!("Bearer {token}")));
        let tenant = server
            .tenant()
            .map(|tenant| as_header("tenant", tenant.to_owned()));
        Ok(Client {
            target,
            token: token.transpose()?.map(|mut token| {
                token.set_sensitive(true);
                token
            }),
            tenant: tenant.transpose()?,
            channel: None,
        })
    }

    /// Where it connects to.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Asks, and reads the whole answer.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub async fn ask(&mut self, ask: Ask) -> Result<Answer> {
        let response = self.open(ask).await?;
        read_whole(response).await.map(Answer)
    }

    /// Reads JSON.
    ///
    /// # Errors
    /// No answer, a refusal, another shape.
    pub async fn get<T: DeserializeOwned>(&mut self, path: impl Into<String>) -> Result<T> {
        self.ask(Ask::get(path)).await?.json()
    }

    /// Asks, and gives the answer as it begins. It can be read as long as this client lives and asks nothing else.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub async fn open(&mut self, ask: Ask) -> Result<Response<Incoming>> {
        let has_body = ask.body.is_some();
        let request = self.request(ask)?;
        let mut channel = match self.channel.take().filter(Channel::is_open) {
            Some(channel) => channel,
            None => egress::open(&self.target).await?,
        };
        let sent = channel.send(request).await;
        let response = match sent {
            Ok(response) => response,
            Err(error) if has_body => {
                let message = format!("{error}; whether the server did it is not known");
                return Err(Failure::new(Exit::Unreachable, message).into());
            }
            Err(error) => return Err(error.into()),
        };
        self.channel = Some(channel);
        if response.status().is_success() {
            return Ok(response);
        }
        let is_server_fault = response.status().is_server_error();
        let status = response.status().to_string();
        let body = read_whole(response).await?;
        Err(Problem::read(&body, &status, is_server_fault).into_failure(self.token.is_some()))
    }

    /// The same server as the same person, over a connection of its own.
    pub fn another(&self) -> Self {
        let (target, token, tenant) = (self.target.clone(), self.token.clone(), self.tenant.clone());
        Client {
            target,
            token,
            tenant,
            channel: None,
        }
    }

    fn request(&self, ask: Ask) -> Result<Request<Body>> {
        let mut request = Request::builder().method(ask.method).uri(&ask.path);
        if let Some(headers) = request.headers_mut() {
            let authority = self.target.authority();
            headers.insert(hyper::header::HOST, HeaderValue::from_str(&authority)?);
            let agent = concat!("fastness/", env!("CARGO_PKG_VERSION"));
            headers.insert(hyper::header::USER_AGENT, HeaderValue::from_static(agent));
            if let Some(token) = &self.token {
                headers.insert(hyper::header::AUTHORIZATION, token.clone());
            }
            if let Some(tenant) = &self.tenant {
                headers.insert("x-fastness-tenant", tenant.clone());
            }
            headers.extend(ask.headers);
        }
        let empty = || Full::default().map_err(|never| match never {}).boxed_unsync();
        let body = ask.body.unwrap_or_else(empty);
        request
            .body(body)
            .with_context(|| format!("{} cannot be asked for", ask.path))
    }
}

async fn read_whole(response: Response<Incoming>) -> Result<Bytes> {
    let body = Limited::new(response.into_body(), limits::CLIENT_ANSWER_BYTES_MAX);
    match body.collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) => {
            let message = format!("the server's answer could not be read: {error}");
            Err(Failure::new(Exit::Unreachable, message).into())
        }
    }
}

/// A path with a query. Values are escaped, what is missing is left out.
pub fn with_query(path: &str, query: &[(&str, Option<String>)]) -> String {
    let mut out = path.to_owned();
    let mut mark = '?';
    for (name, value) in query {
        if let Some(value) = value {
            out.push(mark);
            out.push_str(name);
            out.push('=');
            out.push_str(&escaped(value));
            mark = '&';
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_leave_its_place_in_a_path() {
        let query = [
            ("a", Some("x&b=1 ü/%".to_owned())),
            ("none", None),
            ("c", Some("*".to_owned())),
        ];
        assert_eq!(with_query("/p", &query), "/p?a=x%26b%3D1%20%C3%BC%2F%25&c=%2A");
        assert_eq!(with_query("/p", &[]), "/p");
    }
}
