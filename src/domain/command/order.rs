//! What is asked of work orders, at the hub and at the enclave.

use std::collections::BTreeMap;

use super::RegisterPack;
use crate::domain::canonical::Value;
use crate::domain::payload::orders::{
    OrdersKeyPinned, WorkorderImported, WorkorderIssued, WorkorderRecalled, WorkorderRefused,
};
use crate::domain::{Digest, EnclaveName, OrderId, PackName, RunName};

/// A change of one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderCommand {
    /// Note an order whose file is signed and flushed.
    Issue(WorkorderIssued),
    /// Note a cancellation whose file is signed and flushed.
    Recall(WorkorderRecalled),
    /// Take an order in whose file is verified and flushed; refused when it could never start.
    Import(WorkorderImported, OrderContent),
    /// Note that a file was refused.
    Refuse(WorkorderRefused),
    /// A person approves that it starts.
    Approve {
        /// The order.
        id: OrderId,
        /// The archive that the person looked at; refused when the order is another.
        binding: Option<Digest>,
        /// Why.
        reason: String,
    },
    /// Make its runs.
    Start {
        /// The order.
        id: OrderId,
        /// SHA-256 of the archive that the content was read from.
        tar_sha256: Digest,
        /// What was in it.
        content: OrderContent,
    },
    /// It does not start, or its runs are to stop.
    Cancel {
        /// The order.
        id: OrderId,
        /// Why.
        reason: String,
        /// The hub's signed cancellation; none when it is decided here.
        by_hub: Option<HubCancel>,
    },
    /// Pin the key of a hub (ledger `system`).
    PinKey(OrdersKeyPinned),
}

/// What a verified order holds, ready to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderContent {
    /// The packs, by their own names.
    pub packs: Vec<RegisterPack>,
    /// The runs, in the order of their names.
    pub runs: Vec<OrderRun>,
}

/// A run that an order asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderRun {
    /// Inputs as given.
    pub inputs: BTreeMap<String, Value>,
    /// Unique within the order.
    pub name: RunName,
    /// One of the order's packs, by its own name.
    pub pack: PackName,
}

/// What a verified cancellation says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubCancel {
    /// Who issued order and cancellation.
    pub hub: EnclaveName,
    /// SHA-256 of the order's archive.
    pub order_sha256: Digest,
    /// The ledger at the hub that knows it.
    pub origin: String,
    /// SHA-256 of the cancellation's archive.
    pub tar_sha256: Digest,
}
