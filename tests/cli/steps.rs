//! Steps of packs in the running program: their timeouts, and how many jobs of a map run beside each other.

use std::path::Path;

use serde_json::Value;

use crate::support::program::Program;

const SLOW: &str = r#"apiVersion: fastness/v1
kind: Pack
metadata: {name: slow}
spec:
  steps:
    - {id: once, run: [sleep, "1000"], timeout: 200ms, retries: {max: 1, initial: 10ms, jitter: none}}
    - {id: behind, needs: [once], run: ["true"]}
    - {id: last, needs: [once], always: true, run: ["true"]}
    - id: each
      map: {over: '["a", "b"]', as: item}
      run: [sh, -c, 'test "$1" = b || sleep 1000', "-", "${{ item }}"]
      timeout: 500ms
      retries: {max: 0}
"#;

/// Each item tells how many of them it saw.
const CROWD: &str = r#"apiVersion: fastness/v1
kind: Pack
metadata: {name: NAME}
spec:
  maxParallel: ALL
  steps:
    - id: each
      map: {over: '["a", "b", "c", "d", "e"]', as: item, maxParallel: EACH}
      run: [sh, -euc, 'mkdir "$1"; sleep 0.3; echo "seen=$(ls "$0" | wc -l)" > "$FASTNESS_OUTPUT"; rmdir "$1"', DIR, "DIR/${{ item }}"]
"#;

fn push(server: &Program, folder: &Path, pack: &str) {
    let file = folder.join("pack.yaml");
    std::fs::write(&file, pack).unwrap();
    let pushed = server.run(&["pack", "push", file.to_str().unwrap()]);
    assert_eq!(pushed.code, 0, "{pushed:?}");
}

/// A run that has ended, with its steps.
fn run(server: &Program, pack: &str, code: i32) -> Value {
    let run = server.run(&["run", pack, "--wait", "-o", "json"]).json(code);
    server.get(&format!("/api/v1/pack-runs/{}", run["id"].as_str().unwrap()))
}

#[test]
fn a_step_that_lasts_too_long_fails_and_is_tried_again_as_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let server = Program::start(&folder.path().join("data"));
    push(&server, folder.path(), SLOW);
    let ended = run(&server, "slow", 1);
    assert_eq!(ended["status"], "partially_failed", "{ended}");
    let step = |index: usize| &ended["steps"][index];
    assert_eq!(
        (&step(0)["status"], &step(0)["attempt"]),
        (&"failed".into(), &2.into())
    );
    assert_eq!(step(0)["error"]["class"], "timeout");
    assert_eq!(step(0)["error"]["message"], "ran longer than 200 ms");
    assert_eq!(
        (&step(1)["status"], &step(1)["reason"]),
        (&"cancelled".into(), &"upstream_failed".into())
    );
    assert_eq!(step(2)["status"], "completed");
    assert_eq!(
        (&step(3)["id"], &step(3)["status"]),
        (&"each[0]".into(), &"failed".into())
    );
    assert_eq!(
        (&step(3)["attempt"], &step(3)["error"]["class"]),
        (&1.into(), &"timeout".into())
    );
    assert_eq!(
        (&step(4)["id"], &step(4)["status"]),
        (&"each[1]".into(), &"completed".into())
    );
    let row = server.get(&format!(
        "/api/v1/runs/{}/timeline",
        ended["id"].as_str().unwrap()
    ));
    let ran = row["rows"][0]["spans"].as_array().unwrap().iter();
    assert_eq!(ran.filter(|span| span["kind"] == "running").count(), 2);
}

#[test]
fn no_more_jobs_of_a_map_run_at_once_than_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let server = Program::start(&folder.path().join("data"));
    for (name, all, each, most) in [("by-map", "64", "2", 2), ("by-run", "1", "4", 1)] {
        let crowd = folder.path().join(name);
        std::fs::create_dir(&crowd).unwrap();
        let pack = CROWD
            .replace("NAME", name)
            .replace("ALL", all)
            .replace("EACH", each);
        push(
            &server,
            folder.path(),
            &pack.replace("DIR", crowd.to_str().unwrap()),
        );
        let ended = run(&server, name, 0);
        let steps = ended["steps"].as_array().unwrap();
        assert_eq!(steps.len(), 5);
        let seen = steps.iter().map(|step| {
            let job = server.get(&format!("/api/v1/jobs/{}", step["jobId"].as_str().unwrap()));
            job["output"]["seen"]
                .as_str()
                .unwrap()
                .trim()
                .parse::<u32>()
                .unwrap()
        });
        let seen: Vec<u32> = seen.collect();
        assert_eq!(seen.iter().max(), Some(&most), "{seen:?}");
    }
}
