//! Start, load, SIGKILL, and again, on one data folder: every acknowledgement outlives every kill.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::load::{Reach, Submitter, Worker};
use super::promises::Promises;
use super::recorded::Recorded;
use crate::support::appliance::ANSWER_MAX;
use crate::support::program::{Program, Starting, run, until};
use crate::support::random::Random;

/// Sets other moments; the seed of a failed run is printed.
const SEED: &str = "FASTNESS_TEST_SEED";
/// How often all job rows are compared with the ledger on the way.
const ROWS_CHECKS: u64 = 5;

/// Status and epoch of jobs, by id.
type Rows = BTreeMap<String, (String, u64)>;

#[test]
fn acknowledgements_survive_a_hundred_kills_under_load() {
    Cycles::new().play(100);
}

#[test]
#[ignore = "takes minutes; `just soak` runs it"]
fn soak_acknowledgements_survive_a_thousand_kills_under_load() {
    Cycles::new().play(1_000);
}

struct Cycles {
    random: Random,
    folder: tempfile::TempDir,
    submitters: Vec<Submitter>,
    workers: Vec<Worker>,
    /// Looked at and found kept.
    promises: Promises,
    /// Made since then.
    fresh: Promises,
    recorded: Recorded,
    ready_max: Duration,
    killed_in_start: u64,
}

impl Cycles {
    fn new() -> Cycles {
        let given = std::env::var(SEED).ok().map(|text| text.parse().unwrap());
        let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
        println!("seed {seed}; {SEED}={seed} plays the same moments again");
        let mut random = Random::new(seed);
        let submitters = ["a", "b"].map(|name| Submitter {
            random: Random::new(random.next()),
            name,
            next: 0,
        });
        let workers = ["w-1", "w-2"].map(|name| Worker::new(Random::new(random.next()), name));
        Cycles {
            folder: tempfile::tempdir().unwrap(),
            submitters: submitters.into(),
            workers: workers.into(),
            promises: Promises::default(),
            fresh: Promises::default(),
            recorded: Recorded::default(),
            ready_max: Duration::ZERO,
            killed_in_start: 0,
            random,
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn play(&mut self, cycles: u64) {
        let began = Instant::now();
        for cycle in 0..cycles {
            if cycle > 0 && self.random.once_in(6) {
                self.kill_in_start();
            }
            let server = self.start();
            // What was promised before the last kill is looked at before anything is added.
            let is_fifth = cycle % (cycles / ROWS_CHECKS) == 0;
            self.check(&server, is_fifth);
            if is_fifth {
                println!("after {cycle} kills: {} promises", self.promises.count());
            }
            self.load_and_kill(server);
        }
        // As the last kill left it.
        assert_examined(&self.data());
        let server = self.start();
        self.check(&server, true);
        self.check_from_the_beginning(&server);
        self.assert_worth(cycles);
        let (code, more) = server.terminate();
        assert_eq!((code, more), (Some(0), Vec::new()));
        assert_examined(&self.data());
        println!(
            "{cycles} kills under load and {} while starting, in {:.1} s; {} promises ({} submits, {} leases, {} reports), \
             {} events; slowest start {} ms",
            self.killed_in_start,
            began.elapsed().as_secs_f64(),
            self.promises.count(),
            self.promises.submitted.len(),
            self.promises.leased.len(),
            self.promises.ended.len(),
            self.recorded.next,
            self.ready_max.as_millis(),
        );
    }

    fn start(&mut self) -> Program {
        let began = Instant::now();
        let server = Program::start(&self.data());
        self.ready_max = self.ready_max.max(began.elapsed());
        server
    }

    /// Kills a server that is still recovering from the kill before.
    fn kill_in_start(&mut self) {
        let starting = Starting::new(&self.data());
        // No signal says how far a start has come: the moment is drawn.
        std::thread::sleep(Duration::from_micros(self.random.below(120_000)));
        starting.kill();
        self.killed_in_start += 1;
    }

    /// Lets all clients work, and kills the server after some acknowledgements and some microseconds more.
    fn load_and_kill(&mut self, server: Program) {
        let acknowledged = 10 + self.random.below(70);
        let moment = Duration::from_micros(self.random.below(8_000));
        let (heard, hears) = sync_channel(1_024);
        let reach = Reach {
            address: server.address,
            token: server.token.clone(),
            heard,
        };
        let (submitters, workers) = (&mut self.submitters, &mut self.workers);
        let told: Vec<Promises> = std::thread::scope(|scope| {
            let mut clients = Vec::new();
            for submitter in submitters {
                let reach = reach.clone();
                clients.push(scope.spawn(move || submitter.work(&reach)));
            }
            for worker in workers {
                let reach = reach.clone();
                clients.push(scope.spawn(move || worker.work(&reach)));
            }
            drop(reach);
            for _ in 0..acknowledged {
                if hears.recv_timeout(ANSWER_MAX).is_err() {
                    panic!("the server answers no more: {}", server.log());
                }
            }
            std::thread::sleep(moment);
            server.kill();
            clients.into_iter().map(|client| client.join().unwrap()).collect()
        });
        for told in told {
            self.fresh.add(told);
        }
    }

    fn check(&mut self, server: &Program, with_rows: bool) {
        self.recorded.read_on(server);
        assert_eq!(self.recorded.contradictions, Vec::<String>::new());
        assert_eq!(self.fresh.broken(&self.recorded), Vec::<String>::new());
        self.promises.add(std::mem::take(&mut self.fresh));
        if with_rows {
            assert_eq!(self.promises.broken(&self.recorded), Vec::<String>::new());
            self.check_rows(server);
        }
    }

    /// The rows that the server shows are what its events tell. Timers go on meanwhile: looked at until both stand at
    /// the same event.
    fn check_rows(&mut self, server: &Program) {
        let mut rows = Rows::new();
        until("rows and events are read at one event", || {
            let read = read_rows(server);
            self.recorded.read_on(server);
            let is_same = read
                .as_ref()
                .is_some_and(|(as_of, _)| *as_of + 1 == self.recorded.next);
            rows = read.map(|(_, rows)| rows).unwrap_or_default();
            is_same
        });
        let told = self.recorded.jobs.iter().map(|(id, job)| {
            let row = (job.status.clone(), job.leases.len() as u64);
            (id.clone(), row)
        });
        let told: Rows = told.collect();
        let differs = told
            .iter()
            .find(|(id, row)| rows.get(*id) != Some(*row))
            .map(|(id, row)| format!("{id}: events say {row:?}, the row {:?}", rows.get(id)));
        assert_eq!(differs, None);
        assert_eq!(rows.len(), told.len());
    }

    /// Reading anew gives the same events as reading on after each kill did: nothing seen was taken back.
    fn check_from_the_beginning(&mut self, server: &Program) {
        let mut anew = Recorded::default();
        anew.read_on(server);
        self.recorded.read_on(server);
        while anew.next < self.recorded.next {
            anew.read_on(server);
        }
        while self.recorded.next < anew.next {
            self.recorded.read_on(server);
        }
        assert_eq!(
            (anew.next, anew.digest),
            (self.recorded.next, self.recorded.digest)
        );
        assert_eq!(anew.jobs, self.recorded.jobs);
    }

    /// That the load was one: a test that promises nothing proves nothing.
    fn assert_worth(&self, cycles: u64) {
        let later: usize = self.workers.iter().map(|worker| worker.accepted_later).sum();
        let repeats: usize = self.workers.iter().map(|worker| worker.repeats).sum();
        println!("{later} reports were accepted by a later server; {repeats} were sent twice");
        assert!(self.promises.count() as u64 > cycles * 10);
        assert!(later > 0, "no lease outlived its server");
        assert!(repeats > 0, "no report was sent twice");
        let mut invented = self.promises.clone();
        invented
            .submitted
            .insert("invented".to_owned(), "invented".to_owned());
        assert_eq!(invented.broken(&self.recorded).len(), 1, "the check sees nothing");
    }
}

/// All jobs, and the event at which that is true; none when it moved while it was read.
fn read_rows(server: &Program) -> Option<(u64, Rows)> {
    let mut rows = Rows::new();
    let mut as_of = None;
    let mut path = "/api/v1/jobs?limit=500".to_owned();
    loop {
        let page = server.get(&path);
        let at = page["asOf"].as_u64().unwrap();
        if as_of.is_some_and(|before| before != at) {
            return None;
        }
        as_of = Some(at);
        for job in page["items"].as_array().unwrap() {
            let status = job["status"].as_str().unwrap().to_owned();
            let row = (status, job["epoch"].as_u64().unwrap());
            rows.insert(job["id"].as_str().unwrap().to_owned(), row);
        }
        match page["nextCursor"].as_str() {
            Some(cursor) => path = format!("/api/v1/jobs?limit=500&cursor={cursor}"),
            None => return as_of.map(|as_of| (as_of, rows)),
        }
    }
}

/// The program's own examination of the folder finds nothing. Checkpoints are signed when a server ends in order, and
/// may be missing where none ever did.
fn assert_examined(data: &Path) {
    let examined = run(&["doctor", "-o", "json", "--data", data.to_str().unwrap()]);
    let found = examined.json(0);
    let bad: Vec<&Value> = found["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| {
            let is_unsigned =
                check["status"] == "skipped" && check["name"].as_str().unwrap().starts_with("checkpoint ");
            check["status"] != "ok" && !is_unsigned
        })
        .collect();
    assert!(found["ok"] == true && bad.is_empty(), "{bad:?}");
}
