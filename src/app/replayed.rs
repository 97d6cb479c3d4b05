//! A server that only shows bundles which were replayed: an engine in a scratch folder holds their ledger as an imported one.
//!
//! Promises: loopback only; a token of its own that ends with it; every route that would change something answers 409;
//! nothing is left behind. Must never be given a bundle that was not verified.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{AppError, CONNECTIONS_END, find_asset};
use crate::api::{self, ApiContext};
use crate::bundle::hold;
use crate::bundle::replay::ScratchFolder;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::domain::command::{Command, CreateToken};
use crate::domain::event::Actor;
use crate::domain::payload::BundleImported;
use crate::domain::token::Scope;
use crate::domain::{Digest, TenantName};
use crate::engine::{Fatal, Handle, Setup, Trusted};
use crate::journal::Options;
use crate::output::Output;
use crate::secrets::Secrets;
use crate::trust::KeyFolder;
use crate::webhooks::Webhooks;

/// What to show.
#[derive(Debug)]
pub struct Shown {
    /// Verified bundles of one ledger from its first event on, in order: the files, and what was found of them.
    pub bundles: Vec<(PathBuf, BundleImported)>,
    /// Events that are shown, from the first on.
    pub size: u64,
    /// Where to listen; must be loopback.
    pub listen: SocketAddr,
}

/// A server that shows bundles.
#[derive(Debug)]
pub struct Replayed {
    /// Where it listens.
    pub address: SocketAddr,
    /// Reads everything, for as long as this lives.
    pub token: String,
    engine: Handle,
    server: api::Server,
    // Last, so that the files are closed before they are removed.
    _scratch: ScratchFolder,
}

impl Replayed {
    /// Starts it. Must be called within a runtime.
    ///
    /// # Errors
    /// [`AppError`] says what stood in the way.
    pub async fn start(shown: Shown, disk: Arc<dyn Disk>, clock: Arc<dyn Clock>) -> Result<Self, AppError> {
        let parent = std::env::temp_dir();
        let scratch = ScratchFolder::new(&parent, clock.entropy()).map_err(|source| AppError::Disk {
            what: format!("making a folder in {}", parent.display()),
            source,
        })?;
        let dir = scratch.path().to_owned();
        let listener =
            TcpListener::bind(shown.listen).map_err(|error| AppError::Listen(shown.listen, error))?;
        let address = listener
            .local_addr()
            .map_err(|error| AppError::Listen(shown.listen, error))?;
        let engine = open_engine(dir.clone(), &disk, &clock).await?;
        let token = hold_all(&engine, shown).await?;
        let output = Output::open(dir.join("output"), disk.clone())?;
        let secrets = Secrets::new(dir.join("secrets"), disk.clone());
        let webhooks = Webhooks::open(&engine, &disk, &dir.join("webhooks"))?;
        let context = ApiContext::new(engine.clone(), output, (secrets, webhooks), address)
            .with_assets(find_asset)
            .read_only();
        let server = api::serve(listener, context).map_err(|error| AppError::Listen(address, error))?;
        Ok(Replayed {
            address,
            token,
            engine,
            server,
            _scratch: scratch,
        })
    }

    /// Ends it, and removes everything.
    ///
    /// # Errors
    /// [`Fatal`] when the last writes failed.
    pub async fn stop(self) -> Result<(), AppError> {
        self.server.stop(CONNECTIONS_END).await;
        let engine = self.engine;
        let stopped = tokio::task::spawn_blocking(move || engine.stop()).await;
        stopped.map_err(|error| Fatal(error.to_string()))??;
        Ok(())
    }
}

async fn open_engine(dir: PathBuf, disk: &Arc<dyn Disk>, clock: &Arc<dyn Clock>) -> Result<Handle, AppError> {
    let mut random = |bytes: &mut [u8]| clock.fill_random(bytes);
    let keys = KeyFolder::open_or_create(disk.as_ref(), &dir.join("keys"), &mut random)?;
    let setup = Setup {
        dir,
        disk: disk.clone(),
        clock: clock.clone(),
        keys: Arc::new(keys),
        trusted: Trusted::Yes,
        journal: Options::default(),
    };
    let started = tokio::task::spawn_blocking(move || Handle::start(setup)).await;
    let (engine, _) = started.map_err(|error| Fatal(error.to_string()))??;
    Ok(engine)
}

/// Holds the ledger of the bundles, and makes a token that reads it.
async fn hold_all(engine: &Handle, shown: Shown) -> Result<String, AppError> {
    let holding = engine.clone();
    let held = tokio::task::spawn_blocking(move || hold(&holding, &shown.bundles, shown.size)).await;
    let held = held.map_err(|error| Fatal(error.to_string()))??;
    let (system, actor) = (TenantName::system(), Actor::system("replay"));
    let tenants: Vec<TenantName> = held.last().map(|last| last.tenant.clone()).into_iter().collect();
    for bundle in held {
        let command = Command::ImportBundle(Box::new(bundle));
        engine.submit(&system, &actor, command).await?;
    }
    let mut bytes = [0; 32];
    engine.clock().fill_random(&mut bytes);
    let secret = format!("fst_{}", URL_SAFE_NO_PAD.encode(bytes));
    let token = CreateToken {
        expires_at: None,
        name: "replay".to_owned(),
        person: "replay".to_owned(),
        scopes: Scope::ALL.to_vec(),
        secret_sha256: Digest::of(secret.as_bytes()),
        tenants,
    };
    engine
        .submit(&system, &actor, Command::CreateToken(Box::new(token)))
        .await?;
    Ok(secret)
}
