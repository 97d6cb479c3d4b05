//! The bytes of a simulated file, in pages shared between copies: forking a disk copies no content.

use std::sync::Arc;

const PAGE_BYTES: usize = 4_096;

type Page = [u8; PAGE_BYTES];

/// The bytes of a file. A page that was never written is not there and reads as zeros.
#[derive(Debug, Clone, Default)]
pub struct Content {
    pages: Vec<Option<Arc<Page>>>,
    len: usize,
}

impl Content {
    pub fn len(&self) -> usize {
        self.len
    }

    /// Reads up to `buffer.len()` bytes; fewer at the end.
    pub fn read(&self, offset: usize, buffer: &mut [u8]) -> usize {
        let count = self.len.saturating_sub(offset).min(buffer.len());
        for (at, part) in parts(offset, count) {
            let target = &mut buffer[at - offset..at - offset + part];
            match &self.pages[at / PAGE_BYTES] {
                Some(page) => target.copy_from_slice(&page[at % PAGE_BYTES..][..part]),
                None => target.fill(0),
            }
        }
        count
    }

    /// Writes, and grows the file when it ends before.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.len = self.len.max(offset + bytes.len());
        self.pages.resize(self.len.div_ceil(PAGE_BYTES), None);
        for (at, part) in parts(offset, bytes.len()) {
            let source = &bytes[at - offset..at - offset + part];
            self.page(at / PAGE_BYTES)[at % PAGE_BYTES..][..part].copy_from_slice(source);
        }
    }

    /// Cuts or extends with zeros.
    pub fn set_len(&mut self, len: usize) {
        self.pages.resize(len.div_ceil(PAGE_BYTES), None);
        if len < self.len && !len.is_multiple_of(PAGE_BYTES) {
            self.page(len / PAGE_BYTES)[len % PAGE_BYTES..].fill(0);
        }
        self.len = len;
    }

    /// Changes bits of a byte, when the file reaches so far.
    pub fn flip(&mut self, offset: usize, mask: u8) {
        if offset < self.len {
            self.page(offset / PAGE_BYTES)[offset % PAGE_BYTES] ^= mask;
        }
    }

    fn page(&mut self, index: usize) -> &mut Page {
        Arc::make_mut(self.pages[index].get_or_insert_with(|| Arc::new([0; PAGE_BYTES])))
    }
}

/// Offset and length of each piece of a range that lies within one page.
fn parts(offset: usize, len: usize) -> impl Iterator<Item = (usize, usize)> {
    let end = offset + len;
    let mut at = offset;
    std::iter::from_fn(move || {
        let part = (PAGE_BYTES - at % PAGE_BYTES).min(end - at);
        let found = (part > 0).then_some((at, part));
        at += part;
        found
    })
}
