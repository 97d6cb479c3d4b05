//! W6, and what much work costs: claims beside a server that is empty, memory, the start after a kill.
//!
//! Two servers run side by side and are asked in turn, so that what disturbs one disturbs the other.

use std::time::Instant;

use anyhow::{Context, Result};

use super::ceilings::Sizes;
use super::http::Connection;
use super::load::{self, Drain};
use super::report::line;
use super::stats::quantile_ns;
use super::system::{Server, System, folder};

/// Claims timed on each server, and how many of them make one ratio.
const CLAIMS: usize = 2_000;
const CLAIMS_PER_RATIO: usize = 100;
const BATCH: usize = 100;

/// Jobs that wait at once, at most: the aims name a million of them, beside any number that have finished.
const WAITING_MAX: usize = 1_000_000;

/// Finishes `jobs` jobs and lets others wait, then asks.
pub fn run(jobs: usize, sizes: Sizes) -> Result<()> {
    let (small_dir, large_dir) = (folder()?, folder()?);
    let small = Server::start(System::Fastness, small_dir.path(), sizes)?;
    let large = Server::start(System::Fastness, large_dir.path(), sizes)?;
    let waiting = load::jobs_submitted(jobs.min(WAITING_MAX), BATCH);
    let rounds = jobs.div_ceil(waiting);
    let jobs = rounds * waiting;
    for _ in 0..rounds {
        load::submit(large.target(), waiting, BATCH)?;
        load::drain(large.target(), waiting, Drain::Combined(64))?;
    }
    let finished_megabytes = large.resident_bytes()? / 1e6;
    let other = measure(&small, &large, "probe", "probe", true)?;
    let finished_only = measure(&small, &large, "default", "default", true)?;
    large.kill()?;
    let large = Server::start(System::Fastness, large_dir.path(), sizes)?;
    let ready_finished_s = large.ready.as_secs_f64();
    load::submit(large.target(), waiting, BATCH)?;
    let waiting_megabytes = large.resident_bytes()? / 1e6;
    let not_matching = measure(&small, &large, "probe", "probe", true)?;
    let matching = measure(&small, &large, "default", "default", false)?;
    println!("\n### W6: what a claim costs beside {jobs} jobs, against an empty server\n");
    line(&format!("{jobs} finished, another queue"), "ratio", 3, &other);
    line(
        &format!("{jobs} finished, the same queue"),
        "ratio",
        3,
        &finished_only,
    );
    line(
        &format!("and {waiting} waiting that do not match"),
        "ratio",
        3,
        &not_matching,
    );
    line(
        &format!("and {waiting} waiting that match"),
        "ratio",
        3,
        &matching,
    );
    line(
        &format!("resident, {jobs} finished"),
        "MB",
        1,
        &[finished_megabytes],
    );
    line(
        &format!("resident, and {waiting} waiting"),
        "MB",
        1,
        &[waiting_megabytes],
    );
    line(
        &format!("start to ready after kill -9, {jobs} finished"),
        "s",
        2,
        &[ready_finished_s],
    );
    small.stop()?;
    large.kill()?;
    let again = Server::start(System::Fastness, large_dir.path(), sizes)?;
    let ready_s = again.ready.as_secs_f64();
    line(
        &format!("start to ready after kill -9, {jobs} finished and {waiting} waiting"),
        "s",
        2,
        &[ready_s],
    );
    line(
        "resident after that start",
        "MB",
        1,
        &[again.resident_bytes()? / 1e6],
    );
    again.stop()
}

/// Ratios of the median claim on the large server to that on the small one. Where `fill` is false the large server has
/// work of its own that matches.
fn measure(small: &Server, large: &Server, queue: &str, worker: &str, fill: bool) -> Result<Vec<f64>> {
    let mut at_small = small.target().connect()?;
    let mut at_large = large.target().connect()?;
    let mut ratios = Vec::with_capacity(CLAIMS / CLAIMS_PER_RATIO);
    for _ in 0..CLAIMS / CLAIMS_PER_RATIO {
        let (mut one, mut two) = (Vec::new(), Vec::new());
        for _ in 0..CLAIMS_PER_RATIO {
            one.push(claim(&mut at_small, queue, worker, true)?);
            two.push(claim(&mut at_large, queue, worker, fill)?);
        }
        ratios.push(quantile_ns(&mut two, 0.5) / quantile_ns(&mut one, 0.5));
    }
    Ok(ratios)
}

fn claim(connection: &mut Connection, queue: &str, worker: &str, fill: bool) -> Result<u64> {
    if fill {
        let job = format!(r#"{{"type":"bench.job","queue":"{queue}"}}"#);
        connection.call("POST", "/api/v1/jobs", job.as_bytes())?;
    }
    let from = Instant::now();
    let taken = load::claim_one(connection, queue, worker)?;
    let elapsed = from.elapsed().as_nanos() as u64;
    taken.complete(connection, worker).context("completing the job")?;
    Ok(elapsed)
}
