//! The servers that are measured, each a process of its own, and what the kernel says they used.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::ceilings::Sizes;
use super::http::Connection;
use super::load::Target;

/// What runs as a server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum System {
    /// `fastness serve` with its defaults.
    Fastness,
    /// The same HTTP stack, parsing, and a hop to a thread; nothing kept.
    HttpCeiling,
    /// The same, with journal and projection behind the thread.
    ShapeCeiling,
}

impl System {
    /// The name in the tables.
    pub const fn name(self) -> &'static str {
        match self {
            System::Fastness => "fastness",
            System::HttpCeiling => "http-ceiling",
            System::ShapeCeiling => "shape-ceiling",
        }
    }
}

/// How often a kernel clock tick falls into a second, as `/proc` counts for every Linux program.
const TICKS_PER_SECOND: f64 = 100.0;
/// Longest wait for a server to end by itself.
const END_WAIT: Duration = Duration::from_secs(20);

/// A running server.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    pub token: String,
    /// From the start of the process to the first good answer of `/readyz`.
    pub ready: Duration,
}

impl Server {
    /// Starts a server over a folder and waits until it is ready.
    pub fn start(system: System, dir: &Path, sizes: Sizes) -> Result<Self> {
        let program = match system {
            System::Fastness => PathBuf::from(env!("CARGO_BIN_EXE_fastness")),
            System::HttpCeiling | System::ShapeCeiling => std::env::current_exe()?,
        };
        let mut command = slowed(program, dir)?;
        match system {
            System::Fastness => {
                command
                    .args(["serve", "--listen", "127.0.0.1:0", "--while-stdin", "--data"])
                    .arg(dir);
            }
            System::HttpCeiling | System::ShapeCeiling => {
                command
                    .args(["--ceiling", system.name()])
                    .arg(dir)
                    .args(sizes.to_arguments());
            }
        }
        let begin = Instant::now();
        // A server whose standard input ends, ends: none outlives this process.
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {}", system.name()))?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let Some(address) = line.trim().strip_prefix("ready http://") else {
            bail!("{} did not start: {line:?}", system.name());
        };
        let address = address.parse()?;
        Connection::open(address, "none")?.call("GET", "/readyz", b"")?;
        let ready = begin.elapsed();
        let token = match system {
            System::Fastness => fs::read_to_string(dir.join("admin.token"))?.trim().to_owned(),
            System::HttpCeiling | System::ShapeCeiling => "none".to_owned(),
        };
        Ok(Server {
            child,
            address,
            token,
            ready,
        })
    }

    /// Where the load goes.
    pub fn target(&self) -> Target<'_> {
        Target {
            address: self.address,
            token: &self.token,
        }
    }

    /// What the process has used so far.
    pub fn used(&self) -> Result<Used> {
        Used::of(&self.child.id().to_string())
    }

    /// Resident memory now, in bytes.
    pub fn resident_bytes(&self) -> Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        Ok(number_after(&text, "VmRSS:").context("no VmRSS")? * 1024.0)
    }

    /// Most resident memory it ever had, in bytes.
    pub fn peak_bytes(&self) -> Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        Ok(number_after(&text, "VmHWM:").context("no VmHWM")? * 1024.0)
    }

    /// Asks it to end, and waits.
    pub fn stop(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let begin = Instant::now();
        while begin.elapsed() < END_WAIT {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "a server ended with {status}");
                return Ok(());
            }
            thread::sleep(Duration::from_millis(5));
        }
        bail!("a server did not end in {END_WAIT:?}")
    }
}

impl Server {
    /// Ends it without a word.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After an error only; a stopped server has gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program as it is, or with every flush made longer by `BENCH_FLUSH_DELAY_US`: a few lines of C stand before the C
/// library's calls. (strace can hold calls back too, but slows a server without any flush sixteen times.)
fn slowed(program: PathBuf, dir: &Path) -> Result<Command> {
    let mut command = Command::new(program);
    if let Ok(delay) = std::env::var("BENCH_FLUSH_DELAY_US") {
        let _: u32 = delay.parse().context("BENCH_FLUSH_DELAY_US")?;
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/support/slow_flush.c");
        let library = dir.with_extension("slow_flush.so");
        let built = Command::new("cc")
            .args(["-O2", "-shared", "-fPIC", "-o"])
            .args([&library, &source])
            .status()
            .context("cc")?;
        ensure!(built.success(), "{} cannot be compiled", source.display());
        command.env("LD_PRELOAD", library);
    }
    Ok(command)
}

/// Bytes that the disk under a folder was given so far, by whomever; NaN where the kernel does not tell. What processes are
/// told to have written counts whole pages, and more than pages where the page cache holds larger pieces.
pub fn disk_written(dir: &Path) -> Result<f64> {
    let device = fs::metadata(dir)?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let Ok(text) = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")) else {
        return Ok(f64::NAN);
    };
    // The seventh number: sectors of 512 bytes.
    let sectors = text
        .split_whitespace()
        .nth(6)
        .and_then(|text| text.parse::<f64>().ok());
    Ok(sectors.map_or(f64::NAN, |sectors| sectors * 512.0))
}

/// What a process has used since its start.
#[derive(Clone, Copy)]
pub struct Used {
    /// Processor time of all its threads, in seconds.
    pub cpu: f64,
}

impl Used {
    /// Of a process by its number, or `self`.
    pub fn of(process: &str) -> Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
        let behind_name = stat.rsplit(')').next().unwrap_or_default();
        let fields: Vec<f64> = behind_name
            .split_whitespace()
            .filter_map(|field| field.parse().ok())
            .collect();
        // Fields 14 and 15 of the line; the state, which is no number, and two before it are not in `fields`.
        let ticks = fields
            .get(10)
            .zip(fields.get(11))
            .map(|(user, system)| user + system);
        Ok(Used {
            cpu: ticks.context("a line of /proc that is none")? / TICKS_PER_SECOND,
        })
    }
}

/// Processor time that everything on the machine has used, in seconds.
pub fn machine_cpu() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("an empty /proc/stat")?;
    let fields: Vec<f64> = line
        .split_whitespace()
        .filter_map(|field| field.parse().ok())
        .collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are within user.
    let busy = [0, 1, 2, 5, 6, 7].iter().filter_map(|index| fields.get(*index));
    Ok(busy.sum::<f64>() / TICKS_PER_SECOND)
}

/// The number that stands behind a name in a file of /proc.
pub fn number_after(text: &str, name: &str) -> Option<f64> {
    let rest = &text[text.find(name)? + name.len()..];
    rest.split_whitespace().next()?.parse().ok()
}

/// A fresh folder on the file system that is measured: `BENCH_DIR`, else beside the build.
pub fn folder() -> Result<TempDir> {
    let parent = std::env::var_os("BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    fs::create_dir_all(&parent)?;
    tempfile::tempdir_in(&parent).with_context(|| format!("a folder in {}", parent.display()))
}
