//! Wiring: what is started in which order, and stopped in which. Nothing else.
//!
//! Start: lock → listener → keys → engine → first token → replaced keys → output → imported ledgers → runner → routes. Stop: runner
//! drains → connections end → engine answers, flushes, signs → clean marker → lock.

mod replayed;

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

pub use self::replayed::{Replayed, Shown};
use crate::api::{self, ApiContext};
use crate::bundle::desk::Desk;
use crate::bundle::import::{self, ImportError};
use crate::bundle::kept;
use crate::bundle::order::{intake, letters};
use crate::bundle::stored;
use crate::clock::Clock;
use crate::config::ServeConfig;
use crate::console;
use crate::disk::{self, Disk};
use crate::domain::command::{Command, CreateToken};
use crate::domain::decide::{STEP_JOB_TYPE, STEP_QUEUE};
use crate::domain::event::Actor;
use crate::domain::state::View;
use crate::domain::token::Scope;
use crate::domain::{Digest, TenantName};
use crate::engine::{
    CommandError, Fatal, Handle, LOCAL_WORKER, Layout, Report, RotationError, Setup, StartError, Trusted,
};
use crate::journal::Options;
use crate::limits;
use crate::output::{Output, OutputError};
use crate::runner::{EngineLeases, LocalLauncher, Runner, RunnerConfig, RunnerError, RunnerHandle};
use crate::secrets::{SecretError, Secrets};
use crate::store::Store;
use crate::trust::{KeyFolder, TrustError};
use crate::webhooks::{WebhookError, Webhooks};

/// The hidden verb by which the program opens a projection in a child process.
pub const PROBE_VERB: &str = "__probe-store";
/// The tenant that is there from the first start.
pub const FIRST_TENANT: &str = "default";
const PROBE_POLL: Duration = Duration::from_millis(5);
/// How long open connections may take to end.
const CONNECTIONS_END: Duration = Duration::from_secs(3);

/// Why the server did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Another server has this data folder.
    #[error("another server is using {0}")]
    Locked(PathBuf),
    /// The address is taken, or not ours.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    /// The folder cannot be used.
    #[error("{what}: {source}")]
    Disk {
        /// What was attempted, on what.
        what: String,
        /// What the disk said.
        source: io::Error,
    },
    /// The keys.
    #[error(transparent)]
    Keys(#[from] TrustError),
    /// The data.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The first events.
    #[error("writing the first events: {0}")]
    FirstEvents(#[from] CommandError),
    /// A replaced key.
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// Step logs and artifacts.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The values of secrets.
    #[error(transparent)]
    Secrets(#[from] SecretError),
    /// The webhooks.
    #[error(transparent)]
    Webhooks(#[from] WebhookError),
    /// Bundles that are shown.
    #[error(transparent)]
    Bundles(#[from] ImportError),
    /// The built-in runner.
    #[error(transparent)]
    Runner(#[from] RunnerError),
    /// The writer stopped for good.
    #[error(transparent)]
    Writer(#[from] Fatal),
}

/// A running server.
#[derive(Debug)]
pub struct App {
    /// Where it listens.
    pub address: SocketAddr,
    /// Commands and reads.
    pub engine: Handle,
    /// What recovery did.
    pub report: Report,
    data: PathBuf,
    disk: Arc<dyn Disk>,
    runner: RunnerHandle,
    server: api::Server,
    drain: Duration,
    /// Held until the end.
    _lock: fs::File,
}

impl App {
    /// Starts everything. Must be called within a runtime.
    ///
    /// # Errors
    /// [`AppError`] says what stood in the way; nothing runs then.
    pub async fn start(
        config: ServeConfig,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AppError> {
        let data = config.data.clone();
        disk.create_dir_all(&data).map_err(|source| AppError::Disk {
            what: format!("making {}", data.display()),
            source,
        })?;
        let lock = lock(&data)?;
        let listener =
            TcpListener::bind(config.listen).map_err(|error| AppError::Listen(config.listen, error))?;
        let address = listener
            .local_addr()
            .map_err(|error| AppError::Listen(config.listen, error))?;
        let mut random = |bytes: &mut [u8]| clock.fill_random(bytes);
        let keys = Arc::new(KeyFolder::open_or_create(
            disk.as_ref(),
            &data.join("keys"),
            &mut random,
        )?);
        let trusted = take_clean_marker(disk.as_ref(), &data, &config.program)?;
        let setup = Setup {
            dir: data.clone(),
            disk: disk.clone(),
            clock: clock.clone(),
            keys,
            trusted,
            journal: Options::default(),
        };
        let started = tokio::task::spawn_blocking(move || Handle::start(setup)).await;
        let (engine, report) = started.map_err(|error| Fatal(error.to_string()))??;
        first_token(&engine, disk.as_ref(), clock.as_ref(), &data).await?;
        // Of a key that was replaced when the server ended before it could say so.
        engine.record_rotations(&Actor::system("keys")).await?;
        let output = Output::open(data.join("output"), disk.clone())?;
        let secrets = Secrets::new(data.join("secrets"), disk.clone());
        sweep_secrets(&engine, &secrets).await?;
        settle_bundles(&engine).await?;
        settle_imports(&engine).await?;
        sweep_orders(&engine).await?;
        intake::finish_cancellations(&engine)
            .await
            .map_err(|error| Fatal(error.to_string()))?;
        let runner = start_runner(&config, &engine, (&output, &secrets), &clock).await?;
        let webhooks = open_webhooks(&engine, &disk, &data).await?;
        let stored = (secrets, webhooks);
        let context = ApiContext::new(engine.clone(), output, stored, address)
            .with_assets(find_asset)
            .with_import_approvals(config.import_approvals)
            .with_order_approvers(config.order_approvers);
        let server = api::serve(listener, context).map_err(|error| AppError::Listen(address, error))?;
        Ok(App {
            address,
            engine,
            report,
            data,
            disk,
            runner,
            server,
            drain: Duration::from_millis(config.drain_ms),
            _lock: lock,
        })
    }

    /// Ends when the writer stopped for good; never otherwise.
    ///
    /// # Errors
    /// Always: [`Fatal`] says why.
    pub async fn failed(&self) -> Result<(), Fatal> {
        let engine = self.engine.clone();
        match tokio::task::spawn_blocking(move || engine.wait()).await {
            Ok(ended) => ended,
            Err(error) => Err(Fatal(error.to_string())),
        }
    }

    /// Ends after the writer stopped for good: answers that are on their way go out, nothing more is written. Running
    /// steps end with this process.
    pub async fn give_up(self) {
        self.server.stop(CONNECTIONS_END).await;
    }

    /// Stops in order. Running steps may go on for the drain time; `hurry` ends them at once.
    ///
    /// # Errors
    /// [`Fatal`] when the last writes failed.
    pub async fn stop(mut self, hurry: impl Future<Output = ()>) -> Result<(), AppError> {
        self.runner.drain(self.drain);
        let in_time = tokio::select! {
            () = self.runner.join() => true,
            () = hurry => false,
        };
        if !in_time {
            // Asked a second time: what still runs is killed and recorded as interrupted.
            self.runner.drain(Duration::ZERO);
            self.runner.join().await;
        }
        self.server.stop(CONNECTIONS_END).await;
        let engine = self.engine.clone();
        let stopped = tokio::task::spawn_blocking(move || engine.stop()).await;
        stopped.map_err(|error| Fatal(error.to_string()))??;
        drop(self.engine);
        let marker = clean_marker(&self.data);
        disk::replace_file(self.disk.as_ref(), &marker, b"clean\n").map_err(|source| AppError::Disk {
            what: format!("writing {}", marker.display()),
            source,
        })
    }
}

/// The console's files, as the routes take them.
fn find_asset(path: &str, accept_encoding: &str) -> Option<api::Asset> {
    let path = if path.is_empty() { console::INDEX } else { path };
    console::find(path, accept_encoding).map(|found| api::Asset {
        bytes: found.bytes,
        content_type: found.content_type,
        encoding: found.encoding,
        fingerprinted: found.fingerprinted,
    })
}

/// Values that no event names: of a change that was not recorded, or left when they were replaced.
async fn sweep_secrets(engine: &Handle, secrets: &Arc<Secrets>) -> Result<(), AppError> {
    let (engine, secrets) = (engine.clone(), secrets.clone());
    let swept = tokio::task::spawn_blocking(move || {
        let snapshot = engine.read().map_err(|error| Fatal(error.to_string()))?;
        secrets.sweep(|tenant, name, version| {
            let view: &dyn View = &snapshot.view(tenant);
            let row = view.secret(name).map_err(|error| Fatal(error.to_string()))?;
            Ok(row.is_some_and(|row| row.version == version))
        })
    });
    swept.await.map_err(|error| Fatal(error.to_string()))?
}

async fn open_webhooks(
    engine: &Handle,
    disk: &Arc<dyn Disk>,
    data: &Path,
) -> Result<Arc<Webhooks>, AppError> {
    let (engine, disk, dir) = (engine.clone(), disk.clone(), data.join("webhooks"));
    let opened = tokio::task::spawn_blocking(move || Webhooks::open(&engine, &disk, &dir)).await;
    Ok(opened.map_err(|error| Fatal(error.to_string()))??)
}

async fn start_runner(
    config: &ServeConfig,
    engine: &Handle,
    (output, secrets): (&Arc<Output>, &Arc<Secrets>),
    clock: &Arc<dyn Clock>,
) -> Result<RunnerHandle, AppError> {
    let mut runner = RunnerConfig::new(
        LOCAL_WORKER.to_owned(),
        vec![STEP_JOB_TYPE.to_owned()],
        config.data.join("work"),
    );
    runner.queues = vec![STEP_QUEUE.to_owned()];
    if let Some(slots) = config.slots {
        runner.slots = slots;
    }
    let leases = EngineLeases::new(engine.clone(), secrets.clone(), LOCAL_WORKER);
    let launcher = Arc::new(LocalLauncher::new(config.program.clone()));
    Ok(Runner::start(runner, leases, launcher, output.clone(), clock.clone()).await?)
}

/// One server per data folder. The kernel gives the lock back when the process ends, however it ends.
///
/// # Errors
/// [`AppError::Locked`] when a server uses the folder.
pub fn lock(data: &Path) -> Result<fs::File, AppError> {
    let path = data.join("lock");
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|source| AppError::Disk {
            what: format!("opening {}", path.display()),
            source,
        })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(AppError::Locked(data.to_owned())),
        Err(fs::TryLockError::Error(source)) => Err(AppError::Disk {
            what: format!("locking {}", path.display()),
            source,
        }),
    }
}

fn clean_marker(data: &Path) -> PathBuf {
    data.join("clean")
}

/// Takes the mark of a clean stop away. Without it, a projection is first opened in a child process: a damaged file may
/// abort the process that opens it.
fn take_clean_marker(disk: &dyn Disk, data: &Path, program: &Path) -> Result<Trusted, AppError> {
    let marker = clean_marker(data);
    match disk.remove(&marker) {
        Ok(()) => {
            disk.sync_dir(data).map_err(|source| AppError::Disk {
                what: format!("flushing {}", data.display()),
                source,
            })?;
            return Ok(Trusted::Yes);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => {
            return Err(AppError::Disk {
                what: format!("removing {}", marker.display()),
                source,
            });
        }
    }
    let store = Layout(data.to_owned()).store();
    if !store.exists() {
        return Ok(Trusted::Yes);
    }
    Ok(if probe(program, &store) {
        Trusted::Yes
    } else {
        Trusted::No
    })
}

/// Opens a projection in a child process. True when that went well.
pub fn probe(program: &Path, store: &Path) -> bool {
    let child = Process::new(program)
        .arg(PROBE_VERB)
        .arg(store)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return true };
    for _ in 0..limits::PROBE_MS_MAX / 5 {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) => std::thread::sleep(PROBE_POLL),
            Err(_) => return false,
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    false
}

/// The child's side of the probe.
///
/// # Errors
/// What stood in the way.
pub fn probe_store(path: &Path) -> Result<(), crate::store::StoreError> {
    let disk: Arc<dyn Disk> = Arc::new(disk::OsDisk);
    let store = Store::open(&disk, path)?;
    store.read()?.position().map(drop)
}

/// What is derived from imported bundles, and what a crash left of their order. Where that fails, everything else is served.
async fn settle_imports(engine: &Handle) -> Result<(), AppError> {
    let imports = engine.clone();
    let made = tokio::task::spawn_blocking(move || import::materialise_all(&imports)).await;
    if let Err(error) = made.map_err(|error| Fatal(error.to_string()))? {
        tracing::error!(%error, "an imported ledger is incomplete; everything else is served");
    }
    if let Err(error) = Desk::new(engine.clone(), 0).end_overtaken().await {
        tracing::error!(%error, "imports that were overtaken wait on");
    }
    if let Err(error) = stored::take_in_left_roots(engine).await {
        tracing::error!(%error, "roots of trust of approved imports are not taken in");
    }
    Ok(())
}

/// Files of work orders that were refused or never recorded. Where they cannot be removed, everything is served all the same.
async fn sweep_orders(engine: &Handle) -> Result<(), AppError> {
    let engine = engine.clone();
    let swept = tokio::task::spawn_blocking(move || letters::sweep(&engine)).await;
    if let Err(error) = swept.map_err(|error| Fatal(error.to_string()))? {
        tracing::error!(%error, "what was left in the folder of work orders is not removed");
    }
    Ok(())
}

/// What a crash left of exports. Where it cannot be removed, everything is served all the same.
async fn settle_bundles(engine: &Handle) -> Result<(), AppError> {
    let engine = engine.clone();
    let settled = tokio::task::spawn_blocking(move || kept::settle(&engine)).await;
    if let Err(error) = settled.map_err(|error| Fatal(error.to_string()))? {
        tracing::error!(%error, "what was left in the folder of bundles is not removed");
    }
    Ok(())
}

/// The first start makes a tenant and one token with every right. The secret is written before the token is made, so a
/// crash between the two leaves a file that the next start makes good.
async fn first_token(
    engine: &Handle,
    disk: &dyn Disk,
    clock: &dyn Clock,
    data: &Path,
) -> Result<(), AppError> {
    let path = data.join("admin.token");
    let disk_error = |source| AppError::Disk {
        what: format!("writing {}", path.display()),
        source,
    };
    let first = engine
        .ledger(&TenantName::system())
        .map_err(StartError::from)?
        .size()
        == 0;
    let secret = match fs::read_to_string(&path) {
        Ok(text) => text.trim_end().to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound && first => {
            let mut bytes = [0; 32];
            clock.fill_random(&mut bytes);
            let secret = format!("fst_{}", URL_SAFE_NO_PAD.encode(bytes));
            disk::replace_file(disk, &path, format!("{secret}\n").as_bytes()).map_err(disk_error)?;
            secret
        }
        // Removed by the operator: it is not made anew.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(disk_error(source)),
    };
    if engine.token(&secret).is_some() {
        return Ok(());
    }
    let (system, actor) = (TenantName::system(), Actor::system("bootstrap"));
    let tenant: TenantName = match FIRST_TENANT.parse() {
        Ok(tenant) => tenant,
        Err(_) => return Ok(()),
    };
    match engine
        .submit(&system, &actor, Command::CreateTenant { name: tenant.clone() })
        .await
    {
        Ok(_) => {}
        // Made by the start that crashed.
        Err(CommandError::Rejected(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let token = CreateToken {
        expires_at: None,
        name: "admin".to_owned(),
        person: "admin".to_owned(),
        scopes: Scope::ALL.to_vec(),
        secret_sha256: Digest::of(secret.as_bytes()),
        tenants: vec![tenant],
    };
    engine
        .submit(&system, &actor, Command::CreateToken(Box::new(token)))
        .await?;
    Ok(())
}
