//! What a failed check means, in one sentence, for a reader who is no cryptographer.
//!
//! One sentence for each way in which a check can fail, told by check and verdict; the finding beside it says where and
//! what. Promises: every failure has one. Must never advise to trust a bundle that was refused.

use super::report::{CheckName, Verdict};

/// The sentence.
pub(super) const fn meaning(check: CheckName, verdict: Verdict) -> &'static str {
    match check {
        CheckName::Container => {
            "The file was damaged on its way or was not written by Fastness; fetch it again from where it came, because \
             nothing in it was believed."
        }
        CheckName::Manifest => manifest(verdict),
        CheckName::Members => members(verdict),
        CheckName::Checkpoints => checkpoints(verdict),
        CheckName::Lines => lines(verdict),
        CheckName::Tree => {
            "The events shown are not those that the enclave's log key signed for, so at least one was changed, added or \
             taken away by someone who could sign the bundle but not the log."
        }
        CheckName::Disclosures => disclosures(verdict),
        CheckName::Continuity => continuity(verdict),
        CheckName::Trust => trust(verdict),
        CheckName::Replay => replay(verdict),
    }
}

const fn manifest(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Untrusted => {
            "The bundle does not carry the signature of the enclave that you named, so anyone may have made it; compare \
             the key with the people who run that enclave."
        }
        Verdict::Tampered | Verdict::Fork => {
            "The list of contents was changed after the enclave signed it, so nothing that it lists can be believed."
        }
        Verdict::Incomplete => {
            "The signed list of contents, or a part that every bundle has, is not there; ask the enclave for the whole \
             bundle."
        }
        Verdict::Malformed => {
            "The list of contents is not written in the one form that Fastness writes, so another program made or \
             changed it and its signature says nothing about what you would read."
        }
    }
}

const fn members(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Incomplete => {
            "A part that the enclave signed for was left out; ask for the whole bundle, because what is missing may be \
             what matters."
        }
        Verdict::Tampered | Verdict::Untrusted | Verdict::Fork | Verdict::Malformed => {
            "A part of the bundle was changed or added after the enclave signed it, or no event speaks of it, so it must not \
             be relied on."
        }
    }
}

const fn checkpoints(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Untrusted => {
            "The seal on the ledger's size and content is not that of the enclave that you named, so the events may come \
             from anywhere."
        }
        Verdict::Malformed => {
            "The seal on the ledger's size and content is not written in its one form, so another program made or \
             changed it."
        }
        Verdict::Tampered | Verdict::Incomplete | Verdict::Fork => {
            "The seal on the ledger's size and content belongs to another range or another content than the bundle says, \
             so one of the two was changed."
        }
    }
}

const fn lines(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Incomplete => {
            "Fewer events are there than the bundle stands for, so something that happened is not shown."
        }
        Verdict::Malformed => {
            "A line is not one that Fastness writes, so it was made by another program and two readers may read different \
             things in it."
        }
        Verdict::Tampered | Verdict::Untrusted | Verdict::Fork => {
            "The lines do not fit together as those of one ledger do: an event is out of its place, of another owner or \
             before its time, or a run is of another work order than the bundle says."
        }
    }
}

const fn disclosures(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Malformed => {
            "What is shown of withheld fields is not written in the one form that Fastness writes, so none of it must be \
             relied on."
        }
        Verdict::Tampered | Verdict::Incomplete | Verdict::Untrusted | Verdict::Fork => {
            "A value that is shown for a withheld field is not the value that was recorded, or more or less is shown than the \
             enclave says, so it must not be relied on."
        }
    }
}

const fn continuity(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Incomplete => {
            "Between what you hold of this ledger and this bundle events are missing; ask for the bundles in between."
        }
        Verdict::Fork | Verdict::Tampered | Verdict::Untrusted | Verdict::Malformed => {
            "The enclave signed two different pasts: what you already hold of this ledger and this bundle cannot both be \
             true, so keep both and ask its people."
        }
    }
}

const fn trust(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Incomplete => {
            "The record of who may sign for this enclave has a gap, so it cannot be followed from the people you know to \
             these keys."
        }
        Verdict::Untrusted => {
            "The keys that signed are not, or no longer, those that the enclave's people stand for, so the bundle may come \
             from someone else."
        }
        Verdict::Fork => {
            "The bundle knows an older record of who may sign than you already hold, so a key that was withdrawn may have \
             been used."
        }
        Verdict::Tampered => {
            "Who may sign for this enclave, or on which terms the bundle was made, is told in two ways that contradict each \
             other, so neither must be relied on."
        }
        Verdict::Malformed => {
            "The record of who may sign for this enclave is not written in its one form, so its keys must not be used."
        }
    }
}

const fn replay(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Incomplete => {
            "The state in the bundle could not be checked against its events, because what was before them is not here; \
             verify it together with the bundles before it."
        }
        Verdict::Tampered | Verdict::Untrusted | Verdict::Fork | Verdict::Malformed => {
            "The state that the bundle shows is not what its own events lead to, or they tell of something that cannot \
             happen, so believe the events of a good bundle and not this one."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_one_whole_sentence_and_tells_verdicts_apart() {
        let verdicts = [
            Verdict::Tampered,
            Verdict::Incomplete,
            Verdict::Untrusted,
            Verdict::Fork,
            Verdict::Malformed,
        ];
        let mut seen = std::collections::BTreeSet::new();
        for check in CheckName::ALL {
            for verdict in verdicts {
                let text = meaning(check, verdict);
                assert!(
                    text.ends_with('.') && !text.trim_end_matches('.').contains(". "),
                    "{text}"
                );
                assert!(text.len() > 60 && text.starts_with(char::is_uppercase), "{text}");
                for word in [
                    "hash",
                    "digest",
                    "SHA",
                    "DSSE",
                    "Merkle",
                    "root",
                    "frontier",
                    "canonical",
                ] {
                    assert!(!text.contains(word), "{word}: {text}");
                }
                seen.insert(text);
            }
        }
        assert_eq!(seen.len(), 25);
    }
}
