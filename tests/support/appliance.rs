//! A whole server in this process, on a port of its own, with a folder of its own; and a client that does nothing for
//! itself: what goes over the wire is what the test says.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fastness::api::{self, ApiContext, Asset, Bounds, Server};
use fastness::clock::{Clock, SystemClock};
use fastness::disk::{Disk, OsDisk};
use fastness::domain::command::{Command, CreateToken, Reply as Answered};
use fastness::domain::event::Actor;
use fastness::domain::token::Scope;
use fastness::domain::{Digest, TenantName, Timestamp, TokenId};
use fastness::egress::{Mode, Outlet};
use fastness::engine::{Handle, Setup, Trusted};
use fastness::journal::Options;
use fastness::output::Output;
use fastness::secrets::Secrets;
use fastness::trust::KeyFolder;
use fastness::webhooks::{Pace, Webhooks};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;

/// No answer may take longer: a test that waits for what never comes fails instead of hanging.
pub const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Receivers of webhooks are given up quickly, and come back at once.
pub const PACE: Pace = Pace {
    answer_ms: 20_000,
    retry_ms: 8,
    retry_ms_max: 64,
    failures_max: 6,
};

pub struct TestAppliance {
    pub engine: Handle,
    pub output: Arc<Output>,
    /// Its way out, to be sealed.
    pub outlet: Arc<Outlet>,
    pub address: SocketAddr,
    /// Every scope, tenant `default`.
    pub admin: String,
    pub runtime: Runtime,
    /// What the socket of a client takes in without being read; none is what the system has, which may be megabytes.
    pub receive_bytes_max: Option<u32>,
    /// How many persons approve an import.
    approvals: u32,
    server: Option<Server>,
    folder: Option<TempDir>,
    disk: Arc<dyn Disk>,
}

impl TestAppliance {
    pub fn start() -> Self {
        TestAppliance::with_bounds(Bounds::default())
    }

    pub fn with_bounds(bounds: Bounds) -> Self {
        TestAppliance::with(bounds, PACE)
    }

    pub fn with_pace(pace: Pace) -> Self {
        TestAppliance::with(Bounds::default(), pace)
    }

    /// One where so many persons approve an import, and a work order before it starts.
    pub fn asking(approvals: u32) -> Self {
        TestAppliance::first(tempfile::tempdir().unwrap(), (Bounds::default(), PACE), approvals)
    }

    /// One whose engine writes through a disk of the test.
    pub fn on_disk(disk: Arc<dyn Disk>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        TestAppliance::open_on(disk, folder, (Bounds::default(), PACE), 0).with_first_tenant()
    }

    /// Another one with the keys of this: the same enclave by name, with another history.
    pub fn twin(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        std::fs::create_dir(&keys).unwrap();
        for file in files(&self.folder().join("keys")) {
            std::fs::copy(&file, keys.join(file.file_name().unwrap())).unwrap();
        }
        TestAppliance::first(folder, (Bounds::default(), PACE), 0)
    }

    fn with(bounds: Bounds, pace: Pace) -> Self {
        TestAppliance::first(tempfile::tempdir().unwrap(), (bounds, pace), 0)
    }

    fn first(folder: TempDir, patience: (Bounds, Pace), approvals: u32) -> Self {
        TestAppliance::open_on(Arc::new(OsDisk), folder, patience, approvals).with_first_tenant()
    }

    fn with_first_tenant(mut self) -> Self {
        self.create_tenant("default");
        self.admin = self.token("admin", Scope::ALL, &["default"]);
        self
    }

    /// Stops everything and starts it again in the same folder.
    pub fn restart(self) -> Self {
        self.restart_after(|_| {})
    }

    /// The same, with something done to the folder meanwhile.
    pub fn restart_after(mut self, meanwhile: impl FnOnce(&Path)) -> Self {
        self.stop_server(Duration::from_millis(100));
        self.engine.stop().unwrap();
        meanwhile(self.folder());
        let (folder, approvals) = (self.folder.take().unwrap(), self.approvals);
        let disk = self.disk.clone();
        let mut again = TestAppliance::open_on(disk, folder, (Bounds::default(), PACE), approvals);
        again.admin.clone_from(&self.admin);
        again
    }

    fn open_on(disk: Arc<dyn Disk>, folder: TempDir, (bounds, pace): (Bounds, Pace), approvals: u32) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let mut random = |bytes: &mut [u8]| clock.fill_random(bytes);
        let keys =
            KeyFolder::open_or_create(disk.as_ref(), &folder.path().join("keys"), &mut random).unwrap();
        let setup = Setup {
            dir: folder.path().to_owned(),
            disk: disk.clone(),
            clock,
            keys: Arc::new(keys),
            trusted: Trusted::Yes,
            journal: Options::default(),
        };
        let (engine, _) = Handle::start(setup).unwrap();
        let output = Output::open(folder.path().join("output"), disk.clone()).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let outlet = Arc::new(Outlet::new(Mode::Open));
        let server = {
            let _inside = runtime.enter();
            let find = |path: &str, accept: &str| {
                fastness::console::find(path, accept).map(|asset| Asset {
                    bytes: asset.bytes,
                    content_type: asset.content_type,
                    encoding: asset.encoding,
                    fingerprinted: asset.fingerprinted,
                })
            };
            let secrets = Secrets::new(folder.path().join("secrets"), Arc::new(OsDisk));
            let webhooks = Webhooks::open(&engine, &disk, &folder.path().join("webhooks")).unwrap();
            let context = ApiContext::new(engine.clone(), output.clone(), (secrets, webhooks), address)
                .with_outlet(outlet.clone(), pace)
                .with_assets(find)
                .with_import_approvals(approvals)
                .with_order_approvers(approvals)
                .with_bounds(bounds);
            api::serve(listener, context).unwrap()
        };
        TestAppliance {
            engine,
            output,
            outlet,
            address,
            admin: String::new(),
            runtime,
            receive_bytes_max: None,
            approvals,
            server: Some(server),
            folder: Some(folder),
            disk,
        }
    }

    /// Its data folder.
    pub fn folder(&self) -> &Path {
        self.folder.as_ref().unwrap().path()
    }

    pub fn create_tenant(&self, name: &str) {
        let name = name.parse().unwrap();
        self.command(&TenantName::system(), Command::CreateTenant { name });
    }

    /// The secret of a new token.
    pub fn token(&self, person: &str, scopes: &[Scope], tenants: &[&str]) -> String {
        self.token_until(person, scopes, tenants, None).0
    }

    pub fn token_until(
        &self,
        person: &str,
        scopes: &[Scope],
        tenants: &[&str],
        expires_at: Option<Timestamp>,
    ) -> (String, TokenId) {
        let secret = format!("secret-of-{person}-{}", self.engine.clock().entropy());
        let command = Command::CreateToken(Box::new(CreateToken {
            expires_at,
            name: person.to_owned(),
            person: person.to_owned(),
            scopes: scopes.to_vec(),
            secret_sha256: Digest::of(secret.as_bytes()),
            tenants: tenants.iter().map(|name| name.parse().unwrap()).collect(),
        }));
        let Answered::Token(token) = self.command(&TenantName::system(), command) else {
            panic!("a token is answered")
        };
        (secret, token.id)
    }

    pub fn command(&self, tenant: &TenantName, command: Command) -> Answered {
        let actor = Actor::system("test");
        self.runtime
            .block_on(self.engine.submit(tenant, &actor, command))
            .unwrap()
            .reply
    }

    pub fn connect(&self) -> TcpStream {
        let socket = match self.receive_bytes_max {
            None => TcpStream::connect(self.address).unwrap(),
            Some(bytes) => self.connect_narrow(bytes),
        };
        socket.set_read_timeout(Some(ANSWER_MAX)).unwrap();
        socket
    }

    /// The standard library sets no such size, tokio does.
    pub fn connect_narrow(&self, receive_bytes_max: u32) -> TcpStream {
        let opening = async {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(receive_bytes_max).unwrap();
            socket.connect(self.address).await.unwrap()
        };
        let socket = self.runtime.block_on(opening).into_std().unwrap();
        socket.set_nonblocking(false).unwrap();
        socket
    }

    /// Sends a request and reads the whole answer.
    pub fn send(&self, asked: &Ask<'_>) -> Reply {
        let mut socket = self.connect();
        socket.write_all(&asked.bytes(self.address)).unwrap();
        Reply::read(BufReader::new(socket))
    }

    pub fn get(&self, path: &str) -> Reply {
        self.send(&Ask::get(path).token(&self.admin))
    }

    /// One figure of the metrics, with its labels.
    pub fn figure(&self, name: &str) -> f64 {
        let metrics = String::from_utf8(self.get("/metrics").body).unwrap();
        let figure = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let figure = figure.unwrap_or_else(|| panic!("no {name}: {metrics}"));
        figure.parse().unwrap()
    }

    pub fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Reply {
        self.send(&Ask::post(path, body.as_ref()).token(&self.admin))
    }

    /// Opens a stream of server-sent events.
    pub fn stream(&self, asked: &Ask<'_>) -> EventStream {
        let mut socket = self.connect();
        socket.write_all(&asked.bytes(self.address)).unwrap();
        EventStream::open(BufReader::new(socket))
    }

    pub fn follow(&self, path: &str) -> EventStream {
        self.stream(&Ask::get(path).token(&self.admin))
    }

    pub fn stop_server(&mut self, deadline: Duration) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.stop(deadline));
        }
    }
}

impl Drop for TestAppliance {
    fn drop(&mut self) {
        self.stop_server(Duration::from_millis(100));
        let _ = self.engine.stop();
    }
}

/// A request.
#[derive(Clone)]
pub struct Ask<'a> {
    method: &'a str,
    path: &'a str,
    headers: Vec<(String, String)>,
    body: &'a [u8],
}

impl<'a> Ask<'a> {
    pub fn new(method: &'a str, path: &'a str, body: &'a [u8]) -> Self {
        let headers = Vec::new();
        Ask {
            method,
            path,
            headers,
            body,
        }
    }

    pub fn get(path: &'a str) -> Self {
        Ask::new("GET", path, b"")
    }

    pub fn post(path: &'a str, body: &'a [u8]) -> Self {
        Ask::new("POST", path, body).header("content-type", "application/json")
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same header once more.
    pub fn also(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn token(self, secret: &str) -> Self {
        self.header("authorization", &format!("Bearer {secret}"))
    }

    pub fn bytes(&self, address: SocketAddr) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        let mut headers = self.headers.clone();
        if !headers.iter().any(|(name, _)| name == "host") {
            headers.push(("host".to_owned(), address.to_string()));
        }
        if !self.body.is_empty() || self.method != "GET" {
            headers.push(("content-length".to_owned(), self.body.len().to_string()));
        }
        headers.push(("connection".to_owned(), "close".to_owned()));
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        [head.as_bytes(), self.body].concat()
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn read(mut reader: impl BufRead) -> Reply {
        let (status, headers) = read_head(&mut reader);
        let mut body = Vec::new();
        let is_chunked = headers.contains(&("transfer-encoding".to_owned(), "chunked".to_owned()));
        if is_chunked {
            while let Some(chunk) = read_chunk(&mut reader) {
                body.extend(chunk);
            }
        } else {
            // A peer that is refused early may see its connection reset behind the answer.
            let _ = reader.read_to_end(&mut body);
        }
        Reply {
            status,
            headers,
            body,
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The answer's JSON, which must be of this status.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        if self.body.is_empty() {
            Value::Null
        } else {
            self.json()
        }
    }

    /// The code of a problem, which must be of this status.
    #[track_caller]
    pub fn problem(&self, status: u16) -> String {
        let problem = self.expect(status);
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(problem["status"], status);
        assert_eq!(problem["traceId"].as_str().map(str::len), Some(32), "{problem}");
        problem["code"].as_str().unwrap().to_owned()
    }
}

fn read_head(reader: &mut impl BufRead) -> (u16, Vec<(String, String)>) {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let status = lines
        .first()
        .and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let headers = lines.iter().skip(1).filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    (status.expect("an answer has a status"), headers.collect())
}

/// The next chunk; none at the end, or when the connection was cut.
fn read_chunk(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let size = usize::from_str_radix(line.trim_end(), 16).ok()?;
    let mut chunk = vec![0; size + 2];
    reader.read_exact(&mut chunk).ok()?;
    chunk.truncate(size);
    (size > 0).then_some(chunk)
}

/// One message of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub id: Option<String>,
    pub event: String,
    pub data: String,
}

impl Message {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }
}

/// A stream of server-sent events, read message by message.
pub struct EventStream {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    reader: BufReader<TcpStream>,
    buffer: Vec<u8>,
}

impl EventStream {
    fn open(mut reader: BufReader<TcpStream>) -> Self {
        let (status, headers) = read_head(&mut reader);
        let buffer = Vec::new();
        EventStream {
            status,
            headers,
            reader,
            buffer,
        }
    }

    /// The next message that has an event; none at the end of the stream.
    pub fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let text = String::from_utf8(self.buffer.drain(..end + 2).collect()).unwrap();
                if let Some(message) = parse(&text) {
                    return Some(message);
                }
                continue;
            }
            let chunk = read_chunk(&mut self.reader)?;
            self.buffer.extend(chunk);
        }
    }

    /// The next message that is no heartbeat.
    pub fn next_event(&mut self) -> Option<Message> {
        loop {
            let message = self.next()?;
            if message.event != "heartbeat" {
                return Some(message);
            }
        }
    }

    /// All messages up to the end of the stream, without heartbeats.
    pub fn rest(&mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.next_event()).collect()
    }
}

fn parse(text: &str) -> Option<Message> {
    let field = |name: &str| {
        let prefix = format!("{name}: ");
        text.lines()
            .find_map(|line| line.strip_prefix(&prefix).map(str::to_owned))
    };
    Some(Message {
        id: field("id"),
        event: field("event")?,
        data: field("data").unwrap_or_default(),
    })
}

/// Every file below a folder.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}
