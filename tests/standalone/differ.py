#!/usr/bin/env python3
"""Seeded changes of a good bundle, judged by `fastness verify`, `docs/verify.py` and `docs/verify.sh`: they must agree.

    FASTNESS_BIN=target/release/fastness python3 tests/standalone/differ.py [--rounds 360] [--seed 1] [--shell-every 20]

One server makes the bundle: of a later range, so that there is a frontier, with redacted fields that are shown, logs, an
artifact and a root of trust. Each round changes it in one of KINDS of ways, most as an insider would who has the log key and
the export key and signs again what was changed. A difference is a bundle that one accepts and another refuses. What the
scripts leave to `fastness verify` is in LEFT, as bundle-format.md tells it, by the check of ours that refuses; no difference
beyond that is allowed, and never one that a script refuses and we accept.

`--kind K` makes rounds of one kind alone, `--keep DIR` keeps the bundles of all differences, those that are left too.
"""

import argparse
import contextlib
import functools
import hashlib
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from run import ROOT, Server, call

WORK = ROOT / "target" / "differ"
PACK_TEXT = """\
apiVersion: fastness/v1
kind: Pack
metadata: {name: differ}
spec:
  inputs:
    token: {type: string, sensitive: true}
  steps:
    - {id: write, shell: "echo a line; printf 'an artifact' > out/a.txt", artifacts: [{name: a.txt, path: out/a.txt}]}
"""

# What the scripts leave to us: the check that refuses, what it says, and why that is no matter of what the bundle means.
LEFT = [
    (1, r"frame|compress|checksum of|window|dictionary|ends too early|zstd", "the frame is transport; the scripts judge the tar in it"),
    (2, r"contents", "`contents`: which files history names"),
    (3, r"an event names|no event names|contents", "`contents`: which files history names"),
    (5, r"^a key is 1 to 64 of|nested|U\+007F", "names, depth and U+007F of the profile: canonical for RFC 8785 all the same"),
    (5, r"recorded shape|unknown (field|variant|event|type)|missing field|invalid (type|value|length)|not an event|schema", "which events, versions and fields there are"),
    (5, r"^at is|time", "the times of events"),
    (5, r"out of order or there twice|neither id nor name", "the sorting of records"),
    (5, r"longer than", "how long a line may be"),
]
LEFT_TO_US_BY_SHELL = LEFT + [
    (1, r"order|second member", "the order of the members"),
    (7, r"", "disclosures"),
    (9, r"", "policies and roots of trust"),
]


def load_script():
    """docs/verify.py without its last lines, which run it; its arithmetic made faster, its work on points kept."""
    text = (ROOT / "docs" / "verify.py").read_text(encoding="utf-8")
    body, last = text.split("\ntry: main(")
    if "sys.argv" not in last:
        raise SystemExit("verify.py does not end as it did")
    script = {"__name__": "verify"}
    exec(compile(body, "verify.py", "exec"), script)
    slow, points = script["times"], [script["point"](b"\x58" + b"\x66" * 31)]
    for n in (0, 1, 2, 3, 8, 977, script["L"] - 1):
        if slow(n, points[0]) != fast_times(script, n, points[0]):
            raise SystemExit("the faster arithmetic is wrong")
    script["times"] = functools.lru_cache(4096)(lambda n, p: fast_times(script, n, p))
    for name in ("point", "signed"):
        script[name] = functools.lru_cache(4096)(script[name])
    return script


def fast_times(script, n, point):
    """n times a point, in extended coordinates (RFC 8032, 5.1.4)."""
    P, D = script["P"], script["D"]

    def add(p, q):
        a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
        c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
        e, f, g, h = b - a, d - c, d + c, b + a
        return e * f % P, g * h % P, f * g % P, e * h % P

    sum_, double = (0, 1, 1, 0), (point[0], point[1], 1, point[0] * point[1] % P)
    while n:
        if n & 1:
            sum_ = add(sum_, double)
        double, n = add(double, double), n >> 1
    inverse = pow(sum_[2], -1, P)
    return sum_[0] * inverse % P, sum_[1] * inverse % P


class Key:
    """A private key of the server, as a thief of its folder has it."""

    def __init__(self, script, private, public):
        lines = [path.read_text().split("\n")[1:-2] for path in (private, public)]
        seed, self.spki = (script["unbase64"]("".join(one)) for one in lines)
        digest = hashlib.sha512(seed[-32:]).digest()
        scalar = int.from_bytes(digest[:32], "little") & ((1 << 254) - 8) | 1 << 254
        self.script, self.scalar, self.prefix, self.public = script, scalar, digest[32:], self.spki[-32:]
        self.id = hashlib.sha256(self.spki).hexdigest()

    def sign(self, message):
        base, order = self.script["point"](b"\x58" + b"\x66" * 31), self.script["L"]
        number = lambda *parts: int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % order
        r = number(self.prefix, message)
        x, y = self.script["times"](r, base)
        head = (y | (x & 1) << 255).to_bytes(32, "little")
        return head + ((r + number(head, self.public, message) * self.scalar) % order).to_bytes(32, "little")


class Bundle:
    """Members by name, in order; what an insider can do with them."""

    def __init__(self, script, keys, members):
        self.script, (self.log, self.export), self.members = script, keys, dict(members)
        self.head = {}

    def again(self):
        one = Bundle(self.script, (self.log, self.export), self.members)
        return one

    def __getitem__(self, name):
        return self.members["audit/" + name]

    def __setitem__(self, name, data):
        self.members["audit/" + name] = data

    def statement(self):
        return json.loads(self.script["unbase64"](json.loads(self["manifest.dsse.json"])["payload"]))

    def note(self, text, who=None):
        """A checkpoint, signed by the log key."""
        script, name = self.script, who or text.split("\n")[0]
        mine = hashlib.sha256(text.split("\n")[0].encode() + b"\n\1" + self.log.public).digest()[:4]
        return f"{text}\n\u2014 {name} {script['b64'](mine + self.log.sign(text.encode()))}\n"

    def envelope(self, payload, kind=None):
        kind = kind or self.script["KIND"]
        pae = b"DSSEv1 %d %s %d " % (len(kind), kind.encode(), len(payload)) + payload
        one = {"keyid": self.export.id, "sig": self.script["b64"](self.export.sign(pae))}
        return {"payload": self.script["b64"](payload), "payloadType": kind, "signatures": [one]}

    def sign(self, change=lambda said: said, write=None):
        """Says in the manifest what the members are now, and signs it."""
        said, write = self.statement(), write or self.script["write"]
        names = sorted(name for name in self.members if name != "audit/manifest.dsse.json")
        said["subject"] = [{"digest": {"sha256": hashlib.sha256(self.members[n]).hexdigest()}, "name": n} for n in names]
        lines = lambda n: {"lines": self.members[n].count(b"\n")} if n.endswith(".jsonl") else {}
        said["predicate"]["files"] = [{**lines(n), "name": n, "size": len(self.members[n])} for n in names]
        said = change(said) or said
        self["manifest.dsse.json"] = self.script["write"](self.envelope(write(said))) + b"\n"

    def sign_all(self):
        """The same for a history that was changed: tree, leaves and checkpoint too."""
        script, said = self.script, self.statement()["predicate"]
        leaves = [script["sha"](b"\0", line) for line in self["history.jsonl"].split(b"\n")[:-1]]
        nodes = [script["unbase64"](line) for line in self["frontier"].decode().split()]
        for n, leaf in enumerate(leaves, said["first"]):
            while n % 2:
                n, leaf = n // 2, script["sha"](b"\1", nodes.pop(), leaf)
            nodes.append(leaf)
        root, size = script["fold"](nodes), said["first"] + len(leaves)
        self["leaves"] = "".join(leaf.hex()[:16] + "\n" for leaf in leaves).encode()
        self["checkpoint"] = self.note(f"{said['origin']}\n{size}\n{script['b64'](root)}\n").encode()

        def change(whole):
            whole["predicate"].update(root=root.hex(), size=size)

        self.sign(change)

    def tar(self, header=None):
        out = []
        for place, (name, data) in enumerate(self.members.items()):
            head = header_of(name, len(data))
            if header and header[0] == place:
                head = header[1](bytearray(head))
            out += [head, data, bytes(-len(data) % 512)]
        return b"".join([*out, bytes(1024)])


def header_of(name, size):
    head = bytearray(name.encode().ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size + b"00000000000\0")
    head += b" " * 8 + b"0" + bytes(100) + b"ustar\x0000" + bytes(64) + b"0000000\0" * 2 + bytes(167)
    return summed(head)


def summed(head):
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head)


def mutate(data, draw):
    """Some bytes are others: flipped, overwritten, cut, doubled, taken out."""
    data = bytearray(data or b"x")
    at = draw.randrange(len(data))
    end = min(len(data), at + 1 + draw.randrange(200))
    how = draw.randrange(7)
    if how < 3:
        data[at] ^= 1 << draw.randrange(8)
    elif how == 3:
        data[at] = draw.randrange(256)
    elif how == 4:
        del data[at:]
    elif how == 5:
        data[at:at] = data[at:end]
    else:
        del data[at:end]
    return bytes(data)


def respell(text, draw):
    """The same JSON, base64 or lines written in another way, or nearly the same."""
    ways = [
        lambda: text + draw.choice([" ", "\n", "\r\n", "\0", "x", "\t"]),
        lambda: draw.choice([" ", "\n", "\ufeff", "\t"]) + text,
        lambda: text[:-1],
        lambda: once(r"[,:]", lambda m: m[0] + " "),
        lambda: once(r"\n", lambda m: draw.choice(["\r\n", "\n\n", " \n", "", "\u2028", "\x0b"])),
        lambda: once(r'"([a-z])', lambda m: '"\\u%04x' % ord(m[1])),
        lambda: once(r'("[A-Za-z]+":(?:"[^"]*"|[0-9]+))', lambda m: m[0] + "," + m[0]),
        lambda: once(r'("[A-Za-z]+":(?:"[^"]*"|[0-9]+))', lambda m: m[0] + ',"zz":' + draw.choice(["1", "null", '""', "{}"])),
        lambda: once(r'("[A-Za-z]+":(?:"[^"]*"|[0-9]+)),', lambda m: ""),
        lambda: once(r"(?<=[:\[,])[0-9]+", lambda m: draw.choice([m[0] + ".0", m[0] + "e0", "0" + m[0], "-0", "true", "null", "9007199254740992", '"' + m[0] + '"', "-1", "1"])),
        lambda: once(r"[A-Za-z0-9+/]={1,2}", lambda m: draw.choice([m[0][0], m[0] + "=", chr(ord(m[0][0]) + 1) + m[0][1:], m[0].replace("=", "%3D"), m[0] + "\\n"])),
        lambda: once(r"[+/]", lambda m: {"+": "-", "/": "_"}[m[0]]),
        lambda: once(r"[a-f](?=[0-9a-f]{8})", lambda m: m[0].upper()),
        lambda: once(r"[A-Za-z]", lambda m: draw.choice([m[0].swapcase(), "\x7f", "\u00e9", "e\u0301", "\\/", " "])),
        lambda: once(r'"[A-Za-z]+":', lambda m: '"' + draw.choice(["a/b", "", "k" * 65, "\u00e9", "_sd", "..."]) + '":'),
        lambda: once(r'(?<=":)"[^"]*"', lambda m: draw.choice(["null", "[]", "{}", "1", '"\\ud800"', "[" * 40 + "]" * 40, '"' + m[0][1:-1] + ' "'])),
        lambda: once(r"\u2014 ", lambda m: draw.choice(["- ", "\u2014", "\u2014  ", "\u2013 "])),
        lambda: lines(lambda all_: all_ + [draw.choice(all_)]),
        lambda: lines(lambda all_: draw.sample(all_, len(all_))),
        lambda: lines(lambda all_: all_[1:]),
        lambda: lines(lambda all_: all_[:-1]),
    ]

    def once(pattern, with_what):
        found = list(re.finditer(pattern, text))
        if not found:
            return text
        one = draw.choice(found)
        return text[: one.start()] + with_what(one) + text[one.end() :]

    def lines(change):
        all_ = text.split("\n")[:-1]
        return "".join(line + "\n" for line in change(all_)) if all_ else text

    return draw.choice(ways)()


def in_file(good, draw):
    return None, mutate(good.file, draw)


def in_tar(good, draw):
    return mutate(good.again().tar(), draw), None


def in_header(good, draw):
    """A header that says something else, with a sum that is right."""
    one = good.again()
    fields = [
        (100, b"0000755\0"), (100, b"000644 \0"), (108, b"0000001\0"), (116, b"0001750\0"), (136, b"00000000001\0"), (136, b"14000000000\0"),
        (156, b"\0"), (156, b"1"), (156, b"5"), (156, b"x"), (156, b"L"), (156, b"7"), (157, b"audit/leaves"), (257, b"ustar  \0"), (257, b"ustar\0\0\0"),
        (265, b"root"), (297, b"root"), (329, b"\0" * 8), (329, b"0000001\0"), (345, b"audit"), (500, b"x"), (124, b" "), (135, b" "), (99, b"x"),
    ]
    at, data = draw.choice(fields)

    def change(head):
        head[at : at + len(data)] = data
        return summed(head)

    def odd_sum(head):
        head[148:156] = draw.choice([b"%07o\0" % sum(summed_zero(head)), b" %05o\0 " % (sum(summed_zero(head)) & 0o77777), b"%06o \0" % sum(summed_zero(head))])
        return bytes(head)

    return one.tar((draw.randrange(len(one.members)), draw.choice([change, change, change, odd_sum]))), None


def summed_zero(head):
    return bytes(head[:148]) + b" " * 8 + bytes(head[156:])


def in_members(good, draw):
    one, names = good.again(), list(good.members)
    a, b = draw.sample(names, 2)
    how = draw.randrange(6)
    if how == 0:
        del one.members[a]
    elif how == 1:
        one.members = {name: one.members[name] for name in draw.sample(names, len(names))}
    elif how == 2:
        one.members[a] = one.members[b]
    elif how == 3:
        one.members = {(a + "x" if name == a else name): data for name, data in one.members.items()}
    elif how == 4:
        one.members["audit/" + draw.choice(["zz", "artifacts/" + "0" * 64, "logs/" + "0" * 64, "trust/2.root.dsse.json", "../x", "A"])] = b"more"
    else:
        one.members[a] = mutate(one.members[a], draw)
    if draw.randrange(2) and "audit/manifest.dsse.json" in one.members:
        with contextlib.suppress(ValueError, KeyError):
            one.sign()
    return one.tar(), None


def in_envelope(good, draw):
    one = good.again()
    text = one["manifest.dsse.json"].decode()
    for _ in range(1 + draw.randrange(2)):
        text = respell(text, draw)
    one["manifest.dsse.json"] = text.encode(errors="replace")
    return one.tar(), None


def in_statement(good, draw):
    """The signed statement in another spelling, or saying something else."""
    one = good.again()
    spell = lambda said: respell(good.script["write"](said).decode(), draw).encode(errors="replace")
    edits = [
        lambda said: said["predicate"].update({draw.choice(sorted(said["predicate"])): draw.choice([0, 1, True, None, "", "x", -1, [], {}])}),
        lambda said: said["subject"].append(said["subject"][draw.randrange(len(said["subject"]))]),
        lambda said: draw.shuffle(said["subject"]),
        lambda said: said["subject"].pop(draw.randrange(len(said["subject"]))) and None,
        lambda said: said.update({draw.choice(["_type", "predicateType", "more"]): draw.choice(["", "x", "urn:fastness:attestation:work-order:v1"])}),
        lambda said: said["predicate"]["redaction"].update({draw.choice(["policy", "withheld", "more"]): draw.choice(["x", 0, 1, True])}),
        lambda said: said["predicate"]["files"][0].update({draw.choice(["size", "lines", "more"]): draw.choice([0, True, "1", 7])}),
        lambda said: said["predicate"].update(orderId="0190d7c4-0000-7000-8000-000000000000"),
        lambda said: said["predicate"].update(orderIds=draw.choice([[], ["0190d7c4-0000-7000-8000-000000000000"], ["b", "a"]])),
        lambda said: None,
    ]
    edit = draw.choice(edits)
    one.sign(edit, spell if draw.randrange(2) else None)
    if draw.randrange(6) == 0:
        envelope = one.envelope(good.script["write"](good.statement()), draw.choice(["application/json", good.script["ROOT_KIND"], good.script["KIND"] + " "]))
        one["manifest.dsse.json"] = good.script["write"](envelope) + b"\n"
    return one.tar(), None


def in_note(good, draw):
    one, name = good.again(), draw.choice(["checkpoint", "checkpoint.prev"])
    text = one[name].decode()
    body, signatures = text.split("\n\n")
    if draw.randrange(2):
        body = respell(body + "\n", draw)
        text = one.note(body) if body.endswith("\n") else text
    else:
        other = "\u2014 witness.example/w " + good.script["b64"](bytes(68)) + "\n"
        choices = [text + other, text.replace("\n\n", "\n\n" + other), text + other * 16, text + signatures, text + "\u2014 w AAAA\n", text + "junk\n", text + "junk", text + "\n"]
        text = draw.choice([*choices, respell(text, draw), respell(text, draw)])
    one[name] = text.encode(errors="replace")
    one.sign()
    return one.tar(), None


def in_small(good, draw):
    """What is not signed by itself, and signed again with the manifest."""
    one, name = good.again(), draw.choice(["frontier", "leaves", "trust/policy", "disclosures.jsonl", "disclosures.jsonl", "jobs.jsonl", "runs.jsonl", "packs.jsonl", "trust/1.root.dsse.json"])
    data = one[name]
    one[name] = mutate(data, draw) if draw.randrange(4) == 0 else respell(data.decode(), draw).encode(errors="replace")
    one.sign()
    return one.tar(), None


def in_history(good, draw):
    one = good.again()
    data = one["history.jsonl"]
    one["history.jsonl"] = mutate(data, draw) if draw.randrange(4) == 0 else respell(data.decode(), draw).encode(errors="replace")
    one.sign_all()
    return one.tar(), None


KINDS = [in_file, in_tar, in_header, in_members, in_envelope, in_statement, in_note, in_small, in_history]


class Verifiers:
    def __init__(self, fastness, script, keys):
        self.fastness, self.script, self.keys = fastness, script, keys

    def ours(self, file):
        """Exit code, and the check that failed with what it says."""
        command = [self.fastness, "verify", file, "--log-key", self.keys[0], "--export-key", self.keys[1], "-o", "json"]
        done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        checks = json.loads(done.stdout)["checks"] if done.stdout else []
        failed = next((one for one in checks if one["status"] == "failed"), {"n": 0, "detail": done.stderr.decode()})
        return done.returncode, failed

    def python(self, file):
        told = io.StringIO()
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(io.StringIO()):
            try:
                self.script["main"](str(file), *map(str, self.keys))
                code = 0
            except SystemExit as end:
                code = end.code
            except Exception as error:
                code, _ = 14, told.write(f"malformed: {error!r}")
        return code, told.getvalue().strip()

    def shell(self, file):
        command = ["sh", ROOT / "docs" / "verify.sh", file, *self.keys]
        done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        return done.returncode, done.stdout.decode(errors="replace").strip()


def make(fastness, script):
    """The good bundle, and the keys of its server."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    data, bundle, root = WORK / "data", WORK / "good.audit.tar.zst", WORK / "1.root"
    (WORK / "pack.yaml").write_text(PACK_TEXT, encoding="utf-8")
    with Server(fastness, data) as server:
        server.cli("pack", "push", WORK / "pack.yaml")
        server.cli("job", "submit", "x.first")
        call(fastness, "key", "new", "--out", WORK, "--name", "ada")
        server.cli("trust", "new", "--threshold", "1", "--root-key", WORK / "ada.pub.pem", "--out", root)
        call(fastness, "trust", "sign", root, "--key", WORK / "ada.pem")
        server.cli("trust", "accept", root)
        server.cli("run", "differ", "-i", "token=hunter2", "--wait")
        for role in ("log", "export"):
            (WORK / f"{role}.pem").write_bytes(server.cli("key", "show", role, "--pem"))
        server.cli("export", "--from", "1", "--redaction", "full", "--with", "artifacts,logs", "--out", bundle)
    private = [Key(script, data / "keys" / f"{role}.pem", WORK / f"{role}.pem") for role in ("log", "export")]
    tar = call("zstd", "-dcq", bundle)
    good = Bundle(script, private, script["members"](tar))
    good.file = bundle.read_bytes()
    if good.tar() != tar:
        raise SystemExit("the bundle is not the archive that its members make")
    return good, [WORK / "log.pem", WORK / "export.pem"]


def left(table, failed):
    says = failed.get("detail") or ""
    return next((why for n, pattern, why in table if n == failed["n"] and re.search(pattern, says)), None)


def judge(names, ours, theirs, table):
    """None where they agree; else whether the difference is one that is left to us, and what it is."""
    (code, failed), (their_code, told) = ours, theirs
    if (code == 0) == (their_code == 0):
        return None
    why = left(table, failed) if their_code == 0 else None
    place = f"check {failed['n']}, {failed.get('member')}, {failed.get('detail')}" if code else "accepted"
    return why, f"{names}: ours {code} ({place}), theirs {their_code} ({told})"


def main():
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--rounds", type=int, default=360)
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--shell-every", type=int, default=20)
    asked.add_argument("--kind", choices=[kind.__name__ for kind in KINDS])
    asked.add_argument("--keep", type=Path)
    asked = asked.parse_args()
    began, fastness, script = time.monotonic(), Path(os.environ["FASTNESS_BIN"]).resolve(), load_script()
    good, keys = make(fastness, script)
    verifiers, file = Verifiers(fastness, script, keys), WORK / "changed.audit.tar.zst"
    goods = [verifiers.ours(WORK / "good.audit.tar.zst")[0], verifiers.python(WORK / "good.audit.tar.zst"), verifiers.shell(WORK / "good.audit.tar.zst")]
    if [goods[0], goods[1][0], goods[2][0]] != [0, 0, 0]:
        raise SystemExit(f"the good bundle is refused: {goods}")
    kinds = [kind for kind in KINDS if asked.kind in (None, kind.__name__)]
    wrong, allowed, codes, same = [], Counter(), Counter(), 0
    for number in range(asked.rounds):
        draw, kind = random.Random(asked.seed * 1_000_003 + number), kinds[number % len(kinds)]
        tar, whole = kind(good, draw)
        if tar is None:
            file.write_bytes(whole)
        else:
            (WORK / "tar").write_bytes(tar)
            call("zstd", "-qf1", "--check", WORK / "tar", "-o", file)
        ours, python = verifiers.ours(file), verifiers.python(file)
        codes[ours[0]] += 1
        same += ours[0] == python[0]
        found = [judge("verify.py", ours, python, LEFT)]
        if asked.shell_every and number % asked.shell_every == 0:
            found.append(judge("verify.sh", ours, verifiers.shell(file), LEFT_TO_US_BY_SHELL))
        for difference in filter(None, found):
            why, what = difference
            if why:
                allowed[why] += 1
            else:
                wrong.append(f"round {number}, {kind.__name__}, {what}")
            if asked.keep:
                asked.keep.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, asked.keep / f"{kind.__name__}-{asked.seed}-{number}.audit.tar.zst")
    for line in wrong:
        print("DIFFERENT:", line)
    for why, count in allowed.most_common():
        print(f"  left to `fastness verify` {count} times: {why}")
    took = f"{time.monotonic() - began:.1f} s"
    print(f"differ: seed {asked.seed}, {asked.rounds} changed bundles, {len(wrong)} differences, {sum(allowed.values())} that are left,"
          f" {same} with the same code, by code {dict(sorted(codes.items()))}, {took}", flush=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
