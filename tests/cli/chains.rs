//! Bundles that follow one another, and bundles with large files.

use std::io::Write;

use fastness::domain::Digest;
use serde_json::Value;

use super::transfers::Enclave;
use crate::support::appliance::Ask;
use crate::support::program::{Program, call, command, run};

/// More than may be held of a file in memory.
const ARTIFACT_BYTES: usize = 160 << 20;
const MEMORY_MAX: u64 = 100 << 20;

#[test]
fn a_bundle_proves_that_it_extends_the_one_before() {
    let source = Enclave::start();
    source.submit(8);
    let first = source.export("first", &["--to", "3"]);
    let second = source.export("second", &["--from", "3", "--to", "6"]);
    let third = source.export("third", &["--from", "6"]);
    let keys = source.keys();
    let verify = |line: &[&str]| {
        let line = [&["verify", "-o", "json"], line].concat();
        run(&Enclave::with_keys(&keys, &line))
    };
    let status = |report: &Value, n: usize| report["checks"][n - 1]["status"].as_str().unwrap().to_owned();
    let alone = verify(&[&second]).json(0);
    assert_eq!(
        (status(&alone, 8), status(&alone, 10)),
        ("skipped".into(), "skipped".into())
    );
    let after = verify(&[&second, "--after", &first]).json(0);
    assert_eq!(
        (status(&after, 8), status(&after, 10)),
        ("ok".into(), "ok".into()),
        "{after}"
    );
    let both = verify(&[&third, "--after", &first, "--after", &second]).json(0);
    assert_eq!((status(&both, 8), status(&both, 10)), ("ok".into(), "ok".into()));
    let later = verify(&[&third, "--after", &second]).json(0);
    assert_eq!(
        (status(&later, 8), status(&later, 10)),
        ("ok".into(), "skipped".into()),
        "no state to begin with"
    );
    assert_eq!(
        verify(&[&third, "--after", &first]).code,
        11,
        "one is missing between"
    );
    assert_eq!(
        verify(&[&first, "--after", &second]).code,
        11,
        "the wrong way round"
    );
    let other = Enclave::start();
    other.submit(8);
    let elsewhere = other.export("elsewhere", &["--from", "3", "--to", "6"]);
    assert_ne!(
        verify(&[&elsewhere, "--after", &first]).code,
        0,
        "of another ledger"
    );
    let mut damaged = std::fs::read(&first).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    let bad = source.text("damaged");
    std::fs::write(&bad, damaged).unwrap();
    assert!(
        (10..=14).contains(&verify(&[&second, "--after", &bad]).code),
        "what it extends must be good too"
    );
    run(&["verify", &second, "--after", &first]).refuses(2, "--log-key");
}

/// The most memory that a process held since it was last asked.
struct Memory(u32);

impl Memory {
    /// From now on.
    fn watch(process: u32) -> (Self, u64) {
        let mut file = std::fs::File::options()
            .write(true)
            .open(format!("/proc/{process}/clear_refs"))
            .unwrap();
        file.write_all(b"5").unwrap();
        let memory = Memory(process);
        let now = memory.line("VmRSS");
        (memory, now)
    }

    fn line(&self, name: &str) -> u64 {
        self.try_line(name).unwrap()
    }

    fn try_line(&self, name: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0)).ok()?;
        let line = status.lines().find(|line| line.starts_with(name))?;
        Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1_024)
    }

    fn peak(&self) -> u64 {
        self.line("VmHWM")
    }
}

/// Bytes that do not compress.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(bytes);
    out
}

fn send(server: &Program, method: &str, path: &str, body: &[u8]) -> Value {
    let ask = Ask::new(method, path, body)
        .header("content-type", "application/json")
        .token(&server.token);
    let reply = call(server.address, &ask).unwrap();
    assert!(
        reply.status < 300,
        "{path}: {}",
        String::from_utf8_lossy(&reply.body)
    );
    reply.json()
}

#[test]
fn a_large_artifact_passes_through_little_memory() {
    let (source, target) = (Enclave::start(), Enclave::start());
    send(&source.server, "POST", "/api/v1/jobs", br#"{"type":"t"}"#);
    let claim = br#"{"worker":"w","queues":["default"],"types":["*"],"leaseMs":600000,"waitMs":0}"#;
    let leased = send(&source.server, "POST", "/api/v1/workers/claim", claim);
    let id = leased["jobs"][0]["id"].as_str().unwrap();
    let content = noise(ARTIFACT_BYTES);
    let digest = Digest::of(&content);
    let path = format!("/api/v1/workers/jobs/{id}/artifacts/big.bin?worker=w&epoch=1&sha256={digest}");
    send(&source.server, "PUT", &path, &content);
    let (memory, before) = Memory::watch(source.server.id());
    let file = source.export("large", &["--with", "artifacts"]);
    let held = memory.peak().saturating_sub(before);
    assert!(held < MEMORY_MAX, "the export held {held} bytes");
    assert!(std::fs::metadata(&file).unwrap().len() > ARTIFACT_BYTES as u64);
    let (memory, before) = Memory::watch(target.server.id());
    let keys = source.keys();
    let imported = target
        .server
        .run(&Enclave::with_keys(&keys, &["import", &file, "-o", "json"]))
        .json(0);
    assert_eq!(imported["report"]["ok"], true);
    let held = memory.peak().saturating_sub(before);
    assert!(held < MEMORY_MAX, "the import held {held} bytes");
}

/// Events that compress to next to nothing, and are many times what may be held of them.
const LARGE_JOBS: usize = 160;

#[test]
fn large_events_pass_through_little_memory() {
    let source = Enclave::start();
    let job = format!(r#"{{"type":"t","payload":"{}"}}"#, "x".repeat(900_000));
    for _ in 0..LARGE_JOBS {
        send(&source.server, "POST", "/api/v1/jobs", job.as_bytes());
    }
    let file = source.export("large", &[]);
    assert!(std::fs::metadata(&file).unwrap().len() < 1 << 20);
    let keys = source.keys();
    let line = Enclave::with_keys(&keys, &["verify", &file, "--require-replay", "-o", "json"]);
    let line: Vec<&str> = line.iter().map(AsRef::as_ref).collect();
    let mut verifying = command(&line)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let (memory, mut held) = (Memory(verifying.id()), 0);
    let ended = loop {
        if let Some(ended) = verifying.try_wait().unwrap() {
            break ended;
        }
        // A process that has ended has no memory any more.
        held = memory.try_line("VmHWM").unwrap_or(0).max(held);
        std::thread::sleep(std::time::Duration::from_millis(2));
    };
    assert!(ended.success());
    assert!(
        (1..MEMORY_MAX).contains(&held),
        "the verification held {held} bytes"
    );
}
