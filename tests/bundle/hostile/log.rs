//! Checkpoints, frontiers, leaves and events that are not those of the ledger, in bundles that the exporter signed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fastness::bundle::manifest::Statement;
use fastness::domain::{Digest, leaf_hash};
use fastness::trust::PrivateKey;

use super::super::fixture::{ORIGIN, Parts, checkpoint, event, export_key, frontier_at, log_key};
use super::{Case, FIRST, SIZE, Script, Section};

pub fn cases() -> Vec<Case> {
    let mut all = notes();
    all.extend(statements());
    all.extend(frontiers());
    all.extend(leaves());
    all.extend(unsigned_changes());
    all.extend(signed_by_the_exporter());
    all.extend(signed_by_both());
    all.extend(records());
    all
}

/// A bundle that the exporter changed and signed.
fn signed(
    name: &'static str,
    wrong: &'static str,
    change: impl FnOnce(&mut Parts),
    state: impl FnOnce(&mut Statement),
) -> Case {
    let mut parts = Parts::small();
    change(&mut parts);
    parts.sign_again(state);
    Case::new(Section::Log, name, wrong, parts.file())
}

fn note(key: &PrivateKey, origin: &str, size: u64, root: &Digest) -> String {
    String::from_utf8(checkpoint(key, origin, size, root)).unwrap()
}

fn notes() -> Vec<Case> {
    let root = frontier_at(SIZE).root();
    let good = note(&log_key(), ORIGIN, SIZE, &root);
    let by_export = note(&export_key(), ORIGIN, SIZE, &root);
    let bytes = |note: &str| {
        STANDARD
            .decode(note.trim_end().rsplit_once(' ').unwrap().1)
            .unwrap()
    };
    let (right, forged) = (bytes(&good), bytes(&by_export));
    let (head, _) = good.split_once("\n\n").unwrap();
    let line = |id: &[u8], signature: &[u8]| {
        format!(
            "{head}\n\n\u{2014} {ORIGIN} {}\n",
            STANDARD.encode([id, signature].concat())
        )
    };
    let put = |name, wrong, note: &str| {
        assert_ne!(good, note, "{name}");
        signed(
            name,
            wrong,
            |parts| *parts.member("checkpoint") = note.as_bytes().to_vec(),
            |_| {},
        )
        .member("checkpoint")
    };
    vec![
        put(
            "checkpoint-signed-by-the-export-key",
            "The export key signed the checkpoint, whose role it is to sign bundles alone.",
            &by_export,
        )
        .refused(12, 4, "not signed by"),
        put(
            "checkpoint-signature-of-another-under-the-right-id",
            "The checkpoint has the name and id of the log key before a signature of someone else.",
            &line(&right[..4], &forged[4..]),
        )
        .refused(10, 4, "does not hold"),
        put(
            "checkpoint-right-name-with-wrong-key-id",
            "The checkpoint has the log key's name and signature under the id of another key.",
            &line(&forged[..4], &right[4..]),
        )
        .refused(12, 4, "not signed by"),
        put(
            "checkpoint-size-with-a-leading-zero",
            "The checkpoint's size has a leading zero.",
            &good.replace("\n12\n", "\n012\n"),
        )
        .refused(14, 4, "not a size"),
        put(
            "checkpoint-size-changed",
            "The checkpoint's size was changed after it was signed.",
            &good.replace("\n12\n", "\n13\n"),
        )
        .refused(10, 4, "does not hold"),
        put(
            "checkpoint-without-empty-line",
            "No empty line stands between text and signatures.",
            &good.replace("\n\n", "\n"),
        )
        .refused(14, 4, "empty line"),
        put(
            "checkpoint-with-a-hyphen",
            "The signature line begins with a hyphen.",
            &good.replace('\u{2014}', "-"),
        )
        .refused(14, 4, "signature line 1"),
        put(
            "checkpoint-without-line-feed",
            "The checkpoint does not end with a line feed.",
            good.trim_end(),
        )
        .refused(14, 4, "whole lines"),
        put(
            "checkpoint-with-a-carriage-return",
            "The checkpoint's lines end as on other systems.",
            &good.replace('\n', "\r\n"),
        )
        .refused(14, 4, "whole lines"),
        put(
            "checkpoint-with-an-extension",
            "The checkpoint has a fourth line.",
            &good.replace("\n12\n", "\n12\nextension\n"),
        )
        .refused(14, 4, "three lines"),
        put(
            "checkpoint-with-too-many-signatures",
            "The checkpoint has more signature lines than anyone reads.",
            &format!("{good}{}", "\u{2014} w AAAAAAAA\n".repeat(16)),
        )
        .refused(14, 4, "more signatures"),
        put(
            "checkpoint-of-another-size",
            "The checkpoint is a good one, of another size.",
            &note(&log_key(), ORIGIN, 13, &root),
        )
        .refused(10, 4, "size and root"),
        put(
            "checkpoint-of-another-root",
            "The log key signed another content at the same size: a fork.",
            &note(&log_key(), ORIGIN, SIZE, &Digest::of(b"fork")),
        )
        .refused(10, 4, "size and root"),
        put(
            "checkpoint-of-a-later-generation",
            "The checkpoint is a good one, of the ledger's next generation.",
            &note(&log_key(), &format!("{ORIGIN}/g2"), SIZE, &root),
        )
        .refused(10, 4, "origin"),
        signed(
            "checkpoint-prev-of-another-size",
            "The checkpoint at the range's beginning is a good one, of an earlier size.",
            |parts| {
                *parts.member("checkpoint.prev") =
                    checkpoint(&log_key(), ORIGIN, FIRST - 1, &frontier_at(FIRST - 1).root());
            },
            |_| {},
        )
        .member("checkpoint.prev")
        .refused(10, 4, "size and root"),
        {
            let witnessed = format!("{good}\u{2014} witness {}\n", STANDARD.encode([0; 68]));
            signed(
                "checkpoint-with-a-witness",
                "A witness added its line to the checkpoint, which is what witnesses do: this is a good bundle.",
                |parts| *parts.member("checkpoint") = witnessed.into_bytes(),
                |_| {},
            )
        },
    ]
}

fn statements() -> Vec<Case> {
    let put =
        |name, wrong, change: fn(&mut Statement)| signed(name, wrong, |_| {}, change).member("checkpoint");
    vec![
        put(
            "manifest-size-unlike-the-checkpoint",
            "The manifest says that the range is shorter than its checkpoint.",
            |s| s.predicate.size = 11,
        )
        .refused(10, 4, "size and root"),
        put(
            "manifest-root-unlike-the-checkpoint",
            "The manifest has another root than the checkpoint.",
            |s| s.predicate.root = Digest::of(b"x"),
        )
        .refused(10, 4, "size and root"),
        put(
            "manifest-previous-root-unlike-the-checkpoint",
            "The manifest has another previous root than the checkpoint before.",
            |s| s.predicate.prev_root = Digest::of(b"x"),
        )
        .member("checkpoint.prev")
        .refused(10, 4, "size and root"),
        put(
            "manifest-origin-of-a-later-generation",
            "The manifest names the ledger's next generation.",
            |s| s.predicate.origin.push_str("/g2"),
        )
        .refused(10, 4, "origin"),
        put(
            "manifest-range-begins-later",
            "The manifest says that the range begins an event later than its checkpoint.",
            |s| s.predicate.first += 1,
        )
        .member("checkpoint.prev")
        .refused(10, 4, "size and root"),
    ]
}

fn frontiers() -> Vec<Case> {
    let put = |name, wrong, change: fn(&mut Vec<u8>)| {
        signed(name, wrong, |parts| change(parts.member("frontier")), |_| {}).member("frontier")
    };
    vec![
        put("frontier-one-hash-short", "The frontier lacks a hash.", |bytes| {
            bytes.truncate(45)
        })
        .refused(14, 6, "2 hashes, not 1"),
        put(
            "frontier-one-hash-long",
            "The frontier has a hash too many.",
            |bytes| bytes.extend_from_within(..45),
        )
        .refused(14, 6, "2 hashes, not 3"),
        put(
            "frontier-in-another-order",
            "The frontier's hashes changed places.",
            |bytes| bytes.rotate_left(45),
        )
        .refused(10, 6, "prevRoot"),
        put(
            "frontier-without-line-feed",
            "The frontier does not end with a line feed.",
            |bytes| bytes.truncate(89),
        )
        .refused(14, 6, "no LF"),
        put(
            "frontier-not-base64",
            "A hash of the frontier is not base64.",
            |bytes| bytes[0] = b'*',
        )
        .refused(14, 6, "base64"),
        put(
            "frontier-of-another-ledger",
            "The frontier is that of another ledger.",
            |bytes| {
                *bytes = format!("{0}\n{0}\n", STANDARD.encode([7; 32])).into_bytes();
            },
        )
        .refused(10, 6, "prevRoot"),
    ]
}

fn leaves() -> Vec<Case> {
    let put = |name, wrong, change: fn(&mut Vec<u8>)| {
        signed(name, wrong, |parts| change(parts.member("leaves")), |_| {})
            .member("leaves")
            .refused(10, 6, "not the leaves of this history")
    };
    vec![
        put(
            "leaves-of-other-events",
            "The leaves are those of other events.",
            |leaves| {
                *leaves = format!("{}\n", &leaf_hash(b"").to_string()[..16])
                    .repeat(7)
                    .into_bytes();
            },
        ),
        put("leaves-one-short", "The last leaf is missing.", |leaves| {
            leaves.truncate(leaves.len() - 17)
        }),
        put(
            "leaves-in-upper-case",
            "The leaves are written in upper case.",
            |leaves| leaves.make_ascii_uppercase(),
        ),
    ]
}

/// Changes on the way, after the exporter signed.
fn unsigned_changes() -> Vec<Case> {
    let put = |name, wrong, line: u64, edit: fn(&mut Vec<Vec<u8>>)| {
        let mut parts = Parts::small();
        parts.edit_lines(edit);
        Case::new(Section::Log, name, wrong, parts.file())
            .refused(10, 3, "the first event that differs")
            .event(line)
    };
    vec![
        put(
            "history-flipped-bit",
            "A bit of an event was flipped on the way.",
            4,
            |lines| lines[3][20] ^= 1,
        ),
        put(
            "history-last-event-dropped",
            "The last event was left out on the way.",
            7,
            |lines| drop(lines.pop()),
        ),
        put(
            "history-first-event-dropped",
            "The first event was left out on the way.",
            1,
            |lines| drop(lines.remove(0)),
        ),
        put(
            "history-event-dropped",
            "An event was left out on the way.",
            4,
            |lines| drop(lines.remove(3)),
        ),
        put(
            "history-event-added",
            "An event was added on the way.",
            8,
            |lines| lines.push(lines[0].clone()),
        ),
        put(
            "history-event-repeated",
            "An event was put in a second time on the way.",
            3,
            |lines| lines.insert(2, lines[1].clone()),
        ),
        put(
            "history-events-swapped",
            "Two events changed places on the way.",
            3,
            |lines| lines.swap(2, 5),
        ),
        put("history-emptied", "All events were taken away.", 1, |lines| {
            lines.clear()
        }),
        put("history-cut", "The last event was cut on the way.", 7, |lines| {
            lines[6].truncate(100)
        }),
    ]
}

/// The exporter is the forger: manifest and leaves agree with the changed events, the log key did not sign them.
fn signed_by_the_exporter() -> Vec<Case> {
    let put = |name, wrong, edit: fn(&mut Vec<Vec<u8>>)| {
        signed(
            name,
            wrong,
            |parts| {
                parts.edit_lines(edit);
                parts.leaves_again();
            },
            |_| {},
        )
        .member("history.jsonl")
    };
    let swap_text = |lines: &mut Vec<Vec<u8>>| {
        let text = String::from_utf8(lines[2].clone()).unwrap();
        lines[2] = text.replacen("\"s7\"", "\"s8\"", 1).into_bytes();
    };
    vec![
        put(
            "forged-event",
            "The exporter changed an event and signed the bundle.",
            swap_text,
        )
        .refused(10, 6, "do not lead to the root"),
        put(
            "forged-last-event-dropped",
            "The exporter left out the last event and signed the bundle.",
            |lines| drop(lines.pop()),
        )
        .refused(11, 5, "6 events where the range has 7"),
        put(
            "forged-event-added",
            "The exporter added an event and signed the bundle.",
            |lines| lines.push([event(SIZE), b"\n".to_vec()].concat()),
        )
        .refused(10, 5, "8 events where the range has 7")
        .script(Script::Other(
            11,
            "the script calls events beyond the range missing or repeated",
        )),
        put(
            "forged-missing-line-feed",
            "The exporter's history does not end with a line feed.",
            |lines| {
                lines[6].pop();
            },
        )
        .refused(14, 5, "no LF at its end")
        .event(7),
        put(
            "forged-empty-line",
            "The exporter's history has an empty line.",
            |lines| lines.insert(2, b"\n".to_vec()),
        )
        .refused(14, 5, "too early")
        .event(3),
        {
            let mut parts = Parts::of(&super::super::fixture::bundle(SIZE, SIZE));
            *parts.member("history.jsonl") = [event(SIZE), b"\n".to_vec()].concat();
            parts.leaves_again();
            parts.sign_again(|_| {});
            Case::new(
                Section::Log,
                "forged-event-in-an-empty-range",
                "The range is empty, and there is an event in it.",
                parts.file(),
            )
            .refused(10, 5, "1 events where the range has 0")
            .member("history.jsonl")
            .script(Script::Other(
                11,
                "the script calls events beyond the range missing or repeated",
            ))
        },
    ]
}

/// Exporter and log are one forger: everything was signed with what is wrong in it.
fn signed_by_both() -> Vec<Case> {
    let put = |name, wrong, line: u64, says, edit: fn(&mut Vec<Vec<u8>>)| {
        let mut parts = Parts::small();
        parts.edit_lines(edit);
        parts.sign_all(|_| {});
        Case::new(Section::Log, name, wrong, parts.file())
            .refused(10, 5, says)
            .event(line)
            .script(Script::Other(
                11,
                "the script calls a history whose numbers or tenant are others one with missing events",
            ))
    };
    fn replace(line: &mut Vec<u8>, from: &str, to: &str) {
        let text = String::from_utf8(line.clone()).unwrap();
        assert!(text.contains(from), "{from}");
        *line = text.replacen(from, to, 1).into_bytes();
    }
    vec![
        put(
            "ledger-with-a-gap",
            "The ledger itself was signed with a number left out.",
            4,
            "seq is 9 where 8 belongs",
            |lines| drop(lines.remove(3)),
        ),
        put(
            "ledger-with-a-repetition",
            "The ledger itself was signed with an event in it twice.",
            4,
            "seq is 7 where 8 belongs",
            |lines| lines.insert(3, lines[2].clone()),
        ),
        put(
            "ledger-with-a-swap",
            "The ledger itself was signed with two events in each other's place.",
            3,
            "seq is 10 where 7 belongs",
            |lines| lines.swap(2, 5),
        ),
        put(
            "ledger-with-another-tenant",
            "The ledger itself was signed with an event of another tenant in it.",
            3,
            "tenant zeta",
            |lines| replace(&mut lines[2], "\"tenant\":\"acme\"", "\"tenant\":\"zeta\""),
        ),
        put(
            "ledger-whose-time-runs-back",
            "The ledger itself was signed with an event from before the one before it.",
            3,
            "before that of the event before",
            |lines| replace(&mut lines[2], "\"at\":\"2026", "\"at\":\"2025"),
        )
        .script(Script::Leaves("times are left to `fastness verify`")),
        {
            let mut parts = Parts::small();
            parts.edit_lines(|lines| {
                replace(
                    &mut lines[2],
                    "\"text\":\"",
                    &format!("\"text\":\"{}", "x".repeat(2 << 20)),
                )
            });
            parts.sign_all(|_| {});
            Case::new(
                Section::Log,
                "ledger-with-an-endless-event",
                "The ledger itself was signed with an event longer than any may be.",
                parts.file(),
            )
            .refused(14, 5, "longer than an event may be")
            .event(3)
            .script(Script::Leaves("the script reads lines of any length"))
        },
    ]
}

fn records() -> Vec<Case> {
    let put = |name, wrong, line: u64, says, jobs: &'static [u8]| {
        signed(
            name,
            wrong,
            |parts| *parts.member("jobs.jsonl") = jobs.to_vec(),
            |_| {},
        )
        .refused(14, 5, says)
        .member("jobs.jsonl")
        .line(line)
    };
    const SORTING: Script = Script::Leaves("the sorting of records is left to `fastness verify`");
    vec![
        put(
            "records-out-of-order",
            "The jobs are not sorted.",
            2,
            "out of order",
            b"{\"id\":\"b\"}\n{\"id\":\"a\"}\n",
        )
        .script(SORTING),
        put(
            "records-twice",
            "A job is there twice.",
            2,
            "there twice",
            b"{\"id\":\"a\"}\n{\"id\":\"a\"}\n",
        )
        .script(SORTING),
        put(
            "records-with-spaces",
            "A job is written with a space.",
            1,
            "canonical",
            b"{\"id\": \"a\"}\n",
        ),
        put(
            "records-without-id",
            "A job has no id.",
            1,
            "neither id nor name",
            b"{}\n",
        )
        .script(SORTING),
        put(
            "records-without-line-feed",
            "The last job does not end with a line feed.",
            1,
            "no LF",
            b"{\"id\":\"a\"}",
        ),
    ]
}
