//! The load: clients that submit, workers that drain, one enqueuer that meets one waiting worker. Plain threads.
//!
//! Every answer is looked at: a job that was not made or not completed ends the measurement with an error.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use super::http::{Connection, count, find};

/// Clients of W1, each with a connection of its own.
pub const CLIENTS: usize = 64;
/// Connections that one thread serves in turn: 64 threads would spend the cores on switching.
const CONNECTIONS_PER_THREAD: usize = 8;
/// Workers of W2.
pub const WORKERS: usize = 8;
/// Pause before each enqueue of W2i, in which the worker's next claim arrives and the server falls idle.
const IDLE_PAUSE: Duration = Duration::from_millis(3);

/// Where the server is and what it asks for.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    pub address: SocketAddr,
    pub token: &'a str,
}

impl Target<'_> {
    /// One more connection.
    pub fn connect(&self) -> Result<Connection> {
        Connection::open(self.address, self.token)
    }
}

/// What a load came to.
pub struct Outcome {
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// Of each request.
    pub latencies_ns: Vec<u64>,
}

/// One job of about 200 bytes.
pub fn job(number: usize) -> String {
    format!(
        concat!(
            r#"{{"type":"bench.job","payload":{{"number":{:08},"image":"registry.plant.example/line-7/controller:4.2","#,
            r#""region":"north","checks":["config","firmware","licence"],"note":"measured, then thrown away"}}}}"#
        ),
        10_000_000 + number % 10_000_000
    )
}

/// Submits `jobs` jobs over [`CLIENTS`] connections, `batch` a request.
pub fn submit(target: Target<'_>, jobs: usize, batch: usize) -> Result<Outcome> {
    let threads = CLIENTS / CONNECTIONS_PER_THREAD;
    // Whole requests only: at least one for each connection.
    let requests = (jobs / batch).max(CLIENTS);
    let parts = (0..threads).map(|thread| {
        let share = requests * thread / threads..requests * (thread + 1) / threads;
        let connections = (0..CONNECTIONS_PER_THREAD).map(|_| target.connect());
        Ok((connections.collect::<Result<Vec<_>>>()?, share))
    });
    at_once(parts.collect::<Result<_>>()?, |(mut connections, share)| {
        submit_share(&mut connections, share, batch)
    })
}

/// The jobs that [`submit`] makes when it is asked for `jobs`.
pub fn jobs_submitted(jobs: usize, batch: usize) -> usize {
    (jobs / batch).max(CLIENTS) * batch
}

fn submit_share(connections: &mut [Connection], requests: Range<usize>, batch: usize) -> Result<Vec<u64>> {
    let path = if batch == 1 {
        "/api/v1/jobs"
    } else {
        "/api/v1/jobs/batch"
    };
    let mut latencies = Vec::with_capacity(requests.len());
    let mut sent = vec![None; connections.len()];
    let mut requests = requests;
    let mut open = 0;
    for (connection, sent) in connections.iter_mut().zip(&mut sent) {
        if let Some(number) = requests.next() {
            *sent = Some(Instant::now());
            connection.send("POST", path, &body(number, batch))?;
            open += 1;
        }
    }
    while open > 0 {
        for (connection, sent) in connections.iter_mut().zip(&mut sent) {
            let Some(from) = sent.take() else { continue };
            let answer = connection.receive()?;
            latencies.push(from.elapsed().as_nanos() as u64);
            if batch > 1 {
                let made = count(answer, br#""status":201"#);
                ensure!(made == batch, "{made} of {batch} jobs were made");
            }
            match requests.next() {
                Some(number) => {
                    let body = body(number, batch);
                    *sent = Some(Instant::now());
                    connection.send("POST", path, &body)?;
                }
                None => open -= 1,
            }
        }
    }
    Ok(latencies)
}

fn body(number: usize, batch: usize) -> Vec<u8> {
    if batch == 1 {
        return job(number).into_bytes();
    }
    let mut body = String::with_capacity(batch * 256);
    body.push_str(r#"{"items":["#);
    for index in 0..batch {
        if index > 0 {
            body.push(',');
        }
        body.push_str(&job(number * batch + index));
    }
    body.push_str("]}");
    body.into_bytes()
}

/// How workers take and give back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Drain {
    /// Two calls for each job.
    Single,
    /// One call: it completes this many and claims as many.
    Combined(usize),
}

/// Completes the `jobs` jobs that wait, with [`WORKERS`] workers.
pub fn drain(target: Target<'_>, jobs: usize, mode: Drain) -> Result<Outcome> {
    let done = AtomicUsize::new(0);
    let parts = (0..WORKERS).map(|index| Ok((target.connect()?, format!("bench-{index}"))));
    let outcome = at_once(parts.collect::<Result<_>>()?, |(mut connection, worker)| {
        let mut latencies = Vec::with_capacity(jobs / WORKERS * 2 + 2);
        let completed = match mode {
            Drain::Single => drain_single(&mut connection, &worker, &mut latencies),
            Drain::Combined(max) => drain_combined(&mut connection, &worker, max, &mut latencies),
        };
        done.fetch_add(completed?, Ordering::Relaxed);
        Ok(latencies)
    })?;
    let done = done.into_inner();
    ensure!(done == jobs, "{done} of {jobs} jobs were completed");
    Ok(outcome)
}

fn drain_single(connection: &mut Connection, worker: &str, latencies: &mut Vec<u64>) -> Result<usize> {
    let claim = claim_body(worker, 1, 0);
    let mut completed = 0;
    loop {
        let from = Instant::now();
        let leases = leases(connection.call("POST", CLAIM, claim.as_bytes())?)?;
        latencies.push(from.elapsed().as_nanos() as u64);
        if leases.is_empty() {
            return Ok(completed);
        }
        let report = complete_body(worker, &leases, None);
        let from = Instant::now();
        completed += accepted(
            connection.call("POST", COMPLETE, report.as_bytes())?,
            leases.len(),
        )?;
        latencies.push(from.elapsed().as_nanos() as u64);
    }
}

fn drain_combined(
    connection: &mut Connection,
    worker: &str,
    max: usize,
    latencies: &mut Vec<u64>,
) -> Result<usize> {
    let mut held = leases(connection.call("POST", CLAIM, claim_body(worker, max, 0).as_bytes())?)?;
    let mut completed = 0;
    while !held.is_empty() {
        let report = complete_body(worker, &held, Some(max));
        let from = Instant::now();
        let answer = connection.call("POST", COMPLETE, report.as_bytes())?;
        latencies.push(from.elapsed().as_nanos() as u64);
        completed += accepted(answer, held.len())?;
        held = leases(answer)?;
    }
    Ok(completed)
}

/// Claims the one job that waits, calls `between`, and completes it.
pub fn drain_one(connection: &mut Connection, between: impl FnOnce() -> Result<()>) -> Result<()> {
    let held = leases(connection.call("POST", CLAIM, claim_body("bench-one", 1, 0).as_bytes())?)?;
    between()?;
    let report = complete_body("bench-one", &held, None);
    accepted(connection.call("POST", COMPLETE, report.as_bytes())?, 1).map(drop)
}

/// An idle queue and one waiting worker: from the sending of each job until the worker has it.
pub fn idle(target: Target<'_>, jobs: usize) -> Result<Outcome> {
    let mut enqueuer = target.connect()?;
    let (started, starts) = mpsc::sync_channel(1);
    let begin = Instant::now();
    let latencies_ns = thread::scope(|scope| -> Result<Vec<u64>> {
        let worker = scope.spawn(move || wait_and_complete(target, jobs, &started));
        let mut latencies = Vec::with_capacity(jobs);
        for number in 0..jobs {
            thread::sleep(IDLE_PAUSE);
            let from = Instant::now();
            enqueuer.call("POST", "/api/v1/jobs", job(number).as_bytes())?;
            let Ok(start) = starts.recv() else { break };
            latencies.push(start.saturating_duration_since(from).as_nanos() as u64);
        }
        joined(worker.join())?;
        Ok(latencies)
    })?;
    let elapsed = begin.elapsed();
    Ok(Outcome {
        elapsed,
        latencies_ns,
    })
}

fn wait_and_complete(target: Target<'_>, jobs: usize, started: &mpsc::SyncSender<Instant>) -> Result<()> {
    let mut connection = target.connect()?;
    let claim = claim_body("bench-idle", 1, 20_000);
    for _ in 0..jobs {
        let held = leases(connection.call("POST", CLAIM, claim.as_bytes())?)?;
        let start = Instant::now();
        ensure!(held.len() == 1, "a waiting worker was given {} jobs", held.len());
        started.send(start)?;
        let report = complete_body("bench-idle", &held, None);
        accepted(connection.call("POST", COMPLETE, report.as_bytes())?, 1)?;
    }
    Ok(())
}

/// One lease.
pub struct Taken(Lease);

/// Claims the first job of a queue.
pub fn claim_one(connection: &mut Connection, queue: &str, worker: &str) -> Result<Taken> {
    let body = format!(r#"{{"worker":"{worker}","queues":["{queue}"]}}"#);
    let held = leases(connection.call("POST", CLAIM, body.as_bytes())?)?;
    held.into_iter().next().map(Taken).context("nothing to claim")
}

impl Taken {
    /// Completes it.
    pub fn complete(self, connection: &mut Connection, worker: &str) -> Result<()> {
        let report = complete_body(worker, &[self.0], None);
        accepted(connection.call("POST", COMPLETE, report.as_bytes())?, 1).map(drop)
    }
}

const CLAIM: &str = "/api/v1/workers/claim";
const COMPLETE: &str = "/api/v1/workers/complete";

/// A lease: job and epoch, as they are named in the report.
struct Lease {
    epoch: String,
    id: String,
}

fn claim_body(worker: &str, max: usize, wait_ms: u64) -> String {
    format!(r#"{{"worker":"{worker}","queues":["default"],"max":{max},"waitMs":{wait_ms}}}"#)
}

fn complete_body(worker: &str, leases: &[Lease], claim: Option<usize>) -> String {
    let mut body = format!(r#"{{"worker":"{worker}","results":["#);
    for (index, lease) in leases.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        let Lease { epoch, id } = lease;
        body.push_str(&format!(
            r#"{comma}{{"jobId":"{id}","epoch":{epoch},"outcome":"completed"}}"#
        ));
    }
    body.push(']');
    if let Some(max) = claim {
        body.push_str(&format!(r#","claim":{{"queues":["default"],"max":{max}}}"#));
    }
    body.push('}');
    body
}

/// The leases in an answer. Payloads here hold neither key.
fn leases(answer: &[u8]) -> Result<Vec<Lease>> {
    let mut found = Vec::new();
    let mut rest = answer;
    while let Some(at) = find(rest, br#""epoch":"#) {
        rest = &rest[at + br#""epoch":"#.len()..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let epoch = String::from_utf8_lossy(&rest[..digits]).into_owned();
        let at = find(rest, br#""id":""#).context("a lease without an id")?;
        rest = &rest[at + br#""id":""#.len()..];
        let length = find(rest, b"\"").context("an id without an end")?;
        let id = String::from_utf8_lossy(&rest[..length]).into_owned();
        found.push(Lease { epoch, id });
    }
    Ok(found)
}

fn accepted(answer: &[u8], wanted: usize) -> Result<usize> {
    let accepted = count(answer, br#""accepted":true"#);
    ensure!(accepted == wanted, "{accepted} of {wanted} reports were accepted");
    Ok(accepted)
}

/// Runs `work` on a thread for each part, begun together.
fn at_once<P: Send, F>(parts: Vec<P>, work: F) -> Result<Outcome>
where
    F: Fn(P) -> Result<Vec<u64>> + Sync,
{
    let barrier = Barrier::new(parts.len() + 1);
    thread::scope(|scope| {
        let (work, barrier) = (&work, &barrier);
        let start = |part| {
            scope.spawn(move || {
                barrier.wait();
                work(part)
            })
        };
        let started: Vec<_> = parts.into_iter().map(start).collect();
        barrier.wait();
        let begin = Instant::now();
        let mut latencies_ns = Vec::new();
        for thread in started {
            latencies_ns.append(&mut joined(thread.join())?);
        }
        let elapsed = begin.elapsed();
        Ok(Outcome {
            elapsed,
            latencies_ns,
        })
    })
}

fn joined<T>(ended: thread::Result<Result<T>>) -> Result<T> {
    ended.map_err(|_| anyhow!("a thread of the load panicked"))?
}
