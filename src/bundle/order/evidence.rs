//! The way back: what imported ledgers say about orders that were issued here. Read from the events of those ledgers, never
//! stored a second time; it rests on the root of the foreign ledger at the size that was imported.

use crate::domain::order::{IssuedOrder, OrderState, ReceivedOrder};
use crate::domain::state::{Kind, View};
use crate::domain::token::Import;
use crate::domain::{Digest, EnclaveName, TenantName};
use crate::store::{Snapshot, StoreError};

/// What one imported ledger says about an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Where it was taken in.
    pub enclave: EnclaveName,
    /// True when it is the order that was issued, byte for byte.
    pub matches: bool,
    /// The order as it stands there.
    pub order: ReceivedOrder,
    /// The ledger that says so.
    pub origin: String,
    /// Its root at `size`.
    pub root: Digest,
    /// How much of it is held here.
    pub size: u64,
    /// The read-only tenant here.
    pub tenant: TenantName,
}

/// How far an order is, as far as this hub can know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It was signed here.
    Issued,
    /// It was cancelled here, and nothing is known of it elsewhere.
    Recalled,
    /// It was cancelled there before it started.
    Cancelled,
    /// It is there.
    Imported,
    /// Its runs were made there.
    Started,
    /// All of its runs have ended there.
    Reported,
}

impl Stage {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Stage::Issued => "issued",
            Stage::Recalled => "recalled",
            Stage::Cancelled => "cancelled",
            Stage::Imported => "imported",
            Stage::Started => "started",
            Stage::Reported => "reported",
        }
    }
}

/// The furthest that an order came anywhere.
pub fn stage(issued: &IssuedOrder, evidence: &[Evidence]) -> Stage {
    let there = evidence
        .iter()
        .filter(|evidence| evidence.matches)
        .map(|evidence| match evidence.order.state {
            OrderState::Imported => Stage::Imported,
            OrderState::Started => Stage::Started,
            OrderState::Reported => Stage::Reported,
            OrderState::Cancelled => Stage::Cancelled,
        });
    let here = if issued.recalled.is_some() {
        Stage::Recalled
    } else {
        Stage::Issued
    };
    there.max().map_or(here, |there| there.max(here))
}

/// The foreign ledgers that may know of orders.
///
/// # Errors
/// When the projection cannot be read.
pub fn witnesses(snapshot: &Snapshot) -> Result<Vec<Import>, StoreError> {
    let mut imports = Vec::new();
    for row in snapshot.every_row(&TenantName::system(), Kind::Import)? {
        imports.extend(row?.1.as_import().cloned());
    }
    Ok(imports)
}

/// What the ledgers of the enclaves that an order is for say about it, as far as they are among `witnesses`.
///
/// # Errors
/// When the projection cannot be read.
pub fn evidence(
    snapshot: &Snapshot,
    witnesses: &[Import],
    issued: &IssuedOrder,
) -> Result<Vec<Evidence>, StoreError> {
    let mut found = Vec::new();
    for import in witnesses {
        // Another enclave refuses the order, and so has nothing to say of it.
        let enclave = enclave_of(&import.tenant);
        let Some(enclave) = enclave.filter(|enclave| issued.enclaves.contains(enclave)) else {
            continue;
        };
        let view = snapshot.view(&import.tenant);
        let view: &dyn View = &view;
        let order = view.received_order(issued.id);
        let Some(order) = order.map_err(|error| StoreError::Damaged(error.0))? else {
            continue;
        };
        let matches = order.tar_sha256 == issued.tar_sha256;
        found.push(Evidence {
            enclave,
            matches,
            order,
            origin: import.origin.clone(),
            root: import.root,
            size: import.size,
            tenant: import.tenant.clone(),
        });
    }
    Ok(found)
}

/// `foreign:<16 hex>/<tenant>` came from this enclave.
fn enclave_of(tenant: &TenantName) -> Option<EnclaveName> {
    let rest = tenant.as_str().strip_prefix("foreign:")?;
    rest.split('/').next()?.parse().ok()
}
