//! Ledger time: `max(wall, last + monotonic elapsed)`. It neither runs back nor freezes.

use std::sync::Arc;

use crate::clock::Clock;
use crate::domain::Timestamp;

/// A wall clock that differs from its own course by more than this has been stepped.
const STEP_MS: i64 = 1_000;

/// The time that events carry.
#[derive(Debug)]
pub(super) struct LedgerTime {
    clock: Arc<dyn Clock>,
    last: Timestamp,
    last_monotonic_ms: u64,
    /// Distance of the wall clock from ledger time as last noted.
    offset_ms: i64,
}

impl LedgerTime {
    /// Goes on from the newest recorded time.
    pub(super) fn new(clock: Arc<dyn Clock>, newest: Option<Timestamp>) -> Self {
        let wall = Timestamp::from_ms(clock.wall_ms());
        let last = newest.map_or(wall, |newest| newest.max(wall));
        let last_monotonic_ms = clock.monotonic_ms();
        // Stands at zero even when the wall clock is behind the newest event: then the first look notes the step.
        LedgerTime {
            clock,
            last,
            last_monotonic_ms,
            offset_ms: 0,
        }
    }

    /// The time as last given out.
    pub(super) fn last(&self) -> Timestamp {
        self.last
    }

    /// The time now, and the offset to record when the wall clock has stepped since the last look.
    pub(super) fn now(&mut self) -> (Timestamp, Option<i64>) {
        let monotonic_ms = self.clock.monotonic_ms();
        let wall = Timestamp::from_ms(self.clock.wall_ms());
        let course = self.last.plus_ms(monotonic_ms - self.last_monotonic_ms);
        let now = wall.max(course);
        let offset = wall.as_ms() - course.as_ms();
        self.last = now;
        self.last_monotonic_ms = monotonic_ms;
        // Ahead: ledger time follows at once, and the offset is gone again. Behind: it stays until the wall catches up.
        let stepped = offset > STEP_MS || (offset - self.offset_ms).abs() > STEP_MS;
        if !stepped {
            return (now, None);
        }
        self.offset_ms = offset.min(0);
        (now, Some(offset))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn neither_runs_back_nor_freezes_and_notes_each_step_once() {
        let clock = Arc::new(ManualClock::new(1_000_000, 1));
        let mut time = LedgerTime::new(clock.clone(), None);
        assert_eq!(time.now(), (Timestamp::from_ms(1_000_000), None));
        clock.advance(Duration::from_secs(5));
        assert_eq!(time.now(), (Timestamp::from_ms(1_005_000), None));
        clock.step_wall(-3_600_000);
        assert_eq!(time.now(), (Timestamp::from_ms(1_005_000), Some(-3_600_000)));
        clock.advance(Duration::from_secs(2));
        assert_eq!(time.now(), (Timestamp::from_ms(1_007_000), None));
        clock.step_wall(3_600_000 + 60_000);
        assert_eq!(time.now(), (Timestamp::from_ms(1_067_000), Some(60_000)));
        clock.advance(Duration::from_secs(1));
        assert_eq!(time.now(), (Timestamp::from_ms(1_068_000), None));
    }

    #[test]
    fn goes_on_from_the_newest_event_after_a_restart() {
        let clock = Arc::new(ManualClock::new(1_000_000, 1));
        let mut time = LedgerTime::new(clock, Some(Timestamp::from_ms(9_000_000)));
        assert_eq!(time.now(), (Timestamp::from_ms(9_000_000), Some(-8_000_000)));
        assert_eq!(time.now(), (Timestamp::from_ms(9_000_000), None));
    }
}
