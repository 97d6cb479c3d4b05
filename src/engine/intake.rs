//! The policy of each tenant that takes fields out of payloads as they come in, in memory: each request with an idempotency
//! key looks here, and none waits for the projection.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::domain::event::{Event, EventBody};
use crate::domain::redaction::{INTAKE, Policy};
use crate::domain::state::{Key, View};
use crate::domain::{PolicyName, TenantName};
use crate::store::{Snapshot, StoreError};

/// The policies named [`INTAKE`].
#[derive(Debug, Default)]
pub(super) struct IntakePolicies {
    /// Held for one look-up or one change.
    policies: RwLock<HashMap<TenantName, Arc<Policy>>>,
}

impl IntakePolicies {
    pub(super) fn find(&self, tenant: &TenantName) -> Option<Arc<Policy>> {
        let policies = self.policies.read().unwrap_or_else(PoisonError::into_inner);
        policies.get(tenant).cloned()
    }

    pub(super) fn observe(&self, event: &Event) {
        match &event.body {
            EventBody::RedactionPolicySet(set) if set.name.as_str() == INTAKE => {
                let policy = Policy {
                    name: set.name.clone(),
                    rules: set.rules.clone(),
                    seq: event.seq,
                    set_at: event.at,
                    set_by: event.actor.id.clone(),
                };
                self.insert(&event.tenant, Arc::new(policy));
            }
            EventBody::RedactionPolicyDeleted(deleted) if deleted.name.as_str() == INTAKE => {
                let mut policies = self.policies.write().unwrap_or_else(PoisonError::into_inner);
                policies.remove(&event.tenant);
            }
            _ => {}
        }
    }

    pub(super) fn rebuild(&self, snapshot: &Snapshot, tenants: &[TenantName]) -> Result<(), StoreError> {
        let Ok(name) = INTAKE.parse::<PolicyName>() else {
            return Ok(());
        };
        let key = Key::Policy(name);
        self.policies
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        for tenant in tenants {
            let row = snapshot.view(tenant).get(&key);
            let row = row.map_err(|error| StoreError::Damaged(error.0))?;
            if let Some(policy) = row.as_deref().and_then(|row| row.as_policy()) {
                self.insert(tenant, Arc::new(policy.clone()));
            }
        }
        Ok(())
    }

    fn insert(&self, tenant: &TenantName, policy: Arc<Policy>) {
        let mut policies = self.policies.write().unwrap_or_else(PoisonError::into_inner);
        policies.insert(tenant.clone(), policy);
    }
}
