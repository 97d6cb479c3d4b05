//! The real program on a real folder: a projection that rots while nothing runs never keeps the server from serving.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::runner_support::PROGRAM;
use crate::support::random::Random;

const FLIPS: u64 = 20;

struct Server {
    child: Child,
    address: String,
    token: String,
}

impl Server {
    /// Returns when it is ready.
    fn start(data: &Path) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .stderr(fs::File::create(data.with_extension("log")).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let Some(address) = line.trim_end().strip_prefix("ready ") else {
            let _ = child.kill();
            let log = fs::read_to_string(data.with_extension("log")).unwrap();
            panic!("it is not ready: {:?}\n{log}", child.wait());
        };
        Server {
            address: address.to_owned(),
            token: fs::read_to_string(data.join("admin.token"))
                .unwrap()
                .trim()
                .to_owned(),
            child,
        }
    }

    fn ask(&self, args: &[&str], path: &str) -> Value {
        let answer = Command::new("curl")
            .args([
                "-sS",
                "--fail-with-body",
                "--retry",
                "3",
                "--max-time",
                "20",
                "-H",
            ])
            .arg(format!("Authorization: Bearer {}", self.token))
            .args(args)
            .arg(format!("{}{path}", self.address))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&answer.stdout);
        assert!(answer.status.success(), "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// What it serves from its projection.
    fn state(&self) -> Value {
        let mut state = self.ask(&[], "/api/v1/ledger/state");
        state["jobs"] = self.ask(&[], "/api/v1/jobs?limit=200");
        state
    }

    /// Without any chance to tidy up.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_server_serves_the_same_whatever_byte_of_its_projection_changed_while_it_was_down() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let server = Server::start(&data);
    for n in 0..40 {
        let body = format!(r#"{{"type":"scan","payload":{{"n":{n}}}}}"#);
        let json = ["-X", "POST", "-H", "Content-Type: application/json", "-d", &body];
        server.ask(&json, "/api/v1/jobs");
    }
    let truth = server.state();
    assert_eq!(truth["jobs"]["items"].as_array().unwrap().len(), 40);
    server.kill();
    let mut random = Random::new(77);
    let mut rebuilt = 0;
    for flip in 0..FLIPS {
        let path = data.join("state.redb");
        let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        // The header, which only the library itself checks, or the pages of a small tree.
        let offset = match flip % 2 {
            0 => random.below(320),
            _ => random.below(file.metadata().unwrap().len().min(256 << 10)),
        };
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).unwrap();
        file.write_all_at(&[byte[0] ^ (1 << random.below(8))], offset)
            .unwrap();
        let server = Server::start(&data);
        assert_eq!(server.state(), truth, "flip {flip} at {offset}");
        server.kill();
        let log = fs::read_to_string(data.with_extension("log")).unwrap();
        rebuilt += u64::from(log.contains("projection was built anew"));
    }
    assert!(rebuilt > 0);
    println!("of {FLIPS} flips {rebuilt} led to a projection built anew");
}
