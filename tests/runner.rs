//! Promises of the runner about a step: what it gets, what is kept of it, what its end means.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use fastness::domain::Digest;
use fastness::limits;
use fastness::output::{AttemptKey, LineKind, Stream};
use fastness::runner::{Failure, FailureClass, NeededArtifact, Outcome};
use serde_json::json;

use crate::output_faults::{FailingDisk, Fault};
use crate::runner_support::{Done, argv, house, house_with, scope, shell};

fn failure(done: &Done) -> &Failure {
    match &done.outcome {
        Outcome::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

fn outputs(done: &Done) -> &BTreeMap<String, String> {
    match &done.outcome {
        Outcome::Completed { outputs } => outputs,
        other => panic!("{other:?}"),
    }
}

fn key(done: &Done) -> AttemptKey {
    AttemptKey {
        scope: scope(),
        job: done.job,
        attempt: 1,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_and_shells_run_and_their_output_is_recorded() {
    let house = house().await;
    let plain = house.run(argv(&["printf", "%s|", "a b", "$HOME", "*"])).await;
    assert_eq!(outputs(&plain), &BTreeMap::new());
    assert_eq!(house.text(plain.job, Stream::Stdout), ["a b|$HOME|*|"]);
    let shell = house.run(shell("echo out; echo err >&2; cat")).await;
    assert_eq!(shell.ended.exit_code, Some(0));
    assert_eq!(house.text(shell.job, Stream::Stdout), ["out"]);
    assert_eq!(house.text(shell.job, Stream::Stderr), ["err"]);
    let logs = shell.ended.logs.as_ref().unwrap();
    assert_eq!(logs.stdout.sha256, Digest::of(b"out\n"));
    assert_eq!(logs.stderr.sha256, Digest::of(b"err\n"));
    house.output.verify(&key(&shell), logs).unwrap();
    assert_eq!(house.work_folders(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_other_than_0_says_how_it_ended() {
    let house = house().await;
    let cases = [
        (shell("exit 3"), FailureClass::Exit, "exit code 3", None, Some(3)),
        (
            shell("false; echo no"),
            FailureClass::Exit,
            "exit code 1",
            None,
            Some(1),
        ),
        (shell("echo $unset_name"), FailureClass::Exit, "", None, None),
        (
            shell("kill -9 $$"),
            FailureClass::Exit,
            "ended by signal 9",
            Some("signal"),
            None,
        ),
        (
            argv(&["./none"]),
            FailureClass::Other,
            "",
            Some("cannot_execute"),
            None,
        ),
        (
            json!({"action": {"argv": []}}),
            FailureClass::Other,
            "",
            Some("payload_refused"),
            None,
        ),
        (json!({}), FailureClass::Other, "", Some("payload_refused"), None),
    ];
    for (task, class, message, code, exit_code) in cases {
        let done = house.run(task.clone()).await;
        let failure = failure(&done);
        assert_eq!(
            (failure.class, failure.code),
            (class, code),
            "{task}: {failure:?}"
        );
        assert!(failure.message.contains(message), "{failure:?}");
        if exit_code.is_some() {
            assert_eq!((failure.exit_code, done.ended.exit_code), (exit_code, exit_code));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_inherits_nothing_from_the_server() {
    let house = house().await;
    let task = json!({"action": {"argv": ["env"]}, "env": {"LC_ALL": "C", "FASTNESS_RUN": "forged"}});
    let done = house.run(task).await;
    let lines = house.text(done.job, Stream::Stdout);
    let names: BTreeSet<&str> = lines.iter().map(|line| line.split_once('=').unwrap().0).collect();
    let expected = [
        "FASTNESS_ATTEMPT",
        "FASTNESS_NEEDS",
        "FASTNESS_OUTPUT",
        "FASTNESS_RUN",
        "FASTNESS_STEP",
        "FASTNESS_TEST_MARK",
        "HOME",
        "LC_ALL",
        "PATH",
        "TMPDIR",
    ];
    assert_eq!(names, BTreeSet::from(expected));
    assert!(
        lines.contains(&format!("FASTNESS_RUN={}", scope().run)),
        "{lines:?}"
    );

    let place = shell("pwd; umask; echo $HOME; stat -c %a . out tmp needs; cat; ps -o sid= -p $$");
    let lines = house.text(house.run(place).await.job, Stream::Stdout);
    assert_eq!(lines[0], lines[2]);
    assert_eq!(&lines[1..2], ["0077"]);
    assert_eq!(&lines[3..7], ["700", "700", "700", "700"]);

    // A descriptor that this process itself was given without the close flag is not the runner's doing.
    let mut allowed: BTreeSet<String> = ["0", "1", "2"].map(str::to_owned).into();
    for entry in std::fs::read_dir("/proc/self/fdinfo").unwrap() {
        let path = entry.unwrap().path();
        let info = std::fs::read_to_string(&path).unwrap_or_default();
        let flags = info
            .lines()
            .find_map(|line| line.strip_prefix("flags:"))
            .unwrap_or("02000000");
        if i64::from_str_radix(flags.trim(), 8).unwrap() & 0o2_000_000 == 0 {
            allowed.insert(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    let done = house
        .run(shell(
            "for fd in /proc/$$/fd/*; do test ! -e $fd || echo ${fd##*/}; done",
        ))
        .await;
    let open: BTreeSet<String> = house.text(done.job, Stream::Stdout).into_iter().collect();
    assert!(
        open.is_subset(&allowed),
        "open: {open:?}, inherited by the test: {allowed:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn output_beyond_the_bound_is_cut_and_the_step_goes_on() {
    let house = house().await;
    let done = house
        .run(json!({"action": {"shell": "seq 1 200000; exit 0"}, "outputBytesMax": 1_000}))
        .await;
    outputs(&done);
    let logs = done.ended.logs.as_ref().unwrap();
    assert_eq!((logs.stdout.bytes, logs.stdout.truncated), (1_000, true));
    assert!(!logs.stderr.truncated);
    let last = house.lines(done.job).pop().unwrap();
    assert_eq!(last.kind, LineKind::Truncated);
    house.output.verify(&key(&done), logs).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_lines_are_kept_in_order() {
    let house = house().await;
    let done = house.run(shell("seq 1 100000; seq 1 1000 >&2")).await;
    let lines = house.lines(done.job);
    assert_eq!(lines.len(), 101_000);
    assert!(lines.windows(2).all(|pair| pair[0].pos + 1 == pair[1].pos));
    for (stream, count) in [(Stream::Stdout, 100_000), (Stream::Stderr, 1_000)] {
        let numbers = lines
            .iter()
            .filter(|line| line.stream == stream)
            .map(|line| line.text.as_str());
        assert!(numbers.eq((1..=count).map(|n: i32| n.to_string())), "{stream:?}");
    }
    let logs = done.ended.logs.as_ref().unwrap();
    assert_eq!((logs.stdout.lines, logs.stderr.lines), (100_000, 1_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_written_after_another_was_read_comes_after_it() {
    let house = house().await;
    // Each line waits until the one before it, on the other stream, can be read from the log.
    let text = "for n in 1 2 3 4 5; do echo out $n; while ! test -e go-$n; do :; done; echo err $n >&2; done";
    let job = house.submit(shell(text));
    let work = house.dir.path().join("work");
    for n in 1..=5 {
        house.line(job, &format!("out {n}")).await;
        std::fs::write(work.join(format!("{job}-1/go-{n}")), "").unwrap();
    }
    outputs(&house.done(job).await);
    let lines: Vec<String> = house.lines(job).into_iter().map(|line| line.text).collect();
    for n in 1..=5 {
        let at = |text: String| lines.iter().position(|line| *line == text).unwrap();
        assert!(at(format!("out {n}")) < at(format!("err {n}")), "{lines:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn artifacts_come_from_files_and_from_standard_output() {
    let house = house().await;
    let task = json!({
        "action": {"shell": "printf 'a\\tb\\n'; mkdir out/deep; printf file > out/deep/f"},
        "artifacts": [
            {"name": "table.tsv", "from": "stdout"},
            {"name": "f", "path": "out/deep/f"},
        ],
    });
    let done = house.run(task).await;
    outputs(&done);
    let [table, file] = done.ended.artifacts.as_slice() else {
        panic!("{:?}", done.ended.artifacts)
    };
    assert_eq!((table.sha256, table.bytes), (Digest::of(b"a\tb\n"), 4));
    assert_eq!(table.mime, "text/tab-separated-values");
    assert_eq!(
        (file.sha256, file.mime),
        (Digest::of(b"file"), "application/octet-stream")
    );
    house.output.blobs().verify(&file.sha256).unwrap();
    house.output.blobs().verify(&table.sha256).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn artifacts_that_are_missing_or_lead_elsewhere_fail_a_success() {
    let house = house().await;
    std::fs::write(house.dir.path().join("secret"), "s").unwrap();
    let cases = [
        ("true", "out/none", "artifact_missing"),
        ("ln -s ../../../secret out/x", "out/x", "artifact_refused"),
        ("ln -s ../../.. out/up", "out/up/secret", "artifact_refused"),
        ("true", "../../secret", "artifact_refused"),
        ("true", "/etc/hostname", "artifact_refused"),
        ("mkfifo out/x", "out/x", "artifact_refused"),
        ("mkdir out/x", "out/x", "artifact_refused"),
    ];
    for (text, path, code) in cases {
        let artifacts = json!([{"name": "x", "path": path}]);
        let done = house
            .run(json!({"action": {"shell": text}, "artifacts": artifacts}))
            .await;
        assert_eq!(failure(&done).code, Some(code), "{text} {path}");
        assert!(done.ended.artifacts.is_empty());
    }
    let cut = json!({"action": {"shell": "seq 1 100"}, "outputBytesMax": 10,
        "artifacts": [{"name": "x", "from": "stdout"}]});
    assert_eq!(failure(&house.run(cut).await).code, Some("artifact_refused"));
    // What a failed step left is kept; that it left not everything is no second failure.
    let failed = json!({"action": {"shell": "echo 1 > out/a; exit 4"},
        "artifacts": [{"name": "a", "path": "out/a"}, {"name": "b", "path": "out/b"}]});
    let done = house.run(failed).await;
    assert_eq!(failure(&done).exit_code, Some(4));
    assert_eq!(done.ended.artifacts.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_are_read_from_the_file_named_in_the_environment() {
    let house = house().await;
    let done = house
        .run(shell(
            "echo count=12 >> $FASTNESS_OUTPUT; echo who=a=b >> $FASTNESS_OUTPUT",
        ))
        .await;
    let expected = [("count", "12"), ("who", "a=b")];
    assert_eq!(
        outputs(&done),
        &expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    );
    for bad in [
        "echo nonsense >> $FASTNESS_OUTPUT",
        "rm $FASTNESS_OUTPUT; ln -s /etc/hostname $FASTNESS_OUTPUT",
        "seq 1 100000 | sed s/^/k=/ > $FASTNESS_OUTPUT",
    ] {
        let done = house.run(shell(bad)).await;
        assert_eq!(failure(&done).code, Some("outputs_refused"), "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn artifacts_of_earlier_steps_are_handed_over_checked() {
    let house = house().await;
    let first =
        json!({"action": {"shell": "echo digest"}, "artifacts": [{"name": "d.txt", "from": "stdout"}]});
    let first = house.run(first).await;
    let need = NeededArtifact {
        step: "first[0]".parse().unwrap(),
        name: "d.txt".parse().unwrap(),
        sha256: first.ended.artifacts[0].sha256,
    };
    let read = shell("cat $FASTNESS_NEEDS/first[[]0]/d.txt; cat needs/*/d.txt; stat -c %a needs/*/d.txt");
    let done = house
        .done(house.submit_with(read.clone(), vec![need.clone()]))
        .await;
    outputs(&done);
    assert_eq!(house.text(done.job, Stream::Stdout), ["digest", "digest", "400"]);
    // A step that overwrites its copy does not reach the stored one.
    let overwrite = shell("for f in needs/*/d.txt; do chmod 600 $f; echo bad > $f; done");
    outputs(&house.done(house.submit_with(overwrite, vec![need.clone()])).await);
    house.output.blobs().verify(&need.sha256).unwrap();

    let hex = need.sha256.to_string();
    let path = house.dir.path().join("output/blobs").join(&hex[..2]).join(&hex);
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(b"D", 0).unwrap();
    let done = house.done(house.submit_with(read, vec![need])).await;
    let failure = failure(&done);
    assert_eq!(failure.code, Some("need_unavailable"));
    assert!(failure.message.contains(&hex), "{failure:?}");
    assert_eq!(house.work_folders(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_steps_run_side_by_side() {
    let house = house_with(Arc::new(fastness::disk::OsDisk), |config| config.slots = 20).await;
    let dir = house.dir.path().join("meeting");
    std::fs::create_dir(&dir).unwrap();
    // Each waits until all have come: with fewer than twenty at once none would end.
    let text = format!(
        "cd {}; : > $FASTNESS_STEP; until test $(ls | wc -l) -ge 20; do :; done; echo met",
        dir.display()
    );
    let jobs: Vec<_> = (0..20).map(|_| house.submit(shell(&text))).collect();
    for job in jobs {
        outputs(&house.done(job).await);
        assert_eq!(house.text(job, Stream::Stdout), ["met"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_steps_run_at_once_than_there_are_slots() {
    let house = house_with(Arc::new(fastness::disk::OsDisk), |config| config.slots = 2).await;
    let dir = house.dir.path().join("meeting");
    std::fs::create_dir(&dir).unwrap();
    let text = format!(
        "cd {}; : > $FASTNESS_STEP; n=$(ls | wc -l); rm $FASTNESS_STEP; echo $n",
        dir.display()
    );
    let jobs: Vec<_> = (0..12).map(|_| house.submit(shell(&text))).collect();
    for job in jobs {
        outputs(&house.done(job).await);
        let seen: usize = house.text(job, Stream::Stdout)[0].parse().unwrap();
        assert!((1..=2).contains(&seen), "{seen} at once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_whose_output_cannot_be_kept_is_killed_and_fails() {
    let fault = Arc::new(Fault(AtomicI64::new(i64::MAX)));
    let house = house_with(Arc::new(FailingDisk(Arc::clone(&fault))), |_| {}).await;
    // A single line, after which it is silent: the broken log must be noticed by itself.
    let job = house.submit(shell("mkfifo go; echo ready; read _ < go; echo more; sleep 1000"));
    house.line(job, "ready").await;
    fault.0.store(0, std::sync::atomic::Ordering::Relaxed);
    std::fs::write(house.dir.path().join(format!("work/{job}-1/go")), "\n").unwrap();
    let done = house.done(job).await;
    assert_eq!(failure(&done).code, Some("log_failed"));
    assert_eq!(done.ended.logs, None);
    assert_eq!(house.survivors(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_too_large_for_the_system_is_a_failure_of_that_step_alone() {
    let house = house().await;
    let done = house.run(shell(&": ".repeat(200_000))).await;
    assert_eq!(failure(&done).code, Some("cannot_execute"));
    let done = house.run(shell(&":".repeat(4 * limits::PACK_BYTES_MAX))).await;
    assert_eq!(failure(&done).code, Some("launch_failed"));
    assert!(done.ended.logs.is_some());
    outputs(&house.run(shell("true")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_starts_removes_what_an_earlier_one_left() {
    let mut house = house().await;
    house.stop(Duration::ZERO).await;
    let left = house.dir.path().join("work/left-1/out");
    std::fs::create_dir_all(&left).unwrap();
    let mut process = std::process::Command::new("sleep")
        .arg("1000")
        .env("FASTNESS_OUTPUT", house.dir.path().join("work/left-1/.outputs"))
        .spawn()
        .unwrap();
    let config =
        fastness::runner::RunnerConfig::new("w".to_owned(), Vec::new(), house.dir.path().join("work"));
    let mut runner = fastness::runner::Runner::start(
        config,
        Arc::clone(&house.desk),
        Arc::new(fastness::runner::LocalLauncher::new(
            crate::runner_support::PROGRAM.into(),
        )),
        Arc::clone(&house.output),
        Arc::new(fastness::clock::SystemClock::default()),
    )
    .await
    .unwrap();
    assert_eq!(house.work_folders(), 0);
    assert!(!process.wait().unwrap().success());
    runner.drain(Duration::ZERO);
    runner.join().await;
}
