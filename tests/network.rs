//! Nothing phones home: every network call of the program and of all its children, as the kernel saw it.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::program::{PROGRAM, Program, Said, Starting, command, until};

/// Calls that reach out. What answers a connection that came in names no address.
const REACHING: &[&str] = &["connect(", "sendto(", "sendmsg(", "sendmmsg("];
/// Calls behind which others could hide from a trace.
const HIDING: &str = "io_uring_setup(";

/// The calls of a trace that reach beyond this machine, or could.
fn outbound(trace: &str) -> Vec<&str> {
    trace.lines().filter(|line| reaches_out(line)).collect()
}

fn reaches_out(line: &str) -> bool {
    if line.contains(HIDING) {
        return true;
    }
    // `12345 connect(3, {sa_family=…`: the call follows the number of the thread. What was resumed showed its address before.
    let call = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
    let is_reaching = REACHING.iter().any(|name| call.starts_with(name));
    is_reaching && addresses(call).any(|address| !is_local(address))
}

/// What follows each `sa_family=` up to the end of the address.
fn addresses(call: &str) -> impl Iterator<Item = &str> {
    let found = call.split("sa_family=").skip(1);
    found.map(|rest| rest.split('}').next().unwrap_or(rest))
}

/// Loopback, a socket of this machine's file system, or the kernel itself.
fn is_local(address: &str) -> bool {
    let (family, rest) = address.split_once(',').unwrap_or((address, ""));
    match family {
        "AF_UNIX" | "AF_NETLINK" | "AF_UNSPEC" => true,
        "AF_INET" => rest.contains("inet_addr(\"127."),
        "AF_INET6" => rest.contains("\"::1\"") || rest.contains("\"::ffff:127."),
        _ => false,
    }
}

/// The program below strace. Without strace, or where tracing is refused, the test has not been made and fails.
fn traced(trace: &Path, arguments: &[&str]) -> Command {
    let probe = Command::new("strace")
        .args(["-f", "--seccomp-bpf", "-e", "trace=network", "-o"])
        .arg(trace)
        .arg("true")
        .output()
        .unwrap_or_else(|error| panic!("strace cannot be run ({error}): apt-get install strace"));
    assert!(probe.status.success(), "strace may not trace here: {probe:?}");
    // Of the command, only its environment is used.
    let plain = command(arguments);
    let mut traced = Command::new("strace");
    // By a filter in the kernel: other calls go on at full speed.
    traced
        .args([
            "-f",
            "--seccomp-bpf",
            "-s",
            "256",
            "-e",
            "trace=network,io_uring_setup",
            "-o",
        ])
        .arg(trace)
        .arg(PROGRAM)
        .args(arguments)
        .stdin(Stdio::null());
    for (name, value) in plain.get_envs() {
        if value.is_none() {
            traced.env_remove(name);
        }
    }
    traced
}

/// What was traced, which must show what the program certainly did.
#[track_caller]
fn read(trace: &Path, certain: &[&str]) -> String {
    let text = std::fs::read_to_string(trace).unwrap();
    for call in certain {
        assert!(text.contains(call), "the trace does not show {call}: {text}");
    }
    text
}

#[test]
fn a_planted_call_is_found_in_a_trace() {
    let clean = "\
10 socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_IP) = 9
10 bind(12, {sa_family=AF_INET, sin_port=htons(0), sin_addr=inet_addr(\"127.0.0.1\")}, 16) = 0
10 connect(9, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr(\"127.0.0.1\")}, 16) = -1 EINPROGRESS (now)
11 connect(4, {sa_family=AF_UNIX, sun_path=\"/var/run/nscd/socket\"}, 110) = -1 ENOENT (No such file or directory)
11 connect(4, {sa_family=AF_INET6, sin6_port=htons(80), inet_pton(AF_INET6, \"::1\", &sin6_addr)}, 28) = 0
11 sendto(3, \"x\", 20, 0, {sa_family=AF_NETLINK, nl_pid=0, nl_groups=00000000}, 12) = 20
11 sendto(9, \"connect(3, {sa_family\", 21, MSG_NOSIGNAL, NULL, 0) = 21
11 accept4(9, {sa_family=AF_INET, sin_port=htons(1), sin_addr=inet_addr(\"192.0.2.1\")}, [16], 0) = 4
11 <... connect resumed>)               = 0
11 +++ exited with 0 +++
";
    assert_eq!(outbound(clean), Vec::<&str>::new());
    for planted in [
        "10 connect(9, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr(\"192.0.2.1\")}, 16) = 0",
        "10 connect(9, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr(\"10.0.0.1\")}, 16 <unfinished ...>",
        "connect(9, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr(\"10.0.0.1\")}, 16) = 0",
        "10 sendto(9, \"q\", 1, 0, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr(\"192.0.2.1\")}, 16) = 1",
        "10 sendmsg(9, {msg_name={sa_family=AF_INET6, sin6_port=htons(53), inet_pton(AF_INET6, \"2001:db8::1\", \
         &sin6_addr)}, msg_namelen=28}, 0) = 1",
        "10 sendmmsg(9, [{msg_hdr={msg_name={sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr(\"127.0.0.1\")}}}, \
         {msg_hdr={msg_name={sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr(\"192.0.2.1\")}}}], 2, 0) = 2",
        "10 sendto(9, \"raw\", 3, 0, {sa_family=AF_PACKET, sll_protocol=htons(ETH_P_ALL)}, 20) = 3",
        "10 io_uring_setup(8, {flags=0}) = 5",
    ] {
        let trace = format!("{clean}{planted}\n");
        assert_eq!(outbound(&trace), [planted]);
    }
}

#[test]
fn a_server_reaches_out_to_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (data, trace) = (folder.path().join("data"), folder.path().join("trace"));
    let arguments = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data",
        data.to_str().unwrap(),
    ];
    let server: Program = Starting::by(traced(&trace, &arguments), &data).ready();
    let job = server.run(&["job", "submit", "net.work", "-o", "json"]).json(0);
    server.get(&format!("/api/v1/jobs/{}", job["id"].as_str().unwrap()));
    let pid = child_of(server.id());
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let (code, log) = server.ended();
    assert_eq!(code, Some(0), "strace ends as the server does: {log}");
    let trace = read(&trace, &["listen(", "accept4(", "exited with 0"]);
    assert_eq!(outbound(&trace), Vec::<&str>::new());
}

#[test]
fn the_whole_demo_reaches_out_to_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let told = Said::of(traced(&trace, &["demo", "--exit"]).env("TMPDIR", folder.path()));
    assert_eq!(told.code, 0, "{told:?}");
    // Nothing stays behind; the folder for all demos may.
    let left = std::fs::read_dir(folder.path().join("fastness-demo"));
    assert_eq!(left.map_or(0, Iterator::count), 0);
    // It does connect: to its own enclaves.
    let trace = read(&trace, &["listen(", "connect(", "inet_addr(\"127.0.0.1\")"]);
    assert_eq!(outbound(&trace), Vec::<&str>::new());
}

/// The only child of a process: what strace started.
fn child_of(parent: u32) -> rustix::process::Pid {
    let mut found = None;
    until("strace has a child", || {
        let path = format!("/proc/{parent}/task/{parent}/children");
        let text = std::fs::read_to_string(path).unwrap();
        found = text.split(' ').next().and_then(|pid| pid.parse().ok());
        found.is_some()
    });
    rustix::process::Pid::from_raw(found.unwrap()).unwrap()
}
