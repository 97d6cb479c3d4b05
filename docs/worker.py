#!/usr/bin/env python3
"""A worker for Fastness in the standard library of Python 3.9 or newer.

    FASTNESS_SERVER=http://127.0.0.1:8420 FASTNESS_TOKEN_FILE=worker.token python3 worker.py NAME 'demo.*'

Waits for jobs of the types given, renews the lease in a thread, tells progress and steps, sends the log as it grows and one
artifact, reports the end and claims the next job in the same call. SIGTERM gives the job at hand back and ends. The work
itself stands in `work`: put yours there. The protocol is told in workers.md.
"""

import hashlib
import json
import os
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

SERVER = os.environ.get("FASTNESS_SERVER", "http://127.0.0.1:8420")
CHUNK = 1 << 20
LEASE_MS = 30_000


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status, problem):
        super().__init__(f"{status} {problem.get('code')}: {problem.get('detail')}")
        self.status, self.code, self.problem = status, problem.get("code"), problem


class LeaseLost(Exception):
    """Somebody else has the job by now: stop and forget it."""


class CancelRequested(Exception):
    """Somebody asked for the job to stop."""


class Stopping(Exception):
    """This process is to end."""


class Worker:
    def __init__(self, name, types):
        with open(os.environ["FASTNESS_TOKEN_FILE"], encoding="utf-8") as file:
            self.token = file.read().strip()
        self.claim = {"types": types, "leaseMs": LEASE_MS, "max": 1}
        self.name = name
        self.stopping = threading.Event()
        self.is_waiting = False

    def call(self, method, path, body=b"", **headers):
        """One request; the answer's JSON. What may pass is tried again: every call may be repeated."""
        if not isinstance(body, bytes):
            headers["content-type"] = "application/json"
            body = json.dumps(body).encode()
        headers["authorization"] = "Bearer " + self.token
        for pause in (0.2, 0.5, 1, 2, 5, None):
            request = urllib.request.Request(SERVER + path, body, headers, method=method)
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return json.loads(answer.read() or b"{}")
            except urllib.error.HTTPError as error:
                problem = json.loads(error.read() or b"{}")
                if error.code == 409 and problem.get("code") == "stale_epoch":
                    raise LeaseLost from None
                if error.code != 503 or pause is None:
                    raise Refused(error.code, problem) from None
            except (urllib.error.URLError, socket.timeout, ConnectionError):
                if pause is None:
                    raise
            time.sleep(pause)

    def next_job(self):
        """Waits until there is work. None when this worker is to take no more."""
        self.is_waiting = True
        try:
            if self.stopping.is_set():
                raise Stopping
            answer = self.call("POST", "/api/v1/workers/claim",
                               {"worker": self.name, "waitMs": 20_000, **self.claim})
        finally:
            self.is_waiting = False
        if answer.get("drain"):
            raise Stopping
        return answer["jobs"][0] if answer["jobs"] else None

    def run(self):
        job = None
        while True:
            job = job or self.next_job()
            if job:
                job = Attempt(self, job).run()

    def stop(self, *_):
        self.stopping.set()
        if self.is_waiting:
            raise Stopping


class Attempt:
    """One job at hand."""

    def __init__(self, worker, lease):
        self.worker, self.lease = worker, lease
        self.path = "/api/v1/workers/jobs/" + lease["id"]
        self.named = {"worker": worker.name, "epoch": lease["epoch"]}
        self.query = urllib.parse.urlencode(self.named)
        self.log, self.sent = bytearray(), 0
        self.over, self.lost, self.cancelled = threading.Event(), False, False

    def call(self, what, **more):
        return self.worker.call("POST", f"{self.path}/{what}", {**self.named, **more})

    def check(self):
        """To be asked often: whether there is a reason to stop."""
        if self.lost:
            raise LeaseLost
        if self.cancelled:
            raise CancelRequested
        if self.worker.stopping.is_set():
            raise Stopping

    def heartbeat(self):
        """Renews the lease until the attempt is over."""
        while not self.over.wait(LEASE_MS / 3_000):
            try:
                self.cancelled |= self.call("heartbeat")["cancelRequested"]
            except (LeaseLost, Refused):
                self.lost = True
                return
            except OSError:
                pass  # The lease lasts for two more tries.

    def write(self, text):
        """Adds to the log, and sends what is new."""
        self.log += text.encode()
        while self.sent < len(self.log):
            chunk = bytes(self.log[self.sent:self.sent + CHUNK])
            try:
                answer = self.worker.call(
                    "POST", f"{self.path}/logs?{self.query}&stream=stdout&offset={self.sent}", chunk)
                self.sent = answer["expectedOffset"]
            except Refused as refused:
                if refused.code != "wrong_offset":
                    raise
                self.sent = refused.problem["expectedOffset"]  # The server came back from a crash.

    def keep(self, name, content):
        """Stores an artifact."""
        sha256 = hashlib.sha256(content).hexdigest()
        return self.worker.call("PUT", f"{self.path}/artifacts/{name}?{self.query}&sha256={sha256}", content)

    def run(self):
        """Works, reports the end, and answers with the next job where there is one."""
        beat = threading.Thread(target=self.heartbeat, daemon=True)
        beat.start()
        result = {"jobId": self.lease["id"], "epoch": self.lease["epoch"]}
        try:
            result |= {"outcome": "completed", "output": work(self)}
        except LeaseLost:
            return None
        except CancelRequested:
            result |= {"outcome": "cancelled"}
        except Stopping:
            try:
                self.call("release", reason="the worker is stopping")
            except LeaseLost:
                pass
            raise
        except Exception as error:  # Whatever went wrong with the work is an answer.
            result |= {"outcome": "failed", "error": {"class": "other", "message": str(error)[:4_096]}}
        finally:
            self.over.set()
            beat.join()
        body = {"worker": self.worker.name, "results": [result]}
        if not self.worker.stopping.is_set():
            body["claim"] = self.worker.claim
        answer = self.worker.call("POST", "/api/v1/workers/complete", body)
        if not answer["results"][0]["accepted"]:
            print("not accepted:", answer["results"][0]["code"], file=sys.stderr)
        return answer["jobs"][0] if answer["jobs"] else None


def work(attempt):
    """The work: as many lines as the payload says, and a file that holds them."""
    payload = attempt.lease["payload"] or {}
    lines = payload.get("lines", 3)
    attempt.call("steps", id="count", event="started")
    for number in range(1, lines + 1):
        attempt.check()
        attempt.write(f"line {number} of {lines}\n")
        attempt.call("progress", percent=100 * number // lines, message=f"line {number}")
        time.sleep(payload.get("pauseMs", 0) / 1_000)
    attempt.call("steps", id="count", event="completed", exitCode=0)
    kept = attempt.keep("lines.txt", bytes(attempt.log))
    return {"lines": lines, "sha256": kept["sha256"]}


def main():
    name = sys.argv[1] if len(sys.argv) > 1 else f"{socket.gethostname()}-{os.getpid()}"
    worker = Worker(name, sys.argv[2:])
    signal.signal(signal.SIGTERM, worker.stop)
    signal.signal(signal.SIGINT, worker.stop)
    try:
        worker.run()
    except Stopping:
        print("stopped", file=sys.stderr)


if __name__ == "__main__":
    main()
