//! Versions of packs through the program, across a restart.

use serde_json::Value;

use crate::support::program::Program;

/// A comment, and spaces nobody needs: the source comes back as it was given, not as it was understood.
const FIRST: &str = "# as written\napiVersion: fastness/v1\nkind: Pack\nmetadata:   {name: ages}\nspec:\n  steps:\n    - {id: a, run: [echo, one]}\n";

fn push(server: &Program, file: &std::path::Path, source: &str) -> Value {
    std::fs::write(file, source).unwrap();
    server
        .run(&["pack", "push", file.to_str().unwrap(), "-o", "json"])
        .json(0)
}

#[track_caller]
fn assert_source(server: &Program, pack: &str, source: &str) {
    let shown = server.run(&["pack", "show", pack, "--source"]);
    assert_eq!((shown.code, shown.stdout.as_str()), (0, source), "{shown:?}");
}

#[test]
fn a_name_pushed_again_is_version_two_and_version_one_stays_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().join("data"), folder.path().join("pack.yaml"));
    let second = FIRST.replace("one", "two");
    let server = Program::start(&data);
    let one = push(&server, &file, FIRST);
    assert_eq!((&one["version"], &one["created"]), (&1.into(), &true.into()));
    // Killed, not stopped: what was acknowledged is there.
    server.kill();

    let server = Program::start(&data);
    assert_source(&server, "ages@1", FIRST);
    let same = push(&server, &file, FIRST);
    assert_eq!((&same["version"], &same["created"]), (&1.into(), &false.into()));
    assert_eq!(same["planHash"], one["planHash"]);
    let two = push(&server, &file, &second);
    assert_eq!((&two["version"], &two["created"]), (&2.into(), &true.into()));
    assert_ne!(two["planHash"], one["planHash"]);
    let (code, _) = server.terminate();
    assert_eq!(code, Some(0));

    let server = Program::start(&data);
    assert_source(&server, "ages@1", FIRST);
    assert_source(&server, "ages@2", &second);
    assert_source(&server, "ages", &second);
    server.run(&["pack", "show", "ages@3"]).refuses(3, "no such pack");
    for (pack, says) in [("ages@1", "one\n"), ("ages", "two\n")] {
        let run = server.run(&["run", pack, "--wait", "-o", "json"]).json(0);
        assert_eq!(run["status"], "completed", "{run}");
        let logs = server.run(&["logs", run["id"].as_str().unwrap(), "--bare"]);
        assert_eq!((logs.code, logs.stdout.as_str()), (0, says), "{logs:?}");
    }
}
