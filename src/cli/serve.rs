//! `fastness serve`: the server. One line on standard output once it accepts; everything else goes to standard error.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use tokio::net::unix::pipe;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use super::exit::{Exit, Failure, told};
use super::read;
use crate::app::{App, AppError};
use crate::clock::SystemClock;
use crate::config::ServeConfig;
use crate::disk::OsDisk;
use crate::engine::Report;
use crate::limits;

/// Settings of the server.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Data folder; made when it is not there
    #[arg(long, env = "FASTNESS_DATA", value_name = "DIR")]
    data: PathBuf,
    /// Address and port; port 0 picks a free one
    #[arg(
        long,
        env = "FASTNESS_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8420"
    )]
    listen: String,
    /// Steps that run at once; four a core when not given
    #[arg(long, env = "FASTNESS_SLOTS", value_name = "N")]
    slots: Option<usize>,
    /// How long running steps may go on after the end was asked for [default: 10s]
    #[arg(long, env = "FASTNESS_DRAIN", value_name = "TIME", value_parser = read::duration)]
    drain: Option<std::time::Duration>,
    /// Persons who have to approve a bundle before it is imported, besides the one who brings it
    #[arg(
        long,
        env = "FASTNESS_IMPORT_APPROVALS",
        value_name = "N",
        default_value_t = 0
    )]
    import_approvals: u32,
    /// What is logged: error, warn, info, debug, or targets with levels
    #[arg(long, env = "FASTNESS_LOG", value_name = "FILTER", default_value = "info")]
    log: String,
    /// Log as JSON, one object a line
    #[arg(long, env = "FASTNESS_LOG_JSON")]
    log_json: bool,
    /// End as soon as standard input, a pipe, ends: whoever started this server is then gone
    #[arg(long, hide = true)]
    while_stdin: bool,
}

/// Serves until a signal says otherwise.
///
/// # Errors
/// The server cannot start; or it ended by itself.
pub fn run(arguments: Arguments) -> Result<Exit> {
    start_log(&arguments)?;
    let program = std::env::current_exe().context("finding this program")?;
    let drain = arguments.drain.map_or(Ok(limits::DRAIN_MS_DEFAULT), |drain| {
        u64::try_from(drain.as_millis())
    });
    let drain_ms = drain.unwrap_or(u64::MAX);
    let config = ServeConfig::new(
        arguments.data,
        program,
        &arguments.listen,
        arguments.slots,
        drain_ms,
    )
    .and_then(|config| config.with_import_approvals(arguments.import_approvals))
    .map_err(|error| Failure::usage(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(serve(config, arguments.while_stdin));
    // Reads that still block must not hold the end.
    runtime.shutdown_background();
    served
}

fn start_log(arguments: &Arguments) -> Result<()> {
    let filter: Targets = arguments
        .log
        .parse()
        .map_err(|error| Failure::usage(format!("--log: {error}")))?;
    let is_coloured =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(is_coloured);
    let lines = if arguments.log_json {
        lines.json().boxed()
    } else {
        lines.boxed()
    };
    let started = tracing_subscriber::registry().with(filter).with(lines).try_init();
    started.map_err(|error| anyhow::anyhow!("starting the log: {error}"))
}

/// What recovery did that an operator should know of: damage that it made good.
fn tell(report: &Report) {
    if let Some(why) = &report.rebuilt {
        tracing::warn!(why, "the projection was built anew");
    }
    if let Some((file, offset)) = &report.cut {
        tracing::warn!(file = %file.display(), offset, "a torn batch was cut; it was never acknowledged");
    }
}

async fn serve(config: ServeConfig, while_stdin: bool) -> Result<Exit> {
    // Heard from now on, also while it starts.
    let mut ends = Ends::listen(while_stdin)?;
    let data = config.data.clone();
    let app = tokio::select! {
        started = App::start(config, Arc::new(OsDisk), Arc::new(SystemClock::default())) => {
            started.map_err(cannot_start)?
        }
        () = ends.next() => return Ok(Exit::Good),
    };
    tell(&app.report);
    tracing::info!(address = %app.address, data = %data.display(), token = %data.join("admin.token").display(), "serving");
    // Whoever waits for this line may have gone; that is no reason not to serve.
    let _ = writeln!(io::stdout(), "ready http://{}", app.address).and_then(|()| io::stdout().flush());
    let failed = tokio::select! {
        () = ends.next() => None,
        ended = app.failed() => ended.err(),
    };
    if let Some(fatal) = failed {
        // Whoever waits for an answer is told what happened.
        app.give_up().await;
        return Err(Failure::new(Exit::Failed, format!("the server ended by itself: {fatal}")).into());
    }
    tracing::info!("ending: running steps may finish; a second signal ends them at once");
    app.stop(ends.next()).await.context("ending")?;
    tracing::info!("ended");
    Ok(Exit::Good)
}

fn cannot_start(error: AppError) -> anyhow::Error {
    Failure::new(
        Exit::CannotStart,
        format!("cannot start: {}", told(&error.into())),
    )
    .into()
}

/// What ends a server.
#[derive(Debug)]
struct Ends {
    interrupt: Signal,
    terminate: Signal,
    starter: Option<pipe::Receiver>,
}

impl Ends {
    fn listen(while_stdin: bool) -> Result<Self> {
        let starter = if while_stdin {
            use std::os::fd::AsFd;
            let input = io::stdin().as_fd().try_clone_to_owned()?;
            Some(
                pipe::Receiver::from_owned_fd(input)
                    .map_err(|_| Failure::usage("standard input is no pipe"))?,
            )
        } else {
            None
        };
        Ok(Ends {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            starter,
        })
    }

    /// Waits for the next.
    async fn next(&mut self) {
        let starter_is_gone = async {
            match &self.starter {
                None => std::future::pending().await,
                Some(pipe) => while !is_at_end(pipe).await {},
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = starter_is_gone => self.starter = None,
        }
    }
}

/// Whether the other end of a pipe is closed; what is written to it is thrown away.
async fn is_at_end(pipe: &pipe::Receiver) -> bool {
    let mut piece = [0; 64];
    match pipe.readable().await {
        Err(_) => true,
        Ok(()) => match pipe.try_read(&mut piece) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        },
    }
}
