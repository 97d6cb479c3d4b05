//! `fastness __step`: the small process between the runner and one step.
//!
//! It promises that nothing of the step outlives it: it is the reaper of its descendants, so whatever daemonises
//! becomes its child, and it ends only when it has no child left. That question is answered by the kernel; /proc
//! only says whom to signal. When its control socket ends, its runner has died, and it ends the step.
//!
//! It has a single thread, reads its order before anything else, and inherits nothing but its three descriptors: the
//! confinement of a step belongs between the order and the spawn.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as BlockingStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{self, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};

use super::launch::{Cause, Command, Ended, LaunchSpec, Report};
use super::processes::descendants;
use crate::limits;

/// Between two rounds of KILL, when no child ends meanwhile.
const KILL_AGAIN_MS: u64 = 5;

/// Runs one step as ordered on standard input. The step's own output goes to standard output and error.
pub fn step_main() -> ExitCode {
    match supervise() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            refuse(format!("cannot supervise the step: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn supervise() -> io::Result<()> {
    // Fails only for one who leads a group already, which is as good.
    let _ = rustix::process::setsid();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let mut control = BlockingStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let spec = read_spec(&mut control)?;
    control.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut supervisor = Supervisor::new(UnixStream::from_std(control)?)?;
        match start(&spec) {
            Ok(main) => supervisor.see_through(main, &spec).await,
            Err(error) => {
                let message = format!("cannot start {:?}: {error}", spec.argv.first());
                supervisor.report(&Report::Refused { message }).await
            }
        }
    })
}

/// The last word of a supervisor that could not do its work. One without a runner has nobody to tell.
fn refuse(message: String) {
    let control = io::stdin().as_fd().try_clone_to_owned().map(BlockingStream::from);
    if let (Ok(mut control), Ok(mut line)) = (control, serde_json::to_vec(&Report::Refused { message })) {
        line.push(b'\n');
        let _ = control.write_all(&line);
    }
}

fn read_spec(control: &mut BlockingStream) -> io::Result<LaunchSpec> {
    let mut len = [0; 4];
    control.read_exact(&mut len)?;
    let len = u32::from_le_bytes(len) as usize;
    if len > limits::LAUNCH_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = vec![0; len];
    control.read_exact(&mut bytes)?;
    serde_json::from_slice(&bytes).map_err(io::Error::from)
}

fn start(spec: &LaunchSpec) -> io::Result<Pid> {
    let Some((program, arguments)) = spec.argv.split_first() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let child = process::Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(spec.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&spec.work_dir)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()?;
    // Collected by `Supervisor::reap`, like everything else below this process.
    Ok(Pid::from_child(&child))
}

/// What may happen while a step runs.
enum Happening {
    /// Some child ended, or time has come to look again.
    Look,
    Ordered(Option<Command>),
    Signalled,
}

struct Supervisor {
    control: UnixStream,
    /// False once the runner is known to be dead.
    has_runner: bool,
    child: SignalStream,
    stops: [SignalStream; 3],
}

impl Supervisor {
    fn new(control: UnixStream) -> io::Result<Self> {
        Ok(Supervisor {
            control,
            has_runner: true,
            child: signal(SignalKind::child())?,
            stops: [
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
                signal(SignalKind::hangup())?,
            ],
        })
    }

    async fn see_through(&mut self, main: Pid, spec: &LaunchSpec) -> io::Result<()> {
        let mut tree = Tree { main, status: None };
        let pid = main.as_raw_nonzero().get();
        // A runner that is gone is noticed below.
        let _ = self.report(&Report::Started { pid }).await;
        let cause = self.watch(&mut tree, spec.timeout_ms).await;
        match cause {
            Cause::Exit | Cause::Kill => {}
            Cause::Timeout | Cause::Cancel | Cause::Signal | Cause::Orphaned => {
                self.ask_to_end(&mut tree, spec.grace_ms).await;
            }
        }
        while !tree.reap() {
            tree.signal(&[Signal::KILL]);
            tokio::select! {
                _ = self.child.recv() => {}
                () = tokio::time::sleep(Duration::from_millis(KILL_AGAIN_MS)) => {}
            }
        }
        let ended = Ended {
            cause,
            exit_code: tree.status.and_then(|status| status.code()),
            signal: tree.status.and_then(|status| status.signal()),
        };
        if self.has_runner {
            self.report(&Report::Ended(ended)).await?;
        }
        Ok(())
    }

    /// Until the main process ends or there is a reason to end it.
    async fn watch(&mut self, tree: &mut Tree, timeout_ms: u64) -> Cause {
        let deadline = tokio::time::sleep(Duration::from_millis(timeout_ms));
        tokio::pin!(deadline);
        loop {
            tree.reap();
            if tree.status.is_some() {
                return Cause::Exit;
            }
            let happening = tokio::select! {
                happening = self.happens() => happening,
                () = &mut deadline => return Cause::Timeout,
            };
            match happening {
                Happening::Look => {}
                Happening::Ordered(Some(Command::Cancel)) => return Cause::Cancel,
                Happening::Ordered(Some(Command::Kill)) => return Cause::Kill,
                Happening::Ordered(None) => return Cause::Orphaned,
                Happening::Signalled => return Cause::Signal,
            }
        }
    }

    /// TERM to all, then waits until nothing is left, the grace is over, or KILL is ordered.
    async fn ask_to_end(&mut self, tree: &mut Tree, grace_ms: u64) {
        // One that is stopped could not hear TERM.
        tree.signal(&[Signal::TERM, Signal::CONT]);
        let deadline = tokio::time::sleep(Duration::from_millis(grace_ms));
        tokio::pin!(deadline);
        while !tree.reap() {
            let happening = tokio::select! {
                happening = self.happens() => happening,
                () = &mut deadline => return,
            };
            if matches!(happening, Happening::Ordered(Some(Command::Kill))) {
                return;
            }
        }
    }

    async fn happens(&mut self) -> Happening {
        let mut byte = [0];
        let [terminate, interrupt, hang_up] = &mut self.stops;
        tokio::select! {
            _ = self.child.recv() => Happening::Look,
            read = self.control.read(&mut byte), if self.has_runner => match read {
                Ok(1) if byte[0] == Command::Kill.byte() => Happening::Ordered(Some(Command::Kill)),
                Ok(1) if byte[0] == Command::Cancel.byte() => Happening::Ordered(Some(Command::Cancel)),
                Ok(1) => Happening::Look,
                Ok(_) | Err(_) => {
                    self.has_runner = false;
                    Happening::Ordered(None)
                }
            },
            _ = terminate.recv() => Happening::Signalled,
            _ = interrupt.recv() => Happening::Signalled,
            _ = hang_up.recv() => Happening::Signalled,
        }
    }

    async fn report(&mut self, report: &Report) -> io::Result<()> {
        let mut line = serde_json::to_vec(report)?;
        line.push(b'\n');
        self.control.write_all(&line).await
    }
}

/// The step's processes.
struct Tree {
    main: Pid,
    status: Option<ExitStatus>,
}

impl Tree {
    /// Collects what has ended. True when there is no child left, and so no descendant: an orphan would be a child.
    fn reap(&mut self) -> bool {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.main => {
                    self.status = Some(ExitStatus::from_raw(status.as_raw()));
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }

    fn signal(&self, signals: &[Signal]) {
        // Without /proc only the main process's group can be reached; the kernel still says when all have ended.
        let Ok(found) = descendants(rustix::process::getpid()) else {
            for signal in signals {
                let _ = rustix::process::kill_process_group(self.main, *signal);
            }
            return;
        };
        for process in found {
            for signal in signals {
                process.signal(*signal);
            }
        }
    }
}
