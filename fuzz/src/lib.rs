//! What each fuzz target does with its bytes: reads them as an attacker's, and holds what was accepted against what writing
//! gives back. Each says whether the bytes were accepted. Used by cargo-fuzz and by `tests/fuzz.rs`, which needs no nightly.

use fastness::bundle::dsse::Envelope;
use fastness::bundle::manifest::Statement;
use fastness::bundle::tar::{TarReader, TarWriter};
use fastness::domain::canonical::{self, Payload};
use fastness::domain::event::Event;
use fastness::domain::pack::{PackSpec, plan_hash};
use fastness::ledger::{EventProof, SignedCheckpoint, SignedNote};

/// Most bytes of one member that are kept; a longer one is read past.
const KEPT_BYTES_MAX: u64 = 1 << 20;

/// A tar: one that is accepted is what our writer makes of its members.
pub fn tar(data: &[u8]) -> bool {
    let mut reader = TarReader::new(data);
    let mut again = TarWriter::new(Vec::new());
    let mut is_kept = true;
    loop {
        let entry = match reader.next_entry() {
            Ok(Some(entry)) => entry,
            Ok(None) => break,
            Err(_) => return false,
        };
        is_kept &= entry.size <= KEPT_BYTES_MAX;
        if !is_kept {
            continue;
        }
        let mut content = vec![0; entry.size as usize];
        match reader.content(&mut content) {
            Ok(read) => assert_eq!(read, content.len(), "a member is as long as its header says"),
            Err(_) => return false,
        }
        assert!(again.begin(&entry.name, entry.size).is_ok(), "{}", entry.name);
        assert!(again.content(&content).is_ok());
    }
    if is_kept {
        let again = again.finish().unwrap_or_default();
        assert!(
            again == data,
            "an accepted archive is the one that our writer makes"
        );
    }
    true
}

/// A manifest: an envelope is accepted in its one form, and so is the statement in it.
pub fn dsse(data: &[u8]) -> bool {
    let Ok(envelope) = Envelope::parse(data) else {
        return false;
    };
    assert_eq!(data.last(), Some(&b'\n'));
    let trimmed = &data[..data.len() - 1];
    assert!(
        canonical::check(trimmed).is_ok(),
        "an accepted envelope is canonical"
    );
    if let Ok(statement) = Statement::parse(&envelope.payload) {
        let again = statement.to_bytes().unwrap_or_default();
        assert!(
            again == envelope.payload,
            "an accepted statement is the one that we write"
        );
    }
    true
}

/// A note, a checkpoint, a proof: what is accepted is written as it was read.
pub fn note(data: &[u8]) -> bool {
    if let Ok(checkpoint) = SignedCheckpoint::parse(data) {
        assert_eq!(checkpoint.text().as_bytes(), data);
    }
    if let Ok(proof) = EventProof::parse(data) {
        assert_eq!(proof.to_text().as_bytes(), data);
        return true;
    }
    match SignedNote::parse(data) {
        Ok(note) => {
            assert_eq!(note.to_string().as_bytes(), data);
            true
        }
        Err(_) => false,
    }
}

/// JSON: what is accepted has one canonical form, which is accepted and gives the same value.
pub fn canonical(data: &[u8]) -> bool {
    let is_payload = Payload::parse(data).is_ok();
    assert_eq!(canonical::is_canonical(data), canonical::check(data).is_ok());
    match canonical::parse(data) {
        Ok(value) => {
            assert!(is_payload, "what fits the profile is a payload");
            let written = canonical::write(&value);
            assert_eq!(canonical::check(&written).as_ref(), Ok(&value));
            assert_eq!(canonical::check(data).is_ok(), written == data);
            true
        }
        Err(error) => {
            assert!(error.offset <= data.len() && error.line > 0 && error.column > 0);
            assert!(canonical::check(data).is_err());
            false
        }
    }
}

/// A pack: read twice it is the same plan.
pub fn pack(data: &[u8]) -> bool {
    let Ok(spec) = PackSpec::parse(data) else {
        return false;
    };
    let again = PackSpec::parse(data).map(|again| plan_hash(&again));
    assert_eq!(again.ok(), Some(plan_hash(&spec)));
    true
}

/// An event: what both readers of a ledger accept can be shown, and is refused with anything behind it.
pub fn event(data: &[u8]) -> bool {
    let Ok(event) = Event::from_bytes(data) else {
        return false;
    };
    assert!(!format!("{event:?}").is_empty());
    assert!(Event::from_bytes(&[data, b"x"].concat()).is_err());
    let is_canonical = canonical::is_canonical(data);
    assert_eq!(is_canonical, canonical::check(data).is_ok());
    is_canonical
}
