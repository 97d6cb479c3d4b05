#!/usr/bin/env python3
"""A run of a pack on the binary that ships, exported and checked by programs that know nothing of it.

    FASTNESS_BIN=target/release/fastness [FASTNESS_OTHER=target/debug/fastness] python3 tests/standalone/run.py

One server, one pack that really runs, one bundle of it with artifacts and logs. Then: `fastness verify`, `docs/verify.py`
(Python and zstd), `docs/verify.sh` (openssl, jq, sha256sum, tar, zstd), GNU tar making the same archive of the members, Go's
packages for notes and trees, and `replay-bundle`. The same range exported again after a restart, from a copy of the data
folder, and by another build of the program is the same archive. One changed byte is refused by all three verifiers.

Each step says `ok` or ends the run; the last line is what CI shows.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WORK = ROOT / "target" / "standalone"
STEP_S_MAX = 300
PASSED = []

PACK_TEXT = """\
apiVersion: fastness/v1
kind: Pack
metadata: {name: standalone}
spec:
  steps:
    - id: write
      shell: |
        echo "a line of the log"
        printf 'an artifact\\n' > out/artifact.txt
    - {id: again, needs: [write], run: ["true"]}
"""


def ok(what):
    PASSED.append(what)
    print(f"  ok {what}", flush=True)


def call(*command, expect=0, **options):
    """Runs a program to its end; what it printed."""
    done = subprocess.run(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=STEP_S_MAX, **options
    )
    if done.returncode != expect:
        told = done.stdout.decode(errors="replace")
        raise SystemExit(f"{' '.join(map(str, command))} ended with {done.returncode}, not {expect}:\n{told}")
    return done.stdout


class Server:
    """A server on a data folder. It ends with this process: its standard input is a pipe that nobody writes to."""

    def __init__(self, program, data):
        self.program, self.data = program, data
        self.log = open(f"{data}.log", "ab")
        command = [program, "serve", "--data", data, "--listen", "127.0.0.1:0", "--while-stdin", "--log", "warn"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True)
        ready = self.process.stdout.readline().split()
        if ready[:1] != ["ready"]:
            raise SystemExit(f"the server did not start; it said why in {self.log.name}")
        self.environment = {**os.environ, "FASTNESS_SERVER": ready[1], "FASTNESS_TOKEN_FILE": str(data / "admin.token")}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(STEP_S_MAX) != 0:
            raise SystemExit(f"the server ended with {self.process.returncode}; it said why in {self.log.name}")
        self.log.close()

    def cli(self, *arguments):
        return call(self.program, *arguments, env=self.environment)


def tar_of(bundle):
    return call("zstd", "-dcq", bundle)


def same_tar(folder, tar):
    """GNU tar makes the same archive of the members."""
    folder.mkdir()
    (folder / "original.tar").write_bytes(tar)
    names = call("tar", "-tf", "original.tar", cwd=folder)
    (folder / "names").write_bytes(names)
    call("tar", "-xf", "original.tar", cwd=folder)
    flags = "--format=ustar --blocking-factor=1 --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=0644 --no-recursion"
    call("tar", *flags.split(), "-cf", "again.tar", "-T", "names", cwd=folder)
    if (folder / "again.tar").read_bytes() != tar:
        raise SystemExit("GNU tar makes another archive of the members")
    ok("GNU tar makes the same archive of the members")


def go_agrees(work, members):
    """Go's packages accept vkey, checkpoint and root."""
    paths = [work / "log.vkey", members / "audit" / "checkpoint", members / "audit" / "history.jsonl"]
    environment = {**os.environ, "GOPATH": "/usr/share/gocode", "GO111MODULE": "off", "GOFLAGS": "", "GOTOOLCHAIN": "local"}
    environment["GOCACHE"] = str(ROOT / "target" / "go-cache")
    said = call("go", "run", HERE / "check.go", *paths, env=environment).decode()
    if not said.startswith("good: "):
        raise SystemExit(said)
    ok(said.strip())
    changed = work / "changed.jsonl"
    history = bytearray(paths[2].read_bytes())
    history[len(history) // 2] ^= 1
    changed.write_bytes(history)
    call("go", "run", HERE / "check.go", *paths[:2], changed, env=environment, expect=1)
    ok("Go refuses a changed event")


def verifiers(fastness, work, bundle):
    keys = [work / "log.pem", work / "export.pem"]
    return {
        "fastness verify": [fastness, "verify", bundle, "--log-key", keys[0], "--export-key", keys[1]],
        "verify.py": [sys.executable, ROOT / "docs" / "verify.py", bundle, *keys],
        "verify.sh": ["sh", ROOT / "docs" / "verify.sh", bundle, *keys],
    }


def forge(work, tar):
    """The same archive with one bit of one event changed, compressed again as anybody could."""
    at = tar.index(b'"type":"run.created"')
    forged = bytearray(tar)
    forged[at + 9] ^= 1
    (work / "forged.tar").write_bytes(forged)
    call("zstd", "-q", "--check", work / "forged.tar", "-o", work / "forged.audit.tar.zst")
    return work / "forged.audit.tar.zst"


def main():
    fastness = Path(os.environ["FASTNESS_BIN"]).resolve()
    other = os.environ.get("FASTNESS_OTHER")
    began = time.monotonic()
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    data, bundle = WORK / "data", WORK / "run.audit.tar.zst"
    (WORK / "pack.yaml").write_text(PACK_TEXT, encoding="utf-8")
    with Server(fastness, data) as server:
        server.cli("pack", "push", WORK / "pack.yaml")
        server.cli("run", "standalone", "--wait")
        ok("a pack ran on the binary that ships")
        for role in ("log", "export"):
            (WORK / f"{role}.pem").write_bytes(server.cli("key", "show", role, "--pem"))
        (WORK / "log.vkey").write_bytes(server.cli("key", "show", "log", "--vkey"))
        server.cli("export", "--with", "artifacts,logs", "--out", bundle)
        # Jobs go on: the range is not the whole ledger any more.
        server.cli("run", "standalone", "--wait")
    size = events_of(bundle)
    tar = tar_of(bundle)
    for name, command in verifiers(fastness, WORK, bundle).items():
        call(*command)
        ok(f"{name} accepts it")
    same_tar(WORK / "members", tar)
    go_agrees(WORK, WORK / "members")
    call(fastness, "replay-bundle", bundle, "--log-key", WORK / "log.pem", "--export-key", WORK / "export.pem")
    ok("replay-bundle rebuilds the state from it")
    for name, command in verifiers(fastness, WORK, forge(WORK, tar)).items():
        call(*command, expect=10)
        ok(f"{name} refuses it with one bit of one event changed")
    again(fastness, other, data, size, tar)
    print(f"standalone: {len(PASSED)} steps passed in {time.monotonic() - began:.1f} s", flush=True)


def events_of(bundle):
    """How many events a bundle that begins with the first holds."""
    folder = WORK / "counted"
    folder.mkdir()
    (folder / "tar").write_bytes(tar_of(bundle))
    return call("tar", "-xOf", "tar", "audit/history.jsonl", cwd=folder).count(b"\n")


def again(fastness, other, data, size, tar):
    """The same range, asked for again elsewhere, is the same archive."""
    copy = WORK / "copy"
    shutil.copytree(data, copy)
    wanted = hashlib.sha256(tar).hexdigest()
    rounds = [("after a restart", fastness, data), ("from a copy of the data folder", fastness, copy)]
    if other:
        built = WORK / "copy-for-the-other-build"
        shutil.copytree(data, built)
        rounds.append(("by another build of the program", Path(other).resolve(), built))
    for what, program, folder in rounds:
        bundle = folder.with_name(folder.name + ".again.audit.tar.zst")
        with Server(program, folder) as server:
            server.cli("export", "--to", size, "--with", "artifacts,logs", "--out", bundle)
        found = hashlib.sha256(tar_of(bundle)).hexdigest()
        if found != wanted:
            raise SystemExit(f"{what} the archive is {found}, not {wanted}")
        ok(f"the same range {what} is the same archive, {wanted[:16]}")
    if not other:
        print("  NOT RUN: another build of the program; there is none")


if __name__ == "__main__":
    main()
