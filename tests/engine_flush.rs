//! What happens while a batch is flushed: the next one is decided, and nobody is answered before his own flush.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use fastness::clock::{ManualClock, SystemClock};
use fastness::disk::{Access, Disk, DiskFile, OsDisk};
use fastness::domain::command::{Command, CreateToken};
use fastness::domain::event::Actor;
use fastness::domain::token::Scope;
use fastness::domain::{Digest, Seq, TenantName};
use fastness::engine::{Answer, Handle, ManualEngine, SubmitError};
use tokio::task::JoinHandle;

use crate::engine::{job, setup};

/// What a flush of the journal does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flush {
    Goes,
    Waits,
    Fails,
}

/// Holds flushes of the journal back.
#[derive(Debug)]
struct Gate {
    flush: Mutex<(Flush, usize)>,
    changed: Condvar,
}

impl Gate {
    fn set(&self, flush: Flush) {
        self.flush.lock().unwrap().0 = flush;
        self.changed.notify_all();
    }

    /// Until a flush waits.
    fn wait_for_flush(&self) {
        let guard = self.flush.lock().unwrap();
        let (guard, _) = self
            .changed
            .wait_timeout_while(guard, Duration::from_secs(20), |(_, waiting)| *waiting == 0)
            .unwrap();
        assert_eq!(guard.1, 1, "one batch is flushed at a time");
    }

    fn pass(&self) -> io::Result<()> {
        // A disk so slow that a thread of its own is worth while.
        std::thread::sleep(Duration::from_millis(2));
        let mut guard = self.flush.lock().unwrap();
        guard.1 += 1;
        self.changed.notify_all();
        let mut guard = self
            .changed
            .wait_while(guard, |(flush, _)| *flush == Flush::Waits)
            .unwrap();
        guard.1 -= 1;
        match guard.0 {
            Flush::Fails => Err(io::Error::other("the disk is gone")),
            Flush::Goes | Flush::Waits => Ok(()),
        }
    }
}

#[derive(Debug)]
struct GatedDisk(Arc<Gate>);

#[derive(Debug)]
struct GatedFile {
    file: Arc<dyn DiskFile>,
    gate: Arc<Gate>,
}

impl DiskFile for GatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.gate.pass()?;
        self.file.sync()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

impl Disk for GatedDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let file = OsDisk.open(path, access)?;
        if path.parent().is_some_and(|dir| dir.ends_with("journal")) {
            let gate = self.0.clone();
            return Ok(Arc::new(GatedFile { file, gate }));
        }
        Ok(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsDisk.rename(from, to)
    }

    crate::support::os_disk::rest_as_os_disk!();
}

struct Bench {
    engine: Handle,
    gate: Arc<Gate>,
    dir: PathBuf,
    clock: Arc<ManualClock>,
    _folder: tempfile::TempDir,
}

type Answering = JoinHandle<Result<Answer, SubmitError>>;

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(1_769_860_800_000, 42));
        let gate = Arc::new(Gate {
            flush: Mutex::new((Flush::Goes, 0)),
            changed: Condvar::new(),
        });
        let mut setup = setup(folder.path(), &clock);
        setup.disk = Arc::new(GatedDisk(gate.clone()));
        // Flushes are timed.
        setup.clock = Arc::new(SystemClock::default());
        let (engine, _) = Handle::start(setup).unwrap();
        Bench {
            engine,
            gate,
            dir: folder.path().to_owned(),
            clock,
            _folder: folder,
        }
    }

    fn send(&self, tenant: &TenantName, command: Command) -> Answering {
        let (engine, tenant) = (self.engine.clone(), tenant.clone());
        tokio::spawn(async move {
            engine
                .trip(&tenant, &Actor::system("test"), vec![command], None)
                .await
        })
    }

    /// A token is known as soon as it is decided, whenever it is answered.
    async fn until_decided(&self, secret: &str) {
        let since = Instant::now();
        while self.engine.token(secret).is_none() {
            assert!(
                since.elapsed() < Duration::from_secs(20),
                "{secret} is not decided"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn token(secret: &str) -> Command {
    Command::CreateToken(Box::new(CreateToken {
        expires_at: None,
        name: secret.to_owned(),
        person: "alice".to_owned(),
        scopes: vec![Scope::Read],
        secret_sha256: Digest::of(secret.as_bytes()),
        tenants: vec![],
    }))
}

fn acme() -> TenantName {
    "acme".parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_during_a_flush_is_decided_meanwhile_and_answered_after_its_own() {
    let bench = Bench::new();
    let first = bench.send(&acme(), job("warm-up")).await.unwrap();
    assert!(first.is_ok());
    let before = bench.engine.stats();
    bench.gate.set(Flush::Waits);
    let first = bench.send(&acme(), job("a"));
    bench.gate.wait_for_flush();
    let second = bench.send(&acme(), job("b"));
    let third = bench.send(&TenantName::system(), token("third"));
    bench.until_decided("third").await;
    assert!(!first.is_finished() && !second.is_finished() && !third.is_finished());
    assert_eq!(
        bench.engine.stats().batches,
        before.batches,
        "nothing is flushed yet"
    );
    let size = bench.engine.ledger(&acme()).unwrap().size();
    bench.gate.set(Flush::Goes);
    let first = first.await.unwrap().unwrap();
    let second = second.await.unwrap().unwrap();
    let third = third.await.unwrap().unwrap();
    let as_of = |answer: &Answer| answer.results[0].as_ref().unwrap().as_of;
    assert_eq!((as_of(&first), as_of(&second)), (Seq(size), Seq(size + 1)));
    assert!(third.results[0].is_ok());
    assert_eq!(
        bench.engine.stats().batches,
        before.batches + 2,
        "what came during the flush went together"
    );
    bench.engine.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_flush_that_failed_nothing_decided_later_is_recorded() {
    let bench = Bench::new();
    let first = bench.send(&acme(), job("warm-up")).await.unwrap();
    assert!(first.is_ok());
    bench.gate.set(Flush::Waits);
    let first = bench.send(&acme(), job("a"));
    bench.gate.wait_for_flush();
    let second = bench.send(&acme(), job("b"));
    let third = bench.send(&TenantName::system(), token("third"));
    bench.until_decided("third").await;
    bench.gate.set(Flush::Fails);
    for answer in [first, second, third] {
        let answer = answer.await.unwrap();
        assert!(
            matches!(answer, Err(SubmitError::OutcomeUnknown(_))),
            "{answer:?}"
        );
    }
    let ended = bench.engine.wait().unwrap_err();
    assert!(ended.0.contains("the journal"), "{ended}");
    let late = bench.send(&acme(), job("c")).await.unwrap();
    assert!(matches!(late, Err(SubmitError::Ended(_))), "{late:?}");
    let Bench {
        engine, dir, clock, ..
    } = &bench;
    let known = engine.ledger(&acme()).unwrap().size();
    // The disk is well again.
    let (again, _) = ManualEngine::open(setup(dir, clock)).unwrap();
    let ledger = again.ledger(&acme()).unwrap();
    assert!(
        (known..=known + 1).contains(&ledger.size()),
        "the first may be there, the second may not"
    );
    if ledger.size() > known {
        let event = ledger.event(Seq(known)).unwrap();
        assert!(String::from_utf8_lossy(&event).contains(r#""type":"a""#));
    }
    assert!(again.token("third").is_none());
}
