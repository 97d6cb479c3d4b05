//! Work orders as ledgers know them: at the hub that issued one, and at the enclave that took it in.
//!
//! Promises: an order starts at most once, and never before as many other persons approved as were asked for when it came.
//! The order itself, its packs and inputs, is a file that both sides name by the digest of its archive.

use serde::{Deserialize, Serialize};

use super::digest::Hasher;
use super::run::{Approval, RunStatus};
use super::{Digest, EnclaveName, OrderId, PackName, RunId, RunName, Seq, Timestamp};

/// Where the mark of the hub begins in an order's id: 26 random bits and the time stand before it.
const MARK_AT: usize = 10;

impl OrderId {
    /// The id of an order that `hub` issues: a UUIDv7 whose last 48 bits are the hub's mark on the bits before them. So no
    /// other hub issues an order under this id, short of about 2^48 tries, and two that meet at an enclave never stand in each other's way.
    pub fn of_hub(hub: &EnclaveName, at: Timestamp, entropy: u64) -> Self {
        let mut bytes = *OrderId::derive(at, entropy, (entropy & 0xfff) as u32).as_bytes();
        let mark = mark_of(hub, &bytes);
        bytes[MARK_AT..].copy_from_slice(&mark);
        OrderId::from_bytes(bytes)
    }

    /// Whether it carries the mark of this hub.
    pub fn is_of(&self, hub: &EnclaveName) -> bool {
        self.as_bytes()[MARK_AT..] == mark_of(hub, self.as_bytes())
    }
}

/// The first 48 bits of SHA-256 over a label, the hub's name and the first 80 bits of the id.
fn mark_of(hub: &EnclaveName, id: &[u8; 16]) -> [u8; 16 - MARK_AT] {
    let mut hasher = Hasher::default();
    hasher.update(b"fastness work order id v1\n");
    hasher.update(hub.as_str().as_bytes());
    hasher.update(&id[..MARK_AT]);
    let mut mark = [0; 16 - MARK_AT];
    mark.copy_from_slice(&hasher.finish().as_bytes()[..16 - MARK_AT]);
    mark
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_an_order_is_its_hubs_and_no_others() {
        let hub: EnclaveName = "0123456789abcdef".parse().unwrap();
        let other: EnclaveName = "0123456789abcdee".parse().unwrap();
        let at = Timestamp::from_ms(1_769_860_800_123);
        let id = OrderId::of_hub(&hub, at, 0x1234_5678_9abc_def0);
        assert!(id.is_of(&hub) && !id.is_of(&other));
        assert_eq!(id.to_string(), "019c13ec-9e7b-7ef0-923a-4ec99611bd8b");
        assert_ne!(id, OrderId::of_hub(&hub, at, 0x2234_5678_9abc_def0));
        for bit in 0..128 {
            let mut bytes = *id.as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!OrderId::from_bytes(bytes).is_of(&hub), "bit {bit}");
        }
    }
}
