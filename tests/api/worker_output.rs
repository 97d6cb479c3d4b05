//! What workers send of an attempt's output: logs in chunks, artifacts in ranges; and how its end names them.

use std::io::{Read as _, Write as _};

use fastness::domain::Digest;
use fastness::limits::LOG_PAGE_LINES_MAX;
use serde_json::{Value, json};

use super::jobs::{claim, complete};
use super::workers::{call, events, leased, types};
use crate::support::appliance::{Ask, Reply, TestAppliance, files};

fn log(appliance: &TestAppliance, job: &str, stream: &str, offset: usize, bytes: &[u8]) -> Reply {
    let path = format!("/api/v1/workers/jobs/{job}/logs?worker=w-1&epoch=1&stream={stream}&offset={offset}");
    appliance.send(&Ask::new("POST", &path, bytes).token(&appliance.admin))
}

fn put(
    appliance: &TestAppliance,
    job: &str,
    name: &str,
    whole: &[u8],
    range: Option<(usize, usize)>,
) -> Reply {
    let sha256 = Digest::of(whole);
    let path = format!("/api/v1/workers/jobs/{job}/artifacts/{name}?worker=w-1&epoch=1&sha256={sha256}");
    let bytes = range.map_or(whole, |(from, end)| &whole[from..end]);
    let mut asked = Ask::new("PUT", &path, bytes).token(&appliance.admin);
    if let Some((from, end)) = range {
        asked = asked.header(
            "content-range",
            &format!("bytes {from}-{}/{}", end - 1, whole.len()),
        );
    }
    appliance.send(&asked)
}

fn end(appliance: &TestAppliance, job: &str, outcome: &str) -> Value {
    let result = json!({"jobId": job, "epoch": 1, "outcome": outcome});
    let done = complete(appliance, json!({"worker": "w-1", "results": [result]}));
    assert_eq!(done["results"][0]["accepted"], true, "{done}");
    // Not simply the last one: the retry may have come since.
    let wanted = format!("job.{outcome}");
    let mut events = events(appliance, job);
    events.retain(|event| event["type"] == wanted);
    events.last().unwrap()["payload"].clone()
}

fn plain(appliance: &TestAppliance, job: &str, query: &str) -> String {
    let path = format!("/api/v1/jobs/{job}/logs{query}");
    let asked = Ask::get(&path)
        .token(&appliance.admin)
        .header("accept", "text/plain");
    let reply = appliance.send(&asked);
    assert_eq!(reply.status, 200);
    String::from_utf8(reply.body).unwrap()
}

/// What ends an answer that is whole.
const LAST_CHUNK: &str = "\r\n0\r\n\r\n";

/// An answer as it comes, whole or cut.
fn answer(appliance: &TestAppliance, path: &str, accept: &str) -> String {
    let asked = Ask::get(path).token(&appliance.admin).header("accept", accept);
    let (mut socket, mut answer) = (appliance.connect(), Vec::new());
    socket.write_all(&asked.bytes(appliance.address)).unwrap();
    // It may be reset.
    let _ = socket.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn upload_files(appliance: &TestAppliance) -> usize {
    let dir = appliance.engine.dir().join("output/blobs/new");
    std::fs::read_dir(dir).unwrap().count()
}

#[test]
fn chunks_are_added_once_and_the_end_names_their_digests() {
    let appliance = TestAppliance::start();
    let job = leased(&appliance);
    let kept = |expected: usize| json!({"expectedOffset": expected, "truncated": false});
    assert_eq!(
        log(&appliance, &job, "stdout", 0, b"one\ntw").expect(200),
        kept(6)
    );
    assert_eq!(log(&appliance, &job, "stderr", 0, b"odd\n").expect(200), kept(4));
    assert_eq!(
        log(&appliance, &job, "stdout", 0, b"one\ntw").expect(200),
        kept(6),
        "a repeat"
    );
    assert_eq!(
        log(&appliance, &job, "stdout", 2, b"e\n").expect(200),
        kept(6),
        "a part of it"
    );
    for offset in [3, 7] {
        let reply = log(&appliance, &job, "stdout", offset, b"wrong place");
        assert_eq!(reply.problem(409), "wrong_offset");
        assert_eq!(reply.json()["expectedOffset"], 6);
    }
    assert_eq!(
        log(&appliance, &job, "stdout", 6, b"o\nlast").expect(200),
        kept(12)
    );
    assert_eq!(plain(&appliance, &job, ""), "one\nodd\ntwo\n");

    let ended = end(&appliance, &job, "completed");
    assert_eq!(
        ended["logs"]["stdout"]["sha256"],
        Digest::of(b"one\ntwo\nlast").to_string()
    );
    assert_eq!(
        (
            &ended["logs"]["stdout"]["bytes"],
            &ended["logs"]["stdout"]["lines"]
        ),
        (&json!(12), &json!(3))
    );
    assert_eq!(
        ended["logs"]["stderr"]["sha256"],
        Digest::of(b"odd\n").to_string()
    );
    assert_eq!(plain(&appliance, &job, "?attempt=1"), "one\nodd\ntwo\nlast\n");
    assert_eq!(plain(&appliance, &job, "?attempt=2"), "");
    let lines = appliance.get(&format!("/api/v1/jobs/{job}/logs?limit=1")).body;
    let line: Value = serde_json::from_slice(&lines).unwrap();
    assert_eq!(
        (&line["line"], &line["stream"], &line["pos"]),
        (&json!("one"), &json!("stdout"), &json!(1))
    );
    assert_eq!(
        log(&appliance, &job, "stdout", 12, b"late").problem(409),
        "stale_epoch"
    );
}

#[test]
fn an_answer_whose_log_cannot_be_read_to_its_end_is_cut_and_does_not_look_whole() {
    let appliance = TestAppliance::start();
    let job = leased(&appliance);
    let lines: String = (0..LOG_PAGE_LINES_MAX + 500)
        .map(|line| format!("{line}\n"))
        .collect();
    log(&appliance, &job, "stdout", 0, lines.as_bytes()).expect(200);
    log(&appliance, &job, "stderr", 0, b"late\n").expect(200);
    let read = |accept: &str| answer(&appliance, &format!("/api/v1/jobs/{job}/logs"), accept);
    for accept in ["text/plain", "application/x-ndjson"] {
        let whole = read(accept);
        assert!(whole.contains("late") && whole.ends_with(LAST_CHUNK), "{accept}");
    }
    let output = files(&appliance.folder().join("output"));
    let stderr = output.iter().find(|file| file.ends_with("stderr")).unwrap();
    std::fs::remove_file(stderr).unwrap();
    std::fs::create_dir(stderr).unwrap();
    for accept in ["text/plain", "application/x-ndjson"] {
        let cut = read(accept);
        assert!(cut.starts_with("HTTP/1.1 200 "), "{cut}");
        assert!(
            cut.contains(&(LOG_PAGE_LINES_MAX - 1).to_string()),
            "the first page"
        );
        assert!(
            !cut.contains("late") && !cut.ends_with(LAST_CHUNK),
            "{accept}: it looks whole"
        );
    }
}

#[test]
fn an_answer_of_which_a_file_is_gone_brings_what_can_be_read_and_does_not_look_whole() {
    let appliance = TestAppliance::start();
    let (job, sound) = (leased(&appliance), leased(&appliance));
    log(&appliance, &job, "stderr", 0, b"kept\n").expect(200);
    log(&appliance, &job, "stdout", 0, b"gone\n").expect(200);
    log(&appliance, &sound, "stdout", 0, b"sound\n").expect(200);
    let read = |job: &str, query: &str, accept: &str| {
        answer(&appliance, &format!("/api/v1/jobs/{job}/logs{query}"), accept)
    };
    let output = files(&appliance.folder().join("output"));
    let in_job = |file: &&std::path::PathBuf| file.components().any(|part| part.as_os_str() == job.as_str());
    let mut of_job = output.iter().filter(in_job);
    let stdout = of_job.find(|file| file.ends_with("stdout")).unwrap();
    std::fs::remove_file(stdout).unwrap();
    for accept in ["text/plain", "application/x-ndjson"] {
        let cut = read(&job, "", accept);
        assert!(cut.starts_with("HTTP/1.1 200 ") && cut.contains("kept"), "{cut}");
        assert!(
            !cut.contains("gone") && !cut.ends_with(LAST_CHUNK),
            "{accept}: it looks whole"
        );
        // What was asked for is whole all the same: what lies before the loss, another attempt, another job.
        for (job, query, line) in [
            (&job, "?limit=1", "kept"),
            (&job, "?attempt=2", ""),
            (&sound, "", "sound"),
        ] {
            let whole = read(job, query, accept);
            assert!(
                whole.contains(line) && whole.ends_with(LAST_CHUNK),
                "{query}: {whole}"
            );
        }
    }
}

#[test]
fn what_a_chunk_must_be() {
    let appliance = TestAppliance::start();
    let job = leased(&appliance);
    let path = |rest: &str| format!("/api/v1/workers/jobs/{job}/logs?{rest}");
    for (rest, code) in [
        ("epoch=1&stream=stdout&offset=0", "missing_parameter"),
        ("worker=w-1&stream=stdout&offset=0", "missing_parameter"),
        ("worker=w-1&epoch=1&offset=0", "missing_parameter"),
        ("worker=w-1&epoch=1&stream=stdout", "missing_parameter"),
        ("worker=w-1&epoch=1&stream=stdin&offset=0", "invalid_parameter"),
        ("worker=w-1&epoch=1&stream=stdout&offset=-1", "invalid_parameter"),
        (
            "worker=w-1&epoch=1&stream=stdout&offset=0&odd=1",
            "unknown_parameter",
        ),
    ] {
        let reply = appliance.post(&path(rest), "x");
        assert_eq!(reply.problem(422), code, "{rest}");
    }
    let good = "worker=w-1&epoch=1&stream=stdout&offset=0";
    assert_eq!(
        appliance
            .post(&path(good), vec![b'x'; (1 << 20) + 1])
            .problem(413),
        "too_large"
    );
    appliance.post(&path(good), vec![b'x'; 1 << 20]).expect(200);
    let other = good.replace("w-1", "w-2");
    assert_eq!(appliance.post(&path(&other), "x").problem(409), "stale_epoch");
    let old = good.replace("epoch=1", "epoch=0");
    assert_eq!(appliance.post(&path(&old), "x").problem(409), "stale_epoch");
}

#[test]
fn a_log_goes_on_after_a_restart_and_its_end_covers_all_of_it() {
    let appliance = TestAppliance::start();
    let job = leased(&appliance);
    log(&appliance, &job, "stdout", 0, b"before\nhal").expect(200);
    let artifact = b"an artifact".to_vec();
    put(&appliance, &job, "a.txt", &artifact, None).expect(201);
    let appliance = appliance.restart();
    let reply = log(&appliance, &job, "stdout", 99, b"x");
    assert_eq!(
        (reply.problem(409).as_str(), &reply.json()["expectedOffset"]),
        ("wrong_offset", &json!(10))
    );
    log(&appliance, &job, "stdout", 10, b"f\nafter\n").expect(200);
    let appliance = appliance.restart();
    // Nothing is sent after the second restart: the log is found all the same.
    let ended = end(&appliance, &job, "failed");
    assert_eq!(
        ended["logs"]["stdout"]["sha256"],
        Digest::of(b"before\nhalf\nafter\n").to_string()
    );
    assert_eq!(ended["logs"]["stdout"]["lines"], 3);
    assert_eq!(ended["artifacts"][0]["name"], "a.txt");
    assert_eq!(plain(&appliance, &job, ""), "before\nhalf\nafter\n");
}

#[test]
fn release_cancel_and_expiry_name_the_output_too() {
    let appliance = TestAppliance::start();
    let check = |payload: &Value, what: &str| {
        assert_eq!(
            payload["logs"]["stdout"]["sha256"],
            Digest::of(b"x\n").to_string(),
            "{what}"
        );
        assert_eq!(
            payload["artifacts"][0]["sha256"],
            Digest::of(b"a").to_string(),
            "{what}"
        );
    };
    let work = |job: &str| {
        log(&appliance, job, "stdout", 0, b"x\n").expect(200);
        put(&appliance, job, "a", b"a", None).expect(201);
    };
    let job = leased(&appliance);
    work(&job);
    call(&appliance, &job, "release", json!({"reason": "r"})).expect(200);
    let ended = events(&appliance, &job);
    assert_eq!(types(&ended), ["artifact.created", "job.released"]);
    check(&ended[1]["payload"], "release");
    appliance
        .post(&format!("/api/v1/jobs/{job}/cancel"), "")
        .expect(200);

    let job = leased(&appliance);
    work(&job);
    appliance
        .post(&format!("/api/v1/jobs/{job}/cancel"), "")
        .expect(202);
    check(&end(&appliance, &job, "cancelled"), "cancel");

    let body = r#"{"type":"a","retries":{"max":3,"initialMs":10,"capMs":10}}"#;
    let job = appliance.post("/api/v1/jobs", body).expect(201);
    let job = job["id"].as_str().unwrap();
    claim(&appliance, json!({"leaseMs": 1000}));
    work(job);
    put(&appliance, job, "half", b"half of it", Some((0, 4))).expect(202);
    assert_eq!(upload_files(&appliance), 1);
    let retried = claim(&appliance, json!({"worker": "w-2", "waitMs": 30000}))["jobs"][0].clone();
    assert_eq!((&retried["id"], &retried["attempt"]), (&json!(job), &json!(2)));
    let ended = events(&appliance, job);
    let failed = ended.iter().find(|event| event["type"] == "job.failed").unwrap();
    assert_eq!(failed["payload"]["failure"]["class"], "lease_expired");
    check(&failed["payload"], "expiry");
    while upload_files(&appliance) > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn an_artifact_is_checked_recorded_and_served() {
    let appliance = TestAppliance::start();
    let job = leased(&appliance);
    let bytes: Vec<u8> = (0..700_000u32).flat_map(u32::to_le_bytes).collect();
    let made = put(&appliance, &job, "big.json", &bytes, None).expect(201);
    assert_eq!(
        (&made["mime"], &made["size"]),
        (&json!("application/json"), &json!(bytes.len()))
    );
    put(&appliance, &job, "big.json", &bytes, None).expect(200);
    assert_eq!(
        put(&appliance, &job, "big.json", b"other", None).problem(409),
        "name_taken"
    );
    let path = format!(
        "/api/v1/workers/jobs/{job}/artifacts/bad?worker=w-1&epoch=1&sha256={}",
        "0".repeat(64)
    );
    let reply = appliance.send(&Ask::new("PUT", &path, b"x").token(&appliance.admin));
    assert_eq!(reply.problem(422), "digest_mismatch");
    let reply = put(&appliance, &job, ".hidden", b"x", None);
    assert_eq!(reply.problem(422), "invalid_field");
    put(&appliance, &job, "empty", b"", None).expect(201);
    let content = appliance.get(&format!("/api/v1/artifacts/{}", Digest::of(&bytes)));
    assert_eq!((content.status, content.body.len()), (200, bytes.len()));
    let report =
        json!({"type": "ai.artifact_created", "payload": {"name": "big.json", "sha256": Digest::of(&bytes)}});
    call(&appliance, &job, "events", report).expect(200);
    let ended = end(&appliance, &job, "completed");
    let names: Vec<_> = ended["artifacts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["name"].clone())
        .collect();
    assert_eq!(names, ["big.json", "empty"]);
    assert_eq!(
        types(&events(&appliance, &job)),
        [
            "artifact.created",
            "artifact.created",
            "ai.artifact_created",
            "job.completed"
        ]
    );
    let read = appliance.get(&format!("/api/v1/jobs/{job}")).expect(200);
    assert_eq!(read["artifacts"][0]["sha256"], Digest::of(&bytes).to_string());
    assert_eq!(
        put(&appliance, &job, "late", b"x", None).problem(409),
        "stale_epoch"
    );
    assert_eq!(upload_files(&appliance), 0, "nothing is left half written");
}

#[test]
fn an_artifact_comes_in_ranges() {
    let appliance = TestAppliance::start();
    let job = leased(&appliance);
    let whole = b"0123456789".repeat(1_000);
    let wrong = |reply: Reply, expected: usize| {
        assert_eq!(reply.problem(409), "wrong_offset");
        assert_eq!(reply.json()["expectedOffset"], expected);
    };
    wrong(put(&appliance, &job, "a", &whole, Some((10, 20))), 0);
    let kept = put(&appliance, &job, "a", &whole, Some((0, 4_000))).expect(202);
    assert_eq!(kept, json!({"expectedOffset": 4_000}));
    wrong(put(&appliance, &job, "a", &whole, Some((5_000, 6_000))), 4_000);
    put(&appliance, &job, "a", &whole, Some((4_000, 9_999))).expect(202);
    put(&appliance, &job, "a", &whole, Some((9_999, 10_000))).expect(201);
    let path = format!(
        "/api/v1/workers/jobs/{job}/artifacts/b?worker=w-1&epoch=1&sha256={}",
        Digest::of(&whole)
    );
    let send = |range: &str, body: &[u8]| {
        let asked = Ask::new("PUT", &path, body).token(&appliance.admin);
        appliance.send(&asked.header("content-range", range))
    };
    assert_eq!(send("bytes 0-9/10000", b"short").problem(400), "range_mismatch");
    assert_eq!(
        send("bytes 5-6/10000", b"and long").problem(400),
        "range_mismatch"
    );
    assert_eq!(send("bytes 0-9/4294967297", b"x").problem(413), "too_large");
    assert_eq!(send("bytes 9-0/10", b"x").problem(422), "invalid_field");
    for index in 1..64 {
        put(&appliance, &job, &format!("n{index}"), b"n", None).expect(201);
    }
    assert_eq!(
        put(&appliance, &job, "one-more", b"n", None).problem(429),
        "limit_reached"
    );
}
