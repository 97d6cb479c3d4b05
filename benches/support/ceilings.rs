//! Servers that do part of what the appliance does, to tell what the other parts cost.
//!
//! `http-ceiling`: axum over hyper, JSON parsed, one hop to a thread that knows who waits and what is leased; nothing
//! kept. `shape-ceiling`: the same, and the thread appends what came together to our journal, flushes it, and puts it
//! into our store: records of the lengths that the appliance writes, one row for each. Without tokens, strict
//! parsing, domain rules, hashing, lease times, secondary orders and history.

use std::collections::VecDeque;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use fastness::disk::{Disk, OsDisk};
use fastness::domain::state::{Changes, Key, PayloadRow, Row};
use fastness::domain::{JobId, Seq, TenantName};
use fastness::journal::{self, Floor, Journal, Options, Position, Record, SegmentJournal, Term};
use fastness::limits;
use fastness::store::{Commit, Store};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::load;

/// As the appliance flushes its projection.
const DURABLE_EVERY: Duration = Duration::from_secs(1);

/// Bytes that the appliance records for one job, by transition. Measured from its ledger before the first round.
#[derive(Clone, Copy, Default, Debug)]
pub struct Sizes {
    pub created: usize,
    pub started: usize,
    pub completed: usize,
}

impl Sizes {
    /// As the child process takes them.
    pub fn to_arguments(self) -> [String; 3] {
        [self.created, self.started, self.completed].map(|bytes| bytes.to_string())
    }

    fn from_arguments(arguments: &[String]) -> Result<Self> {
        let [created, started, completed] = arguments else {
            bail!("three sizes")
        };
        Ok(Sizes {
            created: created.parse()?,
            started: started.parse()?,
            completed: completed.parse()?,
        })
    }
}

/// The child process: `NAME DIR SIZES`. Ends with its standard input.
pub fn serve(arguments: &[String]) -> Result<()> {
    let [name, dir, sizes @ ..] = arguments else {
        bail!("a ceiling, a folder, sizes")
    };
    let sizes = Sizes::from_arguments(sizes)?;
    let depot = match name.as_str() {
        "http-ceiling" => None,
        "shape-ceiling" => Some(Depot::open(Path::new(dir))?),
        other => bail!("there is no ceiling {other}"),
    };
    let (queue, asked) = sync_channel(limits::QUEUE_COMMANDS_MAX);
    let hall = Hall {
        depot,
        sizes,
        ..Hall::default()
    };
    thread::Builder::new()
        .name("writer".to_owned())
        .spawn(move || hall.run(&asked))?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    println!("ready http://{}", listener.local_addr()?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.spawn(async move {
        let listener =
            axum::serve::ListenerExt::tap_io(tokio::net::TcpListener::from_std(listener)?, |socket| {
                let _ = socket.set_nodelay(true);
            });
        axum::serve(listener, router(queue)).await
    });
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    std::process::exit(0)
}

type Queue = Arc<SyncSender<Asked>>;
type Answered = (StatusCode, [(HeaderName, &'static str); 1], String);

fn router(queue: SyncSender<Asked>) -> Router {
    Router::new()
        .route("/readyz", get(async || "ready"))
        .route("/api/v1/jobs", post(submit))
        .route("/api/v1/jobs/batch", post(submit_batch))
        .route("/api/v1/workers/claim", post(claim))
        .route("/api/v1/workers/complete", post(complete))
        .with_state(Arc::new(queue))
}

/// What is read of each body. The rest is parsed and passed over.
#[derive(Deserialize)]
struct NewJob {
    #[serde(rename = "type")]
    job_type: String,
    payload: Box<RawValue>,
}

#[derive(Deserialize)]
struct NewJobs {
    items: Vec<NewJob>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wish {
    max: usize,
    #[serde(default)]
    wait_ms: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    job_id: JobId,
}

#[derive(Deserialize)]
struct Reports {
    results: Vec<Report>,
    claim: Option<Wish>,
}

async fn submit(State(queue): State<Queue>, Json(new): Json<NewJob>) -> Result<Answered, StatusCode> {
    let made = hop(&queue, Asked::submit(1)).await?;
    let id = made.first().ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
    let (job_type, payload) = (new.job_type, new.payload.get());
    let body = format!(r#"{{"id":"{id}","type":"{job_type}","payload":{payload},"status":"scheduled"}}"#);
    Ok(answer(StatusCode::CREATED, body))
}

async fn submit_batch(State(queue): State<Queue>, Json(new): Json<NewJobs>) -> Result<Answered, StatusCode> {
    let made = hop(&queue, Asked::submit(new.items.len())).await?;
    let items = made.iter().zip(new.items).map(|(id, new)| {
        let (job_type, payload) = (new.job_type, new.payload.get());
        format!(r#"{{"job":{{"id":"{id}","type":"{job_type}","payload":{payload}}},"status":201}}"#)
    });
    let body = format!(r#"{{"results":[{}]}}"#, items.collect::<Vec<_>>().join(","));
    Ok(answer(StatusCode::OK, body))
}

async fn claim(State(queue): State<Queue>, Json(wish): Json<Wish>) -> Result<Answered, StatusCode> {
    let granted = hop(&queue, Asked::trip(Vec::new(), Some(wish))).await?;
    Ok(answer(
        StatusCode::OK,
        format!(r#"{{"jobs":[{}]}}"#, leases(&granted)),
    ))
}

async fn complete(State(queue): State<Queue>, Json(body): Json<Reports>) -> Result<Answered, StatusCode> {
    let done: Vec<JobId> = body.results.into_iter().map(|report| report.job_id).collect();
    let results: Vec<String> = done
        .iter()
        .map(|id| format!(r#"{{"accepted":true,"jobId":"{id}"}}"#))
        .collect();
    let granted = hop(&queue, Asked::trip(done, body.claim)).await?;
    let body = format!(
        r#"{{"jobs":[{}],"results":[{}]}}"#,
        leases(&granted),
        results.join(",")
    );
    Ok(answer(StatusCode::OK, body))
}

fn leases(granted: &[JobId]) -> String {
    let job = load::job(0);
    let lease = |id: &JobId| format!(r#"{{"attempt":1,"epoch":1,"id":"{id}","job":{job}}}"#);
    granted.iter().map(lease).collect::<Vec<_>>().join(",")
}

fn answer(status: StatusCode, body: String) -> Answered {
    (status, [(header::CONTENT_TYPE, "application/json")], body)
}

async fn hop(
    queue: &Queue,
    (asked, answer): (Asked, oneshot::Receiver<Vec<JobId>>),
) -> Result<Vec<JobId>, StatusCode> {
    queue
        .try_send(asked)
        .map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    answer.await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

/// What a request asks of the thread; it answers with ids: of what was made, or what was leased.
struct Asked {
    submit: usize,
    done: Vec<JobId>,
    wish: Option<Wish>,
    reply: oneshot::Sender<Vec<JobId>>,
}

impl Asked {
    fn submit(count: usize) -> (Self, oneshot::Receiver<Vec<JobId>>) {
        let (mut asked, answer) = Self::trip(Vec::new(), None);
        asked.submit = count;
        (asked, answer)
    }

    fn trip(done: Vec<JobId>, wish: Option<Wish>) -> (Self, oneshot::Receiver<Vec<JobId>>) {
        let (reply, answer) = oneshot::channel();
        (
            Asked {
                submit: 0,
                done,
                wish,
                reply,
            },
            answer,
        )
    }
}

/// The thread: who waits, what is ready, and where it is kept, if anywhere.
#[derive(Default)]
struct Hall {
    depot: Option<Depot>,
    sizes: Sizes,
    made: u128,
    ready: VecDeque<JobId>,
    waiting: VecDeque<Asked>,
    /// Job and length of each record of the batch at hand.
    records: Vec<(JobId, usize)>,
    owed: Vec<(oneshot::Sender<Vec<JobId>>, Vec<JobId>)>,
}

impl Hall {
    fn run(mut self, asked: &Receiver<Asked>) -> Result<()> {
        while let Ok(first) = asked.recv() {
            let mut taken = vec![first];
            while taken.len() < limits::BATCH_COMMANDS_MAX {
                let Ok(next) = asked.try_recv() else { break };
                taken.push(next);
            }
            for asked in taken {
                self.decide(asked);
                while !self.ready.is_empty()
                    && let Some(waits) = self.waiting.pop_front()
                {
                    self.decide(waits);
                }
            }
            // A record that the thread could not write must not be acknowledged: the load sees the connections end.
            if let Some(depot) = &mut self.depot {
                depot.append(&self.records)?;
            }
            self.records.clear();
            for (reply, ids) in self.owed.drain(..) {
                let _ = reply.send(ids);
            }
        }
        Ok(())
    }

    fn decide(&mut self, asked: Asked) {
        let mut ids = Vec::with_capacity(asked.submit);
        for _ in 0..asked.submit {
            self.made += 1;
            let id = JobId::from_bytes(self.made.to_be_bytes());
            self.records.push((id, self.sizes.created));
            self.ready.push_back(id);
            ids.push(id);
        }
        for id in &asked.done {
            self.records.push((*id, self.sizes.completed));
        }
        if let Some(wish) = &asked.wish {
            if self.ready.is_empty() && wish.wait_ms > 0 {
                self.waiting.push_back(asked);
                return;
            }
            ids.extend(self.ready.drain(..wish.max.min(self.ready.len())));
            for id in &ids {
                self.records.push((*id, self.sizes.started));
            }
        }
        self.owed.push((asked.reply, ids));
    }
}

/// Journal and projection, as the appliance opens them.
struct Depot {
    journal: SegmentJournal,
    store: Store,
    tenant: TenantName,
    next: u64,
    durable_at: Instant,
}

impl Depot {
    fn open(dir: &Path) -> Result<Self> {
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        let folder = dir.join("journal");
        disk.create_dir_all(&folder)?;
        let (journal, _) = journal::open(disk.clone(), &folder, Floor::default(), Options::default())?;
        let store = Store::open(&disk, &dir.join("state.redb"))?;
        let tenant = "bench".parse().ok().context("a name for the tenant")?;
        Ok(Depot {
            journal,
            store,
            tenant,
            next: 0,
            durable_at: Instant::now(),
        })
    }

    fn append(&mut self, written: &[(JobId, usize)]) -> Result<()> {
        if written.is_empty() {
            return Ok(());
        }
        let mut changes = Changes::default();
        let mut records = Vec::with_capacity(written.len());
        for (id, bytes) in written {
            let text = "x".repeat(*bytes);
            records.push(Record {
                tenant: self.tenant.clone(),
                seq: Seq(self.next),
                bytes: Bytes::from(text.clone()),
            });
            self.next += 1;
            let row = PayloadRow {
                disclosures: None,
                payload: None,
                payload_text: Some(text),
            };
            changes.put(Key::Payload(*id), Row::Payload(row));
        }
        let end = self.journal.end();
        let Position(position) = self.journal.append(Term(1), end, &records)?;
        for closed in self.journal.closed() {
            self.journal.release(closed.id)?;
        }
        let mut batch = self.store.begin()?;
        batch.write(&self.tenant, changes.iter())?;
        let durable = self.durable_at.elapsed() >= DURABLE_EVERY;
        if durable {
            self.durable_at = Instant::now();
        }
        batch.commit(
            Some(position),
            if durable { Commit::Durable } else { Commit::Visible },
        )?;
        Ok(())
    }
}
