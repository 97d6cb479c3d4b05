//! Many readers of streams in a few threads: each connection is decoded far enough to know that nothing is missing.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::http::find;

/// Longest wait until all have what they are to have.
const PATIENCE: Duration = Duration::from_secs(60);
/// What one read takes at most.
const READ_BYTES: usize = 256 << 10;
/// Connections opened at once; more would not fit into the queue of those not yet accepted.
const OPENING: usize = 64;

/// How a reader listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wire {
    /// Server-sent events.
    Sse,
    /// WebSocket, one room of all events.
    Ws,
}

impl Wire {
    /// The name in the tables.
    pub const fn name(self) -> &'static str {
        match self {
            Wire::Sse => "SSE",
            Wire::Ws => "WebSocket",
        }
    }
}

/// What one reader has had since it listens.
#[derive(Default)]
pub struct Had {
    /// Events.
    pub events: AtomicU64,
    /// Bytes of their messages.
    bytes: AtomicU64,
}

/// Readers that are listening.
pub struct Watchers {
    had: Vec<Arc<Had>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
    clock: Option<Clock>,
}

/// When each event is sent off, and how long each reader has waited for it.
#[derive(Clone)]
pub struct Clock {
    begin: Instant,
    sent_ns: Arc<Vec<AtomicU64>>,
    delays_ns: Arc<Mutex<Vec<u64>>>,
}

impl Clock {
    /// For so many events.
    pub fn new(events: usize) -> Self {
        Clock {
            begin: Instant::now(),
            sent_ns: Arc::new((0..events).map(|_| AtomicU64::new(0)).collect()),
            delays_ns: Arc::default(),
        }
    }

    /// Event `number` has arrived at a reader now.
    fn arrive(&self, number: u64) {
        let now = self.begin.elapsed().as_nanos() as u64;
        if let Some(sent) = self.sent_ns.get(number as usize) {
            let delay = now.saturating_sub(sent.load(Ordering::Acquire));
            let mut delays = self.delays_ns.lock().unwrap_or_else(PoisonError::into_inner);
            delays.push(delay);
        }
    }

    /// Event `number` is sent off now.
    pub fn send(&self, number: usize) {
        let now = self.begin.elapsed().as_nanos() as u64;
        self.sent_ns[number].store(now, Ordering::Release);
    }
}

impl Watchers {
    /// Opens `count` readers of everything from now on, in `threads` threads. With a clock each arrival is timed.
    pub fn open(
        (address, token): (SocketAddr, &str),
        (wire, count, threads): (Wire, usize, usize),
        clock: Option<&Clock>,
    ) -> Result<Self> {
        let had: Vec<Arc<Had>> = (0..count).map(|_| Arc::default()).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let (told, opened) = std::sync::mpsc::channel();
        let request = request(wire, address, token);
        let parts = had.chunks(count.div_ceil(threads));
        let threads = parts.map(|part| {
            let (part, stop, clock) = (part.to_vec(), stop.clone(), clock.cloned());
            let (request, told) = (request.clone(), told.clone());
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                runtime.block_on(read_all((address, request, wire), part, (stop, clock), told))
            })
        });
        let threads: Vec<_> = threads.collect();
        drop(told);
        for _ in 0..count {
            opened
                .recv_timeout(PATIENCE)
                .context("a reader could not be opened")?;
        }
        Ok(Watchers {
            had,
            stop,
            threads,
            clock: clock.cloned(),
        })
    }

    /// Waits until every reader has had `events` events, and sees that all had the same bytes. Gives these bytes.
    pub fn wait_for(&self, events: u64) -> Result<u64> {
        let from = Instant::now();
        loop {
            let least = self
                .had
                .iter()
                .map(|had| had.events.load(Ordering::Acquire))
                .min();
            if least.unwrap_or_default() >= events {
                break;
            }
            ensure!(
                from.elapsed() < PATIENCE,
                "a reader has {least:?} of {events} events"
            );
            std::thread::sleep(Duration::from_micros(500));
        }
        let first = self.had.first().context("no reader")?;
        let bytes = first.bytes.load(Ordering::Acquire);
        for had in &self.had {
            ensure!(
                had.events.load(Ordering::Acquire) == events,
                "a reader has more than {events} events"
            );
            ensure!(
                had.bytes.load(Ordering::Acquire) == bytes,
                "two readers had other bytes"
            );
        }
        Ok(bytes)
    }

    /// Ends them. Gives the delay of every arrival that was timed, in nanoseconds.
    pub fn close(self) -> Result<Vec<u64>> {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads {
            match thread.join() {
                Ok(ended) => ended?,
                Err(_) => bail!("a thread of readers panicked"),
            }
        }
        let delays = self.clock.map(|clock| {
            let mut delays = clock.delays_ns.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *delays)
        });
        Ok(delays.unwrap_or_default())
    }
}

fn request(wire: Wire, address: SocketAddr, token: &str) -> String {
    let head = format!("Host: {address}\r\nAuthorization: Bearer {token}\r\n");
    match wire {
        Wire::Sse => format!("GET /api/v1/stream?heartbeatMs=60000 HTTP/1.1\r\n{head}\r\n"),
        Wire::Ws => format!(
            "GET /api/v1/ws?heartbeatMs=60000 HTTP/1.1\r\n{head}Connection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: fastness.v1\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        ),
    }
}

/// `{"type":"subscribe:events","id":1}` as a text frame with a mask of zeros.
fn subscribe() -> Vec<u8> {
    let text = br#"{"type":"subscribe:events","id":1}"#;
    let mut frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(text);
    frame
}

async fn read_all(
    (address, request, wire): (SocketAddr, String, Wire),
    part: Vec<Arc<Had>>,
    (stop, clock): (Arc<AtomicBool>, Option<Clock>),
    told: std::sync::mpsc::Sender<()>,
) -> Result<()> {
    let mut readers = tokio::task::JoinSet::new();
    let request: Arc<str> = request.into();
    for some in part.chunks(OPENING) {
        let opening = some.iter().map(|had| open(address, &request, wire, had.clone()));
        for opened in futures_util::future::join_all(opening).await {
            let (socket, decoder) = opened?;
            readers.spawn(read(socket, decoder, clock.clone()));
            told.send(())?;
        }
    }
    while !stop.load(Ordering::Acquire) {
        tokio::time::sleep(Duration::from_millis(10)).await;
        if let Some(ended) = readers.try_join_next() {
            ended??;
            bail!("a stream ended by itself");
        }
    }
    readers.shutdown().await;
    Ok(())
}

thread_local! {
    /// One for all readers of a thread: what is read is decoded at once.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// Sends the request and reads the head of the answer, and the acknowledgement of a room.
async fn open(address: SocketAddr, request: &str, wire: Wire, had: Arc<Had>) -> Result<(TcpStream, Decoder)> {
    let mut socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    socket.write_all(request.as_bytes()).await?;
    let mut input = Vec::new();
    let end = loop {
        if let Some(at) = find(&input, b"\r\n\r\n") {
            break at + 4;
        }
        ensure!(socket.read_buf(&mut input).await? > 0, "closed before its head");
    };
    let wanted: &[u8] = match wire {
        Wire::Sse => b"HTTP/1.1 200",
        Wire::Ws => b"HTTP/1.1 101",
    };
    let head = String::from_utf8_lossy(&input[..end]).into_owned();
    ensure!(head.as_bytes().starts_with(wanted), "refused: {head}");
    let mut decoder = Decoder::new(wire, had);
    decoder.take(&input[end..], &mut |_| {})?;
    if wire == Wire::Ws {
        socket.write_all(&subscribe()).await?;
        while !decoder.is_acknowledged {
            let mut more = [0; 4_096];
            let count = socket.read(&mut more).await?;
            ensure!(count > 0, "closed before its room was open");
            decoder.take(&more[..count], &mut |_| {})?;
        }
    }
    Ok((socket, decoder))
}

async fn read(socket: TcpStream, mut decoder: Decoder, clock: Option<Clock>) -> Result<()> {
    loop {
        socket.readable().await?;
        let read = BUFFER.with_borrow_mut(|buffer| match socket.try_read(buffer) {
            Ok(0) => bail!("the server closed a stream"),
            Ok(count) => decoder.take(&buffer[..count], &mut |number| {
                if let Some(clock) = &clock {
                    clock.arrive(number);
                }
            }),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        });
        read?;
    }
}

/// The line with the length of a chunk, or the head of a frame.
const HEAD_BYTES_MAX: usize = 20;

/// Where the decoder is in what comes.
enum Part {
    /// Gathering the head of a chunk or a frame: so many bytes of it are there.
    Head([u8; HEAD_BYTES_MAX], usize),
    /// In its content, of which so much is to come; and whether an event ends with it.
    Content(u64),
    /// In the line end behind a chunk, of which so much is to come.
    Tail(u64),
}

/// One connection: how much has come, by chunks of HTTP or frames of WebSocket.
struct Decoder {
    wire: Wire,
    had: Arc<Had>,
    part: Part,
    /// SSE: the last byte was a line end. An event ends with two.
    at_line_end: bool,
    /// The server's own first message has come: `retry`, or the acknowledgement of the room.
    is_acknowledged: bool,
    /// WebSocket: the frame ends its message.
    is_final: bool,
}

impl Decoder {
    fn new(wire: Wire, had: Arc<Had>) -> Self {
        Decoder {
            wire,
            had,
            part: Part::Head([0; HEAD_BYTES_MAX], 0),
            at_line_end: false,
            is_acknowledged: false,
            is_final: false,
        }
    }

    /// Takes what came; `arrived` is called with the number of each event that is whole.
    fn take(&mut self, mut input: &[u8], arrived: &mut impl FnMut(u64)) -> Result<()> {
        while !input.is_empty() {
            match &mut self.part {
                Part::Head(head, length) => {
                    ensure!(*length < HEAD_BYTES_MAX, "a head without an end: {head:?}");
                    head[*length] = input[0];
                    *length += 1;
                    input = &input[1..];
                    let head = &head[..*length];
                    let length = match self.wire {
                        Wire::Sse => chunk_length(head)?,
                        Wire::Ws => frame_length(head)?,
                    };
                    if let Some(length) = length {
                        self.is_final = head[0] & 0x80 != 0;
                        self.part = Part::Content(length);
                    }
                }
                Part::Content(rest) => {
                    let count = (*rest).min(input.len() as u64);
                    let (content, behind) = input.split_at(count as usize);
                    *rest -= count;
                    let is_end = *rest == 0;
                    input = behind;
                    self.content(content, is_end, arrived);
                    if is_end {
                        self.part = match self.wire {
                            Wire::Sse => Part::Tail(2),
                            Wire::Ws => Part::Head([0; HEAD_BYTES_MAX], 0),
                        };
                    }
                }
                Part::Tail(rest) => {
                    input = &input[1..];
                    *rest -= 1;
                    if *rest == 0 {
                        self.part = Part::Head([0; HEAD_BYTES_MAX], 0);
                    }
                }
            }
        }
        Ok(())
    }

    fn content(&mut self, content: &[u8], is_end: bool, arrived: &mut impl FnMut(u64)) {
        let ended = match self.wire {
            Wire::Sse => self.blocks(content),
            Wire::Ws if !self.is_acknowledged => {
                self.is_acknowledged = is_end && self.is_final;
                return;
            }
            Wire::Ws => u64::from(is_end && self.is_final),
        };
        self.had.bytes.fetch_add(content.len() as u64, Ordering::Relaxed);
        let before = self.had.events.fetch_add(ended, Ordering::Release);
        (before..before + ended).for_each(arrived);
    }

    /// How many blocks end in a piece of a stream. The first is the server's own, `retry`.
    fn blocks(&mut self, content: &[u8]) -> u64 {
        let mut ended = 0;
        let mut from = 0;
        while let Some(at) = memchr::memchr(b'\n', &content[from..]) {
            let is_empty_line = if from + at == 0 { self.at_line_end } else { at == 0 };
            from += at + 1;
            if !is_empty_line {
                continue;
            }
            if self.is_acknowledged {
                ended += 1;
            }
            self.is_acknowledged = true;
        }
        if let Some(last) = content.last() {
            self.at_line_end = *last == b'\n';
        }
        ended
    }
}

/// The length of a chunk, once its line is whole.
fn chunk_length(head: &[u8]) -> Result<Option<u64>> {
    let Some(line) = head.strip_suffix(b"\r\n") else {
        return Ok(None);
    };
    let length = u64::from_str_radix(std::str::from_utf8(line)?, 16).context("no chunk")?;
    ensure!(length > 0, "the stream ended");
    Ok(Some(length))
}

/// The length of a frame from the server, once its head is whole.
fn frame_length(head: &[u8]) -> Result<Option<u64>> {
    let Some(short) = head.get(1) else { return Ok(None) };
    ensure!(
        matches!(head[0] & 0x0f, 0 | 1),
        "a frame that is no text: {head:?}"
    );
    Ok(match (short, head.len()) {
        (126, 4) => Some(u64::from(u16::from_be_bytes([head[2], head[3]]))),
        (127, 10) => head[2..].try_into().ok().map(u64::from_be_bytes),
        (0..=125, 2) => Some(u64::from(*short)),
        _ => None,
    })
}
