//! An enclave of the demo: this program as a server, in a process and a folder of its own.
//!
//! It ends with the demo, however that ends: the server reads a pipe that closes with us.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::cli::client::{Client, Server};
use crate::cli::exit::{Exit, Failure};
use crate::clock::{Clock, SystemClock};

/// Longest wait for a server to accept, and to end.
const START: Duration = Duration::from_secs(30);
const END: Duration = Duration::from_secs(20);

/// A running server.
#[derive(Debug)]
pub struct Enclave {
    /// What it is called.
    pub name: &'static str,
    /// Where it listens.
    pub url: String,
    /// How long it took to accept.
    pub took_ms: u64,
    dir: PathBuf,
    child: Child,
}

impl Enclave {
    /// Starts a server in the folder `dir` and waits until it accepts.
    ///
    /// # Errors
    /// It did not start; says what it said.
    pub async fn start(name: &'static str, dir: PathBuf) -> Result<Self> {
        let clock = SystemClock::default();
        let program = std::env::current_exe().context("finding this program")?;
        std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        let log = dir.join("server.log");
        let log_file = File::create(&log).with_context(|| format!("making {}", log.display()))?;
        let mut child = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0", "--while-stdin", "--data"])
            .arg(dir.join("data"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log_file)
            // An interrupt of the terminal is for us to handle; the server is asked to end in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting the {name}"))?;
        let output = child.stdout.take().context("the server has no output")?;
        let mut lines = BufReader::new(output).lines();
        let first = tokio::time::timeout(START, lines.next_line()).await;
        let ready = first.ok().and_then(|line| line.ok().flatten());
        let Some(url) = ready.as_deref().and_then(|line| line.strip_prefix("ready ")) else {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            let message = format!("the {name} did not start: {}", said.trim());
            return Err(Failure::new(Exit::CannotStart, message).into());
        };
        Ok(Enclave {
            name,
            url: url.to_owned(),
            took_ms: clock.monotonic_ms(),
            dir,
            child,
        })
    }

    /// A client of it, with every right.
    ///
    /// # Errors
    /// Its token cannot be read.
    pub fn client(&self) -> Result<Client> {
        Client::new(&Server::new(&self.url, self.token_file(), None))
    }

    /// Where its token lies.
    pub fn token_file(&self) -> PathBuf {
        self.dir.join("data/admin.token")
    }

    /// Ends it in order.
    ///
    /// # Errors
    /// It did not end well.
    pub async fn stop(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let ended = tokio::time::timeout(END, self.child.wait()).await;
        let status = ended.with_context(|| format!("the {} does not end", self.name))??;
        if status.success() {
            return Ok(());
        }
        let message = format!("the {} ended with {status}", self.name);
        Err(Failure::new(Exit::Failed, message).into())
    }
}
