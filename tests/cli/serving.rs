//! `fastness serve` as a process: the one line that it says, how it ends, and what it says when it cannot start.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::program::{Program, Said, command, run};

fn serve(data: &Path, listen: &str) -> Said {
    run(&["serve", "--listen", listen, "--data", data.to_str().unwrap()])
}

#[test]
fn port_zero_picks_a_port_and_the_ready_line_is_all_of_standard_output() {
    let folder = tempfile::tempdir().unwrap();
    let server = Program::start(&folder.path().join("data"));
    assert_ne!(server.address.port(), 0);
    assert!(server.address.ip().is_loopback());
    assert_eq!(server.get("/readyz")["status"], "ok");
    let mode = std::fs::metadata(folder.path().join("data/admin.token")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    let (code, more) = server.terminate();
    assert_eq!(code, Some(0), "SIGTERM ends it well");
    assert_eq!(more, Vec::<String>::new(), "one line is all that it prints");
    let log = std::fs::read_to_string(folder.path().join("data.log")).unwrap();
    assert!(log.contains("serving") && log.contains("ended"), "{log}");
    assert!(!log.contains("ready http"), "{log}");
}

#[test]
fn a_port_in_use_is_named_and_ends_with_nine() {
    let folder = tempfile::tempdir().unwrap();
    let server = Program::start(&folder.path().join("data"));
    let listen = server.address.to_string();
    let second = serve(&folder.path().join("other"), &listen);
    second.refuses(9, &format!("cannot listen on {listen}"));
    assert!(second.stderr.contains("in use"), "{second:?}");
    // Nothing was made that would have to be explained later.
    assert!(!folder.path().join("other/keys").exists());
    assert_eq!(server.get("/readyz")["status"], "ok");
}

#[test]
fn a_second_server_on_one_data_folder_ends_with_nine() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Program::start(&data);
    let name = data.to_str().unwrap();
    serve(&data, "127.0.0.1:0").refuses(9, &format!("another server is using {name}"));
    // Nothing else may open it meanwhile.
    run(&["doctor", "--data", name]).refuses(9, "another server is using");
    run(&["init", name]).refuses(9, "another server is using");
    assert_eq!(server.get("/readyz")["status"], "ok");
    // The lock goes with the process, however that ends.
    server.kill();
    let (code, _) = Program::start(&data).terminate();
    assert_eq!(code, Some(0));
}

#[test]
fn a_data_folder_that_cannot_be_made_or_written_ends_with_nine() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "not a folder").unwrap();
    for data in [file.clone(), file.join("below")] {
        serve(&data, "127.0.0.1:0").refuses(9, &format!("making {}", data.display()));
    }
    // As for everybody, root included: the kernel's own folder takes no files.
    serve(Path::new("/proc/fastness"), "127.0.0.1:0").refuses(9, "making /proc/fastness");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "not a folder");
}

/// Permissions do not bind root; they bind everybody else, and are tested for whom they bind.
#[test]
fn a_data_folder_without_write_permission_ends_with_nine_unless_root_asks() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o500)).unwrap();
    if rustix::process::geteuid().is_root() {
        println!("root: permissions do not bind; what is tested is that the server starts");
        let (code, _) = Program::start(&data).terminate();
        assert_eq!(code, Some(0));
    } else {
        serve(&data, "127.0.0.1:0").refuses(9, "lock");
    }
}

#[test]
fn an_address_of_the_network_and_an_unknown_setting_are_usage() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    serve(&data, "0.0.0.0:0").refuses(2, "is not a loopback address");
    serve(&data, "no address").refuses(2, "no address");
    run(&["serve"]).refuses(2, "--data");
    let log = ["serve", "--log", "=:=", "--data", data.to_str().unwrap()];
    run(&log).refuses(2, "--log");
    assert!(!data.exists());
}

#[test]
fn settings_come_from_the_environment_and_flags_win() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let mut by_environment = command(&["serve"]);
    by_environment.env("FASTNESS_DATA", &file);
    Said::of(&mut by_environment).refuses(9, file.to_str().unwrap());
    let mut by_flag = command(&["serve", "--listen", "0.0.0.0:0"]);
    by_flag
        .env("FASTNESS_DATA", &file)
        .env("FASTNESS_LISTEN", "127.0.0.1:0");
    Said::of(&mut by_flag).refuses(2, "0.0.0.0");
}
