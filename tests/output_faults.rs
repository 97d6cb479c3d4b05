//! Output on a disk that refuses: every single operation is made to fail once.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use fastness::disk::{Access, Disk, DiskFile, OsDisk};
use fastness::output::{Output, OutputError, Stream};

use crate::output::{ask, at};

/// Counts down to the operation that fails.
#[derive(Debug)]
pub struct Fault(pub AtomicI64);

#[derive(Debug)]
pub struct FailingDisk(pub Arc<Fault>);

#[derive(Debug)]
struct FailingFile(Arc<dyn DiskFile>, Arc<Fault>);

impl Fault {
    fn step(&self) -> io::Result<()> {
        match self.0.fetch_sub(1, Ordering::Relaxed) {
            0 => Err(io::Error::other("injected")),
            _ => Ok(()),
        }
    }
}

impl DiskFile for FailingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.1.step()?;
        self.0.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.1.step()?;
        self.0.sync()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.1.step()?;
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}

impl Disk for FailingDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        if access != Access::Read {
            self.0.step()?;
        }
        let file = OsDisk.open(path, access)?;
        Ok(Arc::new(FailingFile(file, Arc::clone(&self.0))))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.step()?;
        OsDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        OsDisk.remove(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.step()?;
        OsDisk.create_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        OsDisk.list(dir)
    }

    fn list_dirs(&self, dir: &Path) -> io::Result<Vec<String>> {
        OsDisk.list_dirs(dir)
    }

    fn list_others(&self, dir: &Path) -> io::Result<Vec<String>> {
        OsDisk.list_others(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.step()?;
        OsDisk.sync_dir(dir)
    }
}

fn write_a_log_and_a_blob(output: &Output) -> Result<(), OutputError> {
    let mut log = output.attempt(&ask(0), at(1))?;
    let mut failed = None;
    for _ in 0..3 {
        match log.append(Stream::Stdout, b"line\n", at(1)) {
            Ok(()) => assert!(failed.is_none(), "a broken log took bytes"),
            Err(error) => failed = Some(error),
        }
    }
    let finished = log.finish(at(2));
    assert!(failed.is_none() || finished.is_err(), "a broken log was ended");
    finished?;
    let mut blob = output.blobs().create(100)?;
    blob.write(b"blob")?;
    blob.finish().map(drop)
}

#[test]
fn whatever_the_disk_refuses_nothing_is_claimed_and_the_next_process_can_go_on() {
    for fails_at in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("output");
        let fault = Arc::new(Fault(AtomicI64::new(fails_at)));
        let result = Output::open(root.clone(), Arc::new(FailingDisk(Arc::clone(&fault))))
            .and_then(|output| write_a_log_and_a_blob(&output));
        let was_hit = fault.0.load(Ordering::Relaxed) < 0;
        assert_eq!(result.is_err(), was_hit, "operation {fails_at}: {result:?}");
        if !was_hit {
            assert!(fails_at > 20, "only {fails_at} operations were tried");
            return;
        }
        let output = Output::open(root, Arc::new(OsDisk)).unwrap();
        match output.attempt(&ask(0), at(3)) {
            Ok(mut log) => {
                log.append(Stream::Stdout, b"more\n", at(3)).unwrap();
                let summary = log.finish(at(4)).unwrap();
                output.verify(&ask(0).key, &summary).unwrap();
            }
            // The index was complete; only a flush behind it failed.
            Err(OutputError::Ended { .. }) => {}
            Err(error) => panic!("operation {fails_at}: {error}"),
        }
    }
}
