//! What is asked about trust (ledger `system`). Signatures are judged before it comes to the writer.

use crate::domain::payload::trust::{KeyRevoked, KeyRotated, RootAccepted, RootPinned, TrustRefused};

/// A change of what is trusted, or a note that one was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeTrust {
    /// Pin a root of another enclave.
    PinRoot(RootPinned),
    /// Take in the next root of an enclave; its chain was verified.
    AcceptRoot(RootAccepted),
    /// Note that a key was replaced; its files are flushed.
    NoteRotation(KeyRotated),
    /// Revoke a key that was replaced.
    RevokeKey(KeyRevoked),
    /// Note a refusal.
    Refuse(TrustRefused),
}
