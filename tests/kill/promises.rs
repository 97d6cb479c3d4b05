//! What a server acknowledged to its clients, and the check that all of it is recorded.

use std::collections::BTreeMap;

use super::recorded::Recorded;

/// A lease: the job, and its epoch.
pub type Lease = (String, u64);

/// What clients were told. An answer that did not arrive whole promises nothing.
#[derive(Debug, Default, Clone)]
pub struct Promises {
    /// Jobs by their id, with the correlation id that names them once.
    pub submitted: BTreeMap<String, String>,
    /// Leases, with their worker.
    pub leased: BTreeMap<Lease, String>,
    /// Accepted reports, with the type of the event that records them.
    pub ended: BTreeMap<Lease, &'static str>,
}

impl Promises {
    pub fn add(&mut self, other: Promises) {
        self.submitted.extend(other.submitted);
        self.leased.extend(other.leased);
        self.ended.extend(other.ended);
    }

    pub fn count(&self) -> usize {
        self.submitted.len() + self.leased.len() + self.ended.len()
    }

    /// What is not as it was promised.
    pub fn broken(&self, recorded: &Recorded) -> Vec<String> {
        let mut broken = Vec::new();
        for (id, name) in &self.submitted {
            match recorded.jobs.get(id) {
                None => broken.push(format!("{id} was acknowledged and is not recorded")),
                Some(job) if job.name.as_ref() != Some(name) => {
                    broken.push(format!("{id} was {name} and is {:?}", job.name));
                }
                Some(_) => {}
            }
        }
        for ((id, epoch), worker) in &self.leased {
            let granted = recorded.jobs.get(id).and_then(|job| job.leases.get(epoch));
            if granted != Some(worker) {
                broken.push(format!(
                    "lease {epoch} of {id} was granted to {worker}, not {granted:?}"
                ));
            }
        }
        for ((id, epoch), end) in &self.ended {
            let ends = recorded.jobs.get(id).and_then(|job| job.ends.get(epoch));
            if ends.is_none_or(|ends| ends.as_slice() != [*end]) {
                broken.push(format!(
                    "{end} of lease {epoch} of {id} was accepted; recorded is {ends:?}"
                ));
            }
        }
        broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn event(seq: u64, type_name: &str, payload: Value) -> Value {
        json!({"seq": seq, "type": type_name, "payload": payload, "correlationId": "n-1", "subject": {"job": "j"}})
    }

    /// A job that failed once and completed.
    fn history() -> Vec<Value> {
        vec![
            event(0, "job.created", json!({"status": "scheduled"})),
            event(1, "job.started", json!({"epoch": 1, "worker": "w"})),
            event(2, "job.failed", json!({"epoch": 1})),
            event(3, "job.scheduled", json!({})),
            event(4, "job.started", json!({"epoch": 2, "worker": "w"})),
            event(5, "job.completed", json!({"epoch": 2})),
        ]
    }

    fn recorded(events: &[Value]) -> Recorded {
        let mut recorded = Recorded::default();
        for event in events {
            recorded.take(event);
        }
        recorded
    }

    fn kept() -> Promises {
        let lease = |epoch| ("j".to_owned(), epoch);
        Promises {
            submitted: [("j".to_owned(), "n-1".to_owned())].into(),
            leased: [(lease(1), "w".to_owned()), (lease(2), "w".to_owned())].into(),
            ended: [(lease(1), "job.failed"), (lease(2), "job.completed")].into(),
        }
    }

    #[test]
    fn kept_promises_are_not_complained_about() {
        let recorded = recorded(&history());
        assert_eq!(kept().broken(&recorded), Vec::<String>::new());
        assert_eq!(recorded.contradictions, Vec::<String>::new());
    }

    #[test]
    fn an_invented_acknowledgement_is_found() {
        let recorded = recorded(&history());
        let invented: [fn(&mut Promises); 6] = [
            |told| drop(told.submitted.insert("lost".to_owned(), "n-2".to_owned())),
            |told| drop(told.submitted.insert("j".to_owned(), "n-2".to_owned())),
            |told| drop(told.leased.insert(("j".to_owned(), 3), "w".to_owned())),
            |told| drop(told.leased.insert(("j".to_owned(), 2), "v".to_owned())),
            |told| told.ended.extend([(("j".to_owned(), 3), "job.completed")]),
            |told| told.ended.extend([(("j".to_owned(), 1), "job.completed")]),
        ];
        for (index, invent) in invented.into_iter().enumerate() {
            let mut told = kept();
            invent(&mut told);
            assert_eq!(told.broken(&recorded).len(), 1, "invention {index}");
        }
    }

    #[test]
    fn a_lost_tail_and_a_second_outcome_are_found() {
        assert_eq!(kept().broken(&recorded(&history()[..5])).len(), 1);
        let mut twice = history();
        twice.push(event(6, "job.failed", json!({"epoch": 2})));
        let found = recorded(&twice);
        assert_eq!(kept().broken(&found).len(), 1);
        assert!(!found.contradictions.is_empty());
    }

    #[test]
    fn contradictions_in_a_ledger_are_found() {
        let plants: [fn(&mut Vec<Value>); 5] = [
            // A gap.
            |events| drop(events.remove(3)),
            // The same lease twice.
            |events| events[4]["payload"]["epoch"] = 1.into(),
            // An outcome under a lease that is over.
            |events| events[5]["payload"]["epoch"] = 1.into(),
            // An outcome without a lease.
            |events| events[4]["type"] = "job.scheduled".into(),
            // The same request recorded twice.
            |events| {
                events.push(event(6, "job.created", json!({"status": "scheduled"})));
                events[6]["subject"]["job"] = "k".into();
            },
        ];
        for (index, plant) in plants.into_iter().enumerate() {
            let mut events = history();
            plant(&mut events);
            assert!(!recorded(&events).contradictions.is_empty(), "plant {index}");
        }
    }
}
