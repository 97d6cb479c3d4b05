//! A receiver of webhooks: a server that does nothing for itself, records what comes and answers as it is told.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver as Channel, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::appliance::ANSWER_MAX;

/// One request.
#[derive(Debug, Clone)]
pub struct Received {
    pub line: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Received {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("no {name}: {self:?}"))
    }

    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }

    /// What is signed.
    pub fn signed(&self) -> Vec<u8> {
        let head = format!("{}.{}.", self.id(), self.header("webhook-timestamp"));
        [head.as_bytes(), &self.body].concat()
    }
}

/// How a request is answered.
#[derive(Debug, Clone)]
pub enum Answer {
    Status(u16),
    /// With these header lines and this body.
    Full(u16, String, Vec<u8>),
    /// The first bytes, and then the others for ever.
    Endless(&'static str, &'static str),
    /// Nothing, for ever.
    Hang,
    /// The connection ends.
    Close,
}

type Plan = Arc<Mutex<Box<dyn FnMut(&Received) -> Answer + Send>>>;

pub struct Receiver {
    pub address: SocketAddr,
    plan: Plan,
    came: Channel<Received>,
    open: Arc<AtomicUsize>,
}

impl Receiver {
    /// Takes everything.
    pub fn start() -> Self {
        Receiver::answering(|_| Answer::Status(204))
    }

    pub fn answering(plan: impl FnMut(&Received) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let plan: Plan = Arc::new(Mutex::new(Box::new(plan)));
        let (tell, came) = sync_channel(100_000);
        let shared = plan.clone();
        let open = Arc::new(AtomicUsize::new(0));
        let counted = open.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let (plan, tell, open) = (shared.clone(), tell.clone(), counted.clone());
                open.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    converse(socket, &plan, &tell);
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Receiver {
            address,
            plan,
            came,
            open,
        }
    }

    /// Answers the statuses one after the other, then 204 for ever.
    pub fn with_statuses(statuses: &[u16]) -> Self {
        let mut left: Vec<u16> = statuses.iter().rev().copied().collect();
        Receiver::answering(move |_| Answer::Status(left.pop().unwrap_or(204)))
    }

    pub fn set(&self, plan: impl FnMut(&Received) -> Answer + Send + 'static) {
        *self.plan.lock().unwrap() = Box::new(plan);
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    pub fn url(&self) -> String {
        format!("http://{}/hooks?from=fastness", self.address)
    }

    #[track_caller]
    pub fn next(&self) -> Received {
        let came = self.came.recv_timeout(ANSWER_MAX);
        came.expect("a request comes")
    }

    #[track_caller]
    pub fn take(&self, count: usize) -> Vec<Received> {
        (0..count).map(|_| self.next()).collect()
    }

    /// What has come and was not taken.
    pub fn pending(&self) -> Vec<Received> {
        self.came.try_iter().collect()
    }

    /// That nothing comes for a while.
    #[track_caller]
    pub fn is_quiet(&self) {
        match self.came.recv_timeout(Duration::from_millis(300)) {
            Err(RecvTimeoutError::Timeout) => {}
            other => panic!("{other:?} came"),
        }
    }
}

fn converse(socket: TcpStream, plan: &Plan, tell: &SyncSender<Received>) {
    let mut reader = BufReader::new(socket.try_clone().unwrap());
    let mut writer = socket;
    while let Some(received) = read(&mut reader) {
        let answer = (plan.lock().unwrap())(&received);
        if tell.send(received).is_err() {
            return;
        }
        let (status, headers, body) = match answer {
            Answer::Status(status) => (status, String::new(), Vec::new()),
            Answer::Full(status, headers, body) => (status, headers, body),
            Answer::Endless(first, again) => {
                let mut sent = writer.write_all(first.as_bytes());
                while sent.is_ok() {
                    sent = writer.write_all(again.as_bytes());
                }
                return;
            }
            Answer::Hang => {
                // Until the other side has enough of it.
                let _ = reader.read(&mut [0]);
                return;
            }
            Answer::Close => return,
        };
        let length = if status == 204 {
            String::new()
        } else {
            format!("content-length: {}\r\n", body.len())
        };
        let head = format!("HTTP/1.1 {status} X\r\n{length}{headers}\r\n");
        if writer.write_all(&[head.as_bytes(), &body].concat()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Received> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let headers: BTreeMap<String, String> = lines
        .iter()
        .skip(1)
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers.get("content-length")?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Received {
        line: lines.first()?.clone(),
        headers,
        body,
    })
}
