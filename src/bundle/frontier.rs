//! The member `audit/frontier`: the right edge of the tree at the beginning of the range, one base64 hash a line.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::domain::Digest;
use crate::ledger::Frontier;

/// Writes the hashes, largest subtree first, each with LF.
pub fn write(frontier: &Frontier) -> Vec<u8> {
    let mut text = String::new();
    for hash in frontier.hashes() {
        text.push_str(&STANDARD.encode(hash.as_bytes()));
        text.push('\n');
    }
    text.into_bytes()
}

/// Reads what [`write`] gives for a tree of `size` leaves.
pub(super) fn read(bytes: &[u8], size: u64) -> Result<Frontier, String> {
    let mut hashes = Vec::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").ok_or("no LF at its end")?;
        let hash = STANDARD.decode(line).map_err(|_| "a line is not base64")?;
        let hash: [u8; 32] = hash.try_into().map_err(|_| "a hash is not 32 bytes")?;
        hashes.push(Digest::from_bytes(hash));
    }
    Frontier::from_parts(size, hashes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::leaf_hash;

    #[test]
    fn a_frontier_comes_back_and_other_lengths_do_not() {
        let mut frontier = Frontier::default();
        assert_eq!(write(&frontier), b"");
        for leaf in 0..11_u8 {
            frontier.push(leaf_hash(&[leaf]));
        }
        let bytes = write(&frontier);
        assert_eq!(bytes.len(), 3 * 45);
        assert_eq!(read(&bytes, 11).unwrap(), frontier);
        assert!(read(&bytes, 12).unwrap_err().contains("2 hashes, not 3"));
        assert!(read(&bytes[..134], 11).unwrap_err().contains("no LF"));
        assert!(read(&bytes[..90], 11).unwrap_err().contains("3 hashes, not 2"));
        assert!(read(b"\n", 1).unwrap_err().contains("32 bytes"));
    }
}
