#!/usr/bin/env python3
"""verify.py BUNDLE LOG.pem EXPORT.pem: checks an audit bundle without Fastness; needs Python 3.8 and zstd (bundle-format.md).
Exit codes: 0 good, 2 usage, 10 tampered, 11 incomplete, 12 untrusted key, 14 malformed. Ed25519 is that of RFC 8032."""
import base64, hashlib, itertools, json, re, subprocess, sys
P, L, KIND = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493, "application/vnd.in-toto+json"
ROOT_KIND, RESERVED = "application/vnd.fastness.root+json", ("_sd", "...")
ORDER = """manifest.dsse.json checkpoint checkpoint.prev frontier leaves trust/[1-9][0-9]{0,2}.root.dsse.json trust/policy history.jsonl disclosures.jsonl
jobs.jsonl runs.jsonl throttles.jsonl packs.jsonl artifacts/[0-9a-f]{64} logs/[0-9a-f]{64} verify.txt""".split()
STATEMENT = {"_type": "https://in-toto.io/Statement/v1", "predicateType": "urn:fastness:attestation:audit-bundle:v1"}
SAID = {"files", "first", "format", "origin", "prevRoot", "redaction", "root", "schemaSha256", "size", "stateVersion", "tenant", "trustVersion"}
LEDGER, NOTE = r"fastness/[0-9a-f]{16}/([a-z0-9][a-z0-9-]{0,62})(/g([2-9]|[1-9][0-9]{1,8}))?", "\u2014 ([^+\\s\0-\x1f]+) ([^ ]+)"
D, ROOT, PEM = -121665 * pow(121666, -1, P) % P, pow(2, (P - 1) // 4, P), "^-----BEGINPUBLICKEY-----(MCowBQYDK2VwAyEA[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=)-----ENDPUBLICKEY-----$"
def sha(*parts): return hashlib.sha256(b"".join(parts)).digest()
def check(good, code, text): return None if good else (print("FAILED:", text), sys.exit(code))
def b64(data): return base64.b64encode(data).decode()
def unbase64(text):
    data = base64.b64decode(text, validate=True)
    return check(b64(data) == text, 14, "not base64 in its one form") or data
def url64(data): return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
def unurl64(text):
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    return check(url64(data) == text, 14, "not base64url without padding") or data
def write(value): return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")
def whole(*values): return all(type(value) is int and value >= 0 for value in values)  # true is no number
def parse(line, name="manifest", number=1):  # canonical JSON (RFC 8785) without fractions
    value = json.loads(line, parse_int=lambda t: int(t) if len(t) < 18 and abs(int(t)) < 2**53 else 1 / 0, parse_float=lambda t: 1 / 0, parse_constant=lambda t: 1 / 0)
    return check(write(value) == line, 14, f"{name} line {number}: not canonical JSON") or value
def lines(name, data):
    check(data[-1:] in (b"", b"\n"), 14, name + ": no LF at its end")
    return [parse(line, name, i) for i, line in enumerate(data.split(b"\n")[:-1], 1)]
def envelope(name, data, kind):  # DSSE, in the one way to write it: payload, signatures by key id, and what was signed
    [said] = lines(name, data)
    payload, found = unbase64(said["payload"]), {one["keyid"]: unbase64(one["sig"]) for one in said["signatures"]}
    right = {"payload": b64(payload), "payloadType": kind, "signatures": [{"keyid": one, "sig": b64(found[one])} for one in sorted(found)]}
    form = said == right and all(re.fullmatch("[0-9a-f]{64}", one) and len(found[one]) == 64 for one in found)
    return check(form, 14, name + ": not in its form") or (payload, found, b"DSSEv1 %d %s %d " % (len(kind), kind.encode(), len(payload)) + payload)
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
    text, _, rest = note.decode().rpartition("\n\n")
    head, signers = text.split("\n"), [re.fullmatch(NOTE, line).groups() for line in rest.split("\n")[:-1]]
    signers, mine = [(who, unbase64(data)) for who, data in signers], sha(head[0].encode() + b"\n\1" + key)[:4]
    form = re.fullmatch(LEDGER, head[0]) and re.fullmatch("0|[1-9][0-9]*", head[1]) and len(unbase64(head[2])) == 32 and len(head) == 3 and rest[-1] == "\n"
    check(form and len(signers) <= 16 and all(len(data) > 4 for _, data in signers), 14, name + ": not a checkpoint")
    found = [signed(key, text.encode() + b"\n", data[4:]) for who, data in signers if (who, data[:4]) == (head[0], mine)]
    check(found, 12, name + ": not signed by the log key") or check(all(found), 10, name + ": bad signature")
    check(head == [origin, str(size), b64(bytes.fromhex(root))], 10, name + ": unlike the manifest")
def reserved(value):
    if isinstance(value, dict): return any(name in RESERVED or reserved(inner) for name, inner in value.items())
    return isinstance(value, list) and any(map(reserved, value))
def digests(value, seq, found):  # of each digest in an event the object that it stands in
    if isinstance(value, dict) and "_sd" in value:
        texts = value["_sd"]
        check(texts and texts == sorted(set(texts)) and all(len(unurl64(t)) == 32 and (seq, t) not in found for t in texts), 14, f"event {seq}: _sd is none")
        found.update({(seq, text): value for text in texts})
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in inside: name == "_sd" or digests(inner, seq, found)
def disclosures(said, events, shown):  # check 7
    found, seen, last = {}, set(), (-1, "")
    for event in events:
        kind, payload = {"job.created": "payload", "run.created": "inputs"}.get(event["type"]), event["payload"]
        if "disclosures" in payload: digests(payload.get(kind), event["seq"], found)
    for i, line in enumerate(shown, 1):
        text, seq, where = line["d"], line["seq"], f"audit/disclosures.jsonl line {i}: "
        salt, name, value = parse(unurl64(text), where + "disclosure")
        check(line.keys() == {"d", "seq"} and whole(seq) and len(unurl64(salt)) == 32, 14, where + "form or salt")
        check(name not in RESERVED and not reserved(value), 14, where + "a reserved name")
        place = (seq, url64(sha(text.encode())))
        check(place != last, 10, where + "there twice") or check(last < place, 14, where + "out of order")
        check(place in found, 10, where + "no digest of the event belongs to it")
        check(name not in found[place] and (id(found[place]), name) not in seen, 10, where + "its field is there already")
        last = place
        seen.add((id(found[place]), name))
    check(len(found) - len(shown) == said["redaction"]["withheld"], 10, "disclosures: not as many withheld as the manifest says")
def trust(said, files, keys):  # check 9: policy and roots agree with the manifest, with each other and with the keys
    roots = sorted(int(n[12:].split(".")[0]) for n in files if n.endswith(".root.dsse.json"))
    check(max(roots, default=0) == said["trustVersion"], 10, "manifest: trustVersion is not the newest root")
    policy, before = files["audit/trust/policy"], None
    mine = {"approval": "none", "format": 1, "origin": said["origin"], "redaction": said["redaction"]["policy"], "tenant": said["tenant"]}
    for of in lines("audit/trust/policy", policy):
        form = of.keys() == mine.keys() and (of["approval"], of["format"]) == ("none", 1) and whole(of["format"]) and policy.count(b"\n") == 1
        check(form, 14, "audit/trust/policy: not in its form") or check(of == mine, 10, "audit/trust/policy: of another ledger, or another than the manifest names")
    check(roots == list(range(1, len(roots) + 1)), 11, "trust: a root is missing")
    for version in roots:
        name = f"audit/trust/{version}.root.dsse.json"
        payload, found, message = envelope(name, files[name], ROOT_KIND)
        root = parse(payload, name)
        check(root["version"] == version and whole(root["version"]), 14, name + ": of another version")
        for by in (root, before or root):
            known = {sha(unbase64(key["spki"])).hex(): unbase64(key["spki"])[-32:] for key in by["roles"]["root"]["keys"]}
            good = [signed(known[one], message, found[one]) for one in found if one in known]
            check(all(good) and len(good) >= by["roles"]["root"]["threshold"], 12, name + ": not signed by enough people")
        before = root
    for role, key in zip(("log", "export"), keys if before else ()):
        check(said["origin"].startswith(f"fastness/{before['enclave']}/"), 12, "trust: the root is of another enclave")
        own = sha(key).hex()
        check(own in [one["keyid"] for one in before["roles"][role]["keys"]], 12, f"trust: the {role} key is not in its role")
        revoked = [one for one in before["revocations"] if one["keyid"] == own]
        below = next((one["below"] for one in revoked if one["origin"] == said["origin"]), 0)
        check(not revoked or said["size"] < below, 12, f"trust: the {role} key is revoked")
def place(name):  # where a member belongs; 0 for what is none
    return next(((i, len(name), name) for i, one in enumerate(ORDER) if re.fullmatch("audit/" + one.replace(".", "[.]"), name)), (0, 0, name))
def statement(value):  # the predicate, and the digest of each member
    said, subjects = value["predicate"], {one["name"]: one["digest"]["sha256"] for one in value["subject"]}
    right = {**STATEMENT, "predicate": said, "subject": [{"digest": {"sha256": subjects[one]}, "name": one} for one in sorted(subjects)]}
    form = value == right and said.keys() - {"contents", "orderId", "orderIds"} == SAID and said["redaction"].keys() == {"policy", "withheld"}
    form = form and whole(*(said[n] for n in ("first", "size", "format", "stateVersion", "trustVersion")), said["redaction"]["withheld"]) and said["format"] == 1
    form = form and said["first"] <= said["size"]
    ledger, texts = re.fullmatch(LEDGER, said["origin"]), [*subjects.values(), said["root"], said["prevRoot"], said["schemaSha256"]]
    form = form and ledger and ledger[1] == said["tenant"] and all(re.fullmatch("[0-9a-f]{64}", one) for one in texts) and all(place(one)[0] for one in subjects)
    check(form, 14, "manifest: not the statement of an audit bundle")
    missing = [one for one in ORDER[1:] if "[" not in one and "audit/" + one not in subjects]
    return check(not missing, 11, f"manifest: names no {missing}") or (said, subjects)
def main(bundle, *keys):
    log, export = (base64.b64decode("".join(re.findall(PEM, "".join(open(key, encoding="latin-1").read().split())))) for key in keys)  # ends with the key
    files = check(open(bundle) and len(log) == len(export) == 44 and point(log[-32:]) and point(export[-32:]), 2, "a key file is no SPKI PEM of an Ed25519 key") or members(subprocess.run(["zstd", "-dcq", bundle], stdout=subprocess.PIPE, check=True).stdout)
    head = next(iter(files), "audit/leaves")
    check(head == "audit/manifest.dsse.json", 11 if place(head)[0] else 14, "the first member is not the manifest")
    payload, found, message = envelope("manifest", files.pop("audit/manifest.dsse.json"), KIND)
    [(keyid, one)], mine = found.items(), sha(export).hex()
    good = signed(export[-32:], message, one)
    check(good or keyid == mine, 12, "manifest: signed by another key")
    check(good and keyid == mine, 10, "manifest: bad signature or keyid")
    said, subjects = statement(parse(payload))
    check(files.keys() == subjects.keys(), 10 if files.keys() - subjects.keys() else 11, f"members unlike the manifest: {files.keys() ^ subjects.keys()}")
    check(list(files) == sorted(files, key=place), 14, "the members are not in their order")
    first, history, short = said["first"], files["audit/history.jsonl"].split(b"\n"), files["audit/leaves"].decode().split("\n")[:-1]
    leaves = [sha(b"\0", line) for line in history[:-1]]
    changed = next((f": event {first + i} (line {i + 1})" for i, (a, b) in enumerate(itertools.zip_longest(leaves, short)) if not a or a.hex()[:16] != b), "")
    for name, data in files.items():
        check(sha(data).hex() == subjects[name], 10, name + changed * name.endswith("history.jsonl") + ": changed")
        check("jsonl" in name or name.count("/") == 1 or "trust" in name or name.endswith(subjects[name]), 10, name + ": unlike its name")
    checkpoint("audit/checkpoint", files["audit/checkpoint"], log[-32:], said["origin"], said["size"], said["root"])
    checkpoint("audit/checkpoint.prev", files["audit/checkpoint.prev"], log[-32:], said["origin"], first, said["prevRoot"])
    read = {name[6:]: lines(name, data) for name, data in files.items() if name.endswith(".jsonl")}
    counted = [{"name": n, "size": len(files[n]), **({"lines": len(read[n[6:]])} if n[6:] in read else {})} for n in sorted(files)]
    check(write(said["files"]) == write(counted), 14, "manifest: other sizes or lines")
    right = [(seq, said["tenant"]) for seq in range(first, said["size"])]
    check([(e["seq"], e["tenant"]) for e in read["history.jsonl"] if whole(e["seq"])] == right, 11, "history: events missing, repeated or of another tenant")
    orders = sorted({run["orderId"] for run in read["runs.jsonl"] if "orderId" in run})
    named = {"orderIds": orders} if len(orders) > 1 else {"orderId": orders[0]} if orders else {}
    check({n: said[n] for n in ("orderId", "orderIds") if n in said} == named, 10, "runs: of other work orders than the manifest names")
    nodes = [unbase64(line.decode()) for line in files["audit/frontier"].split(b"\n")[:-1]]
    form = all(len(node) == 32 for node in nodes) and files["audit/frontier"][-1:] in (b"", b"\n") and len(nodes) == bin(first).count("1")
    check(form, 14, "frontier: not in its form") or check(fold(nodes).hex() == said["prevRoot"], 10, "frontier: not that of prevRoot")
    for n, leaf in enumerate(leaves, first):
        while n % 2: n, leaf = n // 2, sha(b"\1", nodes.pop(), leaf)
        nodes.append(leaf)
    check(fold(nodes).hex() == said["root"], 10, "history: does not lead to the root")
    check(files["audit/leaves"] == "".join(leaf.hex()[:16] + "\n" for leaf in leaves).encode(), 10, "leaves: not those of the history")
    disclosures(said, read["history.jsonl"], read["disclosures.jsonl"])
    trust(said, files, (log, export))
    print(f"good: events {first} to {said['size']} of {said['origin']}, tar and all {len(files)} members as signed")
try: main(*sys.argv[1:]) if len(sys.argv) == 4 else check(False, 2, __doc__)
except Exception as error: check(False, *((2, error) if isinstance(error, OSError) else (14, f"malformed: {error!r}")))
