//! Bundles that leave and come by the command line: approvals, extracts, lines that break, disks that are full.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use fastness::domain::leaf_hash;
use fastness::ledger::EventProof;
use serde_json::Value;

use crate::support::program::{PROGRAM, Program, Said, Starting, command, run};

/// A server with some history, and its public keys as files.
pub struct Enclave {
    pub folder: tempfile::TempDir,
    pub server: Program,
}

impl Enclave {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Program::start(&folder.path().join("data"));
        let enclave = Enclave { folder, server };
        for role in ["log", "export"] {
            let pem = enclave.server.run(&["key", "show", role, "--pem"]);
            assert_eq!(pem.code, 0, "{pem:?}");
            std::fs::write(enclave.path(&format!("{role}.pem")), pem.stdout).unwrap();
        }
        enclave
    }

    pub fn submit(&self, count: usize) {
        for at in 0..count {
            let kind = format!("t{at}");
            assert_eq!(self.server.run(&["job", "submit", &kind]).code, 0);
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Exports to a file of this name.
    pub fn export(&self, name: &str, more: &[&str]) -> String {
        let file = self.text(name);
        let line = [&["export", "--out", &file, "-o", "json"], more].concat();
        self.server.run(&line).json(0);
        file
    }

    pub fn keys(&self) -> [String; 4] {
        let (log, export) = (self.text("log.pem"), self.text("export.pem"));
        ["--log-key".to_owned(), log, "--export-key".to_owned(), export]
    }

    pub fn with_keys<'a>(keys: &'a [String; 4], line: &[&'a str]) -> Vec<&'a str> {
        let keys = keys.iter().map(String::as_str);
        line.iter().copied().chain(keys).collect()
    }
}

#[test]
fn an_import_waits_for_another_person() {
    let source = Enclave::start();
    source.submit(2);
    let file = source.export("bundle", &[]);
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let serve = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data",
        data.to_str().unwrap(),
        "--import-approvals",
        "1",
    ];
    let target = Starting::by(command(&serve), &data).ready();
    let keys = source.keys();
    let import = Enclave::with_keys(&keys, &["import", &file, "-o", "json"]);
    let waiting = target.run(&import).json(0);
    assert_eq!(waiting["status"], "waiting");
    let id = waiting["id"].as_str().unwrap();
    let said = target.run(&Enclave::with_keys(&keys, &["import", &file]));
    assert!(said.stderr.contains(&format!("import approve {id}")), "{said:?}");
    target.run(&["import", "approve", id]).refuses(2, "--reason");
    target
        .run(&["import", "approve", id, "--reason", "mine"])
        .refuses(5, "somebody else");
    let made = [
        "token",
        "create",
        "--name",
        "ada",
        "--person",
        "ada",
        "--for",
        "default",
        "--scopes",
        "orch:approve,audit:import",
        "-o",
        "json",
    ];
    let token = target.run(&made).json(0)["token"].as_str().unwrap().to_owned();
    let as_ada = |line: &[&str]| {
        let mut client = target.client(line);
        client
            .env_remove("FASTNESS_TOKEN_FILE")
            .env("FASTNESS_TOKEN", &token);
        Said::of(&mut client)
    };
    let held = as_ada(&[
        "import",
        "approve",
        id,
        "--reason",
        "compared the keys",
        "-o",
        "json",
    ])
    .json(0);
    assert_eq!(held["status"], "held");
    let listed = as_ada(&["import", "list", "-o", "json"]).json(0);
    assert_eq!(listed["items"][0]["status"], "held");
    assert_eq!(
        as_ada(&["import", "show", id, "-o", "json"]).json(0)["status"],
        "held"
    );
    as_ada(&["import", "reject", id, "--reason", "too late"]).refuses(5, "not taken back");
    let again = target.run(&["import", &file]);
    assert!(
        again.code == 0 && again.stderr.contains("nothing changed"),
        "{again:?}"
    );
    run(&[
        "serve",
        "--data",
        data.to_str().unwrap(),
        "--import-approvals",
        "99",
    ])
    .refuses(2, "--import-approvals 99");
}

#[test]
fn an_event_is_taken_out_and_checked_offline() {
    let source = Enclave::start();
    source.submit(6);
    let (out, log) = (source.text("extracts"), source.text("log.pem"));
    for seq in ["0", "3"] {
        let said = source
            .server
            .run(&["ledger", "extract", seq, "--out", &out, "-o", "json"])
            .json(0);
        assert_eq!(said["size"], 7);
    }
    let file = |name: &str| format!("{out}/{name}");
    let judge = |event: &str, proof: &str, log: &str| {
        run(&["verify", event, "--proof", proof, "--log-key", log, "-o", "json"])
    };
    let good = judge(&file("3.json"), &file("3.tlog-proof"), &log).json(0);
    assert_eq!(
        (&good["ok"], &good["index"], &good["size"]),
        (&true.into(), &3.into(), &7.into())
    );
    let event = std::fs::read(file("3.json")).unwrap();
    assert_eq!(good["leafHash"], leaf_hash(&event).to_string());
    assert_eq!(
        event.last(),
        Some(&b'}'),
        "the exact bytes, without an end of line"
    );

    let text = std::fs::read_to_string(file("3.tlog-proof")).unwrap();
    let hashes = EventProof::parse(text.as_bytes()).unwrap().hashes.len();
    let lines: Vec<&str> = text.lines().collect();
    let without = |at: usize| [&lines[..at], &lines[at + 1..]].concat().join("\n") + "\n";
    let twice = [&lines[..3], &lines[2..]].concat().join("\n") + "\n";
    let changed = String::from_utf8(event.clone())
        .unwrap()
        .replacen("job.", "jab.", 1);
    let hostile = |name: &str, proof: &str| {
        std::fs::write(file(name), proof).unwrap();
        judge(&file("3.json"), &file(name), &log).code
    };
    for at in 2..2 + hashes {
        assert_eq!(hostile("short", &without(at)), 10, "one hash short: line {at}");
    }
    assert_eq!(hostile("long", &twice), 10, "one hash long");
    assert_eq!(
        hostile("index", &text.replace("index 3", "index 2")),
        10,
        "another index"
    );
    assert_eq!(
        hostile("beyond", &text.replace("index 3", "index 7")),
        10,
        "no such index"
    );
    assert_eq!(hostile("version", &text.replace("@v1", "@v2")), 14);
    assert_eq!(
        hostile("size", &text.replace("\n7\n", "\n8\n")),
        10,
        "another size than signed"
    );
    assert_eq!(hostile("empty", ""), 14);
    assert_eq!(
        judge(&file("0.json"), &file("3.tlog-proof"), &log).code,
        10,
        "another event"
    );
    std::fs::write(file("changed.json"), &changed).unwrap();
    assert_eq!(
        judge(&file("changed.json"), &file("3.tlog-proof"), &log).code,
        10,
        "a changed event"
    );
    std::fs::write(file("lf.json"), [&event[..], b"\n"].concat()).unwrap();
    assert_eq!(
        judge(&file("lf.json"), &file("3.tlog-proof"), &log).code,
        10,
        "one byte more"
    );
    assert_eq!(
        judge(&file("3.json"), &file("3.tlog-proof"), &source.text("export.pem")).code,
        12,
        "another key"
    );
    assert_eq!(
        run(&["verify", &file("3.json"), "--proof", &file("3.tlog-proof")]).code,
        12,
        "no key"
    );
    source
        .server
        .run(&["ledger", "extract", "7", "--out", &out])
        .refuses(3, "no such event");
    run(&["verify", &file("3.json"), "--log-key", &log]).refuses(2, "--export-key");
}

/// The client with a limit on the length of a file it writes, in KiB.
fn limited(source: &Enclave, kib: u64, line: &[&str]) -> Said {
    let script = format!("trap '' XFSZ; ulimit -f {kib}; exec \"$@\"");
    let mut limited = Command::new("bash");
    let environment = source.server.client(&[]);
    limited.args(["-c", &script, "bash", PROGRAM]).args(line);
    for (name, value) in environment.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    Said::of(&mut limited)
}

#[test]
fn scratch_folders_of_a_server_that_was_killed_go_at_the_next_start() {
    let Enclave { folder, server } = Enclave::start();
    drop(server);
    let left = ["bundles", "scratch"].map(|name| folder.path().join("data").join(name).join("scratch-aa"));
    for path in &left {
        std::fs::create_dir_all(path).unwrap();
    }
    let _server = Program::start(&folder.path().join("data"));
    assert!(left.iter().all(|path| !path.exists()), "{left:?}");
}

#[test]
fn a_disk_that_refuses_leaves_no_half_bundle_and_is_named() {
    let source = Enclave::start();
    source.submit(12);
    let out = source.text("stick.audit.tar.zst");
    let part = PathBuf::from(format!("{out}.part"));
    std::fs::write(&out, "an older bundle").unwrap();
    let kept = source.server.run(&["export", "--out", &out]);
    kept.refuses(5, "--force writes over it");
    let said = limited(&source, 1, &["export", "--force", "--out", &out]);
    said.refuses(1, &format!("cannot write {out}"));
    assert!(said.stderr.contains("File too large"), "{said:?}");
    assert_eq!(
        std::fs::read_to_string(&out).unwrap(),
        "an older bundle",
        "what was there stays"
    );
    assert!(!part.exists(), "room is given back");
    // What an earlier try has left is gone on with when it is the beginning of the same bundle, else replaced.
    let whole = source.export("whole", &[]);
    let whole = std::fs::read(whole).unwrap();
    let mut wrong = whole[..900].to_vec();
    wrong[7] ^= 1;
    for left in [
        &whole[..0],
        &whole[..1],
        &whole[..900],
        &wrong,
        &whole,
        &[whole.as_slice(), b"more"].concat(),
    ] {
        std::fs::write(&part, left).unwrap();
        source.export("stick.audit.tar.zst", &["--force"]);
        assert_eq!(
            std::fs::read(&out).unwrap(),
            whole,
            "{} bytes were left",
            left.len()
        );
        assert!(!part.exists());
    }
    let nowhere = source.text("no/such/folder/bundle");
    source
        .server
        .run(&["export", "--out", &nowhere])
        .refuses(1, &nowhere);
}

/// Passes connections on to a server, and cuts the first few answers that are long after so many bytes.
struct CutLine {
    address: SocketAddr,
    /// The heads of requests that were passed on.
    heads: Arc<Mutex<Vec<String>>>,
}

impl CutLine {
    fn before(server: SocketAddr, cuts: usize, to_client: bool, after: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (seen, left) = (heads.clone(), Arc::new(Mutex::new(cuts)));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect(server).unwrap();
                let (up, down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (seen, cut_up) = (seen.clone(), (!to_client).then(|| left.clone()));
                let cut_down = to_client.then(|| left.clone());
                std::thread::spawn(move || pass(up, down, (cut_up, after), Some(&seen)));
                std::thread::spawn(move || pass(server, client, (cut_down, after), None));
            }
        });
        CutLine { address, heads }
    }
}

/// Passes bytes on; where a cut is left, closes both ends once so many bytes have passed.
fn pass(
    mut from: TcpStream,
    mut to: TcpStream,
    (cuts, after): (Option<Arc<Mutex<usize>>>, usize),
    seen: Option<&Mutex<Vec<String>>>,
) {
    let (mut passed, mut piece) = (0, [0; 512]);
    while let Ok(read) = from.read(&mut piece) {
        if read == 0 || to.write_all(&piece[..read]).is_err() {
            break;
        }
        passed += read;
        if let Some(seen) = seen {
            seen.lock()
                .unwrap()
                .push(String::from_utf8_lossy(&piece[..read]).into_owned());
        }
        if let Some(cuts) = &cuts {
            let mut left = cuts.lock().unwrap();
            if passed > after && *left > 0 {
                *left -= 1;
                break;
            }
        }
    }
    let _ = from.shutdown(std::net::Shutdown::Both);
    let _ = to.shutdown(std::net::Shutdown::Both);
}

fn through(source: &Enclave, line: &CutLine, arguments: &[&str]) -> Said {
    let mut client = source.server.client(arguments);
    client.env("FASTNESS_SERVER", format!("http://{}", line.address));
    Said::of(&mut client)
}

#[test]
fn a_download_that_breaks_off_goes_on() {
    let source = Enclave::start();
    source.submit(12);
    let whole = std::fs::read(source.export("whole", &[])).unwrap();
    assert!(whole.len() > 2_600, "{}", whole.len());
    let line = CutLine::before(source.server.address, 2, true, 1_500);
    let out = source.text("over.audit.tar.zst");
    let said = through(&source, &line, &["export", "--out", &out]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(std::fs::read(&out).unwrap(), whole);
    let heads = line.heads.lock().unwrap().concat().to_lowercase();
    assert!(
        heads.contains("\r\nrange: bytes=") && heads.contains("if-range: \""),
        "{heads}"
    );
    assert!(said.stderr.contains("going on at byte"), "{said:?}");
}

#[test]
fn an_upload_that_breaks_off_goes_on() {
    let (source, target) = (Enclave::start(), Enclave::start());
    source.submit(12);
    let file = source.export("whole", &[]);
    let line = CutLine::before(target.server.address, 2, false, 2_000);
    let keys = source.keys();
    let said = through(
        &target,
        &line,
        &Enclave::with_keys(&keys, &["import", &file, "-o", "json"]),
    );
    let imported: Value = said.json(0);
    assert_eq!(imported["already"], false);
    let heads = line.heads.lock().unwrap().concat().to_lowercase();
    let resumed =
        heads.matches("content-range: bytes ").count() - heads.matches("content-range: bytes 0-").count();
    assert!(
        resumed >= 1 && said.stderr.contains("going on"),
        "{resumed}: {said:?}"
    );
    assert!(files_in(&target.path("data/uploads")).is_empty());
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).map_or(Vec::new(), |entries| {
        entries.map(|entry| entry.unwrap().path()).collect()
    })
}
