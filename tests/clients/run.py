#!/usr/bin/env python3
"""Clients that others wrote, against the binary that ships: each reads what it should, and only that.

    FASTNESS_BIN=target/release/fastness python3 tests/clients/run.py [curl eventsource ws websockets cloudevents]

Each client is a program of its own, `with_<client>`, and is given a server of its own on a fresh folder below target/clients,
with a tenant and a token. A program says `ok <case>` or `failed <case>` for each case, and `server stop` or `server start` to
have the server ended or started again on the same port; it is answered `done`. Only this runner starts and ends servers.

A client has passed when it ended by itself with 0, at least one case was told and none failed, and its server ended with 0.
"""

import json
import os
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
WORK = HERE.parents[1] / "target" / "clients"
TENANT = "clients"
# The programs, in the order in which they run.
PROGRAMS = {
    "curl": [sys.executable, "with_curl.py"],
    "eventsource": ["node", "with_eventsource.mjs"],
    "ws": ["node", "with_ws.mjs"],
    "websockets": [sys.executable, "with_websockets.py"],
    "cloudevents": ["node", "with_cloudevents.mjs"],
}
# One that takes longer hangs.
CLIENT_S_MAX = 180
ANSWER_S_MAX = 30


class Server:
    """The server of one client. It ends with this process: its standard input is a pipe that nobody writes to."""

    def __init__(self, program, folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.program = program
        self.data = folder / "data"
        self.log = folder / "server.log"
        self.address = "127.0.0.1:0"
        self.process = None

    def start(self):
        """Starts it; from the second time on at the port of the first."""
        arguments = ["serve", "--data", str(self.data), "--listen", self.address, "--while-stdin", "--log", "warn"]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        ready = self.process.stdout.readline().split()
        if ready[:1] != ["ready"]:
            raise SystemExit(f"the server did not start; it said why in {self.log}")
        self.url = ready[1]
        self.address = self.url.removeprefix("http://")

    def stop(self):
        """Asks it to end, and waits. Fails unless it ends well and in time."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(ANSWER_S_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        if code != 0 or "panicked" in self.log.read_text(encoding="utf-8"):
            raise SystemExit(f"the server ended with {code}; it said why in {self.log}")

    def furnish(self):
        """Makes a tenant and a token for it; what the client's program is told."""
        admin = (self.data / "admin.token").read_text(encoding="utf-8").strip()
        self.ask(admin, "/tenants", {"name": TENANT})
        scopes = ["orch:read", "orch:submit", "orch:operate"]
        asked = {"name": "client", "person": "client", "scopes": scopes, "tenants": [TENANT]}
        token = self.ask(admin, "/tokens", asked)["token"]
        return {"CLIENT_URL": self.url, "CLIENT_TENANT": TENANT, "CLIENT_TOKEN": token, "CLIENT_ADMIN": admin}

    def ask(self, token, path, body):
        """Makes something; what is answered."""
        headers = {"authorization": "Bearer " + token, "content-type": "application/json"}
        request = urllib.request.Request(self.url + "/api/v1" + path, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_S_MAX) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise SystemExit(f"POST {path} answered {error.code}: {error.read().decode()}") from None


def converse(client, server):
    """Reads what a client's program says and does what it asks for; how many cases were well, and which failed."""
    passed, failed = 0, []
    for line in client.stdout:
        print(f"  {line}", end="", flush=True)
        word, _, rest = line.rstrip("\n").partition(" ")
        if word == "ok":
            passed += 1
        elif word == "failed":
            failed.append(rest)
        elif word == "server":
            {"stop": server.stop, "start": server.start}[rest]()
            client.stdin.write("done\n")
            client.stdin.flush()
    return passed, failed


def drive(name, fastness):
    """Runs one client; whether it passed, and how many cases there were."""
    print(f"{name}", flush=True)
    began = time.monotonic()
    server = Server(fastness, WORK / name)
    server.start()
    environment = {**os.environ, **server.furnish(), "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        PROGRAMS[name], cwd=HERE, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as client:
        watch = threading.Timer(CLIENT_S_MAX, client.kill)
        watch.start()
        try:
            passed, failed = converse(client, server)
            code = client.wait()
        finally:
            watch.cancel()
            client.kill()
    server.stop()
    well = code == 0 and passed > 0 and not failed
    # `just test` shows this once more at its end.
    figures = f"{passed} passed, {len(failed)} failed, {time.monotonic() - began:.1f} s"
    print(f"clients: {name}: {figures}{'' if well else f', exit code {code}: FAILED'}\n", flush=True)
    return well, passed


def main():
    fastness = os.environ["FASTNESS_BIN"]
    chosen = sys.argv[1:] or list(PROGRAMS)
    began = time.monotonic()
    found = [drive(name, fastness) for name in chosen]
    cases = sum(passed for _, passed in found)
    bad = [name for name, (well, _) in zip(chosen, found) if not well]
    print(f"clients: {len(chosen)} clients, {cases} cases passed in {time.monotonic() - began:.1f} s", flush=True)
    if bad:
        raise SystemExit(f"these clients failed: {', '.join(bad)}")


if __name__ == "__main__":
    main()
