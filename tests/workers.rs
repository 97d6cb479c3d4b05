//! The workers of the documentation, against a whole server: what somebody copies must work.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use fastness::domain::Digest;
use fastness::domain::token::Scope;
use serde_json::{Value, json};

use crate::support::appliance::{ANSWER_MAX, Ask, TestAppliance};

struct Running(Child);

impl Running {
    fn start(appliance: &TestAppliance, folder: &Path, program: &[&str], job_type: &str) -> Self {
        let token = folder.join(format!("{job_type}.token"));
        std::fs::write(&token, appliance.token(job_type, &[Scope::Claim], &["default"])).unwrap();
        let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs");
        let child = Command::new(program[0])
            .args(&program[1..])
            .args([job_type, job_type])
            .current_dir(docs)
            .env("FASTNESS_SERVER", format!("http://{}", appliance.address))
            .env("FASTNESS_TOKEN_FILE", token)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Running(child)
    }

    /// Asks it to end, and waits.
    fn terminate(mut self) -> String {
        let asked = Command::new("kill")
            .args(["-TERM", &self.0.id().to_string()])
            .status();
        assert!(asked.unwrap().success());
        let mut said = String::new();
        let mut stderr = self.0.stderr.take().unwrap();
        std::io::Read::read_to_string(&mut stderr, &mut said).unwrap();
        let status = self.0.wait().unwrap();
        assert!(status.success(), "{status}: {said}");
        said
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn submit(appliance: &TestAppliance, job_type: &str, payload: Value) -> String {
    let body = json!({"type": job_type, "payload": payload}).to_string();
    let job = appliance.post("/api/v1/jobs", body).expect(201);
    format!("/api/v1/jobs/{}", job["id"].as_str().unwrap())
}

fn wait(appliance: &TestAppliance, job: &str, good: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + ANSWER_MAX;
    loop {
        let now = appliance.get(job).expect(200);
        if good(&now) {
            return now;
        }
        assert!(now["status"] != "failed" && Instant::now() < deadline, "{now:#}");
        std::thread::yield_now();
    }
}

fn works(program: &[&str], job_type: &str) {
    let appliance = TestAppliance::start();
    let folder = tempfile::tempdir().unwrap();
    let jobs: Vec<_> = (1..=3)
        .map(|lines| submit(&appliance, job_type, json!({"lines": lines})))
        .collect();
    let worker = Running::start(&appliance, folder.path(), program, job_type);
    for (job, lines) in jobs.iter().zip(1..) {
        let ended = wait(&appliance, job, |job| job["status"] == "completed");
        let text: String = (1..=lines)
            .map(|line| format!("line {line} of {lines}\n"))
            .collect();
        let sha256 = Digest::of(text.as_bytes()).to_string();
        assert_eq!(ended["output"], json!({"lines": lines, "sha256": sha256}));
        let path = format!("{job}/logs");
        let asked = Ask::get(&path)
            .token(&appliance.admin)
            .header("accept", "text/plain");
        assert_eq!(appliance.send(&asked).body, text.as_bytes());
        assert_eq!(
            (&ended["artifacts"][0]["name"], &ended["artifacts"][0]["sha256"]),
            (&json!("lines.txt"), &json!(sha256))
        );
        let content = appliance.get(&format!("/api/v1/artifacts/{sha256}"));
        assert_eq!((content.status, content.body), (200, text.into_bytes()));
        let events = appliance.get(&format!("{job}/events")).expect(200);
        let types: Vec<_> = events["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["type"].as_str().unwrap())
            .collect();
        let expected = [
            "job.created",
            "job.started",
            "step.started",
            "step.completed",
            "artifact.created",
            "job.completed",
        ];
        assert_eq!(types, expected);
    }
    // Asked to end while it works, it gives the job back.
    let job = submit(&appliance, job_type, json!({"lines": 10_000, "pauseMs": 20}));
    wait(&appliance, &job, |job| job["progress"]["percent"].is_u64());
    assert!(worker.terminate().ends_with("stopped\n"));
    let released = appliance.get(&job).expect(200);
    assert_eq!(
        (&released["status"], &released["failures"]),
        (&json!("scheduled"), &json!(0))
    );
    appliance.post(&format!("{job}/cancel"), "").expect(200);
    // Asked to end while it waits, it ends at once.
    let worker = Running::start(&appliance, folder.path(), program, job_type);
    let claims = || {
        appliance.get("/api/v1/workers").expect(200)["items"][0]["lastClaimAgeMs"]
            .as_u64()
            .unwrap()
    };
    let before = Instant::now();
    while u128::from(claims()) > before.elapsed().as_millis() {
        std::thread::yield_now();
    }
    worker.terminate();
    assert!(
        before.elapsed() < ANSWER_MAX / 2,
        "it waited for its claim to end"
    );
}

#[test]
fn the_worker_in_sh_works() {
    works(&["sh", "worker.sh"], "demo.sh");
}

#[test]
fn the_worker_in_python_works() {
    works(&["python3", "worker.py"], "demo.py");
}
