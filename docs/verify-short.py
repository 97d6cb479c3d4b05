#!/usr/bin/env python3
"""verify-short.py BUNDLE LOG.pem EXPORT.pem: checks an audit bundle without Fastness; needs Python 3.8 and zstd (bundle-format.md).
Exit codes: 0 good, 2 usage, 10 tampered, 11 incomplete, 12 untrusted key, 14 malformed. Ed25519 is that of RFC 8032."""
import base64, hashlib, itertools, json, re, subprocess, sys
P, L, KIND = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493, "application/vnd.in-toto+json"
D, ROOT, PEM = -121665 * pow(121666, -1, P) % P, pow(2, (P - 1) // 4, P), "^-----BEGINPUBLICKEY-----(MCowBQYDK2VwAyEA[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=)-----ENDPUBLICKEY-----$"
def sha(*parts): return hashlib.sha256(b"".join(parts)).digest()
def check(good, code, text): return None if good else (print("FAILED:", text), sys.exit(code))
def unbase64(text): return base64.b64decode(text, validate=True)
def parse(line, name="manifest", number=1):  # canonical JSON (RFC 8785) without fractions
    value = json.loads(line, parse_int=lambda t: int(t) if len(t) < 18 and abs(int(t)) < 2**53 else 1 / 0, parse_float=lambda t: 1 / 0, parse_constant=lambda t: 1 / 0)
    same = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(errors="replace") == line
    return check(same, 14, f"{name} line {number}: not canonical JSON") or value
def add(p, q):
    k, a, b = D * p[0] * q[0] * p[1] * q[1], p[0] * q[1] + q[0] * p[1], p[1] * q[1] + p[0] * q[0]
    return a * pow(1 + k, -1, P) % P, b * pow(1 - k, -1, P) % P
def times(n, p): return add(times(n // 2, add(p, p)), p if n % 2 else (0, 1)) if n else (0, 1)
def point(data):  # None for what is not canonical, not on the curve or of low order
    y, sign = int.from_bytes(data, "little") % 2**255, data[31] >> 7
    xx = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    roots = (x for r in [pow(xx, (P + 3) // 8, P)] for s in (r, r * ROOT % P) for x in (s, P - s))
    return next(((x, y) for x in roots if x * x % P == xx and x % 2 == sign and y < P and times(8, (x, y)) != (0, 1)), None)
def signed(key, message, signature):
    a, r, s = point(key), point(signature[:32]), int.from_bytes(signature[32:], "little")
    k = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % L
    return a and r and len(signature) == 64 and s < L and times(s, point(b"\x58" + b"\x66" * 31)) == add(r, times(k, a))
def members(tar, at=0):
    found = {}
    while any(tar[at:at + 512]):
        raw, size = tar[at:at + 100].rstrip(b"\0"), int(tar[at + 124:at + 135], 8)
        head = [raw.ljust(100, b"\0"), b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size + b"0" * 11 + b"\0", b" " * 8,
                b"0" + bytes(100) + b"ustar\x0000" + bytes(64) + b"0000000\0" * 2 + bytes(167)]
        head[2], end, name = b"%06o\0 " % sum(b"".join(head)), at + 512 + size, raw.decode()
        check(tar[at:at + 512] == b"".join(head) and not any(tar[end:end + -size % 512]) and name not in found, 14, name + ": bad tar header or padding")
        found[name], at = tar[at + 512:end], end + -size % 512
    return check(tar[at:] == bytes(1024), 14, "the tar does not end with two zero blocks") or found
def fold(nodes): return sha(b"\1", nodes[0], fold(nodes[1:])) if len(nodes) > 1 else nodes[0] if nodes else sha()
def checkpoint(name, note, key, origin, size, root):
    text, lines = note.decode().rsplit("\n\n", 1)
    found = [unbase64(line.split(" ")[2]) for line in lines.split("\n")[:-1] if line.startswith(f"\u2014 {origin} ")]
    found = [one[4:] for one in found if one[:4] == sha(origin.encode() + b"\n\1" + key)[:4]]
    check(found, 12, name + ": not signed by the log key") or check(signed(key, text.encode() + b"\n", found[0]), 10, name + ": bad signature")
    check(text == f"{origin}\n{size}\n{base64.b64encode(bytes.fromhex(root)).decode()}", 10, name + ": unlike the manifest")
def main(bundle, *keys):
    log, export = (base64.b64decode("".join(re.findall(PEM, "".join(open(key, encoding="latin-1").read().split())))) for key in keys)  # ends with the key
    files = check(open(bundle) and len(log) == len(export) == 44 and point(log[-32:]) and point(export[-32:]), 2, "a key file is no SPKI PEM of an Ed25519 key") or members(subprocess.run(["zstd", "-dcq", bundle], stdout=subprocess.PIPE, check=True).stdout)
    envelope, mine = parse(files.pop("audit/manifest.dsse.json")[:-1]), sha(export).hex()
    payload, [one] = unbase64(envelope["payload"]), envelope["signatures"]
    good = signed(export[-32:], b"DSSEv1 28 %s %d " % (KIND.encode(), len(payload)) + payload, unbase64(one["sig"]))
    check(good or one["keyid"] == mine, 12, "manifest: signed by another key")
    check(good and one["keyid"] == mine and envelope["payloadType"] == KIND, 10, "manifest: bad signature, keyid or type")
    said, subjects = parse(payload)["predicate"], {one["name"]: one["digest"]["sha256"] for one in parse(payload)["subject"]}
    check(files.keys() == subjects.keys(), 10 if files.keys() - subjects.keys() else 11, f"members unlike the manifest: {files.keys() ^ subjects.keys()}")
    first, nodes, history = said["first"], [unbase64(line) for line in files["audit/frontier"].split()], files["audit/history.jsonl"].split(b"\n")
    short, leaves = files["audit/leaves"].decode().split(), [sha(b"\0", line) for line in history[:-1]]
    changed = next((f": event {first + i} (line {i + 1})" for i, (a, b) in enumerate(itertools.zip_longest(leaves, short)) if not a or a.hex()[:16] != b), "")
    for name in files: check(sha(files[name]).hex() == subjects[name], 10, name + changed * name.endswith("history.jsonl") + ": changed")
    checkpoint("audit/checkpoint", files["audit/checkpoint"], log[-32:], said["origin"], said["size"], said["root"])
    checkpoint("audit/checkpoint.prev", files["audit/checkpoint.prev"], log[-32:], said["origin"], first, said["prevRoot"])
    lines = {n: [parse(b, n, i + 1) for i, b in enumerate(files[n].split(b"\n")[:-1])] for n in files if n.endswith(".jsonl")}
    right = [(seq, said["tenant"]) for seq in range(first, said["size"])]
    check([(e["seq"], e["tenant"]) for e in lines["audit/history.jsonl"]] == right, 11, "history: events missing, repeated or of another tenant")
    check(len(nodes) == bin(first).count("1") and fold(nodes).hex() == said["prevRoot"], 10, "frontier: not that of prevRoot")
    for n, leaf in enumerate(leaves, first):
        while n % 2: n, leaf = n // 2, sha(b"\1", nodes.pop(), leaf)
        nodes.append(leaf)
    check(fold(nodes).hex() == said["root"] and not changed and history[-1] == b"", 10, "history: does not lead to the root")
    print(f"good: events {first} to {said['size']} of {said['origin']}, tar and all {len(files)} members as signed; disclosures and roots of trust not judged")
try: main(*sys.argv[1:]) if len(sys.argv) == 4 else check(False, 2, __doc__)
except Exception as error: check(False, *((2, error) if isinstance(error, OSError) else (14, f"malformed: {error!r}")))
