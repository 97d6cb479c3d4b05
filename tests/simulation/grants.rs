//! What a claim must get, told from the rows alone.

use std::collections::{BTreeMap, BTreeSet};

use fastness::domain::command::Leased;
use fastness::domain::job::{Job, JobStatus};
use fastness::domain::{JobId, RunId, TenantName};
use fastness::engine::{Claim, Reach, matches};

use super::turns::Tally;
use super::world::World;

/// What a claim must get, worked out from the rows alone: of each tenant the eligible job of the highest priority that
/// came first, unless its run is full or paused.
pub struct Grants {
    jobs: BTreeMap<TenantName, Vec<Job>>,
    /// Free places of runs that have a bound.
    free: BTreeMap<RunId, u32>,
    paused: BTreeSet<RunId>,
    /// What runs under concurrency keys.
    in_use: BTreeMap<(TenantName, String), Vec<u32>>,
    taken: BTreeSet<JobId>,
}

impl Grants {
    pub fn new(world: &World) -> Self {
        let mut free = BTreeMap::new();
        let mut paused = BTreeSet::new();
        let mut jobs = BTreeMap::new();
        let mut in_use: BTreeMap<(TenantName, String), Vec<u32>> = BTreeMap::new();
        for tenant in &world.tenants {
            for job in world.jobs(tenant) {
                if let (JobStatus::Running, Some(bound)) = (job.status, &job.spec.concurrency) {
                    let key = (tenant.clone(), bound.key.clone());
                    in_use.entry(key).or_default().push(bound.limit);
                }
            }
            for run in world.runs(tenant) {
                if run.paused.is_some() {
                    paused.insert(run.id);
                }
                if let Some(most) = run.max_parallel {
                    free.insert(run.id, most - run.counts.running);
                }
            }
            jobs.insert(tenant.clone(), world.jobs(tenant));
        }
        Grants {
            jobs,
            free,
            paused,
            in_use,
            taken: BTreeSet::new(),
        }
    }

    fn best(&self, tenant: &TenantName, claim: &Claim, tally: &mut Tally) -> Option<JobId> {
        let wanted = |job: &&Job| {
            job.status == JobStatus::Scheduled
                && !self.taken.contains(&job.id)
                && claim.wanted.queues.contains(&job.spec.queue)
                && job
                    .spec
                    .requires
                    .iter()
                    .all(|(name, value)| claim.wanted.labels.get(name) == Some(value))
                && (claim.wanted.types.is_empty()
                    || claim
                        .wanted
                        .types
                        .iter()
                        .any(|glob| matches(glob, &job.spec.job_type)))
        };
        let fits = |job: &&Job| {
            if job.run.is_some_and(|run| self.paused.contains(&run)) {
                tally.count("paused run passed over");
                return false;
            }
            let free = job.run.and_then(|run| self.free.get(&run));
            if free == Some(&0) {
                tally.count("full run passed over");
            }
            let admitted = job.spec.concurrency.as_ref().is_none_or(|bound| {
                let key = (tenant.clone(), bound.key.clone());
                let running = self.in_use.get(&key).map_or(&[][..], |running| running);
                let smallest = running.iter().copied().chain([bound.limit]).min();
                (running.len() as u32) < smallest.unwrap_or(0)
            });
            if !admitted {
                tally.count("full key passed over");
            }
            free != Some(&0) && admitted
        };
        let mut eligible: Vec<&Job> = self.jobs[tenant].iter().filter(wanted).filter(fits).collect();
        eligible.sort_by_key(|job| (std::cmp::Reverse(job.spec.priority), job.ready_seq, job.id));
        eligible.first().map(|job| job.id)
    }

    pub fn check(&mut self, tenant: &TenantName, claim: &Claim, granted: &[Leased], tally: &mut Tally) {
        let reached: Vec<TenantName> = match &claim.reach {
            Reach::Tenants(tenants) => tenants.clone(),
            Reach::OneTenant => vec![tenant.clone()],
            Reach::EveryTenant => self.jobs.keys().cloned().collect(),
        };
        for (index, leased) in granted.iter().enumerate() {
            assert!(reached.contains(&leased.tenant));
            assert_eq!(self.best(&leased.tenant, claim, tally), Some(leased.job.id));
            // Tenants in turn: one is served twice running only when no other has anything.
            if index > 0 && granted[index - 1].tenant == leased.tenant {
                for other in reached.iter().filter(|other| **other != leased.tenant) {
                    assert_eq!(self.best(other, claim, tally), None, "{other} was passed over");
                }
            }
            self.taken.insert(leased.job.id);
            if let Some(free) = leased.job.run.and_then(|run| self.free.get_mut(&run)) {
                *free -= 1;
            }
            if let Some(bound) = &leased.job.spec.concurrency {
                let key = (leased.tenant.clone(), bound.key.clone());
                self.in_use.entry(key).or_default().push(bound.limit);
            }
            tally.count("granted");
        }
        if granted.len() < claim.max {
            for tenant in reached {
                assert_eq!(self.best(&tenant, claim, tally), None, "{tenant} had more");
            }
        }
    }
}
