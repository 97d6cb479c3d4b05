//! Writing a bundle in two passes: the first takes size, digest and lines of each member, the second streams the
//! members into the archive and the archive into the frame.
//!
//! Promises: the same range, members and keys give the same bytes; no time, no host, no chance in them. A member
//! whose content changes between the passes is an error, not a bundle. Holds one buffer, whatever the size.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use super::dsse::{self, EnvelopeError};
use super::history::leaf_line;
use super::manifest::{
    Contents, FORMAT, FileEntry, ManifestError, Predicate, Redaction, Sha256, Statement, Subject,
};
use super::members::Member;
use super::policy;
use super::tar::{TarError, TarWriter};
use super::transport::FrameWriter;
use crate::disk::{Access, Disk, DiskFile};
use crate::domain::{Digest, Hasher, OrderId, TenantName, leaf_hash};
use crate::limits;
use crate::trust::PrivateKey;

const BUFFER_BYTES: usize = 64 * 1024;

/// How to check a bundle by hand; a member of every bundle.
pub const VERIFY_TEXT: &str = include_str!("verify.txt");

/// Opens a member's content from its beginning; called once in each pass.
pub type ContentOpener<'a> = Box<dyn Fn() -> io::Result<Box<dyn Read + 'a>> + 'a>;

/// Why a bundle could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A member's content could not be read.
    #[error("reading {member}: {error}")]
    Read {
        /// Which.
        member: Member,
        /// Why.
        error: io::Error,
    },
    /// A member was another one in the second pass.
    #[error("{0} changed while the bundle was written")]
    Changed(Member),
    /// A member reaches 8 GiB: the range must be split.
    #[error(
        "{member} has {size} bytes, which is more than a bundle's member can have; export a shorter range"
    )]
    RangeTooLarge {
        /// Which.
        member: Member,
        /// Its bytes.
        size: u64,
    },
    /// Events that are not lines.
    #[error("{0} does not end with LF")]
    NoLineFeed(Member),
    /// What the manifest would say is not allowed.
    #[error("manifest: {0}")]
    Manifest(#[from] ManifestError),
    /// The manifest could not be signed.
    #[error("manifest: {0}")]
    Envelope(#[from] EnvelopeError),
    /// The archive could not be written.
    #[error(transparent)]
    Archive(#[from] TarError),
    /// The file could not be written.
    #[error("writing the bundle: {0}")]
    Write(#[source] io::Error),
}

/// What a bundle is about; goes into the signed manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// Which files that history names are put in.
    pub contents: Option<Contents>,
    /// First event.
    pub first: u64,
    /// Name of the ledger, as in its checkpoints.
    pub origin: String,
    /// Root at `first`.
    pub prev_root: Digest,
    /// What was withheld.
    pub redaction: Redaction,
    /// Root at `size`.
    pub root: Digest,
    /// SHA-256 of the published schema.
    pub schema_sha256: Digest,
    /// One more than the last event.
    pub size: u64,
    /// Version of the rules from history to state.
    pub state_version: u32,
    /// Whose ledger.
    pub tenant: TenantName,
    /// Newest root of trust in the bundle; 0 for none.
    pub trust_version: u64,
}

/// A bundle that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the archive before compression.
    pub tar_bytes: u64,
    /// SHA-256 of the archive: the bundle's identity.
    pub tar_sha256: Digest,
}

/// Collects members (first pass) and writes the bundle (second pass).
pub struct BundleWriter<'a> {
    range: Range,
    /// The work orders of which it holds runs.
    orders: BTreeSet<OrderId>,
    members: BTreeMap<Member, Planned<'a>>,
}

struct Planned<'a> {
    measure: Measure,
    open: ContentOpener<'a>,
}

/// Size, digest and lines of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    /// Bytes.
    pub size: u64,
    /// SHA-256.
    pub sha256: Digest,
    /// Line feeds; only read for members made of lines.
    pub lines: u64,
}

impl std::fmt::Debug for BundleWriter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BundleWriter")
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

impl<'a> BundleWriter<'a> {
    /// A bundle over `range`, so far without events, disclosures and state.
    pub fn new(range: Range) -> Self {
        let mut writer = BundleWriter {
            range,
            orders: BTreeSet::new(),
            members: BTreeMap::new(),
        };
        let empty = [
            Member::Disclosures,
            Member::Jobs,
            Member::Runs,
            Member::Throttles,
            Member::Packs,
        ];
        for member in empty.into_iter().chain([Member::Leaves, Member::History]) {
            writer.add_bytes(member, Vec::new());
        }
        let policy = policy::write(&writer.range);
        writer.add_bytes(Member::Policy, policy);
        writer.add_bytes(Member::VerifyText, VERIFY_TEXT.as_bytes().to_vec());
        writer
    }

    /// Names the work orders of the runs in `runs.jsonl`.
    pub fn name_orders(&mut self, orders: BTreeSet<OrderId>) {
        self.orders = orders;
    }

    /// Says which root of trust is the newest in the bundle.
    pub fn set_trust_version(&mut self, version: u64) {
        self.range.trust_version = version;
    }

    /// Adds a small member.
    pub fn add_bytes(&mut self, member: Member, bytes: Vec<u8>) {
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        let measure = Measure {
            size: bytes.len() as u64,
            sha256: Digest::of(&bytes),
            lines,
        };
        let bytes: Arc<[u8]> = bytes.into();
        self.add_measured(
            member,
            measure,
            Box::new(move || Ok(Box::new(io::Cursor::new(Arc::clone(&bytes))))),
        );
    }

    /// Adds a member after reading it once.
    ///
    /// # Errors
    /// [`WriteError::Read`].
    pub fn add(&mut self, member: Member, open: ContentOpener<'a>) -> Result<(), WriteError> {
        let measure = open()
            .and_then(|mut source| measure(&mut source))
            .map_err(|error| WriteError::Read { member, error })?;
        self.add_measured(member, measure, open);
        Ok(())
    }

    /// Adds a member whose size and digest are known, as those of artifacts and logs are.
    pub fn add_measured(&mut self, member: Member, measure: Measure, open: ContentOpener<'a>) {
        self.members.insert(member, Planned { measure, open });
    }

    /// Adds the events, each with LF, after reading them once, and with them their leaves.
    ///
    /// # Errors
    /// [`WriteError::Read`]; [`WriteError::NoLineFeed`].
    pub fn add_history(&mut self, open: ContentOpener<'a>) -> Result<(), WriteError> {
        let member = Member::History;
        let open = Rc::new(open);
        let mut source = leaves_of(&open).map_err(|error| WriteError::Read { member, error })?;
        let leaves = measure(&mut source).map_err(|error| WriteError::Read { member, error })?;
        let measure = source.measure();
        if !source.whole {
            return Err(WriteError::NoLineFeed(member));
        }
        let again = Rc::clone(&open);
        self.add_measured(
            Member::Leaves,
            leaves,
            Box::new(move || Ok(Box::new(leaves_of(&again)?))),
        );
        self.add_measured(member, measure, Box::new(move || open()));
        Ok(())
    }

    /// What the manifest will say.
    ///
    /// # Errors
    /// A range or a set of members that no bundle can have.
    pub fn statement(&self) -> Result<Statement, WriteError> {
        let mut named: Vec<(String, Member, Measure)> = self
            .members
            .iter()
            .map(|(member, planned)| (member.to_string(), *member, planned.measure))
            .collect();
        named.sort_by(|a, b| a.0.cmp(&b.0));
        let mut files = Vec::with_capacity(named.len());
        let mut subject = Vec::with_capacity(named.len());
        for (name, member, measure) in named {
            if measure.size > limits::BUNDLE_MEMBER_BYTES_MAX {
                return Err(WriteError::RangeTooLarge {
                    member,
                    size: measure.size,
                });
            }
            let lines = member.has_lines().then_some(measure.lines);
            files.push(FileEntry {
                lines,
                name: name.clone(),
                size: measure.size,
            });
            subject.push(Subject {
                digest: Sha256 {
                    sha256: measure.sha256,
                },
                name,
            });
        }
        let range = self.range.clone();
        let (order_id, order_ids) = Predicate::name_orders(&self.orders);
        let predicate = Predicate {
            contents: range.contents,
            files,
            first: range.first,
            format: FORMAT,
            order_id,
            order_ids,
            origin: range.origin,
            prev_root: range.prev_root,
            redaction: range.redaction,
            root: range.root,
            schema_sha256: range.schema_sha256,
            size: range.size,
            state_version: range.state_version,
            tenant: range.tenant,
            trust_version: range.trust_version,
        };
        Ok(Statement::new(predicate, subject)?)
    }

    /// Writes the bundle to `out`, unflushed.
    ///
    /// # Errors
    /// Any [`WriteError`]; what was written until then is no bundle.
    pub fn write(&self, key: &PrivateKey, out: &mut dyn Write) -> Result<Written, WriteError> {
        let manifest = dsse::sign(&self.statement()?.to_bytes()?, key)?;
        let frame = FrameWriter::new(out).map_err(WriteError::Write)?;
        let mut tar = TarWriter::new(Counted {
            out: frame,
            hasher: Hasher::default(),
            bytes: 0,
        });
        tar.begin(&Member::Manifest.to_string(), manifest.len() as u64)?;
        tar.content(&manifest)?;
        for (member, planned) in &self.members {
            copy(*member, planned, &mut tar)?;
        }
        let counted = tar.finish()?;
        counted.out.finish().map_err(WriteError::Write)?;
        Ok(Written {
            tar_bytes: counted.bytes,
            tar_sha256: counted.hasher.finish(),
        })
    }

    /// Writes the bundle to a file that is either whole and flushed, or not there under this name.
    ///
    /// # Errors
    /// Any [`WriteError`]; a file `<path>.new` may then be left, and is replaced by the next attempt.
    pub fn write_file(&self, key: &PrivateKey, disk: &dyn Disk, path: &Path) -> Result<Written, WriteError> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let file = disk
            .open(Path::new(&beside), Access::Create)
            .map_err(WriteError::Write)?;
        file.set_len(0).map_err(WriteError::Write)?;
        let mut out = io::BufWriter::with_capacity(1 << 20, Appending { file, at: 0 });
        let written = self.write(key, &mut out)?;
        let appending = out
            .into_inner()
            .map_err(|error| WriteError::Write(error.into_error()))?;
        appending.file.sync().map_err(WriteError::Write)?;
        disk.rename(Path::new(&beside), path).map_err(WriteError::Write)?;
        if let Some(dir) = path.parent() {
            disk.sync_dir(dir).map_err(WriteError::Write)?;
        }
        Ok(written)
    }
}

fn copy(member: Member, planned: &Planned<'_>, tar: &mut TarWriter<impl Write>) -> Result<(), WriteError> {
    let failed = |error| WriteError::Read { member, error };
    tar.begin(&member.to_string(), planned.measure.size)?;
    let mut source = (planned.open)().map_err(failed)?;
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut left = planned.measure.size;
    loop {
        let read = source.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            break;
        }
        left = left.checked_sub(read as u64).ok_or(WriteError::Changed(member))?;
        hasher.update(&buffer[..read]);
        tar.content(&buffer[..read])?;
    }
    if left == 0 && hasher.finish() == planned.measure.sha256 {
        Ok(())
    } else {
        Err(WriteError::Changed(member))
    }
}

fn measure(source: &mut impl Read) -> io::Result<Measure> {
    let mut hasher = Hasher::default();
    let (mut size, mut lines) = (0, 0);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = source.read(&mut buffer)?;
        if read == 0 {
            return Ok(Measure {
                size,
                sha256: hasher.finish(),
                lines,
            });
        }
        hasher.update(&buffer[..read]);
        size += read as u64;
        lines += buffer[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
    }
}

fn leaves_of<'a>(open: &ContentOpener<'a>) -> io::Result<Leaves<Box<dyn Read + 'a>>> {
    Ok(Leaves {
        events: BufReader::with_capacity(BUFFER_BYTES, open()?),
        hasher: Hasher::default(),
        size: 0,
        lines: 0,
        whole: true,
        line: Vec::new(),
        ready: Vec::new(),
        given: 0,
    })
}

/// Reads events and gives their leaves, measuring the events on the way.
struct Leaves<R> {
    events: BufReader<R>,
    hasher: Hasher,
    size: u64,
    lines: u64,
    /// Whether every line so far had its LF.
    whole: bool,
    line: Vec<u8>,
    ready: Vec<u8>,
    given: usize,
}

impl<R> Leaves<R> {
    fn measure(&self) -> Measure {
        Measure {
            size: self.size,
            sha256: self.hasher.clone().finish(),
            lines: self.lines,
        }
    }
}

impl<R: Read> Leaves<R> {
    /// Takes the next event; false at the end.
    fn event(&mut self) -> io::Result<bool> {
        self.line.clear();
        let longest = limits::EVENT_BYTES_MAX as u64 + 1;
        let mut events = self.events.by_ref().take(longest);
        if events.read_until(b'\n', &mut self.line)? == 0 {
            return Ok(false);
        }
        self.hasher.update(&self.line);
        self.size += self.line.len() as u64;
        self.lines += 1;
        let event = match self.line.strip_suffix(b"\n") {
            Some(event) => event,
            None => {
                self.whole = false;
                &self.line
            }
        };
        self.ready.extend_from_slice(&leaf_line(&leaf_hash(event)));
        Ok(true)
    }
}

impl<R: Read> Read for Leaves<R> {
    /// Gives many leaves at a time: whoever compresses them pays for each call.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.ready.len() {
            self.ready.clear();
            self.given = 0;
            while self.ready.len() < buffer.len() && self.event()? {}
        }
        let count = buffer.len().min(self.ready.len() - self.given);
        buffer[..count].copy_from_slice(&self.ready[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

/// Counts and hashes the archive on its way into the frame.
struct Counted<W: Write> {
    out: FrameWriter<W>,
    hasher: Hasher,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A file written from its beginning.
struct Appending {
    file: Arc<dyn DiskFile>,
    at: u64,
}

impl Write for Appending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
