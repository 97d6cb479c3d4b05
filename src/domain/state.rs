//! The state of one tenant as rows under keys: what events fold into, and how it is read.
//!
//! A [`View`] is where rows come from: the projection, an in-memory [`Model`], or one laid over another.
//! [`Changes`] is a layer of rows not yet written. Nothing here knows how rows are stored.

mod keys;
mod rows;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::canonical::write_record;
use super::concurrency::KeyUse;
use super::dead_letter::{DeadLetter, ErrorCluster, Fingerprint};
use super::idempotency::IdempotencyRow;
use super::job::Job;
use super::redaction::Policy;
use super::run::{Run, RunGraph, RunNode};
use super::secret::Secret;
use super::token::{Import, Pin, Tenant, Token};
use super::webhook::Webhook;
use super::worker::Worker;
use super::{Digest, JobId, PackName, PolicyName, RunId, SecretName, Seq, TenantName, TokenId, WebhookName};

pub use self::keys::{Key, Kind};
pub use self::rows::{ArtifactRow, Erasure, Pack, PayloadRow};

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
    Policy(Policy), as_policy;
    Erasure(Erasure), as_erasure;
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
    /// Rules that name fields.
    policy(name: &PolicyName) -> Policy = Key::Policy(name.clone()), as_policy;
    /// When the disclosures kept with an event were erased.
    erasure(kept_with: Seq) -> Erasure = Key::Erasure(kept_with), as_erasure;
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

/// A model of one run or job, to which packs come from elsewhere: what gates are is told by the pack's version, which never
/// changes, and not by the events of the run.
pub struct WithPacks<'v> {
    /// The run or job.
    pub model: &'v Model,
    /// Where packs are.
    pub packs: &'v dyn View,
}

impl std::fmt::Debug for WithPacks<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WithPacks")
    }
}

impl View for WithPacks<'_> {
    fn get(&self, key: &Key) -> Result<Option<Arc<Row>>, Unavailable> {
        match key {
            Key::Pack(..) => self.packs.get(key),
            _ => self.model.get(key),
        }
    }
}
