//! The seam between a runner and whoever starts its steps, and the words the two sides exchange.
//!
//! A launched step is three descriptors: a control socket and the reading ends of its two outputs. They can come
//! from a child of this process or, handed over a socket, from a warden.
//!
//! Control socket, version 1. To the supervisor: the [`LaunchSpec`] as JSON behind its length (u32, little endian),
//! then single bytes: [`Command`]. From the supervisor: one [`Report`] as JSON per line. The end of the socket
//! on one side means that the other side died: the supervisor then ends the step, the runner gives it up.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;

use crate::limits;
use serde::{Deserialize, Serialize};

/// Starts steps.
pub trait Launcher: Send + Sync + std::fmt::Debug + 'static {
    /// Starts a supervisor and gives it the order.
    fn launch(&self, spec: LaunchSpec) -> Pin<Box<dyn Future<Output = io::Result<Launched>> + Send + '_>>;
}

/// A supervisor under way.
pub struct Launched {
    /// A stream socket.
    pub control: OwnedFd,
    /// Reading ends of pipes.
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
    /// Ready once the supervisor's process has ended and been collected.
    pub ended: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl std::fmt::Debug for Launched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Launched").finish_non_exhaustive()
    }
}

/// What to start, completely: nothing is inherited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LaunchSpec {
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    /// Time between TERM and KILL.
    pub grace_ms: u64,
    pub timeout_ms: u64,
    pub work_dir: PathBuf,
}

/// The order as it goes over the control socket.
///
/// # Errors
/// When it is larger than [`limits::LAUNCH_BYTES_MAX`].
pub fn encode_order(spec: &LaunchSpec) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(spec)?;
    match u32::try_from(json.len()) {
        Ok(len) if json.len() <= limits::LAUNCH_BYTES_MAX => {
            Ok([&len.to_le_bytes(), json.as_slice()].concat())
        }
        _ => Err(io::ErrorKind::ArgumentListTooLong.into()),
    }
}

/// A word to a supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// TERM, then KILL after the grace.
    Cancel,
    /// KILL at once.
    Kill,
}

impl Command {
    pub(super) const fn byte(self) -> u8 {
        match self {
            Command::Cancel => b'c',
            Command::Kill => b'k',
        }
    }
}

/// A word from a supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Report {
    /// The step's main process runs.
    Started { pid: i32 },
    /// It could not be started.
    Refused { message: String },
    /// Nothing of the step is left.
    Ended(Ended),
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    pub cause: Cause,
    /// Of the main process.
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
}

/// Why the supervisor ended the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// The main process ended by itself.
    Exit,
    Timeout,
    Cancel,
    Kill,
    /// The supervisor was told to stop by a signal.
    Signal,
    /// The runner died.
    Orphaned,
}
