//! Work orders from the command line: from the hub's shell to the plant's and back, with real steps, and a kill in between.

use serde_json::Value;

use crate::support::program::{Program, Said, command, run, until};

const PACK: &str = r#"apiVersion: fastness/v1
kind: Pack
metadata: {name: greet}
spec:
  inputs: {who: {type: string, default: nobody}, times: {type: int, default: 1}}
  steps:
    - id: say
      shell: 'echo "$INPUT_WHO $INPUT_TIMES" > out/said.txt'
      artifacts: [{name: said.txt, path: out/said.txt}]
"#;

struct Sides {
    folder: tempfile::TempDir,
    hub: Program,
    plant: Program,
}

impl Sides {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hub = Program::start(&folder.path().join("hub"));
        let plant = Program::start(&folder.path().join("plant"));
        let sides = Sides { folder, hub, plant };
        std::fs::write(sides.path("greet.yaml"), PACK).unwrap();
        let shown = sides.hub.run(&["key", "show", "orders"]);
        assert_eq!(shown.code, 0, "{}", shown.stderr);
        std::fs::write(sides.path("orders.pem"), shown.stdout).unwrap();
        sides
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn issue(&self, enclave: &str, out: &str, more: &[&str]) -> Said {
        let (pack, out) = (self.path("greet.yaml"), self.path(out));
        let mut arguments = vec![
            "work-order",
            "issue",
            "--pack",
            &pack,
            "--for",
            enclave,
            "--out",
            &out,
        ];
        arguments.extend(more);
        arguments.extend(["-o", "json"]);
        self.hub.run(&arguments)
    }
}

fn enclave(server: &Program) -> String {
    server.get("/api/v1/keys")["enclave"].as_str().unwrap().to_owned()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

#[test]
fn an_order_travels_by_hand_and_survives_a_kill_before_it_starts() {
    let sides = Sides::start();
    let (there, here) = (enclave(&sides.plant), enclave(&sides.hub));
    let runs = [
        "--run",
        "greet",
        "-i",
        "who=ada",
        "-i",
        "times=3",
        "--expires-in",
        "1h",
    ];
    let issued = sides.issue(&there, "x.order.tar.zst", &runs).json(0);
    let id = text(&issued["id"]).to_owned();
    let Sides { folder, hub, plant } = sides;
    let path_of = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (file, key) = (path_of("x.order.tar.zst"), path_of("orders.pem"));

    // Offline, on any machine.
    assert_eq!(run(&["verify", &file, "--orders-key", &key]).code, 0);
    assert_eq!(run(&["verify", &file]).code, 12);
    plant.run(&["import", &file]).refuses(12, "no orders key");
    let origin = format!("fastness/{here}/default");
    let pin = plant.run(&[
        "trust",
        "pin",
        "--origin",
        &origin,
        "--orders-key",
        &key,
        "-o",
        "json",
    ]);
    assert!(pin.json(0)["ordersKeyId"].is_string());
    let taken = plant.run(&["import", &file, "-o", "json"]).json(0);
    assert_eq!(taken["order"]["state"], "imported");

    // Killed between import and start: the order is here, and nothing has started.
    plant.kill();
    let plant = Program::start(&folder.path().join("plant"));
    let again = plant.run(&["import", &file, "-o", "json"]).json(0);
    assert_eq!(
        (&again["already"], &again["order"]["state"]),
        (&true.into(), &"imported".into())
    );
    let started = plant.run(&["work-order", "start", &id, "-o", "json"]).json(0);
    let run_id = text(&started["received"]["startedRuns"][0]["run"]).to_owned();
    assert_eq!(plant.run(&["wait", &run_id]).code, 0);
    let status = plant.run(&["work-order", "status", &id, "-o", "json"]).json(0);
    assert_eq!(status["state"], "reported");
    let told = plant.run(&["work-order", "status", &id]);
    assert!(
        told.stdout.contains("reported") && told.stdout.contains("completed"),
        "{}",
        told.stdout
    );
    let artifacts = plant.get(&format!("/api/v1/pack-runs/{run_id}/artifacts"));
    assert_eq!(artifacts["items"][0]["name"], "said.txt");

    // And back.
    let evidence = path_of("evidence.audit.tar.zst");
    assert_eq!(plant.run(&["export", "--out", &evidence]).code, 0);
    for role in ["log", "export"] {
        let shown = plant.run(&["key", "show", role]);
        std::fs::write(path_of(&format!("{role}.pem")), shown.stdout).unwrap();
    }
    let keys = [path_of("log.pem"), path_of("export.pem")];
    let verify = run(&[
        "verify",
        &evidence,
        "--log-key",
        &keys[0],
        "--export-key",
        &keys[1],
    ]);
    assert_eq!(verify.code, 0, "{}", verify.stdout);
    hub.run(&[
        "import",
        &evidence,
        "--log-key",
        &keys[0],
        "--export-key",
        &keys[1],
        "-o",
        "json",
    ])
    .json(0);
    let known = hub.run(&["work-order", "status", &id, "-o", "json"]).json(0);
    assert_eq!(known["state"], "reported", "{known}");
    assert_eq!(
        known["evidence"][0]["order"]["outcomes"][0]["status"],
        "completed"
    );
    let told = hub.run(&["work-order", "status", &id]);
    assert!(
        told.stdout.contains(&format!("fastness/{there}/default")),
        "{}",
        told.stdout
    );
    let listed = hub.run(&["work-order", "list"]);
    assert!(listed.stdout.contains(&id), "{}", listed.stdout);
}

#[test]
fn an_order_that_was_killed_while_it_ran_is_reported_all_the_same() {
    let sides = Sides::start();
    let flag = sides.path("flag");
    let pack = PACK.replace(
        "'echo",
        &format!("'until test -e {flag}; do sleep 0.05; done; echo"),
    );
    std::fs::write(sides.path("greet.yaml"), pack).unwrap();
    let there = enclave(&sides.plant);
    let runs = [
        "--run",
        "a=greet",
        "--run",
        "b=greet",
        "-i",
        "a:who=ada",
        "-i",
        "b:who=bea",
    ];
    let issued = sides.issue(&there, "x.order.tar.zst", &runs).json(0);
    let id = text(&issued["id"]).to_owned();
    let (file, key) = (sides.path("x.order.tar.zst"), sides.path("orders.pem"));
    let taken = sides
        .plant
        .run(&["import", &file, "--orders-key", &key, "--start", "-o", "json"])
        .json(0);
    assert_eq!(taken["order"]["state"], "started");
    let data = sides.folder.path().join("plant");
    sides.plant.kill();
    std::fs::write(&flag, "").unwrap();
    let plant = Program::start(&data);
    until("the order is reported", || {
        let order = plant.get(&format!("/api/v1/work-orders/{id}"));
        order["state"] == "reported"
    });
    let order = plant.get(&format!("/api/v1/work-orders/{id}"));
    let outcomes = order["received"]["outcomes"].as_array().unwrap();
    assert_eq!(outcomes.len(), 2);
    assert!(outcomes.iter().all(|run| run["status"] == "completed"), "{order}");
}

#[test]
fn a_cancellation_travels_like_an_order() {
    let sides = Sides::start();
    let there = enclave(&sides.plant);
    let issued = sides
        .issue(&there, "x.order.tar.zst", &["--run", "greet"])
        .json(0);
    let id = text(&issued["id"]).to_owned();
    let (file, key, cancel) = (
        sides.path("x.order.tar.zst"),
        sides.path("orders.pem"),
        sides.path("x.cancel.tar.zst"),
    );
    sides
        .plant
        .run(&["import", &file, "--orders-key", &key, "-o", "json"])
        .json(0);
    let recalled = [
        "work-order",
        "cancel",
        &id,
        "--reason",
        "not now",
        "--out",
        &cancel,
        "-o",
        "json",
    ];
    assert_eq!(sides.hub.run(&recalled).json(0)["state"], "recalled");
    let taken = sides.plant.run(&["import", &cancel, "-o", "json"]).json(0);
    assert_eq!(
        (&taken["cancellation"], &taken["order"]["state"]),
        (&true.into(), &"cancelled".into())
    );
    sides
        .plant
        .run(&["work-order", "start", &id])
        .refuses(5, "cannot be started");
    // The file can be had once more.
    let again = sides.path("again.tar.zst");
    let fetched = sides.hub.run(&["work-order", "fetch", &id, "--out", &again]);
    assert_eq!(fetched.code, 0, "{}", fetched.stderr);
    assert_eq!(std::fs::read(&again).unwrap(), std::fs::read(&file).unwrap());
}

#[test]
fn approvals_are_a_setting_of_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Program::start(&folder.path().join("hub"));
    let data = folder.path().join("plant");
    let mut serve = command(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--order-approvals",
        "1",
        "--data",
    ]);
    serve.arg(&data);
    let plant = crate::support::program::Starting::by(serve, &data).ready();
    let there = enclave(&plant);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (pack, file, key) = (path("greet.yaml"), path("x.order.tar.zst"), path("orders.pem"));
    std::fs::write(&pack, PACK).unwrap();
    std::fs::write(&key, hub.run(&["key", "show", "orders"]).stdout).unwrap();
    let issue = [
        "work-order",
        "issue",
        "--pack",
        &pack,
        "--run",
        "greet",
        "--for",
        &there,
        "--out",
        &file,
    ];
    assert_eq!(hub.run(&issue).code, 0);
    let taken = plant.run(&["import", &file, "--orders-key", &key, "--start"]);
    assert_eq!(taken.code, 5, "{taken:?}");
    assert!(taken.stderr.contains("imported, but not started"), "{taken:?}");
    let listed = plant.run(&["work-order", "list", "-o", "json"]).json(0);
    let id = text(&listed["items"][0]["id"]);
    let approve = plant.run(&["work-order", "approve", id, "--reason", "mine"]);
    approve.refuses(5, "self_approval");
    run(&["serve", "--data", &path("none"), "--order-approvals", "11"]).refuses(2, "more than 10");
}

#[test]
fn what_is_no_order_is_told_before_anything_is_sent() {
    let sides = Sides::start();
    let there = enclave(&sides.plant);
    let check = |more: &[&str], message: &str| sides.issue(&there, "x", more).refuses(2, message);
    check(&["--run", "other"], "none of the given files is the pack other");
    check(&["--run", "greet", "-i", "times=many"], "a whole number");
    check(
        &["--run", "a=greet", "--run", "b=greet", "-i", "who=x"],
        "RUN:KEY=VALUE",
    );
    check(&["--run", "greet", "--run", "greet"], "duplicate");
    let bundle = sides.path("b.audit.tar.zst");
    assert_eq!(sides.hub.run(&["export", "--out", &bundle]).code, 0);
    let key = sides.path("orders.pem");
    sides
        .plant
        .run(&["import", &bundle, "--orders-key", &key])
        .refuses(2, "no work order");
    run(&["verify", &bundle, "--orders-key", &key]).refuses(2, "no work order");
}
