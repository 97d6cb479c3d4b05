//! All ledgers of the appliance, each opened when first asked for; and the names of their folders.
//!
//! A folder is named like its tenant, with `_` for `:` and `__` for `/`. Tenant names hold no underscore, so the way
//! back is clear: `foreign:0123456789abcdef/plant` is `foreign_0123456789abcdef__plant`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use super::error::create_dir;
use super::frame_cache::FrameCache;
use super::{LedgerError, TenantLedger};
use crate::disk::Disk;
use crate::domain::TenantName;
use crate::limits;

/// The ledgers under one folder.
#[derive(Debug)]
pub struct Ledgers {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    cache: Arc<FrameCache>,
    /// Guards the map; held for a look-up.
    slots: Mutex<BTreeMap<TenantName, Arc<Slot>>>,
}

/// Guards the opening of one tenant; held while its commit point is read, so that it is opened once.
type Slot = Mutex<Option<Arc<TenantLedger>>>;

impl Ledgers {
    /// Opens the folder `dir`, creating it when missing; no ledger is opened yet.
    ///
    /// # Errors
    /// Storage errors.
    pub fn open(disk: Arc<dyn Disk>, dir: PathBuf) -> Result<Self, LedgerError> {
        create_dir(&*disk, &dir)?;
        Ok(Ledgers {
            disk,
            dir,
            cache: Arc::default(),
            slots: Mutex::default(),
        })
    }

    /// The ledger of a tenant, empty when there was none.
    ///
    /// # Errors
    /// As [`TenantLedger::open`].
    pub fn ledger(&self, tenant: &TenantName) -> Result<Arc<TenantLedger>, LedgerError> {
        let slot = self.lock().entry(tenant.clone()).or_default().clone();
        let mut slot = slot.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(ledger) = &*slot {
            return Ok(ledger.clone());
        }
        let ledger = Arc::new(TenantLedger::open_with(
            self.disk.clone(),
            self.dir.join(folder_name(tenant)),
            tenant.clone(),
            self.cache.clone(),
            limits::HISTORY_FILE_BYTES,
        )?);
        *slot = Some(ledger.clone());
        Ok(ledger)
    }

    /// Tenants that have a ledger, on disk or opened by this process, sorted. Folders with other names are left alone.
    ///
    /// # Errors
    /// Storage errors.
    pub fn tenants(&self) -> Result<Vec<TenantName>, LedgerError> {
        let folders = self
            .disk
            .list_dirs(&self.dir)
            .map_err(LedgerError::io("list the folder", &self.dir))?;
        let mut tenants: Vec<TenantName> = folders.iter().filter_map(|name| tenant_of(name)).collect();
        tenants.extend(self.lock().keys().cloned());
        tenants.sort();
        tenants.dedup();
        Ok(tenants)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TenantName, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The name of a tenant's folder.
fn folder_name(tenant: &TenantName) -> String {
    tenant.as_str().replace('/', "__").replace(':', "_")
}

/// The tenant whose folder has this name.
fn tenant_of(folder: &str) -> Option<TenantName> {
    let tenant: TenantName = folder.replace("__", "/").replace('_', ":").parse().ok()?;
    (folder_name(&tenant) == folder).then_some(tenant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_names_lead_back_to_their_tenants() {
        for (name, folder) in [
            ("acme", "acme"),
            ("system", "system"),
            ("a-b-0", "a-b-0"),
            (
                "foreign:0123456789abcdef/plant-7",
                "foreign_0123456789abcdef__plant-7",
            ),
        ] {
            let tenant: TenantName = name.parse().unwrap();
            assert_eq!(folder_name(&tenant), folder);
            assert_eq!(tenant_of(folder), Some(tenant));
        }
        for folder in ["", "..", "a_b", "a__b", "lost+found", "foreign_0123__x", "Acme"] {
            assert_eq!(tenant_of(folder), None, "{folder}");
        }
    }
}
