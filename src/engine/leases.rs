//! Leases of running jobs and their deadlines, on the monotonic clock alone; and what is known of an attempt at work that
//! no event tells: its progress, and whether it sent output. Nothing here costs a flush or an event.

use std::collections::{BTreeSet, HashMap};

use super::recover::LOCAL_WORKER;
use crate::domain::command::LeaseEnd;
use crate::domain::job::Job;
use crate::domain::{JobId, RunId, StepName, TenantName, Timestamp};
use crate::limits;

/// A lease as it is timed.
#[derive(Debug, Clone)]
struct Held {
    now: LeaseNow,
    epoch: u64,
    worker: String,
    lease_ms: u64,
    deadline_ms: u64,
    /// When the attempt has lasted as long as its job allows; none for the built-in runner, which sees to that itself
    /// and then has a log to report.
    ends_at: Option<Timestamp>,
    progress: Option<Progress>,
    /// Steps and own events reported under it.
    reports: u32,
    /// Its log takes no more: its end is on the way.
    is_closed: bool,
    /// When it was found to have run out. From then on it is as good as gone.
    over_ms: Option<u64>,
}

/// All live leases.
#[derive(Debug)]
pub(super) struct Leases {
    held: HashMap<(TenantName, JobId), Held>,
    /// Before these nothing is over. Renewing only moves deadlines away, so both stay true until the next sweep.
    next_deadline_ms: u64,
    next_end: Timestamp,
}

impl Default for Leases {
    fn default() -> Self {
        Leases {
            held: HashMap::new(),
            next_deadline_ms: u64::MAX,
            next_end: Timestamp::from_ms(i64::MAX),
        }
    }
}

/// A lease as whoever names it may know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseNow {
    /// The number of the try.
    pub attempt: u32,
    /// The job was asked to stop.
    pub cancel_requested: bool,
    /// Bytes of a log or an artifact may be there.
    pub has_output: bool,
    /// The run it belongs to.
    pub run: Option<RunId>,
    /// Its name in the run.
    pub step: Option<StepName>,
}

/// How far an attempt is, as its worker says. Live, and never recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// 0 to 100.
    pub percent: u8,
    /// For people; at most [`limits::PROGRESS_MESSAGE_BYTES_MAX`] bytes.
    pub message: Option<String>,
    /// When it came, by the wall clock.
    pub at_ms: i64,
}

/// A lease that ran out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseOver {
    /// Whose job.
    pub tenant: TenantName,
    /// The job.
    pub job: JobId,
    /// The lease.
    pub epoch: u64,
    /// Who held it.
    pub worker: String,
    /// As it stood.
    pub lease: LeaseNow,
    /// Which of its bounds it passed.
    pub cause: LeaseEnd,
    /// It was found for the first time; otherwise whoever was to end it did not.
    pub(super) is_first: bool,
}

/// What a worker learns when it renews.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewed {
    /// How much longer the lease now lasts.
    pub lease_ms: u64,
    /// The job was asked to stop.
    pub cancel_requested: bool,
    /// The worker is to take no more work.
    pub drain: bool,
}

/// Why a call under a lease is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The job is not running.
    NotRunning,
    /// It runs under another epoch or worker.
    Stale,
    /// It runs, and no lease of it had this epoch yet.
    NeverGranted,
    /// The lease is good, but its output was closed by a report of its end.
    OutputClosed,
    /// The lease is good, but as much was reported under it as may be.
    TooManyReports,
}

impl Leases {
    /// A lease was granted, or taken up again at start: a full period from now.
    pub(super) fn insert(&mut self, tenant: &TenantName, job: &Job, now_ms: u64) {
        let Some(lease) = &job.lease else { return };
        let ends_at = job
            .started_at
            .filter(|_| lease.worker != LOCAL_WORKER)
            .map(|at| at.plus_ms(job.spec.timeout_ms));
        self.next_deadline_ms = self.next_deadline_ms.min(now_ms + lease.lease_ms);
        self.next_end = ends_at.map_or(self.next_end, |ends_at| self.next_end.min(ends_at));
        let held = Held {
            ends_at,
            now: LeaseNow {
                attempt: job.attempt,
                cancel_requested: job.cancel_requested.is_some(),
                has_output: false,
                run: job.run,
                step: job.name.clone(),
            },
            epoch: job.epoch,
            worker: lease.worker.clone(),
            lease_ms: lease.lease_ms,
            deadline_ms: now_ms + lease.lease_ms,
            progress: None,
            reports: 0,
            is_closed: false,
            over_ms: None,
        };
        self.held.insert((tenant.clone(), job.id), held);
    }

    /// The leases were taken up from an earlier process: what was sent under them is not known here.
    pub(super) fn expect_output(&mut self) {
        self.held.values_mut().for_each(|held| held.now.has_output = true);
    }

    /// The lease ended. False when there was none.
    pub(super) fn remove(&mut self, tenant: &TenantName, job: JobId) -> bool {
        self.held.remove(&(tenant.clone(), job)).is_some()
    }

    /// The job was asked to stop: its worker learns with the next renewal.
    pub(super) fn request_cancel(&mut self, tenant: &TenantName, job: JobId) {
        if let Some(held) = self.held.get_mut(&(tenant.clone(), job)) {
            held.now.cancel_requested = true;
        }
    }

    /// One more period from now.
    pub(super) fn renew(&mut self, named: Named<'_>, now_ms: u64) -> Result<Renewed, Lost> {
        let held = self.live(named)?;
        held.deadline_ms = now_ms + held.lease_ms;
        Ok(Renewed {
            lease_ms: held.lease_ms,
            cancel_requested: held.now.cancel_requested,
            drain: false,
        })
    }

    /// The lease as it stands.
    pub(super) fn look(&mut self, named: Named<'_>) -> Result<LeaseNow, Lost> {
        Ok(self.live(named)?.now.clone())
    }

    /// Output is about to be written under the lease.
    pub(super) fn take_output(&mut self, named: Named<'_>) -> Result<LeaseNow, Lost> {
        let held = self.live(named)?;
        if held.is_closed {
            return Err(Lost::OutputClosed);
        }
        held.now.has_output = true;
        Ok(held.now.clone())
    }

    /// The end of the attempt is about to be reported: its output takes no more. A lease that has run out and whose end is
    /// not recorded yet may still be ended by its worker.
    pub(super) fn close_output(&mut self, named: Named<'_>) -> Result<LeaseNow, Lost> {
        let held = self.held(named)?;
        held.is_closed = true;
        Ok(held.now.clone())
    }

    /// Counts a step or an own event.
    pub(super) fn count_report(&mut self, named: Named<'_>) -> Result<(), Lost> {
        let held = self.live(named)?;
        if held.reports >= limits::LEASE_REPORTS_MAX {
            return Err(Lost::TooManyReports);
        }
        held.reports += 1;
        Ok(())
    }

    /// Keeps the latest progress.
    pub(super) fn set_progress(&mut self, named: Named<'_>, progress: Progress) -> Result<(), Lost> {
        self.live(named)?.progress = Some(progress);
        Ok(())
    }

    /// The latest progress of a job at work.
    pub(super) fn progress(&self, tenant: &TenantName, job: JobId) -> Option<Progress> {
        self.held.get(&(tenant.clone(), job))?.progress.clone()
    }

    fn held(&mut self, named: Named<'_>) -> Result<&mut Held, Lost> {
        let place = (named.tenant.clone(), named.job);
        let held = self.held.get_mut(&place).ok_or(Lost::NotRunning)?;
        // Epochs count up from 1.
        if !(1..=held.epoch).contains(&named.epoch) {
            return Err(Lost::NeverGranted);
        }
        if held.epoch != named.epoch || held.worker != named.worker {
            return Err(Lost::Stale);
        }
        Ok(held)
    }

    fn live(&mut self, named: Named<'_>) -> Result<&mut Held, Lost> {
        let held = self.held(named)?;
        if held.over_ms.is_some() {
            return Err(Lost::Stale);
        }
        Ok(held)
    }

    /// Leases over at `now_ms` and attempts over at `now`, in a stable order, at most `limit`. What was found once is found
    /// again only when nobody has ended it in [`limits::LEASE_CLOSE_MS_MAX`].
    pub(super) fn over(&mut self, now_ms: u64, now: Timestamp, limit: usize) -> Vec<LeaseOver> {
        if now_ms < self.next_deadline_ms && now < self.next_end {
            return Vec::new();
        }
        let mut found: Vec<LeaseOver> = Vec::new();
        for ((tenant, job), held) in &self.held {
            let Some(cause) = held.over(now_ms, now) else {
                continue;
            };
            found.push(LeaseOver {
                tenant: tenant.clone(),
                job: *job,
                epoch: held.epoch,
                worker: held.worker.clone(),
                lease: held.now.clone(),
                cause,
                is_first: held.over_ms.is_none(),
            });
        }
        found.sort_by(|one, other| (&one.tenant, one.job).cmp(&(&other.tenant, other.job)));
        found.truncate(limit);
        for over in &found {
            if let Some(held) = self.held.get_mut(&(over.tenant.clone(), over.job)) {
                held.over_ms = Some(now_ms);
            }
        }
        self.look_ahead();
        found
    }

    fn look_ahead(&mut self) {
        (self.next_deadline_ms, self.next_end) = (u64::MAX, Timestamp::from_ms(i64::MAX));
        for held in self.held.values() {
            match held.over_ms {
                Some(since) => {
                    self.next_deadline_ms = self.next_deadline_ms.min(since + limits::LEASE_CLOSE_MS_MAX);
                }
                None => {
                    self.next_deadline_ms = self.next_deadline_ms.min(held.deadline_ms);
                    self.next_end = held
                        .ends_at
                        .map_or(self.next_end, |ends_at| self.next_end.min(ends_at));
                }
            }
        }
    }

    /// Milliseconds until something may be over.
    pub(super) fn idle_ms(&self, now_ms: u64, now: Timestamp) -> u64 {
        let deadline = self.next_deadline_ms.saturating_sub(now_ms);
        deadline.min(self.next_end.since_ms(now))
    }

    /// Of these workers, those that hold no live lease.
    pub(super) fn without_lease(
        &self,
        mut workers: BTreeSet<(TenantName, String)>,
    ) -> BTreeSet<(TenantName, String)> {
        if workers.is_empty() {
            return workers;
        }
        for ((tenant, _), held) in self.held.iter().filter(|(_, held)| held.over_ms.is_none()) {
            workers.remove(&(tenant.clone(), held.worker.clone()));
        }
        workers
    }

    /// How many jobs each worker of a tenant runs.
    pub(super) fn running(&self, tenant: &TenantName) -> HashMap<String, usize> {
        let mut found = HashMap::new();
        for ((_, _), held) in self.held.iter().filter(|((of, _), _)| of == tenant) {
            *found.entry(held.worker.clone()).or_default() += 1;
        }
        found
    }

    /// Number of running jobs.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }
}

impl Held {
    /// Why it is over, when it is.
    fn over(&self, now_ms: u64, now: Timestamp) -> Option<LeaseEnd> {
        if self
            .over_ms
            .is_some_and(|since| since + limits::LEASE_CLOSE_MS_MAX > now_ms)
        {
            return None;
        }
        if self.deadline_ms <= now_ms {
            return Some(LeaseEnd::Expired);
        }
        let is_long = self.ends_at.is_some_and(|ends_at| ends_at <= now);
        is_long.then_some(LeaseEnd::TimedOut)
    }
}

/// A lease as a call names it.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    /// Whose job.
    pub tenant: &'a TenantName,
    /// The job.
    pub job: JobId,
    /// The lease.
    pub epoch: u64,
    /// Who says that it is theirs.
    pub worker: &'a str,
}
