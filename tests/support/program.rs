//! The real program in processes of its own: as a server that a test may kill, and as the client of one.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::appliance::{ANSWER_MAX, Ask, Reply};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_fastness");
/// Between two looks at something that only shows itself when looked at.
const LOOK: Duration = Duration::from_millis(5);

/// The program with these arguments and nothing of this process's settings.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FASTNESS_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs the program to its end.
pub fn run(arguments: &[&str]) -> Said {
    Said::of(&mut command(arguments))
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    pub fn of(command: &mut Command) -> Said {
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said {
            // A signal has no code.
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// The JSON on standard output of a command that ended with `code`.
    #[track_caller]
    pub fn json(&self, code: i32) -> Value {
        assert_eq!(self.code, code, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// That it ended with `code`, said `message` on standard error, and nothing on standard output.
    #[track_caller]
    pub fn refuses(&self, code: i32, message: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.stderr.contains(message), "{message:?} is not said: {self:?}");
        assert_eq!(self.stdout, "", "messages go to standard error: {self:?}");
    }
}

/// A server that was started and may not accept yet.
#[derive(Debug)]
pub struct Starting {
    child: Child,
    data: PathBuf,
    lines: Receiver<String>,
    log: PathBuf,
}

impl Starting {
    /// Starts a server on `data`; what it logs is added to a file beside that folder.
    pub fn new(data: &Path) -> Starting {
        let data_text = data.to_str().unwrap();
        let serve = ["serve", "--listen", "127.0.0.1:0", "--data", data_text];
        Starting::by(command(&serve), data)
    }

    /// Starts a server by a command of the caller's.
    pub fn by(command: Command, data: &Path) -> Starting {
        Starting::logging(command, data, &data.with_extension("log"))
    }

    /// Starts a server whose log goes to a place of the caller's.
    pub fn logging(mut command: Command, data: &Path, log: &Path) -> Starting {
        let file = File::options().create(true).append(true).open(log).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(file).spawn().unwrap();
        let output = child.stdout.take().unwrap();
        let (heard, lines) = sync_channel(64);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if heard.send(line).is_err() {
                    return;
                }
            }
        });
        Starting {
            child,
            data: data.to_owned(),
            lines,
            log: log.to_owned(),
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a power switch would, wherever it is in starting.
    pub fn kill(mut self) {
        kill(&mut self.child, Signal::KILL);
    }

    /// Waits for the line that says that it accepts.
    #[track_caller]
    pub fn ready(self) -> Program {
        let Ok(line) = self.lines.recv_timeout(ANSWER_MAX) else {
            panic!("the server does not become ready: {}", log_tail(&self.log));
        };
        let url = line
            .strip_prefix("ready ")
            .unwrap_or_else(|| panic!("not the ready line: {line}"));
        let address = url.strip_prefix("http://").unwrap().parse().unwrap();
        let token = std::fs::read_to_string(self.data.join("admin.token")).unwrap();
        Program {
            address,
            token: token.trim().to_owned(),
            url: url.to_owned(),
            process: self,
        }
    }
}

/// A server that accepts.
#[derive(Debug)]
pub struct Program {
    pub address: SocketAddr,
    pub token: String,
    pub url: String,
    process: Starting,
}

impl Program {
    pub fn start(data: &Path) -> Program {
        Starting::new(data).ready()
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends it as a power switch would.
    pub fn kill(mut self) {
        kill(&mut self.process.child, Signal::KILL);
    }

    /// Asks it to end, and gives its exit code and what it said on standard output after the ready line.
    pub fn terminate(mut self) -> (Option<i32>, Vec<String>) {
        let status = kill(&mut self.process.child, Signal::TERM);
        (status.code(), self.process.lines.iter().collect())
    }

    /// Waits until it has ended by itself, and gives its exit code and the last that it logged.
    pub fn ended(mut self) -> (Option<i32>, String) {
        (wait(&mut self.process.child).code(), self.log())
    }

    /// The last that it logged.
    pub fn log(&self) -> String {
        log_tail(&self.process.log)
    }

    /// A client command against this server, with every right.
    pub fn client(&self, arguments: &[&str]) -> Command {
        let mut command = command(arguments);
        command
            .env("FASTNESS_SERVER", &self.url)
            .env("FASTNESS_TOKEN_FILE", self.process.data.join("admin.token"));
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Said {
        Said::of(&mut self.client(arguments))
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        let reply = call(self.address, &Ask::get(path).token(&self.token));
        reply
            .unwrap_or_else(|error| panic!("{path}: {error}: {}", self.log()))
            .expect(200)
    }
}

impl Program {
    #[track_caller]
    pub fn post(&self, path: &str, body: &str) -> Value {
        let asked = Ask::post(path, body.as_bytes()).header("content-type", "application/json");
        let reply = call(self.address, &asked.token(&self.token));
        reply
            .unwrap_or_else(|error| panic!("{path}: {error}: {}", self.log()))
            .expect(200)
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            kill(&mut self.child, Signal::KILL);
        }
    }
}

/// Signals a child of ours and waits for its end.
fn kill(child: &mut Child, signal: Signal) -> ExitStatus {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
    wait(child)
}

fn wait(child: &mut Child) -> ExitStatus {
    let mut status = None;
    until("the server ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

/// Looks again and again, until `is_true` or the end of patience.
#[track_caller]
pub fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + ANSWER_MAX;
    while !is_true() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(LOOK);
    }
}

/// Sends a request to a server that may be killed meanwhile: an error is no answer, or half of one.
pub fn call(address: SocketAddr, ask: &Ask<'_>) -> io::Result<Reply> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(ANSWER_MAX))?;
    socket.write_all(&ask.bytes(address))?;
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes)?;
    let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
    if !bytes.windows(4).any(|four| four == b"\r\n\r\n") {
        return Err(cut());
    }
    let reply = Reply::read(bytes.as_slice());
    match reply.header("content-length").map(str::parse::<usize>) {
        Some(Ok(length)) if reply.body.len() != length => Err(cut()),
        _ => Ok(reply),
    }
}

fn log_tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
