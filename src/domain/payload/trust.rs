//! The payloads of trust: pins, roots of trust, and the enclave's own keys. All stand in the ledger `system`.

use serde::{Deserialize, Serialize};

use crate::domain::Digest;
use crate::domain::trust::{LedgerSize, PinnedBy};

payload!(
    /// The keys of a foreign origin were pinned (ledger `system`).
    TrustPinned {
        /// SPKI PEM of the key that signs its bundles.
        export_key: String,
        /// SPKI PEM of the key that signs its checkpoints.
        log_key: String,
        /// The origin, as its checkpoints name it.
        origin: String,
        /// True when they take the place of others that were pinned.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        replace: bool,
    }
);

payload!(
    /// A root of trust of another enclave was pinned.
    RootPinned {
        /// The enclave.
        enclave: String,
        /// SHA-256 of the root's content.
        fingerprint: Digest,
        /// What it rests on.
        pinned_by: PinnedBy,
    }
);

payload!(
    /// A root of trust was taken in, after all of its signatures were checked.
    RootAccepted {
        /// The exact bytes of its envelope.
        document: String,
        /// Whose it is.
        enclave: String,
        /// SHA-256 of its content.
        fingerprint: Digest,
        /// Its version.
        version: u64,
    }
);

payload!(
    /// Something was asked about trust and refused. Nothing changed.
    TrustRefused {
        /// What was answered.
        code: String,
        /// Why.
        detail: String,
        /// What was asked.
        operation: String,
        /// SHA-256 of what came with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<Digest>,
    }
);

payload!(
    /// A key of the enclave took the place of another.
    KeyRotated {
        /// The enclave.
        enclave: String,
        /// Id of the key before.
        from: Digest,
        /// Which one of its role that was, from 1.
        number: u64,
        /// `log`, `export` or `orders`.
        role: String,
        /// Each ledger of the enclave, and a size beyond which the key before signed nothing.
        sizes: Vec<LedgerSize>,
        /// Id of the key now.
        to: Digest,
    }
);

payload!(
    /// A key of the enclave that has been replaced is revoked. The next root of trust says so to others.
    KeyRevoked {
        /// Each ledger of the enclave at the time, and the size below which the key counts; nowhere else does it count.
        below: Vec<LedgerSize>,
        /// The enclave.
        enclave: String,
        /// Id of the key.
        key: Digest,
        /// Why.
        reason: String,
        /// `log`, `export` or `orders`.
        role: String,
    }
);
