//! The built-in runner: takes leased steps, runs each below a supervisor, keeps its output, reports its end.
//!
//! It sees work only through [`Leases`] and starts processes only through a [`Launcher`], so it serves in the
//! server's process as well as on another host, and steps can come from a warden. It promises that nothing of a step
//! outlives the step, its timeout, its cancellation, a lost lease, or this process, kill -9 included; that files and
//! artifacts are flushed before the end that names them is reported; and that no end is reported under a lost lease.

mod attempt;
mod collect;
mod engine_leases;
mod error;
mod keeper;
mod launch;
mod leases;
mod local;
mod pool;
mod process;
mod processes;
mod supervisor;
mod workspace;

use std::path::PathBuf;

pub use engine_leases::EngineLeases;
pub use error::RunnerError;
pub use launch::{Cause, Command, Ended, LaunchSpec, Launched, Launcher, Report, encode_order};
pub use leases::{
    Artifact, ClaimAsk, Failure, FailureClass, LeaseError, LeasedJob, Leases, NeededArtifact, NoSecret,
    Outcome, OutputSummary, Renewal,
};
pub use local::{LocalLauncher, STEP_VERB};
pub use pool::{Runner, RunnerHandle};
pub use supervisor::step_main;

use crate::limits;

/// How a runner works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunnerConfig {
    pub worker: String,
    pub queues: Vec<String>,
    /// Globs over job types.
    pub types: Vec<String>,
    /// Steps at once; from 1 to [`limits::RUNNER_SLOTS_MAX`].
    pub slots: usize,
    pub lease_ms: u64,
    pub heartbeat_ms: u64,
    pub claim_wait_ms: u64,
    /// Time between TERM and KILL.
    pub cancel_grace_ms: u64,
    /// `DIR/work`; everything in it is removed at start.
    pub work_dir: PathBuf,
}

impl RunnerConfig {
    /// The defaults: four steps a core, leases and heartbeats as in [`limits`].
    pub fn new(worker: String, types: Vec<String>, work_dir: PathBuf) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        RunnerConfig {
            worker,
            queues: vec!["default".to_owned()],
            types,
            slots: (4 * cores).min(limits::RUNNER_SLOTS_MAX),
            lease_ms: limits::LEASE_MS_DEFAULT,
            heartbeat_ms: limits::HEARTBEAT_MS,
            claim_wait_ms: limits::CLAIM_WAIT_MS_MAX,
            cancel_grace_ms: limits::CANCEL_GRACE_MS,
            work_dir,
        }
    }
}
