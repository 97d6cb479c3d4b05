//! What names a row, and how the name is written in storage.

use crate::domain::dead_letter::Fingerprint;
use crate::domain::{
    Digest, EnclaveName, JobId, OrderId, PackName, PolicyName, RunId, SecretName, Seq, TenantName, TokenId,
    WebhookName,
};

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
    /// A work order that was issued here.
    IssuedOrder(OrderId),
    /// A work order that was taken in here.
    ReceivedOrder(OrderId),
    /// The pinned key of a hub (ledger `system`).
    OrdersPin(EnclaveName),
    /// What is held of an enclave's trust (ledger `system`).
    Trust(String),
    /// Rules that name fields.
    Policy(PolicyName),
    /// That the disclosures kept with this event were erased.
    Erasure(Seq),
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
    /// [`Key::IssuedOrder`].
    IssuedOrder,
    /// [`Key::ReceivedOrder`].
    ReceivedOrder,
    /// [`Key::OrdersPin`].
    OrdersPin,
    /// [`Key::Trust`].
    Trust,
    /// [`Key::Policy`].
    Policy,
    /// [`Key::Erasure`].
    Erasure,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 28] = [
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
        Kind::IssuedOrder,
        Kind::ReceivedOrder,
        Kind::OrdersPin,
        Kind::Trust,
        Kind::Policy,
        Kind::Erasure,
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
            Key::IssuedOrder(_) => Kind::IssuedOrder,
            Key::ReceivedOrder(_) => Kind::ReceivedOrder,
            Key::OrdersPin(_) => Kind::OrdersPin,
            Key::Trust(_) => Kind::Trust,
            Key::Policy(_) => Kind::Policy,
            Key::Erasure(_) => Kind::Erasure,
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
            Key::IssuedOrder(id) | Key::ReceivedOrder(id) => out.extend_from_slice(id.as_bytes()),
            Key::OrdersPin(hub) => out.extend_from_slice(hub.as_str().as_bytes()),
            Key::Trust(enclave) => out.extend_from_slice(enclave.as_bytes()),
            Key::Policy(name) => out.extend_from_slice(name.as_str().as_bytes()),
            Key::Erasure(seq) => out.extend_from_slice(&seq.0.to_be_bytes()),
        }
    }
}
