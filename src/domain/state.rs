//! The state of one tenant as rows under keys: what events fold into, and how it is read.
//!
//! A [`View`] is where rows come from: the projection, an in-memory [`Model`], or one laid over another.
//! [`Changes`] is a layer of rows not yet written. Nothing here knows how rows are stored.

mod rows;
mod with_packs;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::canonical::write_record;
use super::concurrency::KeyUse;
use super::dead_letter::{DeadLetter, ErrorCluster, Fingerprint};
use super::idempotency::IdempotencyRow;
use super::import_request::ImportRequest;
use super::job::Job;
use super::run::{Run, RunGraph, RunNode};
use super::secret::Secret;
use super::token::{Import, Pin, Tenant, Token};
use super::webhook::Webhook;
use super::worker::Worker;
use super::{Digest, JobId, PackName, RunId, SecretName, TenantName, TokenId, WebhookName};

pub use self::rows::{ArtifactRow, Pack, PayloadRow};
pub use self::with_packs::WithPacks;

/// Names one row of a tenant. The order of variants is the order of storage.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A job.
    Job(JobId),
    /// A job's payload.
    Payload(JobId),
    /// A run.
    Run(RunId),
    /// The graph of a run.
    Graph(RunId),
    /// What a node of a run still waits for.
    Node(RunId, u32),
    /// A pack version.
    Pack(PackName, u32),
    /// The latest version of a pack.
    PackHead(PackName),
    /// The bytes of a pack version.
    PackSource(PackName, u32),
    /// Which version has these bytes.
    PackBytes(PackName, Digest),
    /// An artifact, by content.
    Artifact(Digest),
    /// How many jobs run under a concurrency key.
    Concurrency(String),
    /// What an idempotency key made: route and key.
    Idempotency(String, String),
    /// The dead letter of a job.
    DeadLetter(JobId),
    /// Failures with one fingerprint.
    Cluster(Fingerprint),
    /// A tenant (ledger `system`).
    Tenant(TenantName),
    /// A token (ledger `system`).
    Token(TokenId),
    /// The pinned keys of an origin (ledger `system`).
    Pin(String),
    /// A foreign ledger held here (ledger `system`).
    Import(TenantName),
    /// A worker, by name.
    Worker(String),
    /// A secret; never its value.
    Secret(SecretName),
    /// A webhook; never its secret.
    Webhook(WebhookName),
    /// A bundle that persons are asked about, by its tar (ledger `system`).
    ImportRequest(Digest),
}

/// The kinds of rows, as stored first byte of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// [`Key::Job`].
    Job = 1,
    /// [`Key::Payload`].
    Payload,
    /// [`Key::Run`].
    Run,
    /// [`Key::Graph`].
    Graph,
    /// [`Key::Node`].
    Node,
    /// [`Key::Pack`].
    Pack,
    /// [`Key::PackHead`].
    PackHead,
    /// [`Key::PackSource`].
    PackSource,
    /// [`Key::PackBytes`].
    PackBytes,
    /// [`Key::Artifact`].
    Artifact,
    /// [`Key::Tenant`].
    Tenant,
    /// [`Key::Token`].
    Token,
    /// [`Key::Pin`].
    Pin,
    /// [`Key::Import`].
    Import,
    /// [`Key::Concurrency`].
    Concurrency,
    /// [`Key::Idempotency`].
    Idempotency,
    /// [`Key::DeadLetter`].
    DeadLetter,
    /// [`Key::Cluster`].
    Cluster,
    /// [`Key::Worker`].
    Worker,
    /// [`Key::Secret`].
    Secret,
    /// [`Key::Webhook`].
    Webhook,
    /// [`Key::ImportRequest`].
    ImportRequest,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 22] = [
        Kind::Job,
        Kind::Payload,
        Kind::Run,
        Kind::Graph,
        Kind::Node,
        Kind::Pack,
        Kind::PackHead,
        Kind::PackSource,
        Kind::PackBytes,
        Kind::Artifact,
        Kind::Tenant,
        Kind::Token,
        Kind::Pin,
        Kind::Import,
        Kind::Concurrency,
        Kind::Idempotency,
        Kind::DeadLetter,
        Kind::Cluster,
        Kind::Worker,
        Kind::Secret,
        Kind::Webhook,
        Kind::ImportRequest,
    ];
}

impl Key {
    /// The kind of row it names.
    pub const fn kind(&self) -> Kind {
        match self {
            Key::Job(_) => Kind::Job,
            Key::Payload(_) => Kind::Payload,
            Key::Run(_) => Kind::Run,
            Key::Graph(_) => Kind::Graph,
            Key::Node(..) => Kind::Node,
            Key::Pack(..) => Kind::Pack,
            Key::PackHead(_) => Kind::PackHead,
            Key::PackSource(..) => Kind::PackSource,
            Key::PackBytes(..) => Kind::PackBytes,
            Key::Artifact(_) => Kind::Artifact,
            Key::Tenant(_) => Kind::Tenant,
            Key::Token(_) => Kind::Token,
            Key::Pin(_) => Kind::Pin,
            Key::Import(_) => Kind::Import,
            Key::Concurrency(_) => Kind::Concurrency,
            Key::Idempotency(..) => Kind::Idempotency,
            Key::DeadLetter(_) => Kind::DeadLetter,
            Key::Cluster(_) => Kind::Cluster,
            Key::Worker(_) => Kind::Worker,
            Key::Secret(_) => Kind::Secret,
            Key::Webhook(_) => Kind::Webhook,
            Key::ImportRequest(_) => Kind::ImportRequest,
        }
    }

    /// What stands behind the kind in storage; sorts as the key does within its kind.
    pub fn write_tail(&self, out: &mut Vec<u8>) {
        match self {
            Key::Job(id) | Key::Payload(id) | Key::DeadLetter(id) => out.extend_from_slice(id.as_bytes()),
            Key::Run(id) | Key::Graph(id) => out.extend_from_slice(id.as_bytes()),
            Key::Node(id, index) => {
                out.extend_from_slice(id.as_bytes());
                out.extend_from_slice(&index.to_be_bytes());
            }
            Key::Pack(name, version) | Key::PackSource(name, version) => {
                out.extend_from_slice(name.as_str().as_bytes());
                out.push(0);
                out.extend_from_slice(&version.to_be_bytes());
            }
            Key::PackHead(name) => out.extend_from_slice(name.as_str().as_bytes()),
            Key::PackBytes(name, digest) => {
                out.extend_from_slice(name.as_str().as_bytes());
                out.push(0);
                out.extend_from_slice(digest.as_bytes());
            }
            Key::Artifact(digest) | Key::ImportRequest(digest) => out.extend_from_slice(digest.as_bytes()),
            Key::Tenant(name) | Key::Import(name) => out.extend_from_slice(name.as_str().as_bytes()),
            Key::Token(id) => out.extend_from_slice(id.as_bytes()),
            Key::Pin(origin) => out.extend_from_slice(origin.as_bytes()),
            Key::Concurrency(key) => out.extend_from_slice(key.as_bytes()),
            Key::Idempotency(route, key) => {
                out.extend_from_slice(route.as_bytes());
                out.push(0);
                out.extend_from_slice(key.as_bytes());
            }
            Key::Cluster(fingerprint) => out.extend_from_slice(fingerprint.as_str().as_bytes()),
            Key::Worker(name) => out.extend_from_slice(name.as_bytes()),
            Key::Secret(name) => out.extend_from_slice(name.as_str().as_bytes()),
            Key::Webhook(name) => out.extend_from_slice(name.as_str().as_bytes()),
        }
    }
}

macro_rules! rows {
    ($($variant:ident($type:ty), $get:ident;)*) => {
        /// One row. Stored as canonical JSON of what it holds.
        #[allow(
            clippy::large_enum_variant,
            reason = "a row always lies behind an Arc of its own; a box inside would only add a hop to every read"
        )]
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Row {
            $(
                #[doc = concat!("Under [`Key::", stringify!($variant), "`].")]
                $variant($type),
            )*
        }

        impl Row {
            /// Canonical JSON of what it holds.
            pub fn to_canonical(&self) -> Vec<u8> {
                let mut out = Vec::new();
                self.write_canonical(&mut out);
                out
            }

            /// Canonical JSON of what it holds, behind what `out` has.
            pub fn write_canonical(&self, out: &mut Vec<u8>) {
                match self { $(Row::$variant(row) => write_record(row, out),)* }
            }

            /// Reads a row of a kind back.
            ///
            /// # Errors
            /// When the bytes do not have the row's shape.
            pub fn from_bytes(kind: Kind, bytes: &[u8]) -> Result<Row, serde_json::Error> {
                match kind { $(Kind::$variant => serde_json::from_slice(bytes).map(Row::$variant),)* }
            }

            $(
                /// What it holds, when it is of this kind.
                pub fn $get(&self) -> Option<&$type> {
                    match self {
                        Row::$variant(row) => Some(row),
                        _ => None,
                    }
                }
            )*
        }
    };
}

rows! {
    Job(Job), as_job;
    Payload(PayloadRow), as_payload;
    Run(Run), as_run;
    Graph(RunGraph), as_graph;
    Node(RunNode), as_node;
    Pack(Box<Pack>), as_pack;
    PackHead(u32), as_pack_head;
    PackSource(String), as_pack_source;
    PackBytes(u32), as_pack_bytes;
    Artifact(ArtifactRow), as_artifact;
    Tenant(Tenant), as_tenant;
    Token(Token), as_token;
    Pin(Pin), as_pin;
    Import(Import), as_import;
    Concurrency(KeyUse), as_key_use;
    Idempotency(IdempotencyRow), as_idempotency;
    DeadLetter(DeadLetter), as_dead_letter;
    Cluster(ErrorCluster), as_cluster;
    Worker(Worker), as_worker;
    Secret(Secret), as_secret;
    Webhook(Webhook), as_webhook;
    ImportRequest(ImportRequest), as_import_request;
}

/// The rows cannot be read now; asking again later may help. Never a wrong value instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the projection cannot be read: {0}")]
pub struct Unavailable(pub String);

/// Where the rows of one tenant come from.
pub trait View {
    /// The row under a key.
    ///
    /// # Errors
    /// [`Unavailable`] when it cannot be read.
    fn get(&self, key: &Key) -> Result<Option<Arc<Row>>, Unavailable>;
}

macro_rules! getters {
    ($($(#[$doc:meta])* $method:ident($($arg:ident: $type:ty),*) -> $row:ty = $key:expr, $get:ident;)*) => {
        impl<'v> dyn View + 'v {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// [`Unavailable`] when it cannot be read.
                pub fn $method(&self, $($arg: $type),*) -> Result<Option<$row>, Unavailable> {
                    let Some(row) = self.get(&$key)? else { return Ok(None) };
                    match row.$get() {
                        Some(found) => Ok(Some(found.clone())),
                        None => Err(Unavailable("a row is of another kind than its key".to_owned())),
                    }
                }
            )*
        }
    };
}

getters! {
    /// A job.
    job(id: JobId) -> Job = Key::Job(id), as_job;
    /// A job's payload.
    payload(id: JobId) -> PayloadRow = Key::Payload(id), as_payload;
    /// A run.
    run(id: RunId) -> Run = Key::Run(id), as_run;
    /// What a node still waits for.
    node(run: RunId, index: u32) -> RunNode = Key::Node(run, index), as_node;
    /// A pack version.
    pack(name: &PackName, version: u32) -> Box<Pack> = Key::Pack(name.clone(), version), as_pack;
    /// The latest version of a pack.
    pack_head(name: &PackName) -> u32 = Key::PackHead(name.clone()), as_pack_head;
    /// The bytes of a pack version.
    pack_source(name: &PackName, version: u32) -> String = Key::PackSource(name.clone(), version), as_pack_source;
    /// Which version has these bytes.
    pack_with_bytes(name: &PackName, bytes: Digest) -> u32 = Key::PackBytes(name.clone(), bytes), as_pack_bytes;
    /// An artifact, by content.
    artifact(digest: Digest) -> ArtifactRow = Key::Artifact(digest), as_artifact;
    /// How many jobs run under a concurrency key; none when no job does.
    key_use(key: &str) -> KeyUse = Key::Concurrency(key.to_owned()), as_key_use;
    /// What an idempotency key made.
    idempotency(route: &str, key: &str) -> IdempotencyRow = Key::Idempotency(route.to_owned(), key.to_owned()), as_idempotency;
    /// The dead letter of a job.
    dead_letter(job: JobId) -> DeadLetter = Key::DeadLetter(job), as_dead_letter;
    /// Failures with one fingerprint.
    cluster(fingerprint: &Fingerprint) -> ErrorCluster = Key::Cluster(fingerprint.clone()), as_cluster;
    /// A tenant.
    tenant(name: &TenantName) -> Tenant = Key::Tenant(name.clone()), as_tenant;
    /// A token.
    token(id: TokenId) -> Token = Key::Token(id), as_token;
    /// The pinned keys of an origin.
    pin(origin: &str) -> Pin = Key::Pin(origin.to_owned()), as_pin;
    /// A foreign ledger held here.
    import(tenant: &TenantName) -> Import = Key::Import(tenant.clone()), as_import;
    /// A worker.
    worker(name: &str) -> Worker = Key::Worker(name.to_owned()), as_worker;
    /// A secret; never its value.
    secret(name: &SecretName) -> Secret = Key::Secret(name.clone()), as_secret;
    /// A webhook; never its secret.
    webhook(name: &WebhookName) -> Webhook = Key::Webhook(name.clone()), as_webhook;
    /// A bundle that persons are asked about.
    import_request(tar: Digest) -> ImportRequest = Key::ImportRequest(tar), as_import_request;
}

impl<'v> dyn View + 'v {
    /// The graph of a run, shared: it may be large and never changes.
    ///
    /// # Errors
    /// [`Unavailable`] when it cannot be read.
    pub fn graph(&self, run: RunId) -> Result<Option<Arc<Row>>, Unavailable> {
        self.get(&Key::Graph(run))
    }
}

/// Rows written or removed since the view below.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes(BTreeMap<Key, Option<Arc<Row>>>);

impl Changes {
    /// Writes a row.
    pub fn put(&mut self, key: Key, row: Row) {
        self.0.insert(key, Some(Arc::new(row)));
    }

    /// Removes a row.
    pub fn remove(&mut self, key: Key) {
        self.0.insert(key, None);
    }

    /// Lays `later` over this.
    pub fn merge(&mut self, later: Changes) {
        self.0.extend(later.0);
    }

    /// What is known here: `Some(None)` is a removed row.
    pub fn get(&self, key: &Key) -> Option<Option<Arc<Row>>> {
        self.0.get(key).cloned()
    }

    /// All changes, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, Option<&Arc<Row>>)> {
        self.0.iter().map(|(key, row)| (key, row.as_ref()))
    }

    /// Number of changed rows.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when nothing changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Changes laid over a view.
pub struct Layered<'v> {
    /// What lies below.
    pub below: &'v dyn View,
    /// What was changed since.
    pub changes: &'v Changes,
}

impl std::fmt::Debug for Layered<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layered")
            .field("changes", &self.changes.len())
            .finish_non_exhaustive()
    }
}

impl View for Layered<'_> {
    fn get(&self, key: &Key) -> Result<Option<Arc<Row>>, Unavailable> {
        match self.changes.get(key) {
            Some(known) => Ok(known),
            None => self.below.get(key),
        }
    }
}

/// The whole state of one tenant in memory: the plain model that the projection is compared with, and where
/// small folds happen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model(BTreeMap<Key, Arc<Row>>);

impl Model {
    /// Takes changes in.
    pub fn absorb(&mut self, changes: Changes) {
        for (key, row) in changes.0 {
            match row {
                Some(row) => {
                    self.0.insert(key, row);
                }
                None => {
                    self.0.remove(&key);
                }
            }
        }
    }

    /// All rows, sorted by key.
    pub fn rows(&self) -> impl Iterator<Item = (&Key, &Arc<Row>)> {
        self.0.iter()
    }
}

impl View for Model {
    fn get(&self, key: &Key) -> Result<Option<Arc<Row>>, Unavailable> {
        Ok(self.0.get(key).cloned())
    }
}
