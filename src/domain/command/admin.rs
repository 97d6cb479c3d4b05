//! Commands about who may do what.

use crate::domain::token::Scope;
use crate::domain::{Digest, TenantName, Timestamp};

/// A token to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateToken {
    /// End of its validity.
    pub expires_at: Option<Timestamp>,
    /// For people.
    pub name: String,
    /// The person behind it.
    pub person: String,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// SHA-256 of the secret, which was drawn outside.
    pub secret_sha256: Digest,
    /// For which tenants.
    pub tenants: Vec<TenantName>,
}
