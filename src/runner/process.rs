//! Sees one launched step through: its output into the log, stop requests to its supervisor, its end back.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as BlockingStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};

use super::keeper::Stop;
use super::launch::{Command, Ended, Launched, Report};
use crate::clock::Clock;
use crate::domain::Timestamp;
use crate::limits;
use crate::output::{AttemptLog, OutputError, Stream};

/// Bytes read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// How a step ended, as far as this side knows.
#[derive(Debug)]
pub(super) enum Finished {
    Ended(Ended),
    Refused(String),
    /// The supervisor died without a report.
    SupervisorLost,
}

/// The log comes back with the error that broke it, if one did.
#[derive(Debug)]
pub(super) struct Seen {
    pub finished: Finished,
    pub log: AttemptLog,
    pub log_error: Option<OutputError>,
}

struct Chunk {
    stream: Stream,
    bytes: Bytes,
    at: Timestamp,
}

/// Ready when nothing of the step is left and its output is in the log, unflushed.
pub(super) async fn see_through(
    launched: Launched,
    log: AttemptLog,
    mut stop: watch::Receiver<Stop>,
    clock: Arc<dyn Clock>,
) -> io::Result<Seen> {
    let (chunks, waiting) = mpsc::channel(limits::OUTPUT_CHUNKS_WAITING_MAX);
    let writer = tokio::task::spawn_blocking(move || write_log(log, waiting));
    let finished = {
        let pump = pump([launched.stdout, launched.stderr], chunks, clock);
        tokio::pin!(pump);
        attend(launched.control, pump.as_mut(), &mut stop).await
    };
    launched.ended.await;
    let (log, log_error) = writer.await.map_err(io::Error::other)?;
    Ok(Seen {
        finished: finished?,
        log,
        log_error,
    })
}

/// Talks with the supervisor while `pump` moves the output.
async fn attend(
    control: OwnedFd,
    mut pump: std::pin::Pin<&mut impl Future<Output = Pumped>>,
    stop: &mut watch::Receiver<Stop>,
) -> io::Result<Finished> {
    let control = BlockingStream::from(control);
    control.set_nonblocking(true)?;
    let (reader, mut writer) = UnixStream::from_std(control)?.into_split();
    let mut reports = BufReader::new(reader.take(limits::LAUNCH_REPORT_BYTES_MAX)).lines();
    let (mut is_pumping, mut said) = (true, Stop::No);
    let finished = loop {
        let wanted = *stop.borrow_and_update();
        if wanted > said {
            said = wanted;
            let command = if wanted == Stop::Cancel {
                Command::Cancel
            } else {
                Command::Kill
            };
            // A supervisor that is gone is noticed below.
            let _ = writer.write_all(&[command.byte()]).await;
        }
        tokio::select! {
            line = reports.next_line() => match line.ok().flatten().map(|line| serde_json::from_str(&line)) {
                Some(Ok(Report::Started { .. })) => {}
                Some(Ok(Report::Refused { message })) => break Finished::Refused(message),
                Some(Ok(Report::Ended(ended))) => break Finished::Ended(ended),
                Some(Err(_)) | None => break Finished::SupervisorLost,
            },
            pumped = &mut pump, if is_pumping => {
                is_pumping = false;
                if pumped == Pumped::LogBroken {
                    // A step whose output cannot be kept must not go on.
                    let _ = writer.write_all(&[Command::Kill.byte()]).await;
                }
            }
            // The sender lives as long as the attempt.
            _ = stop.changed() => {}
        }
    };
    // Closing the control socket ends a supervisor that broke the protocol; its pipes then end too.
    drop((reports, writer));
    if is_pumping {
        let drained = tokio::time::timeout(Duration::from_millis(limits::OUTPUT_DRAIN_MS_MAX), pump).await;
        if drained.is_err() {
            tracing::warn!("a process outside the step holds its output open; what it writes is not kept");
        }
    }
    Ok(finished)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pumped {
    ToTheEnd,
    LogBroken,
}

/// Moves both outputs to the log's writer. Waits while the disk is behind, and with it the step.
async fn pump(outputs: [OwnedFd; 2], chunks: mpsc::Sender<Chunk>, clock: Arc<dyn Clock>) -> Pumped {
    let [stdout, stderr] = outputs;
    let moved = async {
        tokio::try_join!(
            move_stream(Stream::Stdout, stdout, &chunks, &*clock),
            move_stream(Stream::Stderr, stderr, &chunks, &*clock),
        )
    };
    tokio::select! {
        moved = moved => match moved {
            Ok(((), ())) => Pumped::ToTheEnd,
            Err(_) => Pumped::LogBroken,
        },
        // Known at once, not with the next output.
        () = chunks.closed() => Pumped::LogBroken,
    }
}

async fn move_stream(
    stream: Stream,
    output: OwnedFd,
    chunks: &mpsc::Sender<Chunk>,
    clock: &dyn Clock,
) -> io::Result<()> {
    let mut output = pipe::Receiver::from_owned_fd(output)?;
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK_BYTES);
        if output.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        let chunk = Chunk {
            stream,
            bytes: buffer.split().freeze(),
            at: Timestamp::from_ms(clock.wall_ms()),
        };
        chunks.send(chunk).await.map_err(io::Error::other)?;
    }
}

/// Runs on a thread of its own until the last chunk. After an error it takes no more, which ends the pump.
fn write_log(mut log: AttemptLog, mut chunks: mpsc::Receiver<Chunk>) -> (AttemptLog, Option<OutputError>) {
    while let Some(chunk) = chunks.blocking_recv() {
        if let Err(error) = log.append(chunk.stream, &chunk.bytes, chunk.at) {
            return (log, Some(error));
        }
    }
    (log, None)
}
