//! `docs/verify.py` on every hostile bundle: what is written down of it is what it does.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use super::super::fixture::{export_key, log_key};
use super::{Case, Given, Script, cases};

/// What the script must end with.
fn expected(case: &Case) -> i32 {
    match case.script {
        Script::Same => i32::from(case.code),
        Script::Other(code, why) => {
            assert!(code != i32::from(case.code) && !why.is_empty(), "{}", case.name);
            code
        }
        Script::Leaves(why) => {
            assert!(!why.is_empty(), "{}", case.name);
            0
        }
    }
}

fn run(case: &Case, dir: &Path) -> (i32, String) {
    let file = dir.join(case.file_name());
    std::fs::write(&file, &case.file).unwrap();
    let key = match &case.given {
        Given::ExportPem(pem) => {
            let path = dir.join(format!("{}.pem", case.name));
            std::fs::write(&path, pem).unwrap();
            path
        }
        Given::Keys | Given::Fingerprint(_) | Given::Held(_) | Given::Replay | Given::RequireReplay => {
            dir.join("export.pem")
        }
    };
    let output = Command::new("python3")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/verify.py"))
        .args([file, dir.join("log.pem"), key])
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), text)
}

#[test]
fn verify_py_does_with_each_hostile_bundle_what_is_written_down() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("log.pem"), log_key().public().to_pem().unwrap()).unwrap();
    std::fs::write(
        dir.path().join("export.pem"),
        export_key().public().to_pem().unwrap(),
    )
    .unwrap();
    let (cases, wrong) = (Mutex::new(cases()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    // Taken in a statement of its own, or the lock would be held while the script runs.
                    let next = cases.lock().unwrap().pop();
                    let Some(case) = next else { break };
                    let right = expected(&case);
                    let (found, text) = run(&case, dir.path());
                    let says_so = right == 0 || text.starts_with("FAILED: ");
                    if found != right || !says_so {
                        let line = format!("{}: {found} instead of {right}: {text}", case.name);
                        wrong.lock().unwrap().push(line);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join(""));
}
