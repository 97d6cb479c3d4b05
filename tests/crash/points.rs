//! Crash points: where the disk fails, what follows, and what is looked at then.

use super::check::{Checker, guarded};
use super::truth::Truth;
use super::workload::{Action, Known, Session, Start, empty_disk};
use crate::support::random::{Random, mix};
use crate::support::sim_disk::{Fault, SimDisk};

/// Things done in one session.
pub const STEPS: usize = 12;
/// More operations than an opening takes.
const OPENING_OPERATIONS: u64 = 90;

/// One session without a fault, and all that is needed to go through it again with one.
pub struct Recorded {
    pub disk: SimDisk,
    pub start: Start,
    /// What was acknowledged when it began.
    pub before: Truth,
    /// All that it came to.
    pub after: Truth,
    /// Disk operations it took.
    pub operations: u64,
}

/// Follows a workload from session to session and counts.
pub struct World {
    disk: SimDisk,
    start: Start,
    truth: Truth,
    seed: u64,
    pub checker: Checker,
    pub random: Random,
    pub points: u64,
    pub failures: Vec<String>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        World {
            disk: empty_disk(seed),
            start: Start::first(seed),
            truth: Truth::default(),
            seed,
            checker: Checker::default(),
            random: Random::new(!seed),
            points: 0,
            failures: Vec::new(),
        }
    }

    /// From now on flushes answer well and do nothing.
    pub fn lie(&self) {
        self.disk.set_lying(true);
    }

    /// Goes through one session; `look` is shown the disk as it was before every `every`-th change, with what was
    /// acknowledged then and what may be there besides. 0 shows nothing.
    pub fn session(&mut self, every: u64, look: impl Fn(&mut Self, &SimDisk, &Truth, &Truth)) -> Recorded {
        let (disk, start) = (self.disk.clone(), self.start.clone());
        let begin = (disk.fork(), self.truth.clone(), disk.operations());
        if every > 0 {
            disk.record_every(every);
        }
        let mut session = Session::open(&disk, &start).expect("opens when nothing fails");
        let mut truth = self.truth.clone();
        disk.spared(|| truth.take_ledgers(&session.engine));
        let mut acked = std::mem::replace(&mut self.truth, truth);
        for step in 0..=STEPS {
            for fork in disk.take_recorded() {
                let possible = self.truth.clone();
                look(self, &fork, &acked, &possible);
            }
            if step < STEPS {
                acked = self.truth.clone();
                session.step().expect("goes on when nothing fails");
                note(&disk, &mut session, &mut self.truth);
            }
        }
        self.disk.record_every(u64::MAX);
        self.start = Start {
            known: session.known.clone(),
            seed: self.random.next(),
            wall_ms: start.wall_ms,
        };
        Recorded {
            operations: disk.operations() - begin.2,
            disk: begin.0,
            start,
            before: begin.1,
            after: self.truth.clone(),
        }
    }

    /// Counts a point and keeps what was wrong with it.
    pub fn point<T>(&mut self, what: impl FnOnce() -> String, outcome: Result<T, String>) -> Option<T> {
        self.points += 1;
        match outcome {
            Ok(value) => Some(value),
            Err(error) => {
                let place = format!("seed {}, point {}, {}", self.seed, self.points, what());
                self.failures.push(format!("{place}: {error}"));
                None
            }
        }
    }

    /// The power is cut and comes back. Now and then recovery is cut or fails as well, and now and then life goes on for
    /// a while before the next cut.
    pub fn cut_power(&mut self, disk: &SimDisk, acked: &Truth, possible: Option<&Truth>) {
        let salt = self.random.next();
        disk.crash(salt);
        if salt.is_multiple_of(4) {
            self.fail_recovery(&disk.fork(), acked, possible);
        }
        if let Some(session) = self.look(disk, acked, possible, "power cut")
            && salt.is_multiple_of(3)
        {
            self.live_on(disk, session, acked, "power cut");
        }
    }

    /// Starts again and compares.
    fn look(
        &mut self,
        disk: &SimDisk,
        acked: &Truth,
        possible: Option<&Truth>,
        what: &str,
    ) -> Option<Session> {
        let restart = self.restart(acked);
        let outcome = self.checker.reopen(disk, &restart, acked, possible);
        self.point(|| what.to_owned(), outcome)
    }

    fn fail_recovery(&mut self, disk: &SimDisk, acked: &Truth, possible: Option<&Truth>) {
        let operation = 1 + self.random.below(OPENING_OPERATIONS);
        let fault = [Fault::Halt, Fault::Eio, Fault::NoSpace][self.random.below(3) as usize];
        disk.fail_operation(operation, fault);
        let restart = self.restart(acked);
        let opened = guarded(|| Ok(Session::open(disk, &restart).map(drop).is_ok()));
        disk.disarm();
        if fault == Fault::Halt || self.random.once_in(2) {
            disk.crash(self.random.next());
        }
        let what = format!("{fault:?} at operation {operation} of a recovery");
        if self.point(|| what.clone(), opened).is_some()
            && let Some(session) = self.look(disk, acked, possible, &what)
        {
            self.live_on(disk, session, acked, &what);
        }
    }

    /// What recovery made certain stays so, whatever is done next and whatever fails then.
    fn live_on(&mut self, disk: &SimDisk, mut session: Session, before: &Truth, what: &str) {
        let mut truth = Truth {
            checkpoints: before.checkpoints.clone(),
            stored: before.stored.clone(),
            ..Truth::default()
        };
        truth.take_ledgers(&session.engine);
        let steps = self.random.below(4);
        let done = guarded(|| {
            for _ in 0..steps {
                session.step_any().map_err(|fatal| fatal.to_string())?;
                note(disk, &mut session, &mut truth);
            }
            Ok(())
        });
        drop(session);
        let what = || format!("{steps} steps after {what}");
        if self.point(what, done).is_none() {
            return;
        }
        disk.crash(self.random.next());
        let restart = self.restart(before);
        let outcome = self.checker.reopen(disk, &restart, &truth, Some(&truth));
        self.point(|| format!("power cut {}", what()), outcome);
    }

    /// The same clock for the same state: then recovery does the same, and a state known already is known again.
    fn restart(&self, acked: &Truth) -> Start {
        let size: u64 = acked.sizes().values().sum();
        Start {
            known: Known::default(),
            seed: mix(self.seed ^ size),
            wall_ms: self.start.wall_ms,
        }
    }

    /// Goes through a recorded session again, with an error at one operation.
    pub fn fail_at(&mut self, recorded: &Recorded, operation: u64, fault: Fault) {
        let disk = recorded.disk.fork();
        disk.fail_operation(operation, fault);
        let mut acked = recorded.before.clone();
        let lived = guarded(|| Ok(live_through(&disk, &recorded.start, &mut acked)));
        let struck = disk.disarm();
        let what = format!("{fault:?} at operation {operation} of {}", recorded.operations);
        let Some(whole) = self.point(|| what.clone(), lived) else {
            return;
        };
        assert!(struck || whole, "a session that met no fault goes through");
        // An error that was answered may have changed what came next; then only legality can be asked of the rest.
        let possible = acked.is_part_of(&recorded.after).then_some(&recorded.after);
        let cut = disk.fork();
        cut.crash(self.random.next());
        // Without a power cut the system still shows what it failed to write: that must not be built upon.
        for disk in [cut, disk.fork(), disk.fork()] {
            if let Some(session) = self.look(&disk, &acked, possible, &what) {
                self.live_on(&disk, session, &acked, &what);
            }
        }
    }

    /// One thing done fails at each of its operations in turn. The process starts again on the same machine, which still
    /// shows what it failed to write; other things are done; then the power is cut.
    pub fn fail_action(&mut self, action: Action, then: &[Action]) {
        let mut operation = 0;
        loop {
            operation += 1 + self.random.below(7);
            let (disk, start) = (self.disk.fork(), self.start.clone());
            let mut acked = self.truth.clone();
            let what = format!("error at operation {operation} of {action:?}, then {then:?}");
            let failed = guarded(|| {
                let mut session = Session::open(&disk, &start).map_err(|error| error.to_string())?;
                disk.spared(|| acked.take_ledgers(&session.engine));
                disk.fail_operation(operation, Fault::Eio);
                let done = session.act(action);
                let struck = disk.disarm();
                if done.is_ok() {
                    note(&disk, &mut session, &mut acked);
                }
                Ok(struck)
            });
            match self.point(|| what.clone(), failed) {
                Some(true) => self.live_then_cut(&disk, &acked, then, &what),
                Some(false) => return,
                None => {}
            }
        }
    }

    fn live_then_cut(&mut self, disk: &SimDisk, before: &Truth, then: &[Action], what: &str) {
        let Some(mut session) = self.look(disk, before, None, what) else {
            return;
        };
        let mut truth = before.clone();
        truth.take_ledgers(&session.engine);
        for action in then {
            let acked = truth.clone();
            disk.record_every(2);
            let done = guarded(|| session.act(*action).map_err(|fatal| fatal.to_string()));
            if self.point(|| what.to_owned(), done).is_none() {
                return;
            }
            note(disk, &mut session, &mut truth);
            for fork in disk.take_recorded().into_iter().chain([disk.fork()]) {
                fork.crash(self.random.next());
                self.look(&fork, &acked, Some(&truth), what);
            }
        }
    }

    /// Ends the test: prints what was done, and fails on the first things that were wrong.
    pub fn conclude(&self, name: &str) {
        println!(
            "{name}: seed {}, {} points, {} compared in full, {} torn batches cut, {} projections rebuilt",
            self.seed, self.points, self.checker.full, self.checker.cut, self.checker.rebuilt
        );
        let shown: Vec<_> = self.failures.iter().take(12).map(String::as_str).collect();
        assert!(
            shown.is_empty(),
            "{} failures, among them:\n{}",
            self.failures.len(),
            shown.join("\n")
        );
    }
}

/// Opens and goes through a session until the writer stops. True when it did not.
fn live_through(disk: &SimDisk, start: &Start, acked: &mut Truth) -> bool {
    let Ok(mut session) = Session::open(disk, start) else {
        return false;
    };
    disk.spared(|| acked.take_ledgers(&session.engine));
    for _ in 0..STEPS {
        if session.step().is_err() {
            return false;
        }
        note(disk, &mut session, acked);
    }
    true
}

fn note(disk: &SimDisk, session: &mut Session, truth: &mut Truth) {
    for batch in session.committed() {
        truth.take_batch(&batch);
    }
    disk.spared(|| truth.take_checkpoints(&session.engine));
}
