//! Values of redacted fields, asked for in roundabout ways: by guessing, in kept bundles, while they are erased, after a crash,
//! from damaged files.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use fastness::bundle::kept;
use fastness::disk::{Access, Disk, DiskFile, OsDisk};
use fastness::domain::token::Scope;
use serde_json::{Value, json};

use super::imports::{export, import};
use crate::support::appliance::{Ask, Reply, TestAppliance, files};

const PLANTED: &str = "hunter2-in-the-field";

/// Sends a request with an idempotency key.
fn keyed(appliance: &TestAppliance, token: &str, path: &str, key: &str, body: &Value) -> Reply {
    let body = body.to_string();
    let asked = Ask::post(path, body.as_bytes()).header("idempotency-key", key);
    appliance.send(&asked.token(token))
}

fn job_with(token: &str) -> Value {
    json!({"type": "a", "payload": {"token": token, "n": 1}, "sensitive": ["/token"]})
}

fn submit(appliance: &TestAppliance) -> String {
    let job = appliance
        .post("/api/v1/jobs", job_with(PLANTED).to_string())
        .expect(201);
    job["id"].as_str().unwrap().to_owned()
}

fn erase(appliance: &TestAppliance, job: &str) -> Reply {
    appliance.post(&format!("/api/v1/jobs/{job}/erase"), r#"{"reason":"asked"}"#)
}

fn set_intake(appliance: &TestAppliance, rules: &Value) {
    let body = json!({ "rules": rules }).to_string();
    let asked = Ask::new("PUT", "/api/v1/redaction-policies/intake", body.as_bytes())
        .header("content-type", "application/json");
    appliance.send(&asked.token(&appliance.admin)).expect(201);
}

/// What is recorded of the keys of requests.
fn bound(appliance: &TestAppliance, type_name: &str) -> Vec<Value> {
    let page = appliance.get(&format!("/api/v1/events?type={type_name}&limit=100"));
    let items = page.expect(200)["items"].as_array().unwrap().clone();
    let of = |event: &Value| event["payload"]["idempotency"].clone();
    items.iter().map(of).filter(|key| !key.is_null()).collect()
}

fn text_of(file: &Path) -> String {
    String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned()
}

/// The disclosure as it stands in files.
fn is_kept(appliance: &TestAppliance, disclosure: &str) -> bool {
    let kept = files(&appliance.folder().join("disclosures"));
    kept.iter().any(|file| text_of(file).contains(disclosure))
}

/// The one disclosure that is kept.
fn disclosure(appliance: &TestAppliance) -> String {
    let file = files(&appliance.folder().join("disclosures")).pop().unwrap();
    text_of(&file).split_whitespace().nth(2).unwrap().to_owned()
}

/// The body of a request with a value.
type MakeBody<'m> = &'m dyn Fn(&str) -> Value;

#[test]
fn no_guess_at_a_value_is_answered_otherwise_than_the_value() {
    let appliance = TestAppliance::start();
    let guesser = appliance.token("admin", &[Scope::Submit, Scope::Read], &["default"]);
    set_intake(
        &appliance,
        &json!([{"types": ["policed"], "pointers": ["/token"]}]),
    );
    let pack = Ask::post("/api/v1/packs", PACK.as_bytes()).header("content-type", "application/yaml");
    appliance.send(&pack.token(&appliance.admin)).expect(201);
    let graph = |token: &str| json!({"jobs": [dict("n", job_with(token))]});
    let policed = |token: &str| json!({"type": "policed", "payload": {"token": token}});
    // As a whole outside the profile, because of another job.
    let odd = |token: &str| {
        let other = json!({"name": "m", "type": "b", "payload": {"score": 9.8}});
        json!({"jobs": [dict("n", job_with(token)), other]})
    };
    let run = |token: &str| json!({"pack": "guarded", "inputs": {"token": token}});
    let cases: [(&str, MakeBody<'_>); 5] = [
        ("/api/v1/jobs", &job_with),
        ("/api/v1/runs", &odd),
        ("/api/v1/jobs", &policed),
        ("/api/v1/runs", &graph),
        ("/api/v1/pack-runs", &run),
    ];
    for (index, (path, body)) in cases.into_iter().enumerate() {
        let key = format!("k-{index}");
        let first = keyed(&appliance, &appliance.admin, path, &key, &body(PLANTED)).expect(201);
        for guess in ["", "hunter1", PLANTED] {
            let told = keyed(&appliance, &guesser, path, &key, &body(guess));
            assert_eq!(
                told.header("idempotency-replayed"),
                Some("true"),
                "{path} {guess}"
            );
            assert_eq!(told.expect(201)["id"], first["id"]);
        }
        // What is no value is compared as ever.
        let mut other = body(PLANTED);
        other["correlationId"] = json!("another");
        let told = keyed(&appliance, &guesser, path, &key, &other);
        assert_eq!(told.problem(409), "idempotency_conflict", "{path}");
    }
    let mut without = job_with(PLANTED);
    without["sensitive"] = json!([]);
    let told = keyed(&appliance, &guesser, "/api/v1/jobs", "k-0", &without);
    assert_eq!(told.problem(409), "idempotency_conflict");
}

fn dict(name: &str, mut job: Value) -> Value {
    job["name"] = json!(name);
    job
}

const PACK: &str = "\
apiVersion: fastness/v1
kind: Pack
metadata: {name: guarded}
spec:
  inputs: {token: {type: string, sensitive: true}}
  steps:
    - {id: one, shell: 'true'}
";

#[test]
fn a_run_that_is_foretold_does_not_repeat_sensitive_inputs() {
    let appliance = TestAppliance::start();
    let pack = Ask::post("/api/v1/packs", PACK.as_bytes()).header("content-type", "application/yaml");
    appliance.send(&pack.token(&appliance.admin)).expect(201);
    let body = json!({"inputs": {"token": PLANTED}}).to_string();
    let foretold = appliance.post("/api/v1/packs/guarded/versions/1/simulate", body);
    assert_eq!(foretold.expect(200)["inputs"], json!({}));
}

#[test]
fn equal_requests_under_other_keys_and_of_others_do_not_look_alike() {
    let appliance = TestAppliance::start();
    let other = appliance.token("other", &[Scope::Submit], &["default"]);
    let body = json!({"type": "a", "payload": {"n": 1}});
    for key in ["k-1", "k-2"] {
        keyed(&appliance, &appliance.admin, "/api/v1/jobs", key, &body).expect(201);
    }
    let recorded = bound(&appliance, "job.created");
    assert_eq!(recorded.len(), 2);
    assert_ne!(recorded[0]["body"], recorded[1]["body"]);
    // The key is the tenant's: who did not send the request learns nothing of its body.
    let told = keyed(&appliance, &other, "/api/v1/jobs", "k-1", &body);
    assert_eq!(told.problem(409), "idempotency_conflict");
}

#[test]
fn a_kept_bundle_that_shows_values_is_given_to_administrators_alone() {
    let source = TestAppliance::start();
    submit(&source);
    let (full, file) = export(&source, &json!({"redaction": "full"}));
    let (plain, _) = export(&source, &json!({}));
    let fetch = |appliance: &TestAppliance, token: &str, id: &Value, tenant: &str| {
        let path = format!("/api/v1/bundles/{}/content", id.as_str().unwrap());
        let asked = Ask::get(&path).token(token).header("x-fastness-tenant", tenant);
        appliance.send(&asked)
    };
    let exporter = source.token("e", &[Scope::Export], &["default"]);
    assert_eq!(
        fetch(&source, &exporter, &full["id"], "default").problem(403),
        "scope_required"
    );
    assert_eq!(fetch(&source, &exporter, &plain["id"], "default").status, 200);
    assert_eq!(fetch(&source, &source.admin, &full["id"], "default").status, 200);
    // Nor where it was imported and is given again.
    let target = TestAppliance::start();
    let imported = import(&target, &target.admin, &source, &file).expect(201);
    let tenant = imported["tenant"].as_str().unwrap();
    let importer = target.token("i", &[Scope::Export, Scope::Import, Scope::Read], &["default"]);
    let asked = Ask::post("/api/v1/bundles/export", b"{}").token(&importer);
    let again = target
        .send(&asked.header("x-fastness-tenant", tenant))
        .expect(201);
    assert_eq!(again["redaction"]["shown"], 1, "{again}");
    assert_eq!(
        fetch(&target, &importer, &again["id"], tenant).problem(403),
        "scope_required"
    );
    let mine = fetch(&target, &target.admin, &again["id"], tenant);
    assert_eq!(mine.status, 200);
}

type Hook = Box<dyn FnOnce() + Send>;

/// Does something once, when a bundle has been written and not kept yet.
#[derive(Default)]
struct Hooked(Mutex<Option<Hook>>);

impl std::fmt::Debug for Hooked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hooked")
    }
}

impl Disk for Hooked {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        OsDisk.open(path, access)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let hook = self.0.lock().unwrap().take_if(|_| to.ends_with("bundle"));
        if let Some(hook) = hook {
            hook();
        }
        OsDisk.rename(from, to)
    }
    crate::support::os_disk::rest_as_os_disk!();
}

#[test]
fn an_export_that_an_erasure_overtakes_keeps_nothing() {
    let disk = Arc::new(Hooked::default());
    let appliance = TestAppliance::on_disk(disk.clone());
    let job = submit(&appliance);
    let (address, admin) = (appliance.address, appliance.admin.clone());
    *disk.0.lock().unwrap() = Some(Box::new(move || {
        let path = format!("/api/v1/jobs/{job}/erase");
        let asked = Ask::post(&path, br#"{"reason":"asked"}"#).token(&admin);
        let mut socket = std::net::TcpStream::connect(address).unwrap();
        io::Write::write_all(&mut socket, &asked.bytes(address)).unwrap();
        Reply::read(io::BufReader::new(socket)).expect(200);
    }));
    let refused = appliance.post("/api/v1/bundles/export", r#"{"redaction":"full"}"#);
    assert_eq!(refused.problem(409), "erased_meanwhile");
    assert_eq!(files(&appliance.folder().join("bundles")), [] as [&Path; 0]);
    let (again, _) = export(&appliance, &json!({"redaction": "full"}));
    assert_eq!(again["redaction"]["shown"], 0);
}

#[test]
fn what_a_crash_leaves_of_bundles_with_values_is_gone_after_the_start() {
    let appliance = TestAppliance::start();
    let job = submit(&appliance);
    let (full, file) = export(&appliance, &json!({"redaction": "full"}));
    let bundles = appliance.folder().join("bundles");
    let id = full["id"].as_str().unwrap();
    let (bundle, note) = (
        bundles.join(format!("{id}.audit.tar.zst")),
        bundles.join(format!("{id}.json")),
    );
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&bundle), mode(&bundles)), (0o600, 0o700));
    let kept_note = fs::read(&note).unwrap();
    // In the middle of writing; between the two renames; while the note was written.
    fs::create_dir(bundles.join("scratch-0000000000000001")).unwrap();
    fs::write(bundles.join("scratch-0000000000000001/disclosures"), PLANTED).unwrap();
    fs::write(bundles.join(format!("{}.audit.tar.zst", "0".repeat(64))), &file).unwrap();
    fs::write(bundles.join(format!("{}.json.new", "0".repeat(64))), "{").unwrap();
    let appliance = appliance.restart();
    kept::settle(&appliance.engine).unwrap();
    let mut left = fs::read_dir(&bundles)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect::<Vec<_>>();
    left.sort();
    assert_eq!(left, [bundle.clone(), note.clone()]);
    // Between an erasure and the removal of the bundles that show it.
    erase(&appliance, &job).expect(200);
    assert!(!bundle.exists());
    fs::write(&bundle, &file).unwrap();
    fs::write(&note, &kept_note).unwrap();
    kept::settle(&appliance.engine).unwrap();
    assert!(!bundle.exists() && !note.exists());
}

#[test]
fn a_bundle_whose_note_cannot_be_written_does_not_stay() {
    let appliance = TestAppliance::start();
    submit(&appliance);
    let (full, _) = export(&appliance, &json!({"redaction": "full"}));
    let bundles = appliance.folder().join("bundles");
    for file in files(&bundles) {
        fs::remove_file(file).unwrap();
    }
    let in_the_way = bundles.join(format!("{}.json.new", full["id"].as_str().unwrap()));
    fs::create_dir(&in_the_way).unwrap();
    let export_full = || appliance.post("/api/v1/bundles/export", r#"{"redaction":"full"}"#);
    assert_eq!(export_full().problem(500), "internal");
    assert_eq!(files(&bundles), [] as [&Path; 0]);
    fs::remove_dir(&in_the_way).unwrap();
    assert_eq!(export_full().expect(201)["id"], full["id"]);
    assert_eq!(files(&bundles).len(), 2);
}

#[test]
fn equal_exports_at_once_are_all_answered() {
    let appliance = TestAppliance::start();
    for _ in 0..20 {
        submit(&appliance);
    }
    for _ in 0..8 {
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let export = || {
                appliance
                    .post("/api/v1/bundles/export", r#"{"redaction":"full"}"#)
                    .status
            };
            let asked: Vec<_> = (0..4).map(|_| scope.spawn(export)).collect();
            asked.into_iter().map(|asked| asked.join().unwrap()).collect()
        });
        assert_eq!(statuses, [201; 4]);
    }
}

#[test]
fn a_damaged_line_is_erased_too() {
    let appliance = TestAppliance::start();
    let job = submit(&appliance);
    // One after it: a last line that cannot be read is cut at the start.
    submit(&appliance);
    let kept = disclosure(&appliance);
    let appliance = appliance.restart_after(|folder| {
        let file = files(&folder.join("disclosures")).pop().unwrap();
        let mut bytes = fs::read(&file).unwrap();
        bytes[0] ^= 1;
        fs::write(&file, bytes).unwrap();
    });
    assert!(is_kept(&appliance, &kept));
    erase(&appliance, &job).expect(200);
    assert!(!is_kept(&appliance, &kept));
}

#[test]
fn values_of_a_file_that_is_gone_are_missing_and_can_be_erased() {
    let appliance = TestAppliance::start();
    let job = submit(&appliance);
    fs::remove_file(files(&appliance.folder().join("disclosures")).pop().unwrap()).unwrap();
    let shown = appliance.post(&format!("/api/v1/jobs/{job}/disclose"), "{}");
    assert_eq!(shown.problem(500), "disclosure_missing");
    let refused = appliance.post("/api/v1/bundles/export", r#"{"redaction":"full"}"#);
    assert_eq!(refused.problem(500), "disclosure_missing");
    erase(&appliance, &job).expect(200);
    export(&appliance, &json!({"redaction": "full"}));
    appliance.get(&format!("/api/v1/jobs/{job}")).expect(200);
}

#[test]
fn a_policy_that_names_an_element_of_a_list_lets_nothing_through() {
    let appliance = TestAppliance::start();
    set_intake(&appliance, &json!([{"types": ["a"], "pointers": ["/list/0"]}]));
    let send = |payload: Value| {
        let body = json!({"type": "a", "payload": payload}).to_string();
        appliance.post("/api/v1/jobs", body)
    };
    assert_eq!(send(json!({"list": [PLANTED]})).problem(422), "sensitive_field");
    send(json!({"list": []})).expect(201);
    send(json!({})).expect(201);
    let job = send(json!({"list": {"0": PLANTED}})).expect(201);
    assert!(!job.to_string().contains(PLANTED));
}

#[test]
fn equal_keys_with_other_values_at_once_make_one_job_with_one_value() {
    let appliance = TestAppliance::start();
    set_intake(
        &appliance,
        &json!([{"types": ["late.*"], "pointers": ["/token"]}]),
    );
    for round in 0..12 {
        let key = format!("round-{round}");
        let barrier = std::sync::Barrier::new(8);
        let ids: Vec<String> = std::thread::scope(|scope| {
            let asked: Vec<_> = (0..8)
                .map(|at| {
                    let (appliance, key, barrier) = (&appliance, &key, &barrier);
                    scope.spawn(move || {
                        let job =
                            json!({"type": "late.t", "payload": {"a": 1, "token": format!("value-{at}")}});
                        barrier.wait();
                        let answer = keyed(appliance, &appliance.admin, "/api/v1/jobs", key, &job);
                        answer.expect(201)["id"].as_str().unwrap().to_owned()
                    })
                })
                .collect();
            asked.into_iter().map(|asked| asked.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "round {round}: {ids:?}");
        let path = format!("/api/v1/jobs/{}/disclose", ids[0]);
        let shown = appliance.post(&path, r#"{"reason":"test"}"#).expect(200);
        let value = shown["value"]["token"].as_str().unwrap();
        assert!(value.starts_with("value-"), "{shown}");
    }
    let listed = appliance.get("/api/v1/jobs?limit=100").expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 12);
    let kept = files(&appliance.folder().join("disclosures/default"));
    let lines: usize = kept.iter().map(|file| text_of(file).lines().count()).sum();
    assert_eq!(lines, 12, "no value of a request that did nothing is kept");
}

#[test]
fn doctor_names_what_is_wrong_with_what_is_withheld() {
    use fastness::cli::doctor::{Status, examine};
    let appliance = TestAppliance::start();
    let jobs: Vec<String> = (0..3).map(|_| submit(&appliance)).collect();
    erase(&appliance, &jobs[1]).expect(200);
    appliance.restart_after(|folder| {
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        let look = || {
            let found = examine::all(&disk, folder, &|_| true);
            let ours = found
                .into_iter()
                .filter(|one| one.name.starts_with("disclosures"));
            ours.map(|one| {
                let code = one.detail.split(':').next().unwrap().to_owned();
                assert!(!one.detail.contains(PLANTED));
                (one.status, code, one.file, one.offset)
            })
            .collect::<Vec<_>>()
        };
        let plain = |found: &[(Status, String, Option<std::path::PathBuf>, Option<u64>)]| {
            found.iter().map(|one| (one.0, one.1.clone())).collect::<Vec<_>>()
        };
        assert_eq!(plain(&look()), [(Status::Ok, "2 values".to_owned())]);
        let file = files(&folder.join("disclosures/default")).pop().unwrap();
        let kept = fs::read(&file).unwrap();
        let (damaged, missing, left) = (
            (Status::Damaged, "disclosure_damaged".to_owned()),
            (Status::Damaged, "disclosure_missing".to_owned()),
            (Status::Skipped, "disclosure_left".to_owned()),
        );
        let mut changed = kept.clone();
        changed[20] ^= 1;
        fs::write(&file, &changed).unwrap();
        let found = look();
        assert_eq!(plain(&found), [damaged, missing.clone()]);
        assert_eq!((found[0].2.as_ref(), found[0].3), (Some(&file), Some(0)));
        assert_eq!(found[1].2.as_ref(), Some(&file));
        fs::write(&file, [&kept[..], b"01234567 99 abc"].concat()).unwrap();
        let found = look();
        assert_eq!(plain(&found), std::slice::from_ref(&left));
        assert_eq!(found[0].3, Some(kept.len() as u64));
        fs::write(&file, &kept).unwrap();
        let odd = folder.join("disclosures/default/notes.tmp");
        fs::write(&odd, "x").unwrap();
        let found = look();
        assert_eq!(plain(&found), [left]);
        assert_eq!(found[0].2.as_ref(), Some(&odd));
        fs::remove_file(&odd).unwrap();
        fs::remove_file(&file).unwrap();
        assert_eq!(plain(&look()), [missing.clone(), missing]);
        fs::write(&file, &kept).unwrap();
    });
}
