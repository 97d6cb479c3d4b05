//! Work orders as ledgers know them: at the hub that issued one, and at the enclave that took it in.
//!
//! Promises: an order starts at most once, and never before as many other persons approved as were asked for when it came.
//! The order itself, its packs and inputs, is a file that both sides name by the digest of its archive.

use serde::{Deserialize, Serialize};

use super::run::{Approval, RunStatus};
use super::{Digest, EnclaveName, OrderId, PackName, RunId, RunName, Seq, Timestamp};

/// Something that happened to an order: when, by whom, recorded where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mark {
    /// When.
    pub at: Timestamp,
    /// The person behind the token, or the part of the appliance.
    pub by: String,
    /// The event.
    pub seq: Seq,
}

/// The end of an order before its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Stopped {
    /// When, by whom.
    pub mark: Mark,
    /// Why.
    pub reason: String,
    /// SHA-256 of the archive of the hub's signed cancellation; none for one decided here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tar_sha256: Option<Digest>,
}

/// A pack that an order brings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CarriedPack {
    /// The name in its source.
    pub name: PackName,
    /// SHA-256 of its canonical normalised graph.
    pub plan_hash: Digest,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
}

/// A run that an order asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AskedRun {
    /// SHA-256 of its inputs as canonical JSON; none: it is given none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Digest>,
    /// Unique within the order.
    pub name: RunName,
    /// One of the order's packs.
    pub pack: PackName,
}

/// A run of an order that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartedRun {
    /// Its name within the order.
    pub name: RunName,
    /// The run.
    pub run: RunId,
}

/// How a run of an order ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OrderOutcome {
    /// Its name within the order.
    pub name: RunName,
    /// The run.
    pub run: RunId,
    /// Its terminal state.
    pub status: RunStatus,
}

/// An order that was issued here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IssuedOrder {
    /// Which enclaves may run it.
    pub enclaves: Vec<EnclaveName>,
    /// From then on it may not start any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Identity, drawn when it was issued.
    pub id: OrderId,
    /// When and by whom.
    pub issued: Mark,
    /// What it brings.
    pub packs: Vec<CarriedPack>,
    /// Who may start it there; none: whoever may start runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub persons: Vec<String>,
    /// Cancelled by a signed cancellation, which has to be carried too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recalled: Option<Stopped>,
    /// What it asks for.
    pub runs: Vec<AskedRun>,
    /// SHA-256 of its archive.
    pub tar_sha256: Digest,
}

/// How far an order is that was taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// It is here, and nothing of it has started.
    Imported,
    /// Its runs were made.
    Started,
    /// All of its runs have ended.
    Reported,
    /// It never starts.
    Cancelled,
}

impl OrderState {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            OrderState::Imported => "imported",
            OrderState::Started => "started",
            OrderState::Reported => "reported",
            OrderState::Cancelled => "cancelled",
        }
    }
}

/// An order that was taken in, or of which a cancellation came first. What it asks for is in its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReceivedOrder {
    /// Who approved, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Approval>,
    /// How many persons have to, besides whoever took it in.
    pub approvers: u32,
    /// Cancelled, here or by the hub. Runs that were made then stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<Stopped>,
    /// From then on it may not start any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Who issued it.
    pub hub: EnclaveName,
    /// Identity, as the hub drew it.
    pub id: OrderId,
    /// When it was taken in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<Mark>,
    /// The ledger at the hub that knows it.
    pub origin: String,
    /// How its runs ended, once all have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outcomes: Vec<OrderOutcome>,
    /// Who may start it; none: whoever may start runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub persons: Vec<String>,
    /// When the last of its runs ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<Mark>,
    /// The runs it asks for, by name and pack.
    pub runs: Vec<AskedRun>,
    /// The last event about it.
    pub seq: Seq,
    /// When it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Mark>,
    /// The runs that were made, in the order of `runs`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub started_runs: Vec<StartedRun>,
    /// How far it is.
    pub state: OrderState,
    /// SHA-256 of its archive.
    pub tar_sha256: Digest,
}

impl ReceivedOrder {
    /// Whether it says anything of an order of this hub: a cancellation of an order that never came binds its own hub alone.
    pub fn binds(&self, hub: &EnclaveName) -> bool {
        self.imported.is_some() || self.hub == *hub
    }

    /// How many approvals are still missing.
    pub fn approvals_missing(&self) -> u32 {
        let given = u32::try_from(self.approvals.len()).unwrap_or(u32::MAX);
        self.approvers.saturating_sub(given)
    }
}

/// The key of a hub that signs its orders, as people compared and pinned it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OrdersPin {
    /// The hub.
    pub hub: EnclaveName,
    /// SPKI PEM.
    pub orders_key: String,
}
