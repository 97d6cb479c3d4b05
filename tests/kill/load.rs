//! Clients that submit, claim and report until their server is gone, and write down what they were told.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::SyncSender;

use serde_json::{Value, json};

use super::promises::{Lease, Promises};
use crate::support::appliance::{Ask, Reply};
use crate::support::program::call;
use crate::support::random::Random;

/// Where the jobs wait.
const QUEUE: &str = "killed";
/// Short: the lease of a claim whose answer was lost is to end within the test.
const LEASE_MS: u64 = 2_000;
/// Jobs that a worker holds at most.
const HELD_MAX: usize = 8;

/// A server that may go away, as its clients see it.
#[derive(Debug, Clone)]
pub struct Reach {
    pub address: SocketAddr,
    pub token: String,
    /// Gets a word for each acknowledgement.
    pub heard: SyncSender<()>,
}

impl Reach {
    /// The answer with `status`; an error when the server is gone.
    fn post(&self, path: &str, body: &Value, status: u16) -> io::Result<Value> {
        let body = serde_json::to_vec(body).unwrap();
        let reply: Reply = call(self.address, &Ask::post(path, &body).token(&self.token))?;
        Ok(reply.expect(status))
    }

    fn tell(&self) {
        // Whoever listens has heard enough.
        let _ = self.heard.try_send(());
    }
}

/// Submits jobs, alone and in batches. Its names are its own, over all servers.
#[derive(Debug)]
pub struct Submitter {
    pub random: Random,
    pub name: &'static str,
    pub next: u64,
}

impl Submitter {
    /// Until the server is gone.
    pub fn work(&mut self, reach: &Reach) -> Promises {
        let mut told = Promises::default();
        while self.submit(reach, &mut told).is_ok() {}
        told
    }

    fn submit(&mut self, reach: &Reach, told: &mut Promises) -> io::Result<()> {
        if self.random.once_in(2) {
            let job = reach.post("/api/v1/jobs", &self.job(), 201)?;
            told.submitted.insert(id_of(&job), name_of(&job));
            reach.tell();
            return Ok(());
        }
        let items: Vec<Value> = (0..=self.random.below(6)).map(|_| self.job()).collect();
        let batch = reach.post("/api/v1/jobs/batch", &json!({"items": items}), 200)?;
        for result in batch["results"].as_array().unwrap() {
            assert_eq!(result["status"], 201, "{result}");
            let job = &result["job"];
            told.submitted.insert(id_of(job), name_of(job));
        }
        reach.tell();
        Ok(())
    }

    fn job(&mut self) -> Value {
        let name = format!("{}-{}", self.name, self.next);
        self.next += 1;
        json!({
            "correlationId": name, "payload": {"filling": "x".repeat(self.random.below(2_000) as usize)},
            "queue": QUEUE, "retries": {"max": 100, "initialMs": 10, "capMs": 20}, "type": "kill.work",
        })
    }
}

fn id_of(job: &Value) -> String {
    job["id"].as_str().unwrap().to_owned()
}

fn name_of(job: &Value) -> String {
    job["correlationId"].as_str().unwrap().to_owned()
}

/// A report, and whether it was sent before without an answer.
#[derive(Debug, Clone)]
struct Report {
    lease: Lease,
    body: Value,
    end: &'static str,
    is_repeated: bool,
}

/// Claims jobs and reports their ends. What it holds when a server goes away it reports to the next one.
#[derive(Debug)]
pub struct Worker {
    pub random: Random,
    pub name: &'static str,
    held: VecDeque<Report>,
    /// Reports that a later server accepted, having been held or sent before.
    pub accepted_later: usize,
    /// Reports that were sent twice.
    pub repeats: usize,
}

impl Worker {
    pub fn new(random: Random, name: &'static str) -> Worker {
        Worker {
            random,
            name,
            held: VecDeque::new(),
            accepted_later: 0,
            repeats: 0,
        }
    }

    /// Until the server is gone.
    pub fn work(&mut self, reach: &Reach) -> Promises {
        let mut told = Promises::default();
        while self.turn(reach, &mut told).is_ok() {}
        for report in &mut self.held {
            report.is_repeated = true;
        }
        told
    }

    fn turn(&mut self, reach: &Reach, told: &mut Promises) -> io::Result<()> {
        if self.held.len() < HELD_MAX / 2 {
            let max = HELD_MAX / 2;
            let claim = json!({"worker": self.name, "queues": [QUEUE], "max": max, "leaseMs": LEASE_MS, "waitMs": 20});
            let claimed = reach.post("/api/v1/workers/claim", &claim, 200)?;
            self.hold(&claimed, told);
            reach.tell();
        }
        let count = (1 + self.random.below(4) as usize).min(self.held.len());
        let reports: Vec<Report> = self.held.iter().take(count).cloned().collect();
        let results: Vec<&Value> = reports.iter().map(|report| &report.body).collect();
        let mut body = json!({"worker": self.name, "results": results});
        if self.random.once_in(2) {
            body["claim"] = json!({"queues": [QUEUE], "max": 2, "leaseMs": LEASE_MS});
        }
        let answer = reach.post("/api/v1/workers/complete", &body, 200)?;
        self.held.drain(..count);
        self.hold(&answer, told);
        let results = answer["results"].as_array().unwrap();
        assert_eq!(results.len(), count, "{answer}");
        for (report, result) in reports.iter().zip(results) {
            self.note(report, result, told);
        }
        reach.tell();
        if self.random.once_in(8) {
            body.as_object_mut().unwrap().remove("claim");
            self.repeat(reach, &body)?;
        }
        Ok(())
    }

    fn note(&mut self, report: &Report, result: &Value, told: &mut Promises) {
        if result["accepted"] == true {
            told.ended.insert(report.lease.clone(), report.end);
            self.accepted_later += usize::from(report.is_repeated);
        } else {
            // The lease is over: the first report was applied without being answered, or it came too late.
            assert_eq!(result["code"], "stale_epoch", "{result}");
        }
    }

    /// What was answered once is answered alike, or is stale once a later lease ended; that it is never applied again, the
    /// ledger tells at the end.
    fn repeat(&mut self, reach: &Reach, body: &Value) -> io::Result<()> {
        let answer = reach.post("/api/v1/workers/complete", body, 200)?;
        for result in answer["results"].as_array().unwrap() {
            let is_stale = result["code"] == "stale_epoch";
            assert!(result["accepted"] == true || is_stale, "{result}");
            self.repeats += 1;
        }
        Ok(())
    }

    fn hold(&mut self, answer: &Value, told: &mut Promises) {
        for job in answer["jobs"].as_array().unwrap() {
            let lease = (id_of(job), job["epoch"].as_u64().unwrap());
            told.leased.insert(lease.clone(), self.name.to_owned());
            // Now and then a worker forgets what it took: its lease ends by time.
            if !self.random.once_in(40) {
                let report = self.report(lease);
                self.held.push_back(report);
            }
        }
    }

    fn report(&mut self, lease: Lease) -> Report {
        let (id, epoch) = (&lease.0, lease.1);
        let (end, body) = match self.random.below(12) {
            0 => {
                let error = json!({"message": "once more"});
                let body = json!({"jobId": id, "epoch": epoch, "outcome": "failed", "error": error});
                ("job.failed", body)
            }
            1 => {
                let error = json!({"message": "for good", "retryable": false});
                let body = json!({"jobId": id, "epoch": epoch, "outcome": "failed", "error": error});
                ("job.failed", body)
            }
            _ => {
                let output = json!({"of": id, "by": self.name});
                let body = json!({"jobId": id, "epoch": epoch, "outcome": "completed", "output": output});
                ("job.completed", body)
            }
        };
        Report {
            lease,
            body,
            end,
            is_repeated: false,
        }
    }
}
