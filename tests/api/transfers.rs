//! Bundles over a line that breaks: uploads in ranges, downloads in ranges.

use std::io::Write;

use fastness::domain::Digest;
use fastness::domain::token::Scope;
use fastness::limits;
use serde_json::{Value, json};

use super::imports::{export, submit, with_keys};
use crate::support::appliance::{Ask, Reply, TestAppliance};
use crate::support::program::until;

fn put(target: &TestAppliance, sha256: &str, bytes: &[u8], range: Option<(usize, usize)>) -> Reply {
    let path = format!("/api/v1/uploads/{sha256}");
    let mut ask = Ask::new("PUT", &path, bytes).token(&target.admin);
    if let Some((from, total)) = range {
        ask = ask.header(
            "content-range",
            &format!("bytes {from}-{}/{total}", from + bytes.len() - 1),
        );
    }
    target.send(&ask)
}

fn upload(target: &TestAppliance, sha256: &str) -> Reply {
    target.get(&format!("/api/v1/uploads/{sha256}"))
}

fn import_uploaded(target: &TestAppliance, source: &TestAppliance, sha256: &str) -> Reply {
    let path = format!("/api/v1/bundles/import?upload={sha256}");
    target.send(&with_keys(
        Ask::new("POST", &path, b"").token(&target.admin),
        source,
    ))
}

fn names(target: &TestAppliance) -> Vec<String> {
    let entries = std::fs::read_dir(target.folder().join("uploads"))
        .into_iter()
        .flatten();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn bundle(source: &TestAppliance) -> (Value, Vec<u8>, String) {
    submit(source, 30);
    let (exported, file) = export(source, &json!({}));
    let sha256 = Digest::of(&file).to_string();
    assert_eq!(exported["fileSha256"], sha256);
    (exported, file, sha256)
}

#[test]
fn an_upload_goes_on_where_it_ended_and_is_imported_by_its_digest() {
    let (source, target) = (TestAppliance::start(), TestAppliance::start());
    let (_, file, sha256) = bundle(&source);
    let (total, third) = (file.len(), file.len() / 3);
    assert_eq!(upload(&target, &sha256).problem(404), "not_found");
    let kept = put(&target, &sha256, &file[..third], Some((0, total))).expect(202);
    assert_eq!(
        (&kept["expectedOffset"], &kept["whole"]),
        (&json!(third), &json!(false))
    );
    let refused = import_uploaded(&target, &source, &sha256);
    assert_eq!(refused.problem(422), "upload_incomplete");
    for from in [third - 1, third + 1] {
        let wrong = put(&target, &sha256, &file[from..], Some((from, total)));
        assert_eq!(wrong.problem(409), "wrong_offset");
        assert_eq!(wrong.json()["expectedOffset"], third);
    }
    // The server may end meanwhile.
    let target = target.restart();
    assert_eq!(upload(&target, &sha256).expect(200)["expectedOffset"], third);
    let whole = put(&target, &sha256, &file[third..], Some((third, total))).expect(201);
    assert_eq!(
        (&whole["expectedOffset"], &whole["whole"]),
        (&json!(total), &json!(true))
    );
    assert_eq!(
        put(&target, &sha256, &file[third..], Some((third, total))).status,
        200,
        "it is there"
    );
    assert_eq!(import_uploaded(&target, &source, &sha256).expect(201)["size"], 31);
    assert!(names(&target).is_empty(), "what was imported is not kept twice");
    assert_eq!(upload(&target, &sha256).problem(404), "not_found");
}

#[test]
fn an_import_goes_to_its_end_when_whoever_asked_has_gone() {
    let (source, target) = (TestAppliance::start(), TestAppliance::start());
    let (exported, file, sha256) = bundle(&source);
    put(&target, &sha256, &file, None).expect(201);
    let path = format!("/api/v1/bundles/import?upload={sha256}");
    let asked = with_keys(Ask::new("POST", &path, b"").token(&target.admin), &source);
    let mut socket = target.connect();
    socket.write_all(&asked.bytes(target.address)).unwrap();
    drop(socket);
    let shown = format!("/api/v1/imports/{}", exported["id"].as_str().unwrap());
    until("the bundle is held", || target.get(&shown).status == 200);
    until("the upload goes", || names(&target).is_empty());
    let tenant = target.get(&shown).expect(200)["tenant"]
        .as_str()
        .unwrap()
        .to_owned();
    let state = Ask::get("/api/v1/ledger/state")
        .token(&target.admin)
        .header("x-fastness-tenant", &tenant);
    let own = source.get("/api/v1/ledger/state?size=31").expect(200);
    until("its state is made", || target.send(&state).json() == own);
}

#[test]
fn a_body_that_breaks_off_leaves_what_came_and_nothing_half_imported() {
    let (source, target) = (TestAppliance::start(), TestAppliance::start());
    let (_, file, sha256) = bundle(&source);
    let half = file.len() / 2;
    let path = format!("/api/v1/uploads/{sha256}");
    let asked = Ask::new("PUT", &path, &file)
        .token(&target.admin)
        .bytes(target.address);
    let mut socket = target.connect();
    socket
        .write_all(&asked[..asked.len() - (file.len() - half)])
        .unwrap();
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    let reply = Reply::read(std::io::BufReader::new(socket));
    assert!(matches!(reply.status, 400), "{}", reply.status);
    let received = upload(&target, &sha256).expect(200)["expectedOffset"]
        .as_u64()
        .unwrap() as usize;
    assert_eq!(received, half);
    put(&target, &sha256, &file[received..], Some((received, file.len()))).expect(201);
    import_uploaded(&target, &source, &sha256).expect(201);
    // The whole in one request that breaks off is nothing at all.
    let asked = Ask::new("POST", "/api/v1/bundles/import", &file)
        .token(&target.admin)
        .bytes(target.address);
    let mut socket = target.connect();
    socket.write_all(&asked[..asked.len() - 10]).unwrap();
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(Reply::read(std::io::BufReader::new(socket)).status, 400);
    assert!(names(&target).is_empty());
}

#[test]
fn what_is_not_what_was_said_is_thrown_away() {
    let target = TestAppliance::start();
    let (said, other) = (Digest::of(b"said").to_string(), b"other");
    assert_eq!(put(&target, &said, other, None).problem(422), "digest_mismatch");
    assert_eq!(upload(&target, &said).status, 404);
    assert_eq!(put(&target, "xyz", other, None).problem(422), "invalid_field");
    assert_eq!(put(&target, &said, b"ot", Some((0, 4))).status, 202);
    let path = format!("/api/v1/uploads/{said}");
    assert_eq!(
        target
            .send(&Ask::new("DELETE", &path, b"").token(&target.admin))
            .status,
        204
    );
    assert_eq!(
        target
            .send(&Ask::new("DELETE", &path, b"").token(&target.admin))
            .status,
        404
    );
    assert!(names(&target).is_empty());
    let huge = format!("bytes 0-3/{}", limits::BUNDLE_BYTES_MAX + 1);
    let ask = Ask::new("PUT", &path, b"said")
        .token(&target.admin)
        .header("content-range", &huge);
    assert_eq!(target.send(&ask).problem(413), "too_large");
}

#[test]
fn uploads_are_bounded_and_those_that_stand_still_are_collected() {
    let target = TestAppliance::start();
    let name = |at: usize| Digest::of(&[at as u8]).to_string();
    for at in 0..limits::BUNDLE_UPLOADS_MAX {
        assert_eq!(put(&target, &name(at), b"ab", Some((0, 9))).status, 202);
    }
    let one_more = name(limits::BUNDLE_UPLOADS_MAX);
    assert_eq!(
        put(&target, &one_more, b"ab", Some((0, 9))).problem(429),
        "limit_reached"
    );
    assert_eq!(
        put(&target, &name(3), b"cd", Some((2, 9))).status,
        202,
        "one that has begun goes on"
    );
    let owned = Digest::of(format!("{} admin", name(5)).as_bytes());
    let stale = target.folder().join("uploads").join(format!("{owned}.part"));
    let idle = std::time::Duration::from_millis(limits::BUNDLE_UPLOAD_IDLE_MS_MAX + 60_000);
    let file = std::fs::File::options().write(true).open(&stale).unwrap();
    file.set_modified(std::time::SystemTime::now() - idle).unwrap();
    assert_eq!(put(&target, &one_more, b"ab", Some((0, 9))).status, 202);
    assert!(!stale.exists());
    let leftover = target.folder().join("uploads").join("0123456789abcdef");
    std::fs::write(&leftover, b"of a request that is no more").unwrap();
    let target = target.restart();
    assert!(!leftover.exists());
    assert_eq!(
        names(&target).len(),
        limits::BUNDLE_UPLOADS_MAX,
        "what can be gone on with is kept"
    );
}

#[test]
fn a_download_is_gone_on_with_only_for_the_same_bytes() {
    let source = TestAppliance::start();
    let (exported, file, sha256) = bundle(&source);
    let path = format!("/api/v1/bundles/{}/content", exported["id"].as_str().unwrap());
    let tag = format!("\"{sha256}\"");
    let ask = |method: &'static str, headers: &[(&str, &str)]| {
        let mut ask = Ask::new(method, &path, b"").token(&source.admin);
        for (name, value) in headers {
            ask = ask.header(name, value);
        }
        source.send(&ask)
    };
    let head = ask("HEAD", &[]);
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(
        head.header("content-length"),
        Some(file.len().to_string().as_str())
    );
    assert_eq!(
        (head.header("etag"), head.header("accept-ranges")),
        (Some(tag.as_str()), Some("bytes"))
    );
    let part = ask("GET", &[("range", "bytes=100-"), ("if-range", &tag)]);
    assert_eq!((part.status, &part.body[..]), (206, &file[100..]));
    let last = file.len() - 1;
    assert_eq!(
        part.header("content-range"),
        Some(format!("bytes 100-{last}/{}", file.len()).as_str())
    );
    let within = ask("GET", &[("range", "bytes=5-9")]);
    assert_eq!((within.status, &within.body[..]), (206, &file[5..10]));
    let other = ask("GET", &[("range", "bytes=100-"), ("if-range", "\"another\"")]);
    assert_eq!(
        (other.status, &other.body[..]),
        (200, &file[..]),
        "other bytes are given whole"
    );
    let dated = ask(
        "GET",
        &[
            ("range", "bytes=100-"),
            ("if-range", "Wed, 21 Oct 2026 07:28:00 GMT"),
        ],
    );
    assert_eq!(dated.status, 200, "a date names no bytes");
    let beyond = format!("bytes={}-", file.len());
    let outside = ask("GET", &[("range", &beyond), ("if-range", &tag)]);
    assert_eq!(outside.problem(416), "range_not_satisfiable");
    assert_eq!(
        outside.header("content-range"),
        Some(format!("bytes */{}", file.len()).as_str())
    );
    assert_eq!(ask("GET", &[("if-none-match", &tag)]).status, 304);
    let again = source.post("/api/v1/bundles/export", "{}").expect(201);
    assert_eq!(again["fileSha256"], sha256, "written again, the same bytes go on");
}

#[test]
fn of_many_exports_the_newest_are_kept() {
    let source = TestAppliance::start();
    source.create_tenant("beta");
    let beta = source.token("bea", Scope::ALL, &["beta"]);
    let others = Ask::post("/api/v1/bundles/export", b"{}").token(&beta);
    source
        .send(&Ask::post("/api/v1/jobs", br#"{"type":"t"}"#).token(&beta))
        .expect(201);
    source.send(&others).expect(201);
    submit(&source, 70);
    let mut ids = Vec::new();
    for to in 1..=70 {
        let ask = json!({ "to": to }).to_string();
        let exported = source.post("/api/v1/bundles/export", ask).expect(201);
        ids.push(exported["id"].as_str().unwrap().to_owned());
    }
    let listed = source.get("/api/v1/bundles").expect(200);
    let kept = listed["items"].as_array().unwrap();
    assert_eq!(kept.len(), 63, "with that of another tenant there are 64");
    let is_kept = |id: &String| kept.iter().any(|bundle| bundle["id"] == id.as_str());
    assert!(ids[7..].iter().all(is_kept) && !ids[..7].iter().any(is_kept));
    let of_beta = source.send(&Ask::get("/api/v1/bundles").token(&beta)).expect(200);
    assert_eq!(
        of_beta["items"].as_array().unwrap().len(),
        1,
        "nobody pushes out those of others"
    );
    let gone = source.get(&format!("/api/v1/bundles/{}/content", ids[0]));
    assert_eq!(gone.problem(404), "not_found");
    // Equal ranges give equal bytes: it is made again.
    let again = source.post("/api/v1/bundles/export", r#"{"to":1}"#).expect(201);
    assert_eq!(again["id"], ids[0].as_str());
    let folder = crate::support::appliance::files(&source.folder().join("bundles"));
    assert_eq!(folder.len(), 2 * 64, "no file is left of those that went");
}
