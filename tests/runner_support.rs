//! A runner over a desk of jobs in memory, in a fresh folder.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use fastness::clock::SystemClock;
use fastness::disk::{Disk, OsDisk};
use fastness::domain::{JobId, RunId, Timestamp};
use fastness::output::{Line, LineFilter, Output, RunScope, Stream};
use fastness::runner::{
    ClaimAsk, LeaseError, LeasedJob, Leases, LocalLauncher, NeededArtifact, Outcome, OutputSummary, Renewal,
    Runner, RunnerConfig, RunnerHandle,
};
use serde_json::{Value, json};
use tokio::sync::watch;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_fastness");
/// Nothing here takes so long; what does is broken.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How a job ended.
#[derive(Debug, Clone)]
pub struct Done {
    pub job: JobId,
    pub outcome: Outcome,
    pub ended: OutputSummary,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<LeasedJob>,
    done: Vec<Done>,
    cancelled: HashSet<JobId>,
    stale: HashSet<JobId>,
    heartbeats: u64,
    /// Calls about leases that get no answer from now on; counted down.
    unavailable: u64,
    is_stopped: bool,
}

/// The job desk.
#[derive(Debug)]
pub struct Desk {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

impl Desk {
    fn new() -> Arc<Desk> {
        Arc::new(Desk {
            state: Mutex::default(),
            changed: watch::Sender::new(0),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn change<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let result = act(&mut self.state());
        self.changed.send_modify(|version| *version += 1);
        result
    }

    pub fn cancel(&self, job: JobId) {
        self.change(|state| state.cancelled.insert(job));
    }

    /// Gives the job to someone else.
    pub fn reassign(&self, job: JobId) {
        self.change(|state| state.stale.insert(job));
    }

    pub fn fall_silent(&self, calls: u64) {
        self.change(|state| state.unavailable = calls);
    }

    pub fn is_stopped(&self) -> bool {
        self.state().is_stopped
    }

    pub fn heartbeats(&self) -> u64 {
        self.state().heartbeats
    }

    pub fn done(&self) -> Vec<Done> {
        self.state().done.clone()
    }

    /// Waits until `found` gives something.
    async fn wait<T>(&self, mut found: impl FnMut(&mut State) -> Option<T>) -> T {
        let mut changed = self.changed.subscribe();
        loop {
            if let Some(value) = found(&mut self.state()) {
                return value;
            }
            changed.changed().await.unwrap();
        }
    }

    fn answer(&self, job: JobId) -> Result<(), LeaseError> {
        self.change(|state| {
            if state.unavailable > 0 {
                state.unavailable -= 1;
                return Err(LeaseError::Unavailable("silence".to_owned()));
            }
            match state.stale.contains(&job) {
                true => Err(LeaseError::Stale),
                false => Ok(()),
            }
        })
    }
}

impl Leases for Desk {
    async fn claim(&self, ask: ClaimAsk) -> Result<Vec<LeasedJob>, LeaseError> {
        let granted = self.wait(|state| {
            let count = ask.max.min(state.waiting.len());
            let granted: Vec<_> = state.waiting.drain(..count).collect();
            (!granted.is_empty() || state.is_stopped).then_some(granted)
        });
        let waited = tokio::time::timeout(Duration::from_millis(ask.wait_ms), granted).await;
        Ok(waited.unwrap_or_default())
    }

    fn stop_claiming(&self) {
        self.change(|state| state.is_stopped = true);
    }

    async fn heartbeat(&self, job: JobId, _epoch: u64) -> Result<Renewal, LeaseError> {
        self.answer(job)?;
        Ok(self.change(|state| {
            state.heartbeats += 1;
            Renewal {
                lease_until_ms: 0,
                cancel_requested: state.cancelled.contains(&job),
                drain: false,
            }
        }))
    }

    async fn complete(
        &self,
        job: JobId,
        _epoch: u64,
        outcome: Outcome,
        ended: OutputSummary,
    ) -> Result<(), LeaseError> {
        self.answer(job)?;
        self.change(|state| state.done.push(Done { job, outcome, ended }));
        Ok(())
    }
}

/// A runner and all it needs.
pub struct House {
    pub dir: tempfile::TempDir,
    pub desk: Arc<Desk>,
    pub output: Arc<Output>,
    pub runner: RunnerHandle,
    /// In the environment of every step, so that what is left of one can be found.
    pub mark: String,
    next_job: AtomicU32,
}

pub async fn house() -> House {
    house_with(Arc::new(OsDisk), |_| {}).await
}

pub async fn house_with(disk: Arc<dyn Disk>, adjust: impl FnOnce(&mut RunnerConfig)) -> House {
    let dir = tempfile::tempdir().unwrap();
    let mut config = RunnerConfig::new("w-1".to_owned(), vec!["*".to_owned()], dir.path().join("work"));
    config.heartbeat_ms = 50;
    adjust(&mut config);
    let output = Output::open(dir.path().join("output"), disk).unwrap();
    let desk = Desk::new();
    let runner = Runner::start(
        config,
        Arc::clone(&desk),
        Arc::new(LocalLauncher::new(PathBuf::from(PROGRAM))),
        Arc::clone(&output),
        Arc::new(SystemClock::default()),
    )
    .await
    .unwrap();
    House {
        mark: format!("FASTNESS_TEST_MARK={}", dir.path().display()),
        dir,
        desk,
        output,
        runner,
        next_job: AtomicU32::new(0),
    }
}

pub fn run_id() -> RunId {
    RunId::derive(Timestamp::from_ms(1), 1, 0)
}

pub fn scope() -> RunScope {
    RunScope {
        tenant: "plant".parse().unwrap(),
        run: run_id(),
    }
}

pub fn shell(text: &str) -> Value {
    json!({"action": {"shell": text}})
}

pub fn argv(argv: &[&str]) -> Value {
    json!({"action": {"argv": argv}})
}

impl House {
    pub fn submit(&self, task: Value) -> JobId {
        self.submit_with(task, Vec::new())
    }

    pub fn submit_with(&self, mut task: Value, needs: Vec<NeededArtifact>) -> JobId {
        let number = self.next_job.fetch_add(1, Ordering::Relaxed);
        let step = format!("step-{number}");
        let (name, value) = self.mark.split_once('=').unwrap();
        task["step"] = json!(step);
        task["pack"] = json!("test-pack");
        for (name, value) in [("outputBytesMax", 1 << 20), ("timeoutMs", 600_000)] {
            if task.get(name).is_none() {
                task[name] = json!(value);
            }
        }
        task["env"][name] = json!(value);
        let job = LeasedJob {
            id: JobId::derive(Timestamp::from_ms(1), 2, number),
            run: Some(run_id()),
            tenant: "plant".parse().unwrap(),
            step: Some(step.parse().unwrap()),
            attempt: 1,
            epoch: 1,
            payload: Bytes::from(serde_json::to_vec(&task).unwrap()),
            needs,
            cancel_requested: false,
        };
        let id = job.id;
        self.desk.change(|state| state.waiting.push_back(job));
        id
    }

    pub async fn done(&self, job: JobId) -> Done {
        let found = self
            .desk
            .wait(|state| state.done.iter().find(|done| done.job == job).cloned());
        tokio::time::timeout(PATIENCE, found).await.expect("the job ends")
    }

    pub async fn run(&self, task: Value) -> Done {
        self.done(self.submit(task)).await
    }

    pub fn lines(&self, job: JobId) -> Vec<Line> {
        let filter = LineFilter {
            job: Some(job),
            ..LineFilter::default()
        };
        let (mut lines, mut after) = (Vec::new(), 0);
        loop {
            let page = self.output.read_lines(&scope(), after, 10_000, &filter).unwrap();
            assert!(page.damaged.is_empty());
            if page.lines.is_empty() {
                return lines;
            }
            after = page.read_to;
            lines.extend(page.lines);
        }
    }

    pub fn text(&self, job: JobId, stream: Stream) -> Vec<String> {
        let lines = self.lines(job).into_iter();
        lines
            .filter(|line| line.stream == stream)
            .map(|line| line.text)
            .collect()
    }

    /// Waits until the job has written a line to its standard output.
    pub async fn line(&self, job: JobId, text: &str) {
        let mut follower = self.output.follow(&scope()).unwrap();
        let found = async {
            while !self.text(job, Stream::Stdout).iter().any(|line| line == text) {
                follower.changed().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, found)
            .await
            .expect("the line comes");
    }

    /// Processes of this house's steps that are alive.
    pub fn survivors(&self) -> Vec<String> {
        marked(&self.mark)
    }

    pub fn work_folders(&self) -> usize {
        std::fs::read_dir(self.dir.path().join("work")).unwrap().count()
    }

    pub async fn stop(&mut self, within: Duration) {
        self.runner.drain(within);
        tokio::time::timeout(PATIENCE, self.runner.join())
            .await
            .expect("the runner stops");
    }
}

/// Processes with `mark` in their environment.
pub fn marked(mark: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let path = entry.unwrap().path();
        let environ = std::fs::read(path.join("environ")).unwrap_or_default();
        if environ
            .split(|byte| *byte == 0)
            .any(|text| text == mark.as_bytes())
        {
            found.push(describe(&path));
        }
    }
    found
}

fn describe(path: &Path) -> String {
    let command = std::fs::read_to_string(path.join("cmdline")).unwrap_or_default();
    format!("{}: {}", path.display(), command.replace('\0', " "))
}

/// Looks again and again, until `is_true` or the end of patience.
pub async fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    let looked = async {
        while !is_true() {
            ticks.tick().await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, looked).await.is_ok(),
        "never: {what}"
    );
}
