//! The payloads of what happens to work orders. Those of the hub are told apart from those of the enclave by their types.

use serde::{Deserialize, Serialize};

use crate::domain::idempotency::Idempotency;
use crate::domain::order::{AskedRun, CarriedPack, OrderOutcome, StartedRun};
use crate::domain::{Digest, EnclaveName, OrderId, Timestamp};

payload!(
    /// An order was signed here; its file is flushed before.
    WorkorderIssued {
        /// Which enclaves may run it.
        enclaves: Vec<EnclaveName>,
        /// From then on it may not start any more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<Timestamp>,
        /// The key under which the same request is not done twice.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        idempotency: Option<Idempotency>,
        /// The order.
        order_id: OrderId,
        /// What it brings.
        packs: Vec<CarriedPack>,
        /// Who may start it there; none: whoever may start runs.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        persons: Vec<String>,
        /// What it asks for.
        runs: Vec<AskedRun>,
        /// SHA-256 of its archive.
        tar_sha256: Digest,
    }
);

payload!(
    /// A cancellation of an order was signed here; its file is flushed before.
    WorkorderRecalled {
        /// The order.
        order_id: OrderId,
        /// Why.
        reason: String,
        /// SHA-256 of the cancellation's archive.
        tar_sha256: Digest,
    }
);

payload!(
    /// An order was found good and taken in; its file is flushed before.
    WorkorderImported {
        /// How many persons have to approve before it starts, besides whoever took it in.
        approvers: u32,
        /// From then on it may not start any more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<Timestamp>,
        /// Who issued it.
        hub: EnclaveName,
        /// SHA-256 of the SPKI of the key that signed it.
        key_id: Digest,
        /// The order.
        order_id: OrderId,
        /// The ledger at the hub that knows it.
        origin: String,
        /// Who may start it; none: whoever may start runs.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        persons: Vec<String>,
        /// What it asks for.
        runs: Vec<AskedRun>,
        /// SHA-256 of its archive.
        tar_sha256: Digest,
    }
);

payload!(
    /// An order, or a cancellation of one, was refused. It lies in quarantine.
    WorkorderRefused {
        /// The first check that failed.
        detail: String,
        /// Exit code of the verification.
        exit_code: i32,
        /// The order that it claims to be; nobody's word but the file's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        order_id: Option<OrderId>,
        /// SHA-256 of the file as it came.
        sha256: Digest,
    }
);

payload!(
    /// A person approved that an order starts.
    WorkorderApproved {
        /// The order.
        order_id: OrderId,
        /// Why.
        reason: String,
    }
);

payload!(
    /// The runs of an order are made, by the events that follow.
    WorkorderStarted {
        /// The order.
        order_id: OrderId,
        /// Its runs.
        runs: Vec<StartedRun>,
    }
);

payload!(
    /// An order that was taken in, or is still to come, is cancelled. Runs of it that were made stop.
    WorkorderCancelled {
        /// Who issued it.
        hub: EnclaveName,
        /// The order.
        order_id: OrderId,
        /// SHA-256 of the order's archive.
        order_sha256: Digest,
        /// The ledger at the hub that knows it.
        origin: String,
        /// Why.
        reason: String,
        /// SHA-256 of the archive of the hub's signed cancellation; none for one decided here.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tar_sha256: Option<Digest>,
    }
);

payload!(
    /// The last run of an order has ended.
    WorkorderReported {
        /// The order.
        order_id: OrderId,
        /// How each of its runs ended.
        outcomes: Vec<OrderOutcome>,
    }
);

payload!(
    /// The key that signs the orders of a hub was pinned (ledger `system`).
    OrdersKeyPinned {
        /// The hub.
        hub: EnclaveName,
        /// SPKI PEM.
        orders_key: String,
        /// True when it takes the place of another that was pinned.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        replace: bool,
    }
);
