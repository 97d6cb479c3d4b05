//! A range of ledger times `[from, to)`, and where in a ledger it begins.
//!
//! Times never decrease within a ledger: the writer gives them so, and a bundle whose times do is refused. So the first
//! event is found by bisection, and the reading ends at the first that lies behind.

use serde::Deserialize;

use super::error::ApiError;
use super::request::{Query, bad_parameter};
use crate::domain::Timestamp;
use crate::ledger::LedgerError;

/// Half open; what is not given does not bound.
#[derive(Debug, Clone, Copy, Default)]
pub struct TimeRange {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

/// Where an event lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lies {
    /// Earlier than the range.
    Before,
    /// In it.
    Within,
    /// Later, as is everything that follows.
    Behind,
}

/// What is read of an event.
#[derive(Deserialize)]
struct Timed {
    at: Timestamp,
}

impl TimeRange {
    /// Takes `from` and `to` out of a query.
    ///
    /// # Errors
    /// What is no time; an end before the beginning.
    pub fn take(query: &mut Query) -> Result<Self, ApiError> {
        let mut time = |name: &str| {
            let text = query.text(name)?;
            text.map(|text| Timestamp::at_or_after(&text))
                .transpose()
                .map_err(|error| bad_parameter(name, error.to_string()))
        };
        let (from, to) = (time("from")?, time("to")?);
        match (from, to) {
            (Some(from), Some(to)) if to < from => Err(ApiError::field(
                "invalid_time_range",
                "/query/to",
                format!("to, {to}, is before from, {from}"),
            )),
            _ => Ok(TimeRange { from, to }),
        }
    }

    /// The first event of `[first, end)` that is not before the range; `end` when there is none.
    ///
    /// # Errors
    /// What `event` said; [`LedgerError::Pruned`] when one that was pruned could belong to the range.
    pub fn begin(
        &self,
        (first, end): (u64, u64),
        mut event: impl FnMut(u64) -> Result<bytes::Bytes, LedgerError>,
    ) -> Result<u64, LedgerError> {
        let Some(from) = self.from else { return Ok(first) };
        let (mut low, mut high) = (first, end);
        let mut pruned = None;
        // A page that follows another most often begins within.
        let mut probe = first;
        while low < high {
            match event(probe) {
                Ok(bytes) if is_before(&bytes, from) => low = probe + 1,
                Ok(_) => high = probe,
                // What is gone was earlier than what is there.
                Err(LedgerError::Pruned { seq, first }) if probe < first => {
                    low = first.min(high);
                    pruned = Some((low, seq, first));
                }
                Err(error) => return Err(error),
            }
            probe = low + (high - low) / 2;
        }
        match pruned {
            // Nothing that is there is earlier than the range: what is gone may lie in it.
            Some((held, seq, first)) if held == low => Err(LedgerError::Pruned { seq, first }),
            _ => Ok(low),
        }
    }

    /// Where an event lies; within where it cannot be read, so that it is not passed over in silence.
    pub fn place(&self, event: &[u8]) -> Lies {
        if self.from.is_none() && self.to.is_none() {
            return Lies::Within;
        }
        match time_of(event) {
            Some(at) if self.from.is_some_and(|from| at < from) => Lies::Before,
            Some(at) if self.to.is_some_and(|to| at >= to) => Lies::Behind,
            _ => Lies::Within,
        }
    }
}

fn time_of(event: &[u8]) -> Option<Timestamp> {
    serde_json::from_slice::<Timed>(event).ok().map(|timed| timed.at)
}

fn is_before(event: &[u8], from: Timestamp) -> bool {
    time_of(event).is_some_and(|at| at < from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: i64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    /// Where a range begins in a ledger whose event `seq` has the time `times[seq]` and of which some are pruned.
    fn begin(times: &[i64], held: u64, first: u64, from: i64) -> Result<u64, u64> {
        let range = TimeRange {
            from: Some(ms(from)),
            to: None,
        };
        let mut reads = 0;
        let found = range.begin((first, times.len() as u64), |seq| {
            reads += 1;
            if seq < held {
                return Err(LedgerError::Pruned { seq, first: held });
            }
            Ok(format!(r#"{{"at":"{}"}}"#, ms(times[seq as usize])).into())
        });
        assert!(reads <= 2 + times.len().ilog2() + 1, "{reads} reads");
        found.map_err(|error| match error {
            LedgerError::Pruned { first, .. } => first,
            other => panic!("{other}"),
        })
    }

    #[test]
    fn the_first_event_in_time_is_found_wherever_the_search_begins() {
        let times: Vec<i64> = (0..200).map(|seq| seq / 3 * 10).collect();
        for first in [0, 1, 2, 3, 50, 199, 200] {
            for from in -1..=680 {
                let expected = (first..200).find(|seq| times[*seq as usize] >= from);
                let found = begin(&times, 0, first, from);
                assert_eq!(found, Ok(expected.unwrap_or(200)), "{from} from {first} on");
            }
        }
    }

    #[test]
    fn a_range_that_may_reach_into_what_was_pruned_is_refused() {
        let times = [0, 0, 10, 10, 20, 20, 30, 30];
        for (held, first, from, expected) in [
            // What is gone is at most as late as event 4, which is there.
            (4, 0, 21, Ok(6)),
            (4, 0, 20, Err(4)),
            (4, 0, 5, Err(4)),
            (4, 3, 5, Err(4)),
            (4, 4, 5, Ok(4)),
            (5, 0, 20, Err(5)),
            (5, 0, 25, Ok(6)),
            (5, 0, 99, Ok(8)),
            (8, 0, 99, Err(8)),
        ] {
            assert_eq!(
                begin(&times, held, first, from),
                expected,
                "{held} pruned, {first}, {from}"
            );
        }
    }
}
