//! Packs and their runs over HTTP; the test plays the runner.

use fastness::domain::TenantName;
use fastness::domain::command::{Command, CompleteJob, Outcome, Reply as Answered};
use fastness::domain::event::Actor;
use fastness::domain::job::{Artifact, AttemptLogs, Failure, FailureClass, Job, OutputDigest};
use fastness::engine::{Claim, Reach, Wanted};
use fastness::output::{AttemptAsk, AttemptKey, RunScope, Stream, StreamSummary};
use serde_json::{Value, json};

use crate::support::appliance::{Ask, Reply, TestAppliance};

const DEMO: &str = "apiVersion: fastness/v1
kind: Pack
metadata: {name: demo, description: Three steps}
spec:
  inputs:
    root: {type: string, default: /usr}
    count: {type: int}
  maxParallel: 1
  steps:
    - id: first
      run: [echo, one]
    - id: second
      needs: [first]
      run: [echo, two]
    - id: third
      needs: [first]
      run: [echo, three]
      retries: {max: 0}
";

fn register(appliance: &TestAppliance, source: &str) -> Reply {
    let asked = Ask::post("/api/v1/packs", source.as_bytes()).header("content-type", "application/yaml");
    appliance.send(&asked.token(&appliance.admin))
}

pub fn start_run(appliance: &TestAppliance) -> String {
    let reply = register(appliance, DEMO);
    assert!(matches!(reply.status, 200 | 201), "{}", reply.json());
    let run = appliance
        .post("/api/v1/pack-runs", r#"{"pack":"demo","inputs":{"count":3}}"#)
        .expect(201);
    run["id"].as_str().unwrap().to_owned()
}

fn digest(stream: &StreamSummary) -> OutputDigest {
    OutputDigest {
        bytes: stream.bytes,
        lines: stream.lines,
        sha256: stream.sha256,
        truncated: stream.truncated,
    }
}

/// Leases the next step, as the built-in runner does: nobody else may.
pub fn take_step(appliance: &TestAppliance) -> Option<Job> {
    let tenant: TenantName = "default".parse().unwrap();
    let claim = Claim {
        worker: "runner".to_owned(),
        reach: Reach::OneTenant,
        wanted: Wanted {
            labels: Default::default(),
            queues: vec!["local".to_owned()],
            types: vec![],
        },
        max: 1,
        lease_ms: 30_000,
        wait_ms: 0,
        token: None,
    };
    let actor = Actor::worker("runner");
    let trip = appliance.engine.trip(&tenant, &actor, vec![], Some(claim));
    let jobs = appliance.runtime.block_on(trip).unwrap().jobs;
    jobs.into_iter().next().map(|leased| leased.job)
}

/// Runs the next step: writes lines, leaves an artifact, and ends. Gives the step's name; none when none is ready.
pub fn run_step(appliance: &TestAppliance, lines: &[&str], outcome: Outcome) -> Option<String> {
    let tenant: TenantName = "default".parse().unwrap();
    let engine = &appliance.engine;
    let job = take_step(appliance)?;
    let step = job.name.clone().unwrap();
    let scope = RunScope {
        tenant: tenant.clone(),
        run: job.run.unwrap(),
    };
    let key = AttemptKey {
        scope,
        job: job.id,
        attempt: job.attempt,
    };
    let at = fastness::domain::Timestamp::from_ms(engine.clock().wall_ms());
    let ask = AttemptAsk {
        key,
        step: Some(step.clone()),
        bytes_max: 1 << 20,
    };
    let mut log = appliance.output.attempt(&ask, at).unwrap();
    for line in lines {
        log.append(Stream::Stdout, format!("{line}\n").as_bytes(), at)
            .unwrap();
    }
    let summary = log.finish(at).unwrap();
    let mut blob = appliance.output.blobs().create(1 << 20).unwrap();
    blob.write(format!("content of {step}\n").as_bytes()).unwrap();
    let blob = blob.finish().unwrap();
    let artifact = Artifact {
        mime: "text/plain".to_owned(),
        name: "out.txt".parse().unwrap(),
        sha256: blob.sha256,
        size: blob.bytes,
    };
    let logs = AttemptLogs {
        index_sha256: summary.index,
        stderr: digest(&summary.stderr),
        stdout: digest(&summary.stdout),
    };
    let command = Command::CompleteJob(Box::new(CompleteJob {
        job: job.id,
        epoch: job.epoch,
        outcome,
        artifacts: vec![artifact],
        exit_code: Some(0),
        logs: Some(logs),
        step: Some(step.clone()),
    }));
    assert!(matches!(appliance.command(&tenant, command), Answered::Job(_)));
    Some(step.to_string())
}

pub fn done() -> Outcome {
    Outcome::Completed(None)
}

pub fn finished_pack_run(appliance: &TestAppliance) -> String {
    let run = start_run(appliance);
    while run_step(appliance, &["a line", "another"], done()).is_some() {}
    run
}

#[test]
fn a_pack_is_registered_once_per_content_and_comes_back_byte_for_byte() {
    let appliance = TestAppliance::start();
    let reply = register(&appliance, DEMO);
    let first = reply.expect(201);
    assert_eq!(
        (&first["name"], &first["version"], &first["created"]),
        (&json!("demo"), &json!(1), &json!(true))
    );
    assert_eq!(reply.header("location"), Some("/api/v1/packs/demo/versions/1"));
    let again = register(&appliance, DEMO).expect(200);
    assert_eq!((&again["version"], &again["created"]), (&json!(1), &json!(false)));
    assert_eq!(again["planHash"], first["planHash"]);
    let changed = DEMO.replace("two", "2nd");
    assert_eq!(register(&appliance, &changed).expect(201)["version"], 2);
    assert_eq!(
        register(&appliance, DEMO).expect(200)["version"],
        1,
        "the same bytes as any version"
    );

    let source = appliance.get("/api/v1/packs/demo/versions/1/source");
    assert_eq!(
        (source.status, source.header("content-type")),
        (200, Some("application/yaml"))
    );
    assert_eq!(source.body, DEMO.as_bytes());
    let packs = appliance.get("/api/v1/packs").expect(200);
    assert_eq!(packs["items"].as_array().unwrap().len(), 1);
    let pack = &packs["items"][0];
    assert_eq!(
        (&pack["version"], &pack["description"]),
        (&json!(2), &json!("Three steps"))
    );
    assert_eq!(
        pack["inputs"]["root"],
        json!({"type": "string", "default": "/usr"})
    );
    let versions = appliance.get("/api/v1/packs/demo").expect(200);
    assert_eq!(versions["versions"].as_array().unwrap().len(), 2);
    let version = appliance.get("/api/v1/packs/demo/versions/1").expect(200);
    assert_eq!(version["spec"]["steps"][0]["id"], "first");
    assert_eq!(
        appliance.get("/api/v1/packs/demo/versions/3").problem(404),
        "not_found"
    );

    let text = r#"{"apiVersion":"fastness/v1","kind":"Pack","metadata":{"name":"js"},"spec":{"steps":[{"id":"a","run":["true"]}]}}"#;
    appliance.post("/api/v1/packs", text).expect(201);
    let source = appliance.get("/api/v1/packs/js/versions/1/source");
    assert_eq!(source.header("content-type"), Some("application/json"));
    assert_eq!(source.body, text.as_bytes());
    let plain = Ask::post("/api/v1/packs", b"x")
        .header("content-type", "text/plain")
        .token(&appliance.admin);
    assert_eq!(appliance.send(&plain).problem(415), "unsupported_media_type");
}

#[test]
fn a_broken_pack_is_refused_with_line_column_and_pointer() {
    let appliance = TestAppliance::start();
    let unknown = DEMO.replace(
        "needs: [first]\n      run: [echo, two]",
        "needs: [nowhere]\n      run: [echo, two]",
    );
    let misspelt = DEMO.replace("maxParallel: 1", "maxParalel: 1");
    let cycle = DEMO.replace("id: first\n", "id: first\n      needs: [second]\n");
    for (source, line, pointer) in [
        ("kind: [", 0, ""),
        (&*unknown, 13, ""),
        (&*misspelt, 8, "/spec/maxParalel"),
        (&*cycle, 0, ""),
    ] {
        let reply = register(&appliance, source);
        assert_eq!(reply.problem(422), "pack_invalid", "{source}");
        let error = &reply.json()["errors"][0];
        assert!(
            error["line"].as_u64() > Some(0) && error["column"].as_u64() > Some(0),
            "{error}"
        );
        assert!(line == 0 || error["line"] == line, "{error}");
        assert!(pointer.is_empty() || error["pointer"] == pointer, "{error}");
    }
    let text = register(&appliance, &cycle).json()["errors"].to_string();
    assert!(
        text.contains("first") && text.contains("second"),
        "the cycle is named: {text}"
    );
}

#[test]
fn a_run_needs_its_inputs() {
    let appliance = TestAppliance::start();
    register(&appliance, DEMO).expect(201);
    for (body, status, code) in [
        (r#"{"pack":"demo","inputs":{}}"#, 422, "missing_input"),
        (r#"{"pack":"demo","inputs":{"count":"x"}}"#, 422, "invalid_input"),
        (
            r#"{"pack":"demo","inputs":{"count":1,"more":1}}"#,
            422,
            "unknown_input",
        ),
        (
            r#"{"pack":"demo","version":9,"inputs":{"count":1}}"#,
            404,
            "not_found",
        ),
        (r#"{"pack":"nothing","inputs":{}}"#, 404, "not_found"),
        (
            r#"{"pack":"demo","inputs":{"count":1},"when":"now"}"#,
            422,
            "unknown_field",
        ),
    ] {
        assert_eq!(
            appliance.post("/api/v1/pack-runs", body).problem(status),
            code,
            "{body}"
        );
    }
}

fn names(value: &Value) -> Vec<&String> {
    value.as_object().unwrap().keys().collect()
}

#[test]
fn a_run_is_shown_with_its_steps_graph_and_timeline() {
    let appliance = TestAppliance::start();
    let id = start_run(&appliance);
    let place = format!("/api/v1/pack-runs/{id}");
    let run = appliance.get(&place).expect(200);
    assert_eq!(
        (&run["status"], &run["progress"]),
        (&json!("pending"), &json!({"done": 0, "total": 3}))
    );
    assert_eq!(run["inputs"], json!({"count": 3, "root": "/usr"}));
    assert_eq!(
        (&run["pack"]["name"], &run["startedAt"]),
        (&json!("demo"), &Value::Null)
    );
    let step = &run["steps"][1];
    assert_eq!(
        (&step["id"], &step["index"], &step["needs"]),
        (&json!("second"), &json!(1), &json!(["first"]))
    );
    assert_eq!(step["waiting"], json!({"for": "needs", "open": 1, "total": 1}));
    let failure = Failure {
        class: FailureClass::Exit,
        code: None,
        message: "exit code 1".to_owned(),
        retryable: true,
    };
    assert_eq!(run_step(&appliance, &[], done()).as_deref(), Some("first"));
    assert_eq!(run_step(&appliance, &[], done()).as_deref(), Some("second"));
    assert_eq!(
        run_step(&appliance, &[], Outcome::Failed(failure, 0)).as_deref(),
        Some("third")
    );

    let run = appliance.get(&place).expect(200);
    assert_eq!(
        (&run["status"], &run["progress"]["done"]),
        (&json!("partially_failed"), &json!(3))
    );
    assert_eq!(
        run["steps"][2]["error"],
        json!({"class": "exit", "message": "exit code 1"})
    );
    let list = appliance
        .get("/api/v1/pack-runs?status=partially_failed&pack=demo")
        .expect(200);
    let fields = [
        "correlationId",
        "createdAt",
        "endedAt",
        "id",
        "inputs",
        "pack",
        "pauseReason",
        "paused",
        "progress",
        "replayOf",
        "startedAt",
        "status",
    ];
    assert_eq!(names(&list["items"][0]), fields);
    let fields = [
        "attempt",
        "endedAt",
        "error",
        "exitCode",
        "id",
        "index",
        "jobId",
        "needs",
        "startedAt",
        "status",
        "waiting",
    ];
    assert_eq!(names(&run["steps"][0]), fields);
    assert_eq!(
        appliance.get("/api/v1/pack-runs?status=running").expect(200)["items"],
        json!([])
    );

    let graph = appliance.get(&format!("/api/v1/runs/{id}/graph")).expect(200);
    assert_eq!(graph["edges"], json!([["first", "second"], ["first", "third"]]));
    assert_eq!(graph["nodes"][2]["status"], "failed");
    let timeline = appliance.get(&format!("/api/v1/runs/{id}/timeline")).expect(200);
    let kinds = |row: usize| -> Vec<&str> {
        let spans = timeline["rows"][row]["spans"].as_array().unwrap();
        assert!(
            spans.iter().all(|span| span["to"].is_string()),
            "all over: {spans:?}"
        );
        spans.iter().map(|span| span["kind"].as_str().unwrap()).collect()
    };
    assert_eq!(kinds(0), ["queued", "running"]);
    assert_eq!(kinds(1), ["waiting", "queued", "running"]);
}

#[test]
fn a_step_that_may_not_run_beside_another_says_so() {
    let appliance = TestAppliance::start();
    let id = start_run(&appliance);
    run_step(&appliance, &[], done());
    let claim = json!({"worker": "w-1", "queues": ["local"]}).to_string();
    let stolen = appliance.post("/api/v1/workers/claim", claim);
    assert_eq!(stolen.problem(422), "reserved");
    take_step(&appliance).unwrap();
    let run = appliance.get(&format!("/api/v1/pack-runs/{id}")).expect(200);
    assert_eq!(
        (&run["steps"][1]["status"], &run["steps"][1]["waiting"]),
        (&json!("running"), &Value::Null)
    );
    assert_eq!(
        run["steps"][2]["waiting"],
        json!({"for": "run_full", "limit": 1, "running": 1})
    );
    let timeline = appliance.get(&format!("/api/v1/runs/{id}/timeline")).expect(200);
    assert_eq!(
        timeline["rows"][1]["spans"][2]["to"],
        Value::Null,
        "open while it runs"
    );
}

#[test]
fn logs_and_artifacts_are_given_as_they_were_written() {
    let appliance = TestAppliance::start();
    let id = start_run(&appliance);
    let place = format!("/api/v1/pack-runs/{id}");
    run_step(&appliance, &["one", "two"], done());
    run_step(&appliance, &["three"], done());
    let logs = appliance.get(&format!("{place}/logs"));
    assert_eq!(logs.header("content-type"), Some("application/x-ndjson"));
    let logs = String::from_utf8(logs.body).unwrap();
    let lines: Vec<Value> = logs
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let texts: Vec<_> = lines.iter().map(|line| line["line"].as_str().unwrap()).collect();
    assert_eq!(texts, ["one", "two", "three"]);
    assert_eq!(
        names(&lines[0]),
        ["at", "attempt", "line", "pos", "step", "stream"]
    );
    let plain = format!("{place}/logs?step=first");
    let plain = Ask::get(&plain)
        .header("accept", "text/plain")
        .token(&appliance.admin);
    assert_eq!(appliance.send(&plain).body, b"one\ntwo\n");
    let after = appliance.get(&format!("{place}/logs?after={}&limit=1", lines[0]["pos"]));
    assert_eq!(
        serde_json::from_slice::<Value>(&after.body).unwrap()["line"],
        "two"
    );

    let artifacts = appliance.get(&format!("{place}/artifacts")).expect(200);
    let artifact = &artifacts["items"][0];
    assert_eq!(
        (&artifact["name"], &artifact["step"]),
        (&json!("out.txt"), &json!("first"))
    );
    let content = format!("/api/v1/artifacts/{}", artifact["sha256"].as_str().unwrap());
    let ask = |name: &str, value: &str| {
        appliance.send(&Ask::get(&content).token(&appliance.admin).header(name, value))
    };
    let whole = appliance.get(&content);
    assert_eq!(
        (whole.status, whole.body.as_slice()),
        (200, &b"content of first\n"[..])
    );
    let part = ask("range", "bytes=11-15");
    assert_eq!((part.status, part.body.as_slice()), (206, &b"first"[..]));
    assert_eq!(part.header("content-range"), Some("bytes 11-15/17"));
    assert_eq!(ask("if-none-match", whole.header("etag").unwrap()).status, 304);
    let beyond = ask("range", "bytes=17-");
    assert_eq!(beyond.problem(416), "range_not_satisfiable");
    assert_eq!(beyond.header("content-range"), Some("bytes */17"));
    appliance.create_tenant("other");
    let other = appliance.token("other", fastness::domain::token::Scope::ALL, &["other"]);
    assert_eq!(
        appliance.send(&Ask::get(&content).token(&other)).problem(404),
        "not_found"
    );
}

#[test]
fn a_run_that_has_not_started_is_cancelled_at_once() {
    let appliance = TestAppliance::start();
    let id = start_run(&appliance);
    let path = format!("/api/v1/pack-runs/{id}/cancel");
    let cancelled = appliance.post(&path, r#"{"reason":"no"}"#).expect(200);
    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(appliance.post(&path, "").problem(409), "illegal_transition");
}

#[test]
fn a_plan_tells_order_longest_way_and_what_sealed_mode_refuses_and_records_nothing() {
    let appliance = TestAppliance::start();
    let source = "apiVersion: fastness/v1
kind: Pack
metadata: {name: planned}
spec:
  sealed: forbidden
  inputs:
    root: {type: string, default: /usr}
    count: {type: int}
  steps:
    - {id: last, run: [z], needs: [mid, side]}
    - {id: mid, run: [y], needs: [start]}
    - {id: side, run: [x]}
    - {id: start, run: [w]}
";
    register(&appliance, source).expect(201);
    let place = "/api/v1/packs/planned/versions/1/simulate";
    let plan = appliance.post(place, r#"{"inputs":{"count":2}}"#).expect(200);
    let planned = |id: &str, depth: u32| json!({"comesTo": "job", "depth": depth, "id": id});
    assert_eq!(
        plan["order"],
        json!([
            planned("side", 0),
            planned("start", 0),
            planned("mid", 1),
            planned("last", 2)
        ])
    );
    assert_eq!(plan["criticalPath"], json!(["start", "mid", "last"]));
    assert_eq!(plan["sealedRefuses"], json!(["sealed_forbidden"]));
    assert_eq!(plan["inputs"], json!({"count": 2, "root": "/usr"}));
    let again = appliance.post(place, r#"{"inputs":{"count":2}}"#).expect(200);
    assert_eq!(plan["asOf"], again["asOf"], "nothing is recorded");
    assert_eq!(appliance.post(place, "{}").problem(422), "missing_input");
    let nowhere = "/api/v1/packs/planned/versions/2/simulate";
    assert_eq!(appliance.post(nowhere, "{}").problem(404), "not_found");
}

#[test]
fn a_plan_tells_what_is_skipped_and_mapped_as_far_as_inputs_tell() {
    let appliance = TestAppliance::start();
    let source = DYNAMIC.replace("name: dynamic", "name: foretold").replace(
        "    - id: report",
        "    - {id: few, when: size(inputs.hosts) > 2, run: [x]}\n    - {id: bad, when: '1', run: [x]}\n    - id: report",
    );
    register(&appliance, &source).expect(201);
    let plan = appliance
        .post("/api/v1/packs/foretold/versions/1/simulate", "{}")
        .expect(200);
    let told: Vec<String> = plan["order"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| {
            format!(
                "{} {} {} {}",
                step["id"], step["comesTo"], step["jobs"], step["reason"]
            )
            .replace('"', "")
        })
        .collect();
    assert_eq!(
        told,
        [
            "scan job null null",
            "few skipped null condition",
            "bad fails null when: it comes to something that is not a truth value",
            "per-host jobs 2 null",
            "never open null null",
            "report open null null"
        ]
    );
}

#[test]
fn a_diff_names_steps_inputs_and_settings_with_their_fields() {
    let appliance = TestAppliance::start();
    register(&appliance, DEMO).expect(201);
    let later = DEMO
        .replace("maxParallel: 1", "maxParallel: 2")
        .replace("count: {type: int}", "count: {type: int, default: 3}")
        .replace("- id: second\n      needs: [first]\n", "- id: fourth\n")
        .replace("retries: {max: 0}", "retries: {max: 1}\n      env: {A: b}");
    register(&appliance, &later).expect(201);
    let diff = appliance.get("/api/v1/packs/demo/diff?from=1&to=2").expect(200);
    assert_eq!(
        diff["settings"],
        json!([{"field": "maxParallel", "from": 1, "to": 2}])
    );
    assert_eq!(
        diff["inputs"],
        json!({"added": [], "changed": [{"fields": [{"field": "default", "from": null, "to": 3}], "id": "count"}],
            "removed": []})
    );
    assert_eq!(
        diff["steps"],
        json!({"added": ["fourth"], "removed": ["second"], "changed": [{"id": "third", "fields": [
            {"field": "env", "from": null, "to": {"A": "b"}}, {"field": "retries/max", "from": 0, "to": 1}]}]})
    );
    let same = appliance.get("/api/v1/packs/demo/diff?from=2&to=2").expect(200);
    assert_eq!(same["steps"], json!({"added": [], "changed": [], "removed": []}));
    for (query, status, code) in [
        ("from=1", 422, "invalid_parameter"),
        ("from=1&to=x", 422, "invalid_parameter"),
        ("from=1&to=3", 404, "not_found"),
    ] {
        let reply = appliance.get(&format!("/api/v1/packs/demo/diff?{query}"));
        assert_eq!(reply.problem(status), code, "{query}");
    }
}

const DYNAMIC: &str = r#"apiVersion: fastness/v1
kind: Pack
metadata: {name: dynamic}
spec:
  inputs:
    hosts: {type: list, default: [alpha, beta]}
  steps:
    - {id: scan, run: [scan]}
    - {id: per-host, needs: [scan], map: {over: inputs.hosts, as: host, maxParallel: 1}, run: [check, "${{ host }}"]}
    - {id: never, needs: [scan], when: 'steps.scan.outputs.found == "no"', run: [x]}
    - id: report
      needs: [never, per-host]
      run: [report, '${{ size(steps["per-host"].outputs) }}', '${{ steps.never.status }}']
"#;

fn start_dynamic(appliance: &TestAppliance, body: &str) -> String {
    let reply = register(appliance, DYNAMIC);
    assert!(matches!(reply.status, 200 | 201), "{}", reply.json());
    let run = appliance.post("/api/v1/pack-runs", body).expect(201);
    run["id"].as_str().unwrap().to_owned()
}

fn found(found: &str) -> Outcome {
    let output = json!({"found": found}).to_string();
    Outcome::Completed(Some(
        fastness::domain::canonical::parse(output.as_bytes()).unwrap(),
    ))
}

/// Name and state of each step.
fn stands(run: &Value) -> Vec<String> {
    let steps = run["steps"].as_array().unwrap().iter();
    steps
        .map(|step| {
            format!(
                "{} {}",
                step["id"].as_str().unwrap(),
                step["status"].as_str().unwrap()
            )
        })
        .collect()
}

#[test]
fn steps_are_skipped_mapped_and_filled_in_when_what_they_need_has_ended() {
    let appliance = TestAppliance::start();
    let id = start_dynamic(&appliance, r#"{"pack":"dynamic","inputs":{}}"#);
    let place = format!("/api/v1/pack-runs/{id}");
    let run = appliance.get(&place).expect(200);
    assert_eq!(
        stands(&run),
        [
            "scan scheduled",
            "per-host pending",
            "never pending",
            "report pending"
        ]
    );
    assert_eq!(
        (&run["steps"][1]["jobId"], &run["steps"][1]["waiting"]),
        (&Value::Null, &json!({"for": "needs", "open": 1, "total": 1}))
    );
    assert_eq!(run_step(&appliance, &[], found("yes")).as_deref(), Some("scan"));
    let run = appliance.get(&place).expect(200);
    assert_eq!(
        stands(&run),
        [
            "scan completed",
            "per-host[0] scheduled",
            "per-host[1] scheduled",
            "never skipped",
            "report pending"
        ]
    );
    assert_eq!(run["progress"], json!({"done": 2, "total": 5}));
    assert_eq!(run["steps"][3]["reason"], "condition");
    for item in ["per-host[0]", "per-host[1]"] {
        assert_eq!(run_step(&appliance, &["x"], done()).as_deref(), Some(item));
    }
    let run = appliance.get(&place).expect(200);
    let job = appliance
        .get(&format!(
            "/api/v1/jobs/{}",
            run["steps"][4]["jobId"].as_str().unwrap()
        ))
        .expect(200);
    assert_eq!(
        job["payload"]["action"],
        json!({"argv": ["report", "2", "skipped"]})
    );
    assert_eq!(run_step(&appliance, &[], done()).as_deref(), Some("report"));
    let run = appliance.get(&place).expect(200);
    assert_eq!(
        (&run["status"], &run["progress"]),
        (&json!("completed"), &json!({"done": 5, "total": 5}))
    );
    let graph = appliance.get(&format!("/api/v1/runs/{id}/graph")).expect(200);
    let node = &graph["nodes"][1];
    assert_eq!(
        (&node["name"], &node["status"], &node["jobId"]),
        (&json!("per-host"), &json!("completed"), &Value::Null)
    );
    assert_eq!(node["jobs"].as_array().unwrap().len(), 2);
    let timeline = appliance.get(&format!("/api/v1/runs/{id}/timeline")).expect(200);
    let names: Vec<&Value> = timeline["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["name"])
        .collect();
    assert_eq!(names, ["scan", "per-host[0]", "per-host[1]", "report"]);
    let artifacts = appliance.get(&format!("{place}/artifacts")).expect(200);
    assert_eq!(artifacts["items"].as_array().unwrap().len(), 4);
    // As it was then: told by the run's own events.
    let then = appliance
        .get(&format!("/api/v1/runs/{id}/at/{}", run["asOf"]))
        .expect(200);
    assert_eq!(stands(&then), stands(&run));

    // What was skipped or mapped is worked out again; the scan is kept, with its outputs.
    let preview = appliance
        .post(
            &format!("{place}/replay"),
            r#"{"steps":["report"],"dryRun":true}"#,
        )
        .expect(200);
    assert_eq!(
        (&preview["steps"], &preview["reused"]),
        (&json!(["per-host", "never", "report"]), &json!(["scan"]))
    );
    let again = appliance
        .post(&format!("{place}/replay"), r#"{"steps":["report"]}"#)
        .expect(201);
    let again = appliance
        .get(&format!("/api/v1/pack-runs/{}", again["id"].as_str().unwrap()))
        .expect(200);
    assert_eq!(
        stands(&again),
        [
            "scan completed",
            "per-host[0] scheduled",
            "per-host[1] scheduled",
            "never skipped",
            "report pending"
        ]
    );
}

#[test]
fn an_empty_map_satisfies_and_a_missing_output_fails_the_step_alone() {
    let appliance = TestAppliance::start();
    let id = start_dynamic(&appliance, r#"{"pack":"dynamic","inputs":{"hosts":[]}}"#);
    assert_eq!(run_step(&appliance, &[], done()).as_deref(), Some("scan"));
    let run = appliance.get(&format!("/api/v1/pack-runs/{id}")).expect(200);
    assert_eq!(
        stands(&run),
        [
            "scan completed",
            "per-host skipped",
            "never failed",
            "report cancelled"
        ]
    );
    assert_eq!(run["steps"][1]["reason"], "empty_map");
    assert_eq!(run["steps"][2]["error"]["message"], "when: No such key: found");
    assert_eq!(run["steps"][3]["reason"], "upstream_failed");
    assert_eq!(run["status"], "partially_failed");
    let all = appliance.post(
        &format!("/api/v1/pack-runs/{id}/replay"),
        r#"{"failed":true,"dryRun":true}"#,
    );
    assert_eq!(all.expect(200)["reused"], json!(["scan"]));
}

#[test]
fn a_cancelled_run_ends_steps_that_were_not_worked_out() {
    let appliance = TestAppliance::start();
    let id = start_dynamic(&appliance, r#"{"pack":"dynamic","inputs":{}}"#);
    let run = appliance
        .post(&format!("/api/v1/pack-runs/{id}/cancel"), "{}")
        .expect(200);
    assert_eq!(
        (&run["status"], &run["progress"]),
        (&json!("cancelled"), &json!({"done": 4, "total": 4}))
    );
    // Where some of a map's jobs have ended, the others are cancelled with the rest.
    let id = start_dynamic(&appliance, r#"{"pack":"dynamic","inputs":{}}"#);
    assert_eq!(run_step(&appliance, &[], found("no")).as_deref(), Some("scan"));
    run_step(&appliance, &[], done()).unwrap();
    appliance
        .post(&format!("/api/v1/pack-runs/{id}/cancel"), "{}")
        .expect(200);
    let run = appliance.get(&format!("/api/v1/pack-runs/{id}")).expect(200);
    assert_eq!(
        stands(&run),
        [
            "scan completed",
            "per-host[0] completed",
            "per-host[1] cancelled",
            "never cancelled",
            "report cancelled"
        ]
    );
    assert_eq!(run["status"], "cancelled");
}
