//! How `fastness verify` behaves towards people: it tells what a failure means, and shows how far it is on a terminal alone.

use std::path::Path;
use std::process::{Command, Output};

use super::fixture::{Parts, bundle, export_key, log_key};

fn folder(file: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("b.audit.tar.zst"), file).unwrap();
    std::fs::write(dir.path().join("log.pem"), log_key().public().to_pem().unwrap()).unwrap();
    std::fs::write(
        dir.path().join("export.pem"),
        export_key().public().to_pem().unwrap(),
    )
    .unwrap();
    dir
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_fastness");
const ARGUMENTS: [&str; 6] = [
    "verify",
    "b.audit.tar.zst",
    "--log-key",
    "log.pem",
    "--export-key",
    "export.pem",
];

fn verify(dir: &Path, more: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args(ARGUMENTS)
        .args(more)
        .current_dir(dir)
        .output()
        .unwrap()
}

fn changed() -> Vec<u8> {
    let mut parts = Parts::small();
    parts.edit_lines(|lines| lines[2][30] ^= 1);
    parts.file()
}

#[test]
fn a_refusal_names_member_line_and_event_and_says_what_it_means() {
    let dir = folder(&changed());
    let output = verify(dir.path(), &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(10), "{text}");
    assert!(
        text.contains("refused, exit code 10: audit/history.jsonl, line 3, event 7,"),
        "{text}"
    );
    let meaning = "this means: A part of the bundle was changed or added after the enclave signed it";
    assert!(text.contains(meaning), "{text}");
    let json = verify(dir.path(), &["-o", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert!(
        report["checks"][2]["meaning"].as_str().unwrap().ends_with('.'),
        "{report}"
    );
    assert!(report["checks"][0]["meaning"].is_null(), "{report}");
}

#[test]
fn a_bar_is_shown_on_a_terminal_and_nowhere_else() {
    let dir = folder(&bundle(5, 300));
    let quiet = verify(dir.path(), &[]);
    assert!(quiet.status.success());
    assert_eq!(String::from_utf8_lossy(&quiet.stderr), "");
    assert!(!String::from_utf8_lossy(&quiet.stdout).contains('━'));
    // `script` gives it a terminal.
    let command = format!("{PROGRAM} {}", ARGUMENTS.join(" "));
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .current_dir(dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains('━') && text.contains("100 %"), "{text}");
    let bar = text.find('━').unwrap();
    let gone = text[bar..].find("\r\x1b[K").map(|at| bar + at);
    assert!(
        gone.is_some_and(|gone| text[gone..].contains("good")),
        "the bar is taken away: {text}"
    );
}
