//! The workers of each tenant, in memory: what the ledger says of them, and when each claimed last. Derived from rows and
//! events, rebuilt at start; the time of the last claim begins anew with the process.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};

use super::request::Claim;
use crate::domain::TenantName;
use crate::domain::event::{Event, EventBody};
use crate::domain::worker::Worker;
use crate::limits;

/// What a worker said with its last claim.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offer {
    /// What it offers.
    pub labels: BTreeMap<String, String>,
    /// From where it claims.
    pub queues: Vec<String>,
    /// What it claims, by glob.
    pub types: Vec<String>,
}

#[derive(Debug, Clone, Default)]
struct Seen {
    draining: bool,
    lost: bool,
    /// On the monotonic clock; none since this process began.
    claimed_ms: Option<u64>,
    offer: Offer,
}

/// A worker at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerNow {
    /// How long ago it claimed; none since this process began.
    pub claim_age_ms: Option<u64>,
    /// What it said then.
    pub offer: Offer,
    /// Lost, and has not claimed since.
    pub is_lost: bool,
}

/// How a tenant stands to a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// Known, and may have work.
    Known,
    /// Known, and is to have none.
    Draining,
    /// Not known yet. The worker named takes no part any more and makes room, where that is needed.
    New(Option<String>),
    /// Not known, and there is no room.
    Full,
}

/// Workers of all tenants.
#[derive(Debug, Default)]
pub(super) struct Workers(BTreeMap<TenantName, BTreeMap<String, Seen>>);

/// Workers, shared. The lock is held for one look-up, or for one walk over a tenant's workers.
#[derive(Debug, Default)]
pub(super) struct SharedWorkers(Mutex<Workers>);

impl SharedWorkers {
    pub(super) fn lock(&self) -> MutexGuard<'_, Workers> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Workers {
    /// Takes up a worker from its row.
    pub(super) fn insert(&mut self, tenant: &TenantName, row: &Worker) {
        let seen = Seen {
            draining: row.draining.is_some(),
            lost: row.lost_at.is_some(),
            claimed_ms: None,
            offer: Offer {
                labels: row.labels.clone(),
                queues: row.queues.clone(),
                types: row.types.clone(),
            },
        };
        self.of(tenant).insert(row.name.clone(), seen);
    }

    /// Follows one event.
    pub(super) fn observe(&mut self, event: &Event) {
        match &event.body {
            EventBody::WorkerRegistered(worker) => {
                let workers = self.of(&event.tenant);
                if let Some(replaced) = &worker.replaces {
                    workers.remove(replaced);
                }
                workers.entry(worker.name.clone()).or_default();
            }
            EventBody::WorkerDrained(drained) => {
                if let Some(seen) = self.of(&event.tenant).get_mut(&drained.name) {
                    seen.draining = drained.draining;
                }
            }
            EventBody::WorkerLost(lost) => {
                if let Some(seen) = self.of(&event.tenant).get_mut(&lost.name) {
                    seen.lost = true;
                }
            }
            _ => {}
        }
    }

    /// How a tenant stands to a worker that claims. `running` is asked only when somebody has to make room.
    pub(super) fn standing(
        &self,
        tenant: &TenantName,
        name: &str,
        running: impl FnOnce() -> HashMap<String, usize>,
    ) -> Standing {
        let Some(workers) = self.0.get(tenant) else {
            return Standing::New(None);
        };
        match workers.get(name) {
            Some(seen) if seen.draining => Standing::Draining,
            Some(_) => Standing::Known,
            None if workers.len() < limits::WORKERS_MAX => Standing::New(None),
            None => {
                let running = running();
                let idle = workers
                    .iter()
                    .filter(|(name, seen)| !seen.draining && !running.contains_key(*name));
                match idle.min_by_key(|(name, seen)| (seen.claimed_ms, *name)) {
                    Some((oldest, _)) => Standing::New(Some(oldest.clone())),
                    None => Standing::Full,
                }
            }
        }
    }

    /// A known worker claims.
    pub(super) fn claimed(&mut self, tenant: &TenantName, claim: &Claim, now_ms: u64) {
        if let Some(seen) = self.of(tenant).get_mut(&claim.worker) {
            seen.claimed_ms = Some(now_ms);
            seen.lost = false;
            if seen.offer.labels != claim.wanted.labels {
                seen.offer.labels.clone_from(&claim.wanted.labels);
            }
            if seen.offer.queues != claim.wanted.queues || seen.offer.types != claim.wanted.types {
                seen.offer.queues.clone_from(&claim.wanted.queues);
                seen.offer.types.clone_from(&claim.wanted.types);
            }
        }
    }

    /// Whether a worker is to take no more work.
    pub(super) fn is_draining(&self, tenant: &TenantName, name: &str) -> bool {
        let seen = self.0.get(tenant).and_then(|workers| workers.get(name));
        seen.is_some_and(|seen| seen.draining)
    }

    /// Whether a worker is known and not lost yet.
    pub(super) fn can_be_lost(&self, tenant: &TenantName, name: &str) -> bool {
        let seen = self.0.get(tenant).and_then(|workers| workers.get(name));
        seen.is_some_and(|seen| !seen.lost)
    }

    /// All workers of a tenant.
    pub(super) fn now(&self, tenant: &TenantName, now_ms: u64) -> HashMap<String, WorkerNow> {
        let workers = self.0.get(tenant).into_iter().flatten();
        workers
            .map(|(name, seen)| {
                let now = WorkerNow {
                    claim_age_ms: seen.claimed_ms.map(|at| now_ms.saturating_sub(at)),
                    offer: seen.offer.clone(),
                    is_lost: seen.lost,
                };
                (name.clone(), now)
            })
            .collect()
    }

    fn of(&mut self, tenant: &TenantName) -> &mut BTreeMap<String, Seen> {
        self.0.entry(tenant.clone()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_bound_the_one_that_claimed_longest_ago_makes_room() {
        let tenant: TenantName = "acme".parse().unwrap();
        let mut workers = Workers::default();
        let none = HashMap::new;
        let of = workers.of(&tenant);
        for number in 0..limits::WORKERS_MAX {
            let seen = Seen {
                claimed_ms: Some(1_000 - number as u64),
                ..Seen::default()
            };
            of.insert(format!("w-{number:04}"), seen);
        }
        let standing = |workers: &Workers, running: HashMap<String, usize>| {
            workers.standing(&tenant, "new", move || running)
        };
        let room = |name: &str| Standing::New(Some(name.to_owned()));
        assert_eq!(workers.standing(&tenant, "w-0000", none), Standing::Known);
        assert_eq!(standing(&workers, none()), room("w-0999"));
        let busy = HashMap::from([("w-0999".to_owned(), 1)]);
        assert_eq!(
            standing(&workers, busy.clone()),
            room("w-0998"),
            "one with a lease stays"
        );
        workers.of(&tenant).get_mut("w-0998").unwrap().draining = true;
        assert_eq!(
            standing(&workers, busy),
            room("w-0997"),
            "one that is drained stays"
        );
        workers.of(&tenant).get_mut("w-0500").unwrap().claimed_ms = None;
        assert_eq!(
            standing(&workers, none()),
            room("w-0500"),
            "not seen since the start"
        );
        for seen in workers.of(&tenant).values_mut() {
            seen.draining = true;
        }
        assert_eq!(standing(&workers, none()), Standing::Full);
        workers.of(&tenant).remove("w-0000");
        assert_eq!(
            standing(&workers, none()),
            Standing::New(None),
            "one below the bound"
        );
    }
}
