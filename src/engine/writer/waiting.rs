//! Claims that wait for work: who is next when a job becomes ready, and how many may wait.
//!
//! Claims with the same tenants and wishes stand in one *line*, in order of arrival; lines are found by tenant and queue.
//! So a job that becomes ready costs the number of different wishes for its queue, however many claims wait. Must never
//! grant anything.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::domain::TenantName;
use crate::domain::rejection::{Code, Rejection};
use crate::engine::lanes::Class;
use crate::engine::ready::Wanted;
use crate::engine::request::{Answer, Claim, Reach, SubmitError};
use crate::limits;

/// A claim that waits for work.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) tenant: TenantName,
    pub(super) claim: Claim,
    pub(super) deadline_ms: u64,
    pub(super) reply: oneshot::Sender<Result<Answer, SubmitError>>,
}

/// By arrival.
pub(super) type Number = u64;
type LineId = u64;

/// What claims of one line have in common. No tenants means all: the built-in runner.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Wish {
    tenants: Option<BTreeSet<TenantName>>,
    wanted: Wanted,
}

#[derive(Debug)]
struct Line {
    wish: Arc<Wish>,
    waiting: BTreeSet<Number>,
}

/// The lines of one tenant, or of those who serve every tenant, by queue.
type Queues = BTreeMap<String, BTreeSet<LineId>>;

/// The claims that wait.
#[derive(Debug, Default)]
pub(super) struct WaitingClaims {
    claims: BTreeMap<Number, (Waiting, LineId)>,
    deadlines: BTreeSet<(u64, Number)>,
    lines: BTreeMap<LineId, Line>,
    by_wish: BTreeMap<Arc<Wish>, LineId>,
    by_tenant: BTreeMap<Option<TenantName>, Queues>,
    /// How many wait for work of a tenant.
    counts: BTreeMap<TenantName, usize>,
    /// To be tried whatever becomes ready.
    again: BTreeSet<Number>,
    numbered: u64,
}

/// Whose turn it is for what became ready.
#[derive(Debug, Default)]
pub(super) struct Turns(BinaryHeap<Reverse<Turn>>);

/// The turn of one claim for one class; the earliest claim comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    /// Which claim.
    pub(super) number: Number,
    /// Which of the classes that the turns were made for.
    pub(super) class: usize,
    line: LineId,
}

impl Turns {
    pub(super) fn next(&mut self) -> Option<Turn> {
        self.0.pop().map(|Reverse(turn)| turn)
    }
}

impl WaitingClaims {
    pub(super) fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    /// Whether some claim is to be tried although nothing became ready.
    pub(super) fn is_behind(&self) -> bool {
        !self.again.is_empty()
    }

    /// When the first claim is to be answered, on the monotonic clock.
    pub(super) fn next_deadline_ms(&self) -> Option<u64> {
        self.deadlines.first().map(|(deadline_ms, _)| *deadline_ms)
    }

    /// Whether one more may wait. Claims whose caller has gone do not count.
    ///
    /// # Errors
    /// [`Code::LimitReached`] beyond [`limits::CLAIMS_WAITING_MAX`] in all, or
    /// [`limits::CLAIMS_WAITING_PER_TENANT_MAX`] for work of one tenant. The built-in runner may always wait.
    pub(super) fn make_room(&mut self, tenant: &TenantName, reach: &Reach) -> Result<(), Rejection> {
        let Some(tenants) = tenants_of(tenant, reach) else {
            return Ok(());
        };
        if self.first_full(&tenants).is_none() {
            return Ok(());
        }
        let gone: Vec<Number> = self
            .claims
            .iter()
            .filter(|(_, (waiting, _))| waiting.reply.is_closed())
            .map(|(number, _)| *number)
            .collect();
        for number in gone {
            self.take(number);
        }
        match self.first_full(&tenants) {
            None => Ok(()),
            Some(detail) => Err(Rejection::new(Code::LimitReached, detail)),
        }
    }

    fn first_full(&self, tenants: &BTreeSet<TenantName>) -> Option<String> {
        if self.claims.len() >= limits::CLAIMS_WAITING_MAX {
            return Some(format!(
                "{} claims wait, as many as may; claim without waitMs, or later",
                limits::CLAIMS_WAITING_MAX
            ));
        }
        let is_full = |tenant: &&TenantName| {
            let count = self.counts.get(*tenant).copied().unwrap_or(0);
            count >= limits::CLAIMS_WAITING_PER_TENANT_MAX
        };
        tenants.iter().find(is_full).map(|tenant| {
            format!(
                "{} claims wait for work of {tenant}, as many as may; claim without waitMs, or later",
                limits::CLAIMS_WAITING_PER_TENANT_MAX
            )
        })
    }

    /// A claim begins to wait.
    pub(super) fn push(&mut self, waiting: Waiting) -> Number {
        let number = self.numbered;
        self.numbered += 1;
        self.put(number, waiting);
        number
    }

    /// A claim that had its turn waits on, where it stood.
    pub(super) fn put(&mut self, number: Number, waiting: Waiting) {
        let wish = Wish {
            tenants: tenants_of(&waiting.tenant, &waiting.claim.reach),
            wanted: waiting.claim.wanted.clone(),
        };
        for tenant in wish.tenants.iter().flatten() {
            *self.counts.entry(tenant.clone()).or_default() += 1;
        }
        let id = match self.by_wish.get(&wish) {
            Some(id) => *id,
            None => self.open_line(number, wish),
        };
        if let Some(line) = self.lines.get_mut(&id) {
            line.waiting.insert(number);
        }
        self.deadlines.insert((waiting.deadline_ms, number));
        self.claims.insert(number, (waiting, id));
    }

    /// A line is named after the claim that opened it.
    fn open_line(&mut self, number: Number, wish: Wish) -> LineId {
        let wish = Arc::new(wish);
        for tenant in spots(&wish) {
            let queues = self.by_tenant.entry(tenant).or_default();
            for queue in &wish.wanted.queues {
                queues.entry(queue.clone()).or_default().insert(number);
            }
        }
        self.by_wish.insert(wish.clone(), number);
        let waiting = BTreeSet::new();
        self.lines.insert(number, Line { wish, waiting });
        number
    }

    fn close_line(&mut self, id: LineId) {
        let Some(line) = self.lines.remove(&id) else {
            return;
        };
        self.by_wish.remove(&line.wish);
        for tenant in spots(&line.wish) {
            let Some(queues) = self.by_tenant.get_mut(&tenant) else {
                continue;
            };
            for queue in &line.wish.wanted.queues {
                if let Some(lines) = queues.get_mut(queue) {
                    lines.remove(&id);
                    if lines.is_empty() {
                        queues.remove(queue);
                    }
                }
            }
            if queues.is_empty() {
                self.by_tenant.remove(&tenant);
            }
        }
    }

    /// Takes a claim out; none when it waits no longer.
    pub(super) fn take(&mut self, number: Number) -> Option<Waiting> {
        let (waiting, id) = self.claims.remove(&number)?;
        self.deadlines.remove(&(waiting.deadline_ms, number));
        self.again.remove(&number);
        for tenant in tenants_of(&waiting.tenant, &waiting.claim.reach).iter().flatten() {
            if let Some(count) = self.counts.get_mut(tenant) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(tenant);
                }
            }
        }
        let is_last = self.lines.get_mut(&id).is_some_and(|line| {
            line.waiting.remove(&number);
            line.waiting.is_empty()
        });
        if is_last {
            self.close_line(id);
        }
        Some(waiting)
    }

    /// Takes out a claim whose time to wait is over.
    pub(super) fn take_due(&mut self, now_ms: u64) -> Option<Waiting> {
        let (deadline_ms, number) = *self.deadlines.first()?;
        (deadline_ms <= now_ms).then(|| self.take(number)).flatten()
    }

    /// The claim is tried in the next round, whatever becomes ready.
    pub(super) fn try_again(&mut self, number: Number) {
        self.again.insert(number);
    }

    /// The claims of a worker are tried in the next round.
    pub(super) fn try_again_of(&mut self, worker: &str) {
        let of_worker = self
            .claims
            .iter()
            .filter(|(_, (waiting, _))| waiting.claim.worker == worker)
            .map(|(number, _)| *number);
        self.again.extend(of_worker);
    }

    /// The earliest claim that is to be tried whatever became ready.
    pub(super) fn take_again(&mut self) -> Option<Number> {
        self.again.pop_first()
    }

    /// The turns of claims that could take something of these classes.
    pub(super) fn turns(&self, fresh: &[(TenantName, Arc<Class>)]) -> Turns {
        let mut turns = Turns::default();
        for (class, (tenant, wanted)) in fresh.iter().enumerate() {
            for spot in [Some(tenant.clone()), None] {
                let queues = self.by_tenant.get(&spot);
                let lines = queues.and_then(|queues| queues.get(&wanted.queue));
                for id in lines.into_iter().flatten() {
                    let Some(line) = self.lines.get(id) else { continue };
                    if let (true, Some(first)) = (line.wish.wanted.takes(wanted), line.waiting.first()) {
                        turns.0.push(Reverse(Turn {
                            number: *first,
                            class,
                            line: *id,
                        }));
                    }
                }
            }
        }
        turns
    }

    /// Lets the one behind in the same line have its turn later. Call it before the claim of this turn is taken out.
    pub(super) fn line_up(&self, turns: &mut Turns, turn: Turn) {
        let behind = (std::ops::Bound::Excluded(turn.number), std::ops::Bound::Unbounded);
        let next = self
            .lines
            .get(&turn.line)
            .and_then(|line| line.waiting.range(behind).next());
        if let Some(number) = next {
            turns.0.push(Reverse(Turn {
                number: *number,
                ..turn
            }));
        }
    }
}

fn tenants_of(tenant: &TenantName, reach: &Reach) -> Option<BTreeSet<TenantName>> {
    match reach {
        Reach::OneTenant => Some(BTreeSet::from([tenant.clone()])),
        Reach::Tenants(tenants) => Some(tenants.iter().cloned().collect()),
        Reach::EveryTenant => None,
    }
}

/// Where the lines of a wish are found.
fn spots(wish: &Wish) -> Vec<Option<TenantName>> {
    match &wish.tenants {
        Some(tenants) => tenants.iter().cloned().map(Some).collect(),
        None => vec![None],
    }
}
