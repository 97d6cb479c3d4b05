//! W5: a long range exported, verified with its replay, and replayed alone; how fast, and in how much memory.
//!
//! Rates are of processor time, "on one core": who measures beside others gets the same figure. The wall clock is told too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::ceilings::Sizes;
use super::load::{self, Drain};
use super::report::line;
use super::system::{Server, System, Used, folder, number_after};

const BATCH: usize = 100;
/// Events that a job leaves when it is submitted, leased and completed.
const EVENTS_PER_JOB: usize = 3;
/// How often the memory of a running program is looked at; its peak is kept by the kernel.
const LOOK: Duration = Duration::from_millis(2);

/// What one program did with the range.
#[derive(Default)]
struct Figures {
    per_core: Vec<f64>,
    per_second: Vec<f64>,
    peak_megabytes: Vec<f64>,
}

impl Figures {
    fn add(&mut self, events: f64, cpu: f64, wall: Duration, peak_bytes: f64) {
        self.per_core.push(events / cpu);
        self.per_second.push(events / wall.as_secs_f64());
        self.peak_megabytes.push(peak_bytes / 1e6);
    }

    fn print(&self, what: &str) {
        line(&format!("{what}, on one core"), "events/s", 0, &self.per_core);
        line(&format!("{what}, by the clock"), "events/s", 0, &self.per_second);
        line(
            &format!("{what}, peak of resident memory"),
            "MB",
            1,
            &self.peak_megabytes,
        );
    }
}

/// Makes a ledger of about `events` events, then each round: export, verify, replay.
pub fn run(rounds: usize, events: usize, sizes: Sizes) -> Result<()> {
    let dir = folder()?;
    let server = Server::start(System::Fastness, dir.path(), sizes)?;
    let jobs = load::jobs_submitted(events.div_ceil(EVENTS_PER_JOB), BATCH);
    load::submit(server.target(), jobs, BATCH)?;
    load::drain(server.target(), jobs, Drain::Combined(64))?;
    let (mut export, mut verify, mut replay) = (Figures::default(), Figures::default(), Figures::default());
    let mut told = String::new();
    for _ in 0..rounds {
        let bundle = exported(&server, dir.path(), &mut export)?;
        let keys = ["log", "export"].map(|role| dir.path().join(format!("keys/{role}.pub.pem")));
        let of_bundle = |verb: &str, more: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_fastness"));
            command.args([verb]).arg(&bundle.path).args(more);
            command
                .args(["--log-key"])
                .arg(&keys[0])
                .args(["--export-key"])
                .arg(&keys[1]);
            command
        };
        measured(
            of_bundle("verify", &["--require-replay"]),
            bundle.events,
            &mut verify,
        )?;
        measured(of_bundle("replay-bundle", &[]), bundle.events, &mut replay)?;
        told = format!(
            "{} events, a bundle of {:.1} MB",
            bundle.events,
            bundle.bytes / 1e6
        );
    }
    server.stop()?;
    println!("\n### W5: {told}\n");
    export.print("export");
    verify.print("verify with replay");
    replay.print("replay-bundle");
    Ok(())
}

struct Bundle {
    path: PathBuf,
    events: f64,
    bytes: f64,
}

fn exported(server: &Server, dir: &Path, figures: &mut Figures) -> Result<Bundle> {
    #[derive(Deserialize)]
    struct Exported {
        id: String,
        size: u64,
        bytes: u64,
    }
    let mut connection = server.target().connect()?;
    let (cpu, begin) = (server.used()?.cpu, Instant::now());
    let answer = connection.call("POST", "/api/v1/bundles/export", b"{}")?;
    let exported: Exported = serde_json::from_slice(answer)?;
    let (cpu, wall) = (server.used()?.cpu - cpu, begin.elapsed());
    let events = exported.size as f64;
    figures.add(events, cpu, wall, server.peak_bytes()?);
    Ok(Bundle {
        path: dir.join(format!("bundles/{}.audit.tar.zst", exported.id)),
        events,
        bytes: exported.bytes as f64,
    })
}

/// Runs a program to its good end.
fn measured(mut command: Command, events: f64, figures: &mut Figures) -> Result<()> {
    let begin = Instant::now();
    let mut child = command
        .stdout(Stdio::null())
        .spawn()
        .context("starting the program")?;
    let (mut cpu, mut peak) = (0.0_f64, 0.0_f64);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if let Some((used, high)) = look(&child) {
            (cpu, peak) = (used, high);
        }
        thread::sleep(LOOK);
    };
    ensure!(status.success(), "{command:?} ended with {status}");
    figures.add(events, cpu, begin.elapsed(), peak);
    Ok(())
}

/// Processor time and peak of memory so far; nothing once the program has ended.
fn look(child: &Child) -> Option<(f64, f64)> {
    let process = child.id().to_string();
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let peak = number_after(&status, "VmHWM:")? * 1024.0;
    Some((Used::of(&process).ok()?.cpu, peak))
}
