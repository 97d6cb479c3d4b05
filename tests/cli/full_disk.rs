//! A disk that is really full, or really read-only: the kernel says so, the program says so, and what was acknowledged
//! is there afterwards.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::Command;

use crate::support::appliance::{Ask, Reply};
use crate::support::program::{PROGRAM, Program, Starting, call, command, run};

/// Room for one segment of the journal and a small projection.
const DISK: &str = "size=40m";
/// More than the journal can take without a second segment.
const JOBS_MAX: usize = 1_000;
/// What the kernel says of a full disk, and of a file that may not grow.
const FULL: &str = "No space left on device";
const LIMITED: &str = "File too large";
/// No file may pass this, in blocks of 1,024 bytes: the journal's first segments fit, a projection of [`JOBS_MAX`] does not.
const FILE_BLOCKS_MAX: u64 = 20 << 10;

/// A small file system of its own in memory; gone with the test.
struct SmallDisk {
    folder: tempfile::TempDir,
    at: PathBuf,
}

impl SmallDisk {
    /// None where this user may not mount.
    fn mount() -> Option<SmallDisk> {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("disk");
        std::fs::create_dir(&at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", DISK, "tmpfs"])
            .arg(&at)
            .output()
            .unwrap();
        if !mounted.status.success() {
            println!("no disk can be mounted here, the lower level is tested: {mounted:?}");
            return None;
        }
        Some(SmallDisk { folder, at })
    }

    /// From now on nothing can be written, by nobody.
    fn make_read_only(&self) {
        let remounted = Command::new("mount")
            .args(["-o", "remount,ro"])
            .arg(&self.at)
            .status();
        assert!(remounted.unwrap().success());
    }

    /// Takes all room that there is.
    fn fill(&self) -> PathBuf {
        let path = self.at.join("filling");
        let mut file = File::create(&path).unwrap();
        for bytes in [1 << 16, 1] {
            loop {
                match file.write_all(&vec![0; bytes]) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
    }
}

fn submit(server: &Program, payload: &str) -> std::io::Result<Reply> {
    let body = format!(r#"{{"type":"fill.disk","payload":"{payload}"}}"#);
    let ask = Ask::post("/api/v1/jobs", body.as_bytes());
    call(server.address, &ask.token(&server.token))
}

/// Submits until the server refuses: the jobs that it acknowledged, and the refusal, unless it had ended by then.
fn submit_until_refused(server: &Program) -> (Vec<String>, Option<Reply>) {
    let payload = "x".repeat(100_000);
    let mut acknowledged = Vec::new();
    for _ in 0..JOBS_MAX {
        let Ok(reply) = submit(server, &payload) else {
            return (acknowledged, None);
        };
        if reply.status != 201 {
            return (acknowledged, Some(reply));
        }
        acknowledged.push(reply.json()["id"].as_str().unwrap().to_owned());
    }
    panic!("a disk of {DISK} takes everything");
}

#[test]
fn a_full_disk_is_said_and_loses_nothing_that_was_acknowledged() {
    let Some(disk) = SmallDisk::mount() else {
        return a_file_that_may_not_grow_is_said();
    };
    let data = disk.at.join("data");
    let name = data.to_str().unwrap();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--data", name];
    // Where there is room for it.
    let log = disk.folder.path().join("log");
    let start = || Starting::logging(command(&serve), &data, &log).ready();
    let server = start();
    let first = submit(&server, "small").unwrap().expect(201);
    let filling = disk.fill();
    let mut acknowledged = fails_for(server, FULL);
    acknowledged.push(first["id"].as_str().unwrap().to_owned());
    // Without room there is no start, and no harm; with room everything acknowledged is there.
    run(&serve).refuses(9, FULL);
    std::fs::remove_file(filling).unwrap();
    all_is_there(start(), &acknowledged, name);
}

#[test]
fn an_upload_that_fills_the_disk_is_refused_and_gives_its_room_back() {
    let Some(disk) = SmallDisk::mount() else { return };
    let data = disk.at.join("data");
    let serve = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data",
        data.to_str().unwrap(),
    ];
    let log = disk.folder.path().join("log");
    let server = Starting::logging(command(&serve), &data, &log).ready();
    submit(&server, "before").unwrap().expect(201);
    let upload = vec![7; 64 << 20];
    let sha256 = fastness::domain::Digest::of(&upload);
    for path in [
        format!("/api/v1/uploads/{sha256}"),
        "/api/v1/bundles/import".to_owned(),
    ] {
        let method = if path.ends_with("import") { "POST" } else { "PUT" };
        let ask = Ask::new(method, &path, &upload).token(&server.token);
        let refused = call(server.address, &ask);
        // Whoever is still sending when the refusal comes may not be able to read it.
        if let Ok(refused) = refused {
            assert_eq!(refused.problem(507), "storage_full", "{path}");
        }
        let left = std::fs::read_dir(data.join("uploads")).unwrap().count();
        assert_eq!(left, 0, "{path}: room is given back");
        submit(&server, "after").unwrap().expect(201);
    }
}

/// The same promises, of a limit that needs no right to set.
#[test]
fn a_file_that_may_not_grow_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let name = data.to_str().unwrap();
    let log = folder.path().join("log");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--data", name];
    // The signal is ignored, as a supervisor may do it: then the write itself fails.
    let script = format!("trap '' XFSZ; ulimit -f {FILE_BLOCKS_MAX}; exec \"$@\"");
    let mut limited = Command::new("bash");
    limited.args(["-c", &script, "bash", PROGRAM]).args(serve);
    let acknowledged = fails_for(Starting::logging(limited, &data, &log).ready(), LIMITED);
    let server = Starting::logging(command(&serve), &data, &log).ready();
    all_is_there(server, &acknowledged, name);
}

/// Fills until the server refuses and ends, for this cause and no other. What it acknowledged.
fn fails_for(server: Program, cause: &str) -> Vec<String> {
    let (acknowledged, refusal) = submit_until_refused(&server);
    // Where the journal met the cause, whether the last command is recorded cannot be known, and the answer says why.
    // Where the projection did, everything answered is recorded, and the next request meets a server that ends, and is
    // told the same cause.
    if let Some(refusal) = refusal {
        let code = refusal.problem(503);
        assert!(["outcome_unknown", "stopping"].contains(&code.as_str()), "{code}");
        let detail = refusal.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(cause), "{code}: {detail}");
    }
    // After a failed write nothing is tried again: the server ends, and says why.
    let (code, log) = server.ended();
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.contains("the server ended by itself") && log.contains(cause),
        "{log}"
    );
    acknowledged
}

fn all_is_there(server: Program, acknowledged: &[String], data: &str) {
    for id in acknowledged {
        let read = server.get(&format!("/api/v1/jobs/{id}"));
        assert_eq!(read["status"], "scheduled", "{id}");
    }
    submit(&server, "again").unwrap().expect(201);
    let (code, _) = server.terminate();
    assert_eq!(code, Some(0));
    let examined = run(&["doctor", "-o", "json", "--data", data]).json(0);
    assert_eq!(examined["ok"], true, "{examined:#}");
}

#[test]
fn a_data_folder_on_a_read_only_disk_ends_with_nine() {
    let Some(disk) = SmallDisk::mount() else {
        // Nobody may make a folder there, root or not.
        let name = "/proc/self/fastness";
        let refused = run(&["serve", "--listen", "127.0.0.1:0", "--data", name]);
        return refused.refuses(9, name);
    };
    let (known, new) = (disk.at.join("known"), disk.at.join("new"));
    let (code, _) = Program::start(&known).terminate();
    assert_eq!(code, Some(0));
    disk.make_read_only();
    for data in [known, new] {
        let name = data.to_str().unwrap();
        let refused = run(&["serve", "--listen", "127.0.0.1:0", "--data", name]);
        refused.refuses(9, "Read-only file system");
        assert!(refused.stderr.contains(name), "{refused:?}");
    }
}
