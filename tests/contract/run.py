#!/usr/bin/env python3
"""The interface against its own description: a real server, asked by schemathesis in many right and wrong ways.

    FASTNESS_BIN=target/release/fastness python3 tests/contract/run.py --seed 1

Starts the server on a folder of its own below target/contract, makes one of each thing, lets schemathesis ask, and at the end
looks whether the server is well and stops as it should. What is asked, and what is not, stands in schemathesis.toml; what
schemathesis cannot know of the interface in hooks.py. Exit code 0: no breach was found. Both logs are kept.
"""

import argparse
import hashlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WORK = ROOT / "target" / "contract"
START_S_MAX = 30
END_S_MAX = 30

ORDINARY = """\
apiVersion: fastness/v1
kind: Pack
metadata: {name: ordinary, description: One step that writes a line and a file}
spec:
  inputs:
    greeting: {type: string, default: hello}
  steps:
    - id: hello
      shell: |
        echo "$INPUT_GREETING"; echo done > out/done.txt
      artifacts: [{name: done.txt, path: out/done.txt}]
"""
GATED = """\
apiVersion: fastness/v1
kind: Pack
metadata: {name: gated, description: Waits for a person}
spec:
  steps:
    - {id: sign, gate: approval}
"""


class Server:
    """The server under test. It ends with this process: its standard input is a pipe that nobody writes to."""

    def __init__(self, program):
        data = WORK / "data"
        shutil.rmtree(data, ignore_errors=True)
        self.log = WORK / "server.log"
        arguments = ["serve", "--data", str(data), "--listen", "127.0.0.1:0", "--while-stdin", "--log", "warn"]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        ready = self.process.stdout.readline().split()
        if ready[:1] != ["ready"]:
            raise SystemExit(f"the server did not start; it said why in {self.log}")
        self.url = ready[1]
        self.token = (data / "admin.token").read_text(encoding="utf-8").strip()

    def ask(self, method, path, body=b"", kind="application/json"):
        """One request; the answer's JSON, or nothing where it is none."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        headers = {"authorization": "Bearer " + self.token, "content-type": kind}
        request = urllib.request.Request(self.url + path, body or None, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=START_S_MAX) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{method} {path} answered {error.code}: {error.read().decode()}") from None
        return json.loads(text) if text.startswith(b"{") else None

    def stop(self):
        """Asks it to end, and waits; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(END_S_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def until(read, wanted):
    """Reads until it is what is wanted."""
    end = time.monotonic() + START_S_MAX
    while not wanted(found := read()):
        if time.monotonic() > end:
            raise SystemExit(f"this did not come to be what is needed: {found}")
        time.sleep(0.05)
    return found


def furnish(server):
    """Makes one of each thing, so that requests find something; what there is, by kind."""
    api = "/api/v1"
    for pack in (ORDINARY, GATED):
        server.ask("POST", f"{api}/packs", pack.encode(), "application/yaml")
    runs = [server.ask("POST", f"{api}/pack-runs", {"pack": pack})["id"] for pack in ("ordinary", "gated")]
    until(lambda: server.ask("GET", f"{api}/pack-runs/{runs[0]}"), lambda run: run["status"] == "completed")
    artifacts = server.ask("GET", f"{api}/pack-runs/{runs[0]}/artifacts")["items"]
    graph = {"jobs": [{"name": "first", "type": "contract.node"}, {"name": "second", "type": "contract.node", "needs": ["first"]}]}
    graph = server.ask("POST", f"{api}/runs", graph)["id"]
    bundle = server.ask("POST", f"{api}/bundles/export", {})["id"]
    server.ask("PUT", f"{api}/secrets/CONTRACT_SECRET", b"nothing to hide", "application/octet-stream")
    return {
        "jobs": jobs_of(server, api),
        "runs": [*runs, graph],
        "pack-runs": runs,
        "artifacts": [artifact["sha256"] for artifact in artifacts],
        "bundles": [bundle],
    }


def jobs_of(server, api):
    """A job that waits, one that is held, one at work whose log and artifact are there, and a dead letter."""
    def submit(**more):
        return server.ask("POST", f"{api}/jobs", {"type": "contract.work", "payload": {"n": 1}, **more})["id"]

    def claim():
        asked = {"worker": "w-1", "types": ["contract.work"], "leaseMs": 300_000}
        return server.ask("POST", f"{api}/workers/claim", asked)["jobs"][0]

    dead = submit(retries={"max": 0})
    taken = claim()
    error = {"message": "it cannot be done", "retryable": False}
    result = {"jobId": dead, "epoch": taken["epoch"], "outcome": "failed", "error": error}
    answer = server.ask("POST", f"{api}/workers/complete", {"worker": "w-1", "results": [result]})
    if not answer["results"][0]["accepted"]:
        raise SystemExit(f"the dead letter could not be made: {answer}")
    working = submit()
    lease = f"worker=w-1&epoch={claim()['epoch']}"
    bytes_kind = "application/octet-stream"
    at_work = f"{api}/workers/jobs/{working}"
    server.ask("POST", f"{at_work}/logs?{lease}&stream=stdout&offset=0", b"one line\n", bytes_kind)
    sha256 = hashlib.sha256(b"content").hexdigest()
    server.ask("PUT", f"{at_work}/artifacts/a.txt?{lease}&sha256={sha256}", b"content", bytes_kind)
    return [working, dead, submit(hold=True), submit(labels={"a": "b"})]


def own_token(server):
    """The id of the token that is used: it must not be revoked."""
    return server.ask("GET", "/api/v1/tokens")["items"][0]["id"]


def schemathesis(server, asked):
    """Runs it twice: request by request, and in chains where one request takes up what another made. The worst exit code.

    Chains are bounded by time: a pass over them ends as soon as the server answers one differently than before, as it may,
    and another one begins.
    """
    single = ["--phases", "examples,coverage,fuzzing", "--max-examples", str(asked.examples)]
    chains = ["--phases", "stateful", "--max-time", str(asked.chain_seconds)]
    return max(run_phases(server, asked, "requests", single), run_phases(server, asked, "chains", chains))


def run_phases(server, asked, name, options):
    """Runs some phases; its exit code. Its own last words come once more, for `just test` to show at its end."""
    program = Path(sys.executable).with_name("schemathesis")
    command = [str(program), "--config-file", str(HERE / "schemathesis.toml"), "run", asked.document]
    command += ["--url", server.url, "--seed", str(asked.seed), "--no-color", *options]
    command += ["--report", "junit", "--report-junit-path", str(WORK / f"{name}.xml")]
    environment = {**os.environ, "CONTRACT_TOKEN": server.token, "CONTRACT_TOKEN_ID": own_token(server)}
    environment |= {"PYTHONPATH": str(HERE), "PYTHONDONTWRITEBYTECODE": "1"}
    said = []
    with subprocess.Popen(
        command, cwd=WORK, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as tool:
        watch = threading.Timer(asked.seconds_max, tool.kill)
        watch.start()
        with open(WORK / f"{name}.log", "w", encoding="utf-8") as kept:
            for line in tool.stdout:
                print(line, end="", flush=True)
                kept.write(line)
                said.append(line.strip())
        watch.cancel()
    figures = [line.strip("= ") for line in said if re.match(r"\d+ generated|=+ .* in [0-9.]+s =+$", line)]
    if not figures:
        raise SystemExit(f"schemathesis came to no end within {asked.seconds_max} s; exit code {tool.returncode}")
    print(f"\ncontract: {name}: {'; '.join(figures)}", flush=True)
    # Killed by a signal it is below zero.
    return abs(tool.returncode)


def main():
    parser = argparse.ArgumentParser(description="The interface against its own description.")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31), help="what is drawn; a new one when not given")
    parser.add_argument("--examples", type=int, default=12, help="drawn for each operation, right and wrong ones")
    parser.add_argument("--chain-seconds", type=int, default=30, help="how long chains of requests are tried")
    parser.add_argument("--seconds-max", type=int, default=900, help="requests that take longer are a failure")
    parser.add_argument("--document", default=str(ROOT / "docs" / "openapi.json"), help="the description")
    asked = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    print(f"seed {asked.seed}; again: just fuzz-contract --seed {asked.seed} --examples {asked.examples}", flush=True)
    server = Server(os.environ["FASTNESS_BIN"])
    try:
        for kind, names in furnish(server).items():
            (WORK / f"{kind}.dict").write_text("".join(f'"{name}"\n' for name in names), encoding="utf-8")
        found = schemathesis(server, asked)
        # Whatever it was asked, it is still well.
        server.ask("GET", "/readyz")
    finally:
        code = server.stop()
    if code != 0 or "panicked" in server.log.read_text(encoding="utf-8"):
        raise SystemExit(f"the server ended with {code}; it said why in {server.log}")
    sys.exit(found)


if __name__ == "__main__":
    main()
