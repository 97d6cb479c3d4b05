//! Secrets from the command line to the step that reads them, and what becomes of them.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::appliance::Ask;
use crate::support::program::{Program, Said, call, until};

const VALUE: &str = "tr0ub4dor-and-3";

const PACK: &str = r#"apiVersion: fastness/v1
kind: Pack
metadata: {name: scan}
spec:
  secrets: [SCAN_TOKEN]
  steps:
    - id: look
      shell: |
        test "$(sha256sum < "$FASTNESS_SECRETS/SCAN_TOKEN")" = "$(sha256sum < "$EXPECTED")"
        test "$(stat -c %a "$FASTNESS_SECRETS" "$FASTNESS_SECRETS/SCAN_TOKEN" | tr '\n' ' ')" = "700 400 "
        test "$FASTNESS_SECRETS" = "$PWD/.secrets"
        env > env.txt
      env: {EXPECTED: FILE}
      retries: {max: 0}
      artifacts: [{name: env.txt, path: env.txt}]
    - id: steal
      needs: [look]
      always: true
      shell: "true"
      retries: {max: 0}
      artifacts: [{name: stolen, path: .secrets/SCAN_TOKEN}]
"#;

const LATER: &str = r#"apiVersion: fastness/v1
kind: Pack
metadata: {name: later}
spec:
  steps:
    - {id: wait, shell: "until test -e FILE; do sleep 0.05; done"}
    - {id: look, needs: [wait], run: ["true"], secrets: [SCAN_TOKEN], retries: {max: 0}}
"#;

/// Steps that begin while their secret is set again and again.
const STEPS: usize = 100;

fn push(server: &Program, folder: &Path, name: &str, pack: &str, file: &Path) {
    let path = folder.join(name);
    std::fs::write(&path, pack.replace("FILE", file.to_str().unwrap())).unwrap();
    server.run(&["pack", "push", path.to_str().unwrap()]);
}

fn set(server: &Program, value: &str) -> Said {
    let mut command = server.client(&["secret", "set", "SCAN_TOKEN", "-o", "json"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(value.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Said {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn a_step_reads_its_secret_from_a_file_that_goes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Program::start(&data);
    let expected = folder.path().join("expected");
    std::fs::write(&expected, VALUE).unwrap();
    push(&server, folder.path(), "scan.yaml", PACK, &expected);
    server.run(&["run", "scan"]).refuses(2, "SCAN_TOKEN");
    assert_eq!(set(&server, VALUE).json(0)["name"], "SCAN_TOKEN");

    let run = server.run(&["run", "scan", "--wait", "-o", "json"]).json(1);
    let id = run["id"].as_str().unwrap();
    let run = server.get(&format!("/api/v1/pack-runs/{id}"));
    assert_eq!(run["steps"][0]["status"], "completed", "{run}");
    assert_eq!(run["steps"][1]["error"]["code"], "artifact_missing", "{run}");
    assert_eq!(std::fs::read_dir(data.join("work")).unwrap().count(), 0);
    let listed = server.run(&["secret", "list", "-o", "json"]);
    assert!(!listed.stdout.contains(VALUE) && listed.stdout.contains("SCAN_TOKEN"));

    let kept = folder.path().join("kept");
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .args([&data, &kept])
        .status();
    assert!(copied.unwrap().success());
    let found = std::process::Command::new("grep")
        .args(["-rl", VALUE])
        .arg(&kept)
        .output()
        .unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    let found: Vec<&str> = found.lines().collect();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("/secrets/default/SCAN_TOKEN."), "{found:?}");

    assert_eq!(server.run(&["secret", "delete", "SCAN_TOKEN"]).code, 0);
    server
        .run(&["secret", "delete", "SCAN_TOKEN"])
        .refuses(3, "no such secret");
    server
        .run(&["secret", "set", "A-B", "--file", expected.to_str().unwrap()])
        .refuses(2, "named");
}

#[test]
fn a_secret_that_is_gone_fails_the_step_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = Program::start(&folder.path().join("data"));
    let go = folder.path().join("go");
    push(&server, folder.path(), "later.yaml", LATER, &go);
    assert_eq!(set(&server, VALUE).code, 0);
    let run = server.run(&["run", "later", "-o", "json"]).json(0);
    let id = run["id"].as_str().unwrap();
    assert_eq!(server.run(&["secret", "delete", "SCAN_TOKEN"]).code, 0);
    std::fs::write(&go, "").unwrap();
    let read = || server.get(&format!("/api/v1/pack-runs/{id}"));
    until("the run has ended", || read()["endedAt"].is_string());
    let look = &read()["steps"][1];
    assert_eq!(look["status"], "failed");
    assert_eq!(look["error"]["code"], "secret_unavailable", "{look}");
    assert_eq!(
        look["error"]["message"],
        "cannot hand over the secret SCAN_TOKEN: it is not set"
    );
}

/// Every step gets the old value or the new one, whenever it begins.
#[test]
fn a_secret_that_is_set_anew_fails_no_step() {
    let folder = tempfile::tempdir().unwrap();
    let server = Program::start(&folder.path().join("data"));
    let mut pack =
        "apiVersion: fastness/v1\nkind: Pack\nmetadata: {name: many}\nspec:\n  secrets: [SCAN_TOKEN]\n  \
                    maxParallel: 8\n  steps:\n"
            .to_owned();
    for step in 0..STEPS {
        pack.push_str(&format!(
            "  - {{id: s{step}, run: [\"true\"], retries: {{max: 0}}}}\n"
        ));
    }
    assert_eq!(set(&server, "first").code, 0);
    push(&server, folder.path(), "many.yaml", &pack, folder.path());
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let put = Ask::new("PUT", "/api/v1/secrets/SCAN_TOKEN", b"next");
                    let put = put.header("content-type", "application/octet-stream");
                    let reply = call(server.address, &put.token(&server.token)).unwrap();
                    assert!(reply.status < 300 || reply.status == 409, "{}", reply.json());
                }
            });
        }
        let run = server.run(&["run", "many", "-o", "json"]).json(0);
        let path = format!("/api/v1/pack-runs/{}", run["id"].as_str().unwrap());
        until("the run has ended", || server.get(&path)["endedAt"].is_string());
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(server.get(&path)["status"], "completed");
    });
}
