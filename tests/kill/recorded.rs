//! What a ledger says of its jobs, read event by event, and where it contradicts itself.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use crate::support::program::Program;

/// Events in one page.
const PAGE: usize = 500;

/// A job as its events tell it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct JobRecord {
    pub name: Option<String>,
    pub status: String,
    /// Workers by epoch.
    pub leases: BTreeMap<u64, String>,
    /// Types of the events that ended an attempt, by epoch.
    pub ends: BTreeMap<u64, Vec<String>>,
}

/// A ledger up to some event.
#[derive(Debug, Default, Clone)]
pub struct Recorded {
    pub next: u64,
    pub jobs: BTreeMap<String, JobRecord>,
    pub contradictions: Vec<String>,
    /// Over all events, in order: two readings of one ledger are the same.
    pub digest: u64,
    names: BTreeSet<String>,
}

impl Recorded {
    /// Reads what is new.
    pub fn read_on(&mut self, server: &Program) {
        loop {
            let after = i128::from(self.next) - 1;
            let page = server.get(&format!("/api/v1/events?after={after}&limit={PAGE}"));
            for event in page["items"].as_array().unwrap() {
                self.take(event);
            }
            if page["nextCursor"].is_null() {
                return;
            }
        }
    }

    /// Takes in the next event.
    pub fn take(&mut self, event: &Value) {
        let seq = event["seq"].as_u64().unwrap();
        if seq != self.next {
            self.contradictions
                .push(format!("event {seq} follows {} events", self.next));
        }
        self.next = seq + 1;
        let mut hasher = DefaultHasher::new();
        (self.digest, event.to_string()).hash(&mut hasher);
        self.digest = hasher.finish();
        let Some(id) = event["subject"]["job"].as_str() else {
            return;
        };
        let type_name = event["type"].as_str().unwrap();
        if type_name == "job.created" {
            let name = event["correlationId"].as_str().map(str::to_owned);
            if let Some(name) = &name
                && !self.names.insert(name.clone())
            {
                self.contradictions
                    .push(format!("{name} is recorded twice: as {id}, too"));
            }
            self.jobs.entry(id.to_owned()).or_default().name = name;
        }
        let job = self.jobs.entry(id.to_owned()).or_default();
        if let Err(says) = job.take(type_name, &event["payload"]) {
            self.contradictions
                .push(format!("{id}: event {seq}, {type_name}: {says}"));
        }
    }
}

impl JobRecord {
    fn take(&mut self, type_name: &str, payload: &Value) -> Result<(), String> {
        let epoch = || payload["epoch"].as_u64().ok_or("names no lease");
        let before = self.status.clone();
        let expects = |wanted: &[&str]| {
            if wanted.contains(&before.as_str()) {
                Ok(())
            } else {
                Err(format!("stands as {before:?}"))
            }
        };
        match type_name {
            "job.created" => {
                expects(&[""])?;
                self.status = payload["status"].as_str().unwrap_or_default().to_owned();
            }
            "job.scheduled" => {
                expects(&["failed", "pending"])?;
                self.status = "scheduled".to_owned();
            }
            "job.started" => {
                let epoch = epoch()?;
                expects(&["scheduled"])?;
                if epoch != self.leases.len() as u64 + 1 {
                    return Err(format!("lease {epoch} after {}", self.leases.len()));
                }
                let worker = payload["worker"].as_str().unwrap_or_default();
                self.leases.insert(epoch, worker.to_owned());
                self.status = "running".to_owned();
            }
            "job.completed" | "job.failed" => {
                let epoch = epoch()?;
                let ends = self.ends.entry(epoch).or_default();
                ends.push(type_name.to_owned());
                if ends.len() > 1 {
                    return Err(format!("lease {epoch} ends a second time"));
                }
                expects(&["running"])?;
                if epoch != self.leases.len() as u64 {
                    return Err(format!("lease {epoch} is over"));
                }
                self.status = type_name.trim_start_matches("job.").to_owned();
            }
            // Noted, never applied.
            // What follows from the last failure by itself.
            "job.late_report" | "deadletter.created" => {}
            other => return Err(format!("{other} is nothing that this load asks for")),
        }
        Ok(())
    }
}
