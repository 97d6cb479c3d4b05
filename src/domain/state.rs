//! The state of one tenant as rows under keys: what events fold into, and how it is read.
//!
//! A [`View`] is where rows come from: the projection, an in-memory [`Model`], or one laid over another.
//! [`Changes`] is a layer of rows not yet written. Nothing here knows how rows are stored.

mod keys;
mod layers;
mod rows;

use std::sync::Arc;

use super::canonical::write_record;
use super::concurrency::KeyUse;
use super::dead_letter::{DeadLetter, ErrorCluster, Fingerprint};
use super::idempotency::IdempotencyRow;
use super::import_request::ImportRequest;
use super::job::Job;
use super::order::{IssuedOrder, OrdersPin, ReceivedOrder};
use super::redaction::Policy;
use super::run::{Run, RunGraph, RunNode};
use super::secret::Secret;
use super::token::{Import, Pin, Tenant, Token};
use super::trust::Trust;
use super::webhook::Webhook;
use super::worker::Worker;
use super::{
    Digest, EnclaveName, JobId, OrderId, PackName, PolicyName, RunId, SecretName, Seq, TenantName, TokenId,
    WebhookName,
};

pub use self::keys::{Key, Kind};
pub use self::layers::{Changes, Layered, Model, WithPacks};
pub use self::rows::{ArtifactRow, Erasure, Pack, PayloadRow};

macro_rules! rows {
    ($($variant:ident($type:ty), $get:ident;)*) => {
        /// One row. Its text form, in bundles and digests, is canonical JSON of what it holds.
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

            /// Reads a row of a kind back from its text form.
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
    IssuedOrder(IssuedOrder), as_issued_order;
    ReceivedOrder(ReceivedOrder), as_received_order;
    OrdersPin(OrdersPin), as_orders_pin;
    Trust(Trust), as_trust;
    Policy(Policy), as_policy;
    Erasure(Erasure), as_erasure;
}

impl Row {
    /// Bytes, about, of what it holds in memory beyond what every row takes, where that may be more than the event brings that
    /// touches it.
    pub fn weight(&self) -> usize {
        match self {
            Row::Job(job) => job.weight(),
            Row::Run(run) => run.weight(),
            _ => 0,
        }
    }
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
    /// A work order that was issued here.
    issued_order(id: OrderId) -> IssuedOrder = Key::IssuedOrder(id), as_issued_order;
    /// A work order that was taken in here.
    received_order(id: OrderId) -> ReceivedOrder = Key::ReceivedOrder(id), as_received_order;
    /// The pinned key of a hub.
    orders_pin(hub: &EnclaveName) -> OrdersPin = Key::OrdersPin(hub.clone()), as_orders_pin;
    /// What is held of an enclave's trust.
    trust(enclave: &str) -> Trust = Key::Trust(enclave.to_owned()), as_trust;
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
