//! The measured workloads: the real server and what bounds it, in turn, in the same run. `docs/performance.md` explains.
//!
//! `just bench [w1] [w1-batch] [w2-single] [w2-combined] [w2-batch] [w2i] [w3] [w4] [w5] [w6]`, all of them when none is named.
//! `BENCH_ROUNDS` (9), `BENCH_JOBS` (50,000), `BENCH_LARGE` and `BENCH_EVENTS` (1,000,000 each) and `BENCH_DIR` (where data
//! lies) change the run.

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fastness::limits;
use serde::Deserialize;
use serde_json::value::RawValue;

use support::ceilings::{self, Sizes};
use support::disk::FlushedFile;
use support::load::{self, CLIENTS, Drain, Outcome, WORKERS};
use support::report::{Page, Sample, line};
use support::stats::quantile_ns;
use support::system::{Server, System, Used, disk_written, folder, machine_cpu};

/// The ceilings run in this program: they have what the server has.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 9;
const JOBS: usize = 50_000;
/// Jobs a request in W1 with batches, and where W2 enqueues.
const BATCH: usize = 100;
/// Enqueues of W2i a round.
const IDLE_JOBS: usize = 300;
/// After this the projection was flushed, and what is written for a job has been written.
const SETTLE: Duration = Duration::from_millis(1_300);
const SYSTEMS: [System; 3] = [System::Fastness, System::HttpCeiling, System::ShapeCeiling];
/// Jobs of W6, finished and waiting.
const LARGE: usize = 1_000_000;
/// Events of W5.
const EVENTS: usize = 1_000_000;
const NAMES: [&str; 10] = [
    "w1",
    "w1-batch",
    "w2-single",
    "w2-combined",
    "w2-batch",
    "w2i",
    "w3",
    "w4",
    "w5",
    "w6",
];

fn main() -> Result<()> {
    let mut arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    if arguments.first().is_some_and(|first| first == "--ceiling") {
        return ceilings::serve(&arguments.split_off(1));
    }
    if let Some(unknown) = arguments.iter().find(|name| !NAMES.contains(&name.as_str())) {
        bail!("there is no workload {unknown}; there are {}", NAMES.join(" "));
    }
    let named: BTreeSet<String> = arguments.into_iter().collect();
    let run = Run {
        rounds: from_environment("BENCH_ROUNDS", ROUNDS)?,
        jobs: from_environment("BENCH_JOBS", JOBS)?,
        sizes: measure_sizes()?,
    };
    let Run { rounds, jobs, sizes } = run;
    println!(
        "{rounds} rounds, {jobs} jobs; bytes recorded for a job: {sizes:?}; load: {}",
        load_average()
    );
    let is_named = |name: &str| named.is_empty() || named.contains(name);
    let mut pages: Vec<(Workload, Page)> = Workload::ALL
        .into_iter()
        .filter(|workload| is_named(workload.name()))
        .map(|workload| (workload, workload.page()))
        .collect();
    let mut footprint = Footprint::default();
    for round in 0..rounds {
        eprintln!("round {} of {rounds}; load: {}", round + 1, load_average());
        footprint.flush(folder()?.path())?;
        for (workload, page) in &mut pages {
            run.round(round, *workload, page)
                .with_context(|| format!("{} in round {round}", workload.name()))?;
        }
        if is_named("w4") {
            footprint.start(&run)?;
        }
    }
    for (_, page) in &mut pages {
        page.print();
    }
    footprint.print();
    if is_named("w3") {
        support::fanout::run(rounds, jobs, sizes)?;
    }
    if is_named("w5") {
        support::bundles::run(rounds, from_environment("BENCH_EVENTS", EVENTS)?, run.sizes)?;
    }
    if is_named("w6") {
        support::large::run(from_environment("BENCH_LARGE", LARGE)?, run.sizes)?;
    }
    println!("\nload at the end: {}", load_average());
    Ok(())
}

fn from_environment(name: &str, default: usize) -> Result<usize> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}={text}")),
        Err(_) => Ok(default),
    }
}

fn load_average() -> String {
    std::fs::read_to_string("/proc/loadavg")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// What the ledger holds for one job, read from a server that ran one.
fn measure_sizes() -> Result<Sizes> {
    #[derive(Deserialize)]
    struct Events {
        items: Vec<Box<RawValue>>,
    }
    let dir = folder()?;
    let server = Server::start(System::Fastness, dir.path(), Sizes::default())?;
    let target = server.target();
    let mut connection = target.connect()?;
    let mut recorded = || -> Result<usize> {
        let events: Events =
            serde_json::from_slice(connection.call("GET", "/api/v1/events?limit=500", b"")?)?;
        Ok(events.items.iter().map(|event| event.get().len()).sum())
    };
    let mut totals = vec![recorded()?];
    let mut caller = target.connect()?;
    caller.call("POST", "/api/v1/jobs", load::job(0).as_bytes())?;
    totals.push(recorded()?);
    load::drain_one(&mut caller, || {
        totals.push(recorded()?);
        Ok(())
    })?;
    totals.push(recorded()?);
    server.stop()?;
    Ok(Sizes {
        created: totals[1] - totals[0],
        started: totals[2] - totals[1],
        completed: totals[3] - totals[2],
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Workload {
    Enqueue { batch: usize },
    Lifecycle(Drain),
    Idle,
}

impl Workload {
    const ALL: [Workload; 6] = [
        Workload::Enqueue { batch: 1 },
        Workload::Enqueue { batch: BATCH },
        Workload::Lifecycle(Drain::Single),
        Workload::Lifecycle(Drain::Combined(1)),
        Workload::Lifecycle(Drain::Combined(64)),
        Workload::Idle,
    ];

    const fn name(self) -> &'static str {
        match self {
            Workload::Enqueue { batch: 1 } => NAMES[0],
            Workload::Enqueue { .. } => NAMES[1],
            Workload::Lifecycle(Drain::Single) => NAMES[2],
            Workload::Lifecycle(Drain::Combined(1)) => NAMES[3],
            Workload::Lifecycle(Drain::Combined(_)) => NAMES[4],
            Workload::Idle => NAMES[5],
        }
    }

    fn page(self) -> Page {
        match self {
            Workload::Enqueue { batch: 1 } => Page::by_rate("W1: enqueue, one job a request, 64 clients"),
            Workload::Enqueue { .. } => Page::by_rate("W1: enqueue, 100 jobs a request, 64 clients"),
            Workload::Lifecycle(Drain::Single) => Page::by_rate("W2 single: claim, then complete; 8 workers"),
            Workload::Lifecycle(Drain::Combined(1)) => {
                Page::by_rate("W2 combined: one call completes and claims the next; 8 workers")
            }
            Workload::Lifecycle(Drain::Combined(_)) => {
                Page::by_rate("W2 batch of 64: one call completes 64 and claims 64; 8 workers")
            }
            Workload::Idle => Page::by_latency("W2i: idle queue, one waiting worker: enqueue to start"),
        }
    }

    /// Units that the best server would bring to one flush, and their bytes.
    fn flush(self, sizes: Sizes) -> (f64, usize) {
        let leased = sizes.started + sizes.completed;
        match self {
            Workload::Enqueue { batch: 1 } => (CLIENTS as f64, CLIENTS * sizes.created),
            Workload::Enqueue { batch } => {
                let jobs = limits::BATCH_COMMANDS_MAX.div_ceil(batch) * batch;
                (jobs as f64, jobs * sizes.created)
            }
            // Half of the calls of one flush end a lifecycle.
            Workload::Lifecycle(Drain::Single) => (WORKERS as f64 / 2.0, WORKERS * leased / 2),
            Workload::Lifecycle(Drain::Combined(max)) => ((WORKERS * max) as f64, WORKERS * max * leased),
            Workload::Idle => (1.0, sizes.created + sizes.started),
        }
    }
}

struct Run {
    rounds: usize,
    jobs: usize,
    sizes: Sizes,
}

impl Run {
    /// Each system once; which begins changes from round to round.
    fn round(&self, round: usize, workload: Workload, page: &mut Page) -> Result<()> {
        for turn in 0..SYSTEMS.len() {
            let system = SYSTEMS[(round + turn) % SYSTEMS.len()];
            let dir = folder()?;
            let server = Server::start(system, dir.path(), self.sizes)?;
            let sample = self
                .sample(&server, dir.path(), workload)
                .with_context(|| system.name())?;
            server.stop()?;
            page.add(system.name(), sample);
        }
        let (units, bytes) = workload.flush(self.sizes);
        let times = (self.jobs as f64 / units).clamp(100.0, 2_000.0) as usize;
        let mut taken = FlushedFile::create(folder()?.path())?.append(bytes, times)?;
        let seconds = taken.iter().sum::<u64>() as f64 / 1e9;
        let sample = Sample {
            rate: units * times as f64 / seconds,
            p50_ms: quantile_ns(&mut taken, 0.5) / 1e6,
            p99_ms: quantile_ns(&mut taken, 0.99) / 1e6,
            ..Sample::NOTHING
        };
        page.add("disk-ceiling", sample);
        Ok(())
    }

    fn sample(&self, server: &Server, dir: &Path, workload: Workload) -> Result<Sample> {
        let target = server.target();
        // What others wrote before is not ours.
        rustix::fs::sync();
        let before = disk_written(dir)?;
        let (jobs, enqueue, mut sample) = match workload {
            Workload::Enqueue { batch } => {
                let jobs = load::jobs_submitted(self.jobs, batch);
                (
                    jobs,
                    None,
                    measure(server, jobs, || load::submit(target, jobs, batch))?,
                )
            }
            Workload::Lifecycle(mode) => {
                let jobs = load::jobs_submitted(self.jobs, BATCH);
                let enqueue = load::submit(target, jobs, BATCH)?.elapsed;
                (
                    jobs,
                    Some(enqueue),
                    measure(server, jobs, || load::drain(target, jobs, mode))?,
                )
            }
            Workload::Idle => {
                let jobs = IDLE_JOBS.min(self.jobs);
                let mut sample = measure(server, jobs, || load::idle(target, jobs))?;
                // Bound by the pauses.
                sample.rate = f64::NAN;
                (jobs, None, sample)
            }
        };
        if let Some(enqueue) = enqueue {
            sample.whole_rate = 1.0 / (1.0 / sample.rate + enqueue.as_secs_f64() / jobs as f64);
        }
        thread::sleep(SETTLE);
        sample.written_bytes = (disk_written(dir)? - before) / jobs as f64;
        Ok(sample)
    }
}

/// Runs a load and looks at what it cost whom.
fn measure(server: &Server, units: usize, load: impl FnOnce() -> Result<Outcome>) -> Result<Sample> {
    let cpu = || -> Result<[f64; 3]> { Ok([server.used()?.cpu, Used::of("self")?.cpu, machine_cpu()?]) };
    let before = cpu()?;
    let mut outcome = load()?;
    let after = cpu()?;
    let [server, generator, machine] = [0, 1, 2].map(|index| after[index] - before[index]);
    let (seconds, units) = (outcome.elapsed.as_secs_f64(), units as f64);
    Ok(Sample {
        rate: units / seconds,
        p50_ms: quantile_ns(&mut outcome.latencies_ns, 0.5) / 1e6,
        p99_ms: quantile_ns(&mut outcome.latencies_ns, 0.99) / 1e6,
        server_us: server / units * 1e6,
        generator_us: generator / units * 1e6,
        other_cores: (machine - server - generator).max(0.0) / seconds,
        ..Sample::NOTHING
    })
}

/// W4, and the disk itself.
#[derive(Default)]
struct Footprint {
    flush_ms: Vec<f64>,
    ready_ms: Vec<f64>,
    again_ms: Vec<f64>,
    stack_ms: Vec<f64>,
    idle_megabytes: Vec<f64>,
    loaded_megabytes: Vec<f64>,
}

impl Footprint {
    fn flush(&mut self, dir: &std::path::Path) -> Result<()> {
        let mut taken = FlushedFile::create(dir)?.append(4_096, 500)?;
        self.flush_ms.push(quantile_ns(&mut taken, 0.5) / 1e6);
        Ok(())
    }

    fn start(&mut self, run: &Run) -> Result<()> {
        let milliseconds = |server: &Server| server.ready.as_secs_f64() * 1e3;
        let dir = folder()?;
        let server = Server::start(System::Fastness, dir.path(), run.sizes)?;
        self.ready_ms.push(milliseconds(&server));
        thread::sleep(SETTLE);
        self.idle_megabytes.push(server.resident_bytes()? / 1e6);
        load::submit(server.target(), run.jobs, BATCH)?;
        thread::sleep(SETTLE);
        self.loaded_megabytes.push(server.resident_bytes()? / 1e6);
        server.stop()?;
        let server = Server::start(System::Fastness, dir.path(), run.sizes)?;
        self.again_ms.push(milliseconds(&server));
        server.stop()?;
        let server = Server::start(System::HttpCeiling, dir.path(), run.sizes)?;
        self.stack_ms.push(milliseconds(&server));
        server.stop()
    }

    fn print(&self) {
        println!();
        line("fdatasync of 4 KiB, median", "ms", 3, &self.flush_ms);
        if self.ready_ms.is_empty() {
            return;
        }
        println!("\n### W4: footprint\n");
        line("start to ready, new folder", "ms", 1, &self.ready_ms);
        line(
            "start to ready, after a clean stop with BENCH_JOBS jobs waiting",
            "ms",
            1,
            &self.again_ms,
        );
        line("start to ready, http-ceiling", "ms", 1, &self.stack_ms);
        line("resident, idle", "MB", 1, &self.idle_megabytes);
        line(
            "resident, BENCH_JOBS jobs waiting",
            "MB",
            1,
            &self.loaded_megabytes,
        );
        let program =
            std::fs::metadata(env!("CARGO_BIN_EXE_fastness")).map_or(f64::NAN, |file| file.len() as f64);
        println!(
            "binary as built by `cargo bench`, not stripped: {:.1} MB",
            program / 1e6
        );
    }
}
