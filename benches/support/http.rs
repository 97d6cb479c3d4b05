//! One keep-alive connection that speaks as much HTTP/1.1 as the servers here answer: heads with a Content-Length.
//!
//! It is small so that the generator, which shares the cores with the server, costs little.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// Longest wait for an answer. A claim waits less.
const ANSWER_WAIT: Duration = Duration::from_secs(40);

/// One connection. An answer is taken before the next request is sent.
pub struct Connection {
    stream: TcpStream,
    /// Behind the request line: host, token, type.
    head: String,
    out: Vec<u8>,
    input: Vec<u8>,
    /// How much of `input` is filled.
    filled: usize,
}

impl Connection {
    /// Connects, and shows `token` with each request.
    pub fn open(address: SocketAddr, token: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WAIT))?;
        let head = format!(
            " HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: "
        );
        Ok(Connection {
            stream,
            head,
            out: Vec::with_capacity(1024),
            input: vec![0; 16 << 10],
            filled: 0,
        })
    }

    /// Sends a request and reads its answer, which is to be a success.
    pub fn call(&mut self, method: &str, path: &str, body: &[u8]) -> Result<&[u8]> {
        self.send(method, path, body)?;
        self.receive()
    }

    /// Sends a request.
    pub fn send(&mut self, method: &str, path: &str, body: &[u8]) -> Result<()> {
        self.out.clear();
        for piece in [method, " ", path, self.head.as_str()] {
            self.out.extend_from_slice(piece.as_bytes());
        }
        write!(self.out, "{}\r\n\r\n", body.len())?;
        self.out.extend_from_slice(body);
        self.stream.write_all(&self.out).context("sending a request")
    }

    /// Reads the answer to the request sent last, which is to be a success; returns its body.
    pub fn receive(&mut self) -> Result<&[u8]> {
        self.filled = 0;
        let head_bytes = loop {
            self.fill()?;
            if let Some(end) = find(&self.input[..self.filled], b"\r\n\r\n") {
                break end + 4;
            }
        };
        let head = std::str::from_utf8(&self.input[..head_bytes]).context("an answer's head is not text")?;
        let is_good = head.as_bytes().get(9) == Some(&b'2');
        let length = content_length(head).with_context(|| format!("no Content-Length in {head}"))?;
        let end = head_bytes + length;
        while self.filled < end {
            self.fill()?;
        }
        ensure!(self.filled == end, "an answer goes on behind its end");
        if !is_good {
            bail!("refused: {}", String::from_utf8_lossy(&self.input[..end]));
        }
        Ok(&self.input[head_bytes..end])
    }

    fn fill(&mut self) -> Result<()> {
        if self.filled == self.input.len() {
            self.input.resize(self.filled * 2, 0);
        }
        let read = self
            .stream
            .read(&mut self.input[self.filled..])
            .context("reading an answer")?;
        ensure!(read > 0, "the server closed the connection");
        self.filled += read;
        Ok(())
    }
}

fn content_length(head: &str) -> Option<usize> {
    head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    })
}

/// Where `part` first stands in `bytes`.
pub fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    let first = *part.first()?;
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == first) {
        if bytes[from + at..].starts_with(part) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// How often `part` stands in `bytes`.
pub fn count(bytes: &[u8], part: &[u8]) -> usize {
    let (mut from, mut found) = (0, 0);
    while let Some(at) = find(&bytes[from..], part) {
        from += at + part.len();
        found += 1;
    }
    found
}
