//! A disk in memory that forgets what was not flushed.
//!
//! Every file has what the system shows (`cache`) and what is on the medium (`platter`); names likewise.
//! [`SimDisk::crash`] lets a seeded part of the unflushed changes reach the medium: each 512-byte sector holds
//! the state after any of the writes to it, or zeros or noise in their place; names, lengths, renames and
//! removals may or may not have got there. Any operation can be made to fail or to be the machine's last.
//!
//! As on Linux, a failed flush marks the data clean: it stays visible and may never reach the medium, and the
//! next flush answers well. Failed folder flushes leave the names unflushed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use fastness::disk::{Access, Disk, DiskFile};

use super::random::Random;
use super::sim_medium::{Change, Node, Survival};

/// What becomes of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails with an input/output error, possibly half done.
    Eio,
    /// It fails for want of space, possibly half done.
    NoSpace,
    /// The machine stops in the midst of it; all later ones fail until [`SimDisk::crash`].
    Halt,
}

/// The simulator. Clones share one disk; [`SimDisk::fork`] copies it.
#[derive(Clone)]
pub struct SimDisk {
    /// Guards the whole disk; held for one operation.
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty disk with the root folders `/` and the empty path. The seed decides how far failing
    /// operations get.
    pub fn new(seed: u64) -> Self {
        let roots = ["", "/"].map(|root| (PathBuf::from(root), Entry::Folder));
        SimDisk::from_state(State {
            random: Random::new(seed),
            operations: 0,
            fault: None,
            halted: false,
            spared: false,
            lying: false,
            boots: 0,
            recorder: None,
            nodes: Vec::new(),
            names: BTreeMap::from(roots.clone()),
            durable_names: BTreeMap::from(roots),
            unflushed_names: Vec::new(),
        })
    }

    /// A disk of its own in the same state.
    pub fn fork(&self) -> SimDisk {
        self.lock().fork()
    }

    /// From now on, the disk is forked before every `every`-th operation that changes it. A crash of such a fork is a
    /// machine that stopped in the midst of the operation before.
    pub fn record_every(&self, every: u64) {
        self.lock().recorder = Some(Recorder {
            every,
            changes: 0,
            forks: Vec::new(),
        });
    }

    /// The forks made since the last call.
    pub fn take_recorded(&self) -> Vec<SimDisk> {
        let mut state = self.lock();
        let recorder = state.recorder.as_mut();
        recorder.map_or_else(Vec::new, |recorder| std::mem::take(&mut recorder.forks))
    }

    /// Operations begun so far, reads included.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Arms one fault: the `number`-th operation from now, from 1, meets it.
    pub fn fail_operation(&self, number: u64, fault: Fault) {
        let mut state = self.lock();
        state.fault = Some((state.operations + number, fault));
    }

    /// Disarms the fault; true when it has struck.
    pub fn disarm(&self) -> bool {
        let mut state = self.lock();
        let at = state.fault.take().map(|(at, _)| at);
        at.is_some_and(|at| at <= state.operations)
    }

    /// Does something that neither counts as operations nor meets the fault: a test that looks for itself.
    pub fn spared<T>(&self, work: impl FnOnce() -> T) -> T {
        self.lock().spared = true;
        let done = work();
        self.lock().spared = false;
        done
    }

    /// Whether flushes of files answer well but do nothing.
    pub fn set_lying(&self, lying: bool) {
        self.lock().lying = lying;
    }

    /// Power fails and comes back. Files opened before answer errors.
    pub fn crash(&self, seed: u64) {
        self.lock().crash(seed);
    }

    /// Changes bits of a byte, in cache and on the medium.
    pub fn flip_byte(&self, path: &Path, offset: u64, mask: u8) {
        let mut state = self.lock();
        let node = state.file(path).expect("the file to damage is there");
        let node = &mut state.nodes[node];
        for bytes in [&mut node.cache, &mut node.platter] {
            bytes.flip(offset as usize, mask);
        }
    }

    fn from_state(state: State) -> Self {
        SimDisk {
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDisk").finish_non_exhaustive()
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock();
        let step = match access {
            Access::Read | Access::Write => state.step()?,
            Access::Create | Access::CreateNew => state.step_change()?,
        };
        let found = state.file(path);
        let node = match (access, found) {
            (Access::Read | Access::Write, None) => return Err(io::ErrorKind::NotFound.into()),
            (Access::CreateNew, Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Access::Read | Access::Write | Access::Create, Some(node)) => node,
            (Access::Create | Access::CreateNew, None) => {
                state.require_parent(path)?;
                let node = state.nodes.len();
                if state.takes_effect(&step) {
                    state.nodes.push(Node::default());
                    state.change_names(NameChange::adding(path, Entry::File(node)));
                }
                node
            }
        };
        step.result()?;
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            node,
            boot: state.boots,
            writable: access != Access::Read,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let step = state.step_change()?;
        let node = state.file(from).ok_or(io::ErrorKind::NotFound)?;
        state.require_parent(to)?;
        if state.takes_effect(&step) {
            let mut change = NameChange::adding(to, Entry::File(node));
            change.removed = Some(from.to_owned());
            state.change_names(change);
        }
        step.result()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let step = state.step_change()?;
        state.file(path).ok_or(io::ErrorKind::NotFound)?;
        if state.takes_effect(&step) {
            state.change_names(NameChange {
                removed: Some(path.to_owned()),
                added: None,
            });
        }
        step.result()
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let step = state.step_change()?;
        let mut missing: Vec<&Path> = path.ancestors().collect();
        missing.retain(|folder| !state.names.contains_key(*folder));
        for folder in missing.into_iter().rev() {
            if state.takes_effect(&step) {
                state.change_names(NameChange::adding(folder, Entry::Folder));
            } else {
                break;
            }
        }
        step.result()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.lock().list(dir, |entry| matches!(entry, Entry::File(_)))
    }

    fn list_dirs(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.lock().list(dir, |entry| matches!(entry, Entry::Folder))
    }

    fn list_others(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.lock()
            .list(dir, |entry| !matches!(entry, Entry::File(_) | Entry::Folder))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let step = state.step_change()?;
        if state.names.get(dir) != Some(&Entry::Folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if matches!(step, Step::Go) {
            state.flush_names(dir);
        }
        step.result()
    }
}

struct SimFile {
    disk: SimDisk,
    node: usize,
    /// Files do not outlive a crash.
    boot: u64,
    writable: bool,
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFile")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl SimFile {
    fn lock(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.lock();
        if state.boots != self.boot {
            return Err(io::Error::other("the file was open when the machine stopped"));
        }
        Ok(state)
    }

    fn begin(&self) -> io::Result<(MutexGuard<'_, State>, Step)> {
        let mut state = self.lock()?;
        let step = state.step()?;
        Ok((state, step))
    }

    fn begin_change(&self) -> io::Result<(MutexGuard<'_, State>, Step)> {
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let mut state = self.lock()?;
        let step = state.step_change()?;
        Ok((state, step))
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let (state, step) = self.begin()?;
        step.result()?;
        Ok(state.nodes[self.node].cache.read(offset as usize, buffer))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (mut state, step) = self.begin_change()?;
        let count = match step {
            Step::Go | Step::Halt => bytes.len(),
            Step::Fail(_) => state.random.below(bytes.len() as u64 + 1) as usize,
        };
        state.nodes[self.node].change(Change::Write {
            offset: offset as usize,
            bytes: Bytes::copy_from_slice(&bytes[..count]),
        });
        step.result()
    }

    fn sync(&self) -> io::Result<()> {
        let (mut state, step) = self.begin_change()?;
        let seed = state.random.next();
        let lying = state.lying;
        let node = &mut state.nodes[self.node];
        match step {
            Step::Go if lying => {}
            Step::Go => node.flush(),
            Step::Halt => {}
            Step::Fail(_) => node.flush_some(seed),
        }
        step.result()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let (mut state, step) = self.begin_change()?;
        if state.takes_effect(&step) {
            state.nodes[self.node].change(Change::SetLen(len as usize));
        }
        step.result()
    }

    fn len(&self) -> io::Result<u64> {
        let (state, step) = self.begin()?;
        step.result()?;
        Ok(state.nodes[self.node].cache.len() as u64)
    }
}

#[derive(Clone)]
struct State {
    random: Random,
    operations: u64,
    /// Strikes when `operations` reaches the number.
    fault: Option<(u64, Fault)>,
    halted: bool,
    spared: bool,
    lying: bool,
    boots: u64,
    /// Not copied by a fork.
    recorder: Option<Recorder>,
    /// Files, named or not.
    nodes: Vec<Node>,
    names: BTreeMap<PathBuf, Entry>,
    durable_names: BTreeMap<PathBuf, Entry>,
    /// In the order made.
    unflushed_names: Vec<NameChange>,
}

/// Forks made while the disk works.
#[derive(Clone)]
struct Recorder {
    every: u64,
    changes: u64,
    forks: Vec<SimDisk>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Folder,
    File(usize),
}

#[derive(Debug, Clone)]
struct NameChange {
    removed: Option<PathBuf>,
    added: Option<(PathBuf, Entry)>,
}

impl NameChange {
    fn adding(path: &Path, entry: Entry) -> Self {
        NameChange {
            removed: None,
            added: Some((path.to_owned(), entry)),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, Entry>) {
        if let Some(path) = &self.removed {
            names.remove(path);
        }
        if let Some((path, entry)) = &self.added {
            names.insert(path.clone(), *entry);
        }
    }

    fn touches(&self, dir: &Path) -> bool {
        let added = self.added.as_ref().map(|(path, _)| path);
        [self.removed.as_ref(), added]
            .into_iter()
            .flatten()
            .any(|path| path.parent() == Some(dir))
    }
}

/// How an operation is to go.
#[derive(Debug)]
enum Step {
    Go,
    Fail(io::Error),
    Halt,
}

impl Step {
    fn result(self) -> io::Result<()> {
        match self {
            Step::Go => Ok(()),
            Step::Fail(error) => Err(error),
            Step::Halt => Err(io::Error::other("the machine stopped")),
        }
    }
}

impl State {
    fn step(&mut self) -> io::Result<Step> {
        if self.halted {
            return Err(io::Error::other("the machine has stopped"));
        }
        if self.spared {
            return Ok(Step::Go);
        }
        self.operations += 1;
        let Some((_, fault)) = self.fault.filter(|(at, _)| *at == self.operations) else {
            return Ok(Step::Go);
        };
        Ok(match fault {
            Fault::Eio => Step::Fail(io::Error::other("input/output error")),
            Fault::NoSpace => Step::Fail(io::ErrorKind::StorageFull.into()),
            Fault::Halt => {
                self.halted = true;
                Step::Halt
            }
        })
    }

    /// As [`State::step`], for an operation that changes what a crash would leave.
    fn step_change(&mut self) -> io::Result<Step> {
        if let Some(mut recorder) = self.recorder.take() {
            recorder.changes += 1;
            if recorder.changes.is_multiple_of(recorder.every) && !self.halted {
                recorder.forks.push(self.fork());
            }
            self.recorder = Some(recorder);
        }
        self.step()
    }

    fn fork(&self) -> SimDisk {
        SimDisk::from_state(State {
            recorder: None,
            nodes: self.nodes.clone(),
            names: self.names.clone(),
            durable_names: self.durable_names.clone(),
            unflushed_names: self.unflushed_names.clone(),
            random: self.random.clone(),
            ..*self
        })
    }

    /// A failing operation may still have done its work; one cut short by a halt is decided by the crash.
    fn takes_effect(&mut self, step: &Step) -> bool {
        match step {
            Step::Go | Step::Halt => true,
            Step::Fail(_) => self.random.once_in(2),
        }
    }

    fn file(&self, path: &Path) -> Option<usize> {
        match self.names.get(path) {
            Some(Entry::File(node)) => Some(*node),
            Some(Entry::Folder) | None => None,
        }
    }

    fn require_parent(&self, path: &Path) -> io::Result<()> {
        match path.parent().and_then(|parent| self.names.get(parent)) {
            Some(Entry::Folder) => Ok(()),
            Some(Entry::File(_)) | None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn list(&mut self, dir: &Path, wanted: impl Fn(&Entry) -> bool) -> io::Result<Vec<String>> {
        self.step()?.result()?;
        let inside = self
            .names
            .iter()
            .filter(|(path, entry)| path.parent() == Some(dir) && wanted(entry));
        let names = inside.filter_map(|(path, _)| path.file_name()?.to_str().map(str::to_owned));
        Ok(names.collect())
    }

    fn change_names(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.unflushed_names.push(change);
    }

    fn flush_names(&mut self, dir: &Path) {
        let names = &mut self.durable_names;
        self.unflushed_names.retain(|change| {
            let flushed = change.touches(dir);
            if flushed {
                change.apply(names);
            }
            !flushed
        });
    }

    fn crash(&mut self, seed: u64) {
        let mut random = Random::new(seed);
        let changes = std::mem::take(&mut self.unflushed_names);
        let kept = Survival::draw(&mut random, changes.len());
        for (index, change) in changes.iter().enumerate() {
            if kept.keeps(index, index as u64) {
                change.apply(&mut self.durable_names);
            }
        }
        // A name whose folder is gone is gone too. Parents sort before what they hold.
        let mut folders: BTreeSet<PathBuf> = BTreeSet::new();
        self.durable_names.retain(|path, entry| {
            let found = path.parent().is_none_or(|parent| folders.contains(parent));
            if found && *entry == Entry::Folder {
                folders.insert(path.clone());
            }
            found
        });
        self.names = self.durable_names.clone();
        for node in &mut self.nodes {
            node.flush_some(random.next());
            node.cache.clone_from(&node.platter);
        }
        let named: BTreeSet<usize> = self.names.values().filter_map(Entry::node).collect();
        for (index, node) in self.nodes.iter_mut().enumerate() {
            if !named.contains(&index) {
                *node = Node::default();
            }
        }
        self.halted = false;
        self.fault = None;
        self.boots += 1;
    }
}

impl Entry {
    fn node(&self) -> Option<usize> {
        match self {
            Entry::File(node) => Some(*node),
            Entry::Folder => None,
        }
    }
}
