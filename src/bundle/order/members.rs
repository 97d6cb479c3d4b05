//! Which members an order may have, what they are called and in which order they stand.

use std::fmt;

use crate::domain::Digest;

/// A member. The order of the variants is the order in the archive; equal kinds are ordered by digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OrderMember {
    /// The signed in-toto statement; the only member that it does not name itself.
    Manifest,
    /// The inputs of a run.
    Inputs(Digest),
    /// A pack.
    Pack(Digest),
    /// How to check all this by hand.
    VerifyText,
}

/// What every name begins with: a file whose first member does is an order, or a cancellation of one.
pub(super) const FOLDER: &str = "order/";

impl OrderMember {
    /// The member called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.strip_prefix(FOLDER)?;
        if let Some(digest) = name.strip_prefix("inputs/") {
            return digest.parse().ok().map(OrderMember::Inputs);
        }
        if let Some(digest) = name.strip_prefix("packs/") {
            return digest.parse().ok().map(OrderMember::Pack);
        }
        match name {
            "manifest.dsse.json" => Some(OrderMember::Manifest),
            "verify.txt" => Some(OrderMember::VerifyText),
            _ => None,
        }
    }
}

impl fmt::Display for OrderMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FOLDER)?;
        match self {
            OrderMember::Manifest => f.write_str("manifest.dsse.json"),
            OrderMember::Inputs(digest) => write!(f, "inputs/{digest}"),
            OrderMember::Pack(digest) => write!(f, "packs/{digest}"),
            OrderMember::VerifyText => f.write_str("verify.txt"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_members_and_others_to_none() {
        let digest = Digest::of(b"x");
        for member in [
            OrderMember::Manifest,
            OrderMember::Inputs(digest),
            OrderMember::Pack(digest),
            OrderMember::VerifyText,
        ] {
            assert_eq!(OrderMember::from_name(&member.to_string()), Some(member));
        }
        for name in [
            "order/",
            "order/packs/abc",
            "audit/verify.txt",
            "order/other",
            "packs/x",
        ] {
            assert_eq!(OrderMember::from_name(name), None, "{name}");
        }
    }
}
