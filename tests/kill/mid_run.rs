//! A server killed while a step runs: the step is recorded as lost and tried again, and nothing of it lives on.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::support::program::{Program, until};

/// The first attempt leaves a daemon behind, writes `FLAG`, and never ends; the second completes.
const PACK: &str = r#"
apiVersion: fastness/v1
kind: Pack
metadata: {name: long}
spec:
  steps:
    - id: long
      retries: {max: 2, initial: 10ms}
      shell: |
        echo "attempt $FASTNESS_ATTEMPT"
        [ "$FASTNESS_ATTEMPT" = 1 ] || exit 0
        trap '' TERM HUP
        setsid sh -c 'trap "" TERM HUP; sleep 1000; sleep 1000' > /dev/null 2>&1 < /dev/null &
        sleep 1001 &
        echo ready > FLAG
        wait
    - id: after
      needs: [long]
      run: [echo, after]
"#;

#[test]
fn a_step_that_ran_when_the_server_was_killed_is_lost_and_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let (data, flag) = (folder.path().join("data"), folder.path().join("flag"));
    let source = folder.path().join("long.yaml");
    std::fs::write(&source, PACK.replace("FLAG", flag.to_str().unwrap())).unwrap();
    let server = Program::start(&data);
    server
        .run(&["pack", "push", source.to_str().unwrap(), "-o", "json"])
        .json(0);
    let run = server.run(&["run", "long", "-o", "json"]).json(0);
    let id = run["id"].as_str().unwrap();
    until("the step runs", || flag.exists());
    let mut tree = BTreeMap::new();
    until(
        "the supervisor, the shell, the daemon, and two that sleep",
        || {
            tree = descendants(server.id());
            tree.len() >= 5
        },
    );

    server.kill();
    until("nothing of the tree survives", || {
        tree.iter().all(|(pid, began)| began_at(*pid) != Some(*began))
    });

    let server = Program::start(&data);
    let ended = server.run(&["wait", id, "-o", "json"]).json(0);
    assert_eq!(ended["status"], "completed", "{ended:#}");
    let events = server.get(&format!("/api/v1/events?run={id}&limit=500"));
    assert_eq!(
        told(&events, "long"),
        [
            "job.created",
            "job.started 1",
            "job.failed 1 worker_lost",
            "job.scheduled",
            "job.started 2",
            "job.completed 2"
        ],
        "{events:#}"
    );
    let logs = server.run(&["logs", id, "--bare"]);
    assert_eq!(logs.code, 0, "{logs:?}");
    assert!(logs.stdout.contains("attempt 2\nafter\n"), "{logs:?}");
    let (code, _) = server.terminate();
    assert_eq!(code, Some(0));
}

/// The transitions of a step: type, epoch, and kind of failure.
fn told(events: &Value, step: &str) -> Vec<String> {
    let jobs = events["items"].as_array().unwrap().iter().filter(|event| {
        event["subject"]["step"] == step && event["type"].as_str().unwrap().starts_with("job.")
    });
    let line = |event: &Value| {
        let mut line = event["type"].as_str().unwrap().to_owned();
        if let Some(epoch) = event["payload"]["epoch"].as_u64() {
            line.push_str(&format!(" {epoch}"));
        }
        if let Some(class) = event["payload"]["failure"]["class"].as_str() {
            line.push_str(&format!(" {class}"));
        }
        line
    };
    jobs.map(line).collect()
}

/// All processes below this one, with the time at which each began: a number alone may be given again.
fn descendants(root: u32) -> BTreeMap<u32, u64> {
    let mut parents = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let name = entry.unwrap().file_name();
        if let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok())
            && let Some(parent) = stat(pid, 1)
        {
            parents.insert(pid, parent);
        }
    }
    let is_below = |pid: u32| {
        let mut at = u64::from(pid);
        while let Ok(number) = u32::try_from(at)
            && let Some(parent) = parents.get(&number)
        {
            if *parent == u64::from(root) {
                return true;
            }
            at = *parent;
        }
        false
    };
    let below = parents.keys().filter(|pid| is_below(**pid));
    below.filter_map(|pid| Some((*pid, began_at(*pid)?))).collect()
}

/// When a living process began, in ticks. One that is dead and not yet waited for does not count.
fn began_at(pid: u32) -> Option<u64> {
    let state = fields(pid)?.first()?.clone();
    if state == "Z" || state == "X" {
        return None;
    }
    stat(pid, 19)
}

/// A number of `/proc/PID/stat`, counted from the state, which follows the name.
fn stat(pid: u32, index: usize) -> Option<u64> {
    fields(pid)?.get(index)?.parse().ok()
}

fn fields(pid: u32) -> Option<Vec<String>> {
    let path = Path::new("/proc").join(pid.to_string()).join("stat");
    let text = std::fs::read_to_string(path).ok()?;
    // The name stands in parentheses and may hold anything.
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split(' ').map(str::to_owned).collect())
}
