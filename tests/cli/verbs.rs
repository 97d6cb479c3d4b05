//! Exit codes of the client verbs, and `-o json`: what a script sees.

use serde_json::Value;

use crate::support::program::{Program, Said, command, run, until};

const PACK: &str = "apiVersion: fastness/v1\nkind: Pack\nmetadata: {name: NAME}\nspec:\n  steps:\n    - {id: a, run: [ARGV], retries: {max: 0}}\n";
/// A well-formed id that nothing has.
const NOBODY: &str = "0190d7c4-0000-7000-8000-000000000000";

/// A server with the packs `good` and `bad`.
fn served() -> (tempfile::TempDir, Program) {
    let folder = tempfile::tempdir().unwrap();
    let server = Program::start(&folder.path().join("data"));
    for (name, argv) in [("good", "echo, yes"), ("bad", "/bin/false")] {
        let file = folder.path().join(format!("{name}.yaml"));
        std::fs::write(&file, PACK.replace("NAME", name).replace("ARGV", argv)).unwrap();
        let pushed = server.run(&["pack", "push", file.to_str().unwrap(), "-o", "json"]);
        assert_eq!(pushed.json(0)["created"], true);
    }
    (folder, server)
}

#[test]
fn the_exit_code_says_how_a_run_ended() {
    let (_folder, server) = served();
    let good = server.run(&["run", "good", "--wait", "-o", "json"]).json(0);
    let bad = server.run(&["run", "bad", "--wait", "-o", "json"]).json(1);
    assert_eq!(good["status"], "completed");
    assert_eq!(bad["status"], "failed");
    let id = |run: &Value| run["id"].as_str().unwrap().to_owned();
    assert_eq!(server.run(&["wait", &id(&good)]).code, 0);
    assert_eq!(server.run(&["wait", &id(&bad)]).code, 1);
    // Without waiting, starting it is all that can go well.
    assert_eq!(server.run(&["run", "bad"]).code, 0);
}

#[test]
fn what_is_not_there_ends_with_three() {
    let (folder, server) = served();
    for line in [
        &["run", "nothing"][..],
        &["run", "good@7"],
        &["pack", "show", "nothing"],
        &["job", "show", NOBODY],
        &["job", "cancel", NOBODY],
        &["cancel", NOBODY],
        &["wait", NOBODY],
        &["logs", NOBODY],
    ] {
        server.run(line).refuses(3, "no such");
    }
    let nowhere = folder.path().join("nowhere");
    run(&["doctor", "--data", nowhere.to_str().unwrap()]).refuses(3, "is not a folder");
}

#[test]
fn a_command_line_that_cannot_be_used_ends_with_two() {
    let (folder, server) = served();
    let broken = folder.path().join("broken.yaml");
    std::fs::write(&broken, "kind: Pack\n").unwrap();
    let broken = broken.to_str().unwrap();
    for (line, says) in [
        (&["nonsense"][..], "nonsense"),
        (&["run"], "PACK"),
        (&["run", "good@x"], "is not a version number"),
        (&["run", "good", "--no-such"], "--no-such"),
        (&["run", "good", "-i", "surplus=1"], "surplus"),
        (&["job", "submit", "a.b", "--payload", "{"], "not JSON"),
        (&["job", "list", "-o", "xml"], "xml"),
        (&["pack", "lint", broken], "is not a pack"),
        (&["pack", "push", broken], "apiVersion"),
        (&["pack", "push", "/nowhere/at/all.yaml"], "cannot read"),
    ] {
        server.run(line).refuses(2, says);
    }
}

#[test]
fn who_is_not_allowed_ends_with_four() {
    let (folder, server) = served();
    let wrong = folder.path().join("wrong.token");
    std::fs::write(&wrong, "fst_wrong\n").unwrap();
    let wrong = wrong.to_str().unwrap();
    let said = server.run(&["job", "list", "--token-file", wrong]);
    said.refuses(4, "unauthenticated");
    assert!(
        !said.stderr.contains("fst_wrong"),
        "a token is never said: {said:?}"
    );
    let mut without = server.client(&["job", "list"]);
    Said::of(without.env_remove("FASTNESS_TOKEN_FILE")).refuses(4, "unauthenticated");
    server
        .run(&["job", "list", "--tenant", "another"])
        .refuses(4, "tenant");
    let create = [
        "token",
        "create",
        "--name",
        "reader",
        "--scopes",
        "orch:read",
        "-o",
        "json",
    ];
    let reader = server.run(&create).json(0);
    let mut reads = server.client(&["job", "submit", "a.b"]);
    reads
        .env_remove("FASTNESS_TOKEN_FILE")
        .env("FASTNESS_TOKEN", reader["token"].as_str().unwrap());
    Said::of(&mut reads).refuses(4, "scope_required");
}

#[test]
fn no_server_ends_with_six() {
    // A port that was free a moment ago: nobody listens on it.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for line in [
        &["job", "list", "--server", &url][..],
        &["run", "good", "--server", &url],
        &["wait", NOBODY, "--server", &url],
        &["doctor", "--server", &url],
    ] {
        run(line).refuses(6, &url);
    }
}

#[test]
fn a_wait_whose_time_is_over_ends_with_124() {
    let (_folder, server) = served();
    let job = server
        .run(&["job", "submit", "nobody.does", "-o", "json"])
        .json(0);
    let id = job["id"].as_str().unwrap();
    server
        .run(&["wait", id, "--timeout", "100ms"])
        .refuses(124, "time");
    let cancelled = server.run(&["job", "cancel", id, "-o", "json"]).json(0);
    assert_eq!(cancelled["status"], "cancelled");
    server.run(&["job", "cancel", id]).refuses(5, "cancelled");
    assert_eq!(server.run(&["wait", id]).code, 1);
}

#[test]
fn json_output_is_json_and_all_of_standard_output() {
    let (folder, server) = served();
    let run_id = server.run(&["run", "good", "--wait", "-o", "json"]).json(0);
    let run_id = run_id["id"].as_str().unwrap();
    let job = server
        .run(&["job", "submit", "a.b", "--payload", "{\"n\":1}", "-o", "json"])
        .json(0);
    let good = folder.path().join("good.yaml");
    for line in [
        &["job", "list"][..],
        &["job", "show", job["id"].as_str().unwrap()],
        &["pack", "list"],
        &["pack", "show", "good"],
        &["pack", "lint", good.to_str().unwrap()],
        &["worker", "list"],
        &["secret", "list"],
        &["wait", run_id],
        &["tenant", "list"],
        &["token", "list"],
        &["ledger", "checkpoint"],
        &["doctor"],
        &["version"],
    ] {
        let line = [line, &["-o", "json"]].concat();
        let said = server.run(&line);
        said.json(0);
    }
    let events = server.run(&["events", "-o", "jsonl"]);
    assert_eq!(events.code, 0, "{events:?}");
    for (index, line) in events.stdout.lines().enumerate() {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["seq"], index, "{line}");
    }
    assert!(events.stdout.lines().count() > 8);
}

#[test]
fn a_job_has_its_log_as_a_run_has() {
    let (_folder, server) = served();
    let run = server.run(&["run", "good", "--wait", "-o", "json"]).json(0);
    let run = server.get(&format!("/api/v1/pack-runs/{}", run["id"].as_str().unwrap()));
    let job = run["steps"][0]["jobId"].as_str().unwrap();
    for line in [
        &["logs", job, "--bare"][..],
        &["logs", job, "--bare", "--attempt", "1"],
    ] {
        let said = server.run(line);
        assert_eq!((said.code, said.stdout.as_str()), (0, "yes\n"), "{said:?}");
    }
    assert_eq!(server.run(&["logs", job, "--bare", "--attempt", "2"]).stdout, "");
}

#[test]
fn a_worker_is_drained_and_may_work_again() {
    let (_folder, server) = served();
    server
        .run(&["worker", "drain", "w-1"])
        .refuses(3, "no such worker");
    let claim = r#"{"worker":"w-1","queues":["default"]}"#;
    assert_eq!(
        server.post("/api/v1/workers/claim", claim)["jobs"],
        Value::Array(Vec::new())
    );
    let drained = server
        .run(&["worker", "drain", "w-1", "--reason", "new disk", "-o", "json"])
        .json(0);
    assert_eq!(
        (&drained["draining"], &drained["drainReason"]),
        (&true.into(), &"new disk".into())
    );
    let back = server
        .run(&["worker", "drain", "w-1", "--undo", "-o", "json"])
        .json(0);
    assert_eq!(back["draining"], false);
    assert!(server.run(&["worker", "list"]).stdout.contains("w-1"));
}

#[test]
fn a_run_is_paused_and_goes_on() {
    let (folder, server) = served();
    let go = folder.path().join("go");
    let file = folder.path().join("two.yaml");
    let pack = PACK
        .replace("NAME", "two")
        .replace("[ARGV]", "[sh, -c, 'until test -e GO; do sleep 0.05; done']");
    let pack = pack.replace("GO", go.to_str().unwrap()) + "    - {id: b, needs: [a], run: [\"true\"]}\n";
    std::fs::write(&file, pack).unwrap();
    assert_eq!(server.run(&["pack", "push", file.to_str().unwrap()]).code, 0);
    let run = server.run(&["run", "two", "-o", "json"]).json(0);
    let id = run["id"].as_str().unwrap();
    assert_eq!(
        server
            .run(&["pause", id, "--reason", "look first", "-o", "json"])
            .json(0)["paused"],
        true
    );
    server.run(&["pause", id]).refuses(5, "paused already");
    std::fs::write(&go, "").unwrap();
    let read = || server.get(&format!("/api/v1/pack-runs/{id}"));
    until("the first step is done", || {
        read()["steps"][0]["status"] == "completed"
    });
    assert_eq!(read()["steps"][1]["waiting"]["for"], "paused");
    assert_eq!(server.run(&["resume", id, "-o", "json"]).json(0)["paused"], false);
    assert_eq!(server.run(&["wait", id]).code, 0);
    server.run(&["resume", id]).refuses(5, "cannot be resumed");
}

#[test]
fn every_file_is_looked_at_whatever_the_others_hold() {
    let (folder, _server) = served();
    let (good, broken) = (folder.path().join("good.yaml"), folder.path().join("broken.yaml"));
    std::fs::write(&broken, "apiVersion: fastness/v1\n").unwrap();
    let (good, broken) = (good.to_str().unwrap(), broken.to_str().unwrap());
    let said = run(&["pack", "lint", good, good]);
    assert_eq!((said.code, said.stdout.lines().count()), (0, 2), "{said:?}");
    let said = run(&["pack", "lint", broken, good, broken]);
    assert_eq!((said.code, said.stdout.lines().count()), (2, 1), "{said:?}");
    assert_eq!(said.stderr.matches("is not a pack").count(), 2, "{said:?}");
}

#[test]
fn help_and_version_are_data_and_go_to_standard_output() {
    for line in [
        &["--help"][..],
        &["--version"],
        &["serve", "--help"],
        &["version"],
    ] {
        let said = Said::of(&mut command(line));
        assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{said:?}");
        assert!(!said.stdout.is_empty());
    }
}
