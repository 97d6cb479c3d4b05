//! Finds and signals processes through /proc. Never by name or group alone: a daemon leaves its group and session.
//!
//! A process is signalled through a descriptor that is checked to be the one that was found, so a reused id is
//! never hit.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;

use crate::limits;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process as /proc showed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    pub pid: Pid,
    parent: i32,
    /// In clock ticks since boot; with the id it names a process for good.
    started: u64,
}

/// Everything below `ancestor`, at this moment. Those that have ended but are not collected are left out.
pub(super) fn descendants(ancestor: Pid) -> io::Result<Vec<Process>> {
    let mut children: HashMap<i32, Vec<Process>> = HashMap::new();
    for process in all()? {
        children.entry(process.parent).or_default().push(process);
    }
    let (mut found, mut seen) = (Vec::new(), HashSet::new());
    let mut open = vec![ancestor.as_raw_nonzero().get()];
    while let Some(parent) = open.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            // A picture taken while ids are reused could hold a ring.
            if seen.insert(child.pid) {
                open.push(child.pid.as_raw_nonzero().get());
                found.push(child);
            }
        }
    }
    Ok(found)
}

/// Kills every process whose environment holds a text starting with `marker`, until none is found. For what a
/// supervisor that was killed left behind; a process that changed its environment is not found.
pub(super) fn kill_marked(marker: &str) {
    for _ in 0..limits::KILL_PASSES_MAX {
        // What could not be looked through, for want of files perhaps, is looked through again.
        let Ok(processes) = all() else {
            std::thread::yield_now();
            continue;
        };
        let marked: Vec<Process> = processes
            .into_iter()
            .filter(|process| has_marker(process.pid, marker))
            .collect();
        if marked.is_empty() {
            return;
        }
        for process in marked {
            process.signal(Signal::KILL);
        }
        std::thread::yield_now();
    }
}

impl Process {
    /// Sends a signal, unless the process has already ended.
    pub fn signal(&self, signal: Signal) {
        let Ok(handle) = pidfd_open(self.pid, PidfdFlags::empty()) else {
            return;
        };
        let is_same = read(self.pid.as_raw_nonzero().get()).is_some_and(|now| now.started == self.started);
        if is_same {
            // It may have ended since; that is all a failure can mean, or that it is not ours to signal,
            // which the caller notices by its still being there.
            let _ = pidfd_send_signal(&handle, signal);
        }
    }
}

fn has_marker(pid: Pid, marker: &str) -> bool {
    fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).is_ok_and(|environ| {
        environ
            .split(|byte| *byte == 0)
            .any(|text| text.starts_with(marker.as_bytes()))
    })
}

fn all() -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse::<i32>().ok());
        found.extend(pid.and_then(read));
    }
    Ok(found)
}

fn read(pid: i32) -> Option<Process> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// `pid (name) state ppid … starttime …`; the name may hold anything, so what counts starts behind the last `)`.
fn parse(pid: i32, stat: &str) -> Option<Process> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    (state != "Z" && state != "X").then_some(Process {
        pid: Pid::from_raw(pid)?,
        parent,
        started,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_forge_the_fields_behind_it() {
        let tail = "7 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 10 18446744073709551615";
        let stat = format!("42 (a) R 1 (b) S {tail}");
        let process = parse(42, &stat).unwrap();
        assert_eq!((process.parent, process.started), (7, 987_654));
        assert_eq!(parse(42, &stat.replace(" S ", " Z ")), None);
        assert_eq!(parse(42, "42 (a"), None);
    }

    #[test]
    fn a_process_is_found_below_its_parent_and_a_reused_id_is_not_signalled() {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&child);
        let me = rustix::process::getpid();
        let found = descendants(me).unwrap();
        let process = *found.iter().find(|process| process.pid == pid).unwrap();
        let other = Process {
            started: process.started + 1,
            ..process
        };
        other.signal(Signal::KILL);
        assert!(descendants(me).unwrap().contains(&process));
        process.signal(Signal::KILL);
        assert!(!child.wait().unwrap().success());
    }
}
