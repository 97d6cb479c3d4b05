//! W3: what watchers get, how soon, what each of them costs, and what they cost those who enqueue.
//!
//! Readers and server share the cores. All readers of a run have the same events and the same bytes, which is looked at.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::ceilings::Sizes;
use super::http::Connection;
use super::load::{self, Target};
use super::report::line;
use super::stats::{interval_of_median, quantile_ns};
use super::system::{Server, System, Used, folder};
use super::watchers::{Clock, Watchers, Wire};

/// Readers of the bursts, and of everything else.
const READERS: [usize; 2] = [100, 1_000];
const MANY: usize = 1_000;
/// Events of a burst: requests with so many jobs each.
const BURST_REQUESTS: usize = 5;
const BURST_JOBS: usize = 1_000;
/// Events that are timed, and how often one comes.
const TIMED: usize = 100;
const EVERY: Duration = Duration::from_millis(50);
/// Readers that mostly wait.
const IDLE: usize = 10_000;
/// So much later the server has done what opening them left to do.
const SETTLE: Duration = Duration::from_secs(2);
/// A tenant whose readers have nothing to do with those who enqueue.
const WATCHED: &str = "watched";

/// Figures over all rounds.
#[derive(Default)]
struct Figures {
    /// By wire and number of readers: events delivered a second.
    rates: Vec<(Wire, usize, Vec<f64>)>,
    event_bytes: Vec<(Wire, Vec<f64>)>,
    delays: Vec<(Wire, Vec<f64>)>,
    /// Processor time of one delivery at 20 events/s: the server's, and that of the one who reads.
    server_us: Vec<(Wire, Vec<f64>)>,
    readers_us: Vec<(Wire, Vec<f64>)>,
    idle_kilobytes: Vec<(Wire, Vec<f64>)>,
    with_readers: Vec<f64>,
    with_dead: Vec<f64>,
}

/// All of it, `rounds` times; idle readers in the first round only.
pub fn run(rounds: usize, jobs: usize, sizes: Sizes) -> Result<()> {
    let mut figures = Figures::default();
    for round in 0..rounds {
        eprintln!("W3, round {} of {rounds}", round + 1);
        for wire in [Wire::Sse, Wire::Ws] {
            for readers in READERS {
                let (rate, bytes) = burst(sizes, wire, readers)?;
                push(
                    &mut figures.rates,
                    |(w, r, _)| (*w, *r) == (wire, readers),
                    || (wire, readers, Vec::new()),
                )
                .2
                .push(rate);
                push(
                    &mut figures.event_bytes,
                    |(w, _)| *w == wire,
                    || (wire, Vec::new()),
                )
                .1
                .push(bytes);
            }
            let Delay {
                p99_ms,
                server_us,
                readers_us,
            } = delay(sizes, wire)?;
            for (figures, figure) in [
                (&mut figures.delays, p99_ms),
                (&mut figures.server_us, server_us),
                (&mut figures.readers_us, readers_us),
            ] {
                push(figures, |(w, _)| *w == wire, || (wire, Vec::new()))
                    .1
                    .push(figure);
            }
            if round == 0 {
                let kilobytes = idle(sizes, wire)?;
                push(
                    &mut figures.idle_kilobytes,
                    |(w, _)| *w == wire,
                    || (wire, Vec::new()),
                )
                .1
                .push(kilobytes);
            }
        }
        let (with_readers, with_dead) = loss(sizes, jobs, round)?;
        figures.with_readers.push(with_readers);
        figures.with_dead.push(with_dead);
    }
    figures.print();
    Ok(())
}

/// The entry that fits, made when there is none.
fn push<T>(entries: &mut Vec<T>, fits: impl Fn(&T) -> bool, new: impl FnOnce() -> T) -> &mut T {
    let at = entries.iter().position(fits).unwrap_or_else(|| {
        entries.push(new());
        entries.len() - 1
    });
    &mut entries[at]
}

impl Figures {
    fn print(&self) {
        println!("\n### W3: watchers\n");
        for (wire, readers, rates) in &self.rates {
            let millions: Vec<f64> = rates.iter().map(|rate| rate / 1e6).collect();
            line(
                &format!("{readers} readers by {}, bursts", wire.name()),
                "million events/s",
                2,
                &millions,
            );
        }
        for (wire, bytes) in &self.event_bytes {
            line(&format!("one event as sent by {}", wire.name()), "B", 0, bytes);
        }
        for (wire, delays) in &self.delays {
            line(
                &format!(
                    "{MANY} readers by {}, 20 events/s: p99 from request to reader",
                    wire.name()
                ),
                "ms",
                1,
                delays,
            );
        }
        for (whose, figures) in [("server", &self.server_us), ("reader", &self.readers_us)] {
            for (wire, figures) in figures {
                let what = format!(
                    "{MANY} readers by {}, 20 events/s: {whose}'s processor time",
                    wire.name()
                );
                line(&what, "us a delivery", 1, figures);
            }
        }
        for (wire, kilobytes) in &self.idle_kilobytes {
            line(
                &format!("one of {IDLE} idle readers by {}", wire.name()),
                "KB",
                1,
                kilobytes,
            );
        }
        for (what, ratios) in [
            (
                format!("W1 beside {MANY} readers at 20 events/s"),
                &self.with_readers,
            ),
            (
                format!("W1 beside {MANY} readers of it that never read"),
                &self.with_dead,
            ),
        ] {
            line(&what, "of W1 alone", 2, ratios);
            if let Some((low, high)) = interval_of_median(ratios) {
                println!("  95% interval of the median: {low:.2} – {high:.2}");
            }
        }
    }
}

fn start(dir: &std::path::Path, sizes: Sizes) -> Result<Server> {
    let server = Server::start(System::Fastness, dir, sizes)?;
    // The ledger's first events are no part of what is measured.
    server
        .target()
        .connect()?
        .call("POST", "/api/v1/jobs", small(0).as_bytes())?;
    Ok(server)
}

fn small(number: usize) -> String {
    format!(r#"{{"type":"t","payload":{}}}"#, 1_000_000 + number)
}

/// Deliveries a second when events come at once, and the bytes of one.
fn burst(sizes: Sizes, wire: Wire, readers: usize) -> Result<(f64, f64)> {
    let dir = folder()?;
    let server = start(dir.path(), sizes)?;
    let Target { address, token } = server.target();
    let watchers = Watchers::open((address, token), (wire, readers, 1), None)?;
    let mut publisher = server.target().connect()?;
    let bodies = (0..BURST_REQUESTS).map(|request| {
        let jobs: Vec<String> = (0..BURST_JOBS)
            .map(|job| small(request * BURST_JOBS + job))
            .collect();
        format!(r#"{{"items":[{}]}}"#, jobs.join(","))
    });
    let bodies: Vec<String> = bodies.collect();
    let from = Instant::now();
    for body in &bodies {
        publisher.call("POST", "/api/v1/jobs/batch", body.as_bytes())?;
    }
    let events = BURST_REQUESTS * BURST_JOBS;
    let bytes = watchers.wait_for(events as u64)?;
    let rate = (events * readers) as f64 / from.elapsed().as_secs_f64();
    watchers.close()?;
    server.stop()?;
    Ok((rate, bytes as f64 / events as f64))
}

struct Delay {
    p99_ms: f64,
    server_us: f64,
    readers_us: f64,
}

/// p99 of the time from a request to the arrival of its event, the commit within; and what a delivery costs either side.
fn delay(sizes: Sizes, wire: Wire) -> Result<Delay> {
    let dir = folder()?;
    let server = start(dir.path(), sizes)?;
    let Target { address, token } = server.target();
    let clock = Clock::new(TIMED);
    let watchers = Watchers::open((address, token), (wire, MANY, 1), Some(&clock))?;
    let mut publisher = server.target().connect()?;
    let before = [server.used()?.cpu, Used::of("self")?.cpu];
    for number in 0..TIMED {
        clock.send(number);
        publisher.call("POST", "/api/v1/jobs", small(number).as_bytes())?;
        thread::sleep(EVERY);
    }
    watchers.wait_for(TIMED as u64)?;
    let after = [server.used()?.cpu, Used::of("self")?.cpu];
    let mut delays = watchers.close()?;
    server.stop()?;
    ensure!(delays.len() == TIMED * MANY, "{} arrivals", delays.len());
    let [server_us, readers_us] = [0, 1].map(|side| (after[side] - before[side]) * 1e6 / delays.len() as f64);
    Ok(Delay {
        p99_ms: quantile_ns(&mut delays, 0.99) / 1e6,
        server_us,
        readers_us,
    })
}

/// Resident memory of one reader that waits, in kilobytes of 1,000 bytes. Each has had one event.
fn idle(sizes: Sizes, wire: Wire) -> Result<f64> {
    let dir = folder()?;
    let server = start(dir.path(), sizes)?;
    let Target { address, token } = server.target();
    let mut publisher = server.target().connect()?;
    thread::sleep(SETTLE);
    let before = server.resident_bytes()?;
    let watchers = Watchers::open((address, token), (wire, IDLE, 2), None)?;
    publisher.call("POST", "/api/v1/jobs", small(1).as_bytes())?;
    watchers.wait_for(1)?;
    thread::sleep(SETTLE);
    let after = server.resident_bytes()?;
    watchers.close()?;
    server.stop()?;
    Ok((after - before) / IDLE as f64 / 1e3)
}

/// W1 beside readers of another tenant that get 20 events a second, and beside readers of its own events that never read;
/// each as a part of W1 alone.
fn loss(sizes: Sizes, jobs: usize, round: usize) -> Result<(f64, f64)> {
    let mut rates = [0.0; 3];
    for turn in 0..rates.len() {
        let case = (round + turn) % rates.len();
        let dir = folder()?;
        let server = start(dir.path(), sizes)?;
        rates[case] = match case {
            0 => rate(&server, jobs)?,
            1 => beside_readers(&server, jobs)?,
            _ => beside_dead(&server, jobs)?,
        };
        server.stop()?;
    }
    Ok((rates[1] / rates[0], rates[2] / rates[0]))
}

fn rate(server: &Server, jobs: usize) -> Result<f64> {
    let jobs = load::jobs_submitted(jobs, 1);
    Ok(jobs as f64 / load::submit(server.target(), jobs, 1)?.elapsed.as_secs_f64())
}

fn beside_readers(server: &Server, jobs: usize) -> Result<f64> {
    let token = token_of(server, WATCHED)?;
    let target = Target {
        address: server.address,
        token: &token,
    };
    let mut publisher = target.connect()?;
    publisher.call("POST", "/api/v1/jobs", small(0).as_bytes())?;
    let watchers = Watchers::open((target.address, target.token), (Wire::Sse, MANY, 1), None)?;
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let (rate, sent) = thread::scope(|scope| {
        let publishing = scope.spawn(move || -> Result<u64> {
            let mut sent = 0;
            while stopped.recv_timeout(EVERY) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                publisher.call("POST", "/api/v1/jobs", small(sent as usize).as_bytes())?;
                sent += 1;
            }
            Ok(sent)
        });
        let rate = rate(server, jobs)?;
        drop(stop);
        let sent = publishing.join().ok().context("the publisher panicked")??;
        anyhow::Ok((rate, sent))
    })?;
    watchers.wait_for(sent)?;
    watchers.close()?;
    Ok(rate)
}

fn beside_dead(server: &Server, jobs: usize) -> Result<f64> {
    let Target { address, token } = server.target();
    let mut dead = Vec::with_capacity(MANY);
    for _ in 0..MANY {
        let mut socket = TcpStream::connect(address)?;
        write!(
            socket,
            "GET /api/v1/stream HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n"
        )?;
        // It is listened to: the answer has begun. Then nothing more is read.
        ensure!(socket.read(&mut [0; 12])? > 0, "closed");
        dead.push(socket);
    }
    rate(server, jobs)
}

/// A token that does for one new tenant alone.
fn token_of(server: &Server, tenant: &str) -> Result<String> {
    #[derive(Deserialize)]
    struct Made {
        token: String,
    }
    let mut admin: Connection = server.target().connect()?;
    admin.call(
        "POST",
        "/api/v1/tenants",
        format!(r#"{{"name":"{tenant}"}}"#).as_bytes(),
    )?;
    let body = format!(
        r#"{{"name":"w3","person":"bench","scopes":["orch:read","orch:submit"],"tenants":["{tenant}"]}}"#
    );
    let made: Made = serde_json::from_slice(admin.call("POST", "/api/v1/tokens", body.as_bytes())?)?;
    Ok(made.token)
}
