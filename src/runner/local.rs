//! Starts steps as children of this process, each below its own supervisor.
//!
//! Steps run under the same user as the server. Another user needs a data folder that others may pass through, and
//! comes with the sandbox; until then a step can read what the server can.

use std::future::Future;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Stdio;

use super::launch::{LaunchSpec, Launched, Launcher, encode_order};

/// Where a step's commands are looked up.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The hidden verb that runs [`super::step_main`].
pub const STEP_VERB: &str = "__step";

/// Executes this program again as the supervisor of each step.
#[derive(Debug, Clone)]
pub struct LocalLauncher {
    program: PathBuf,
}

impl LocalLauncher {
    /// `program` is this appliance's own executable.
    pub fn new(program: PathBuf) -> Self {
        LocalLauncher { program }
    }

    async fn start(&self, spec: LaunchSpec) -> io::Result<Launched> {
        let program = self.program.clone();
        tokio::task::spawn_blocking(move || spawn(program, &spec))
            .await
            .map_err(io::Error::other)?
    }
}

impl Launcher for LocalLauncher {
    fn launch(&self, spec: LaunchSpec) -> Pin<Box<dyn Future<Output = io::Result<Launched>> + Send + '_>> {
        Box::pin(self.start(spec))
    }
}

/// Blocks while the new process is made and takes its order.
fn spawn(program: PathBuf, spec: &LaunchSpec) -> io::Result<Launched> {
    let order = encode_order(spec)?;
    let (mut control, theirs) = UnixStream::pair()?;
    let (stdout, stdout_writer) = io::pipe()?;
    let (stderr, stderr_writer) = io::pipe()?;
    let mut child = tokio::process::Command::new(program)
        .arg(STEP_VERB)
        .env_clear()
        .env("PATH", PATH)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(stdout_writer)
        .stderr(stderr_writer)
        .spawn()?;
    control.write_all(&order)?;
    Ok(Launched {
        control: control.into(),
        stdout: stdout.into(),
        stderr: stderr.into(),
        ended: Box::pin(async move {
            // Nothing to do about a child that cannot be waited for.
            let _ = child.wait().await;
        }),
    })
}
