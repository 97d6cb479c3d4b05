#!/usr/bin/env python3
"""curl reads server-sent events, as anybody would at a shell. `run.py` starts it."""

import json
import subprocess
import threading
from urllib.parse import urlencode

from cases import API, TOKEN, ask, canonical, equal, ledger, make_token, revoke, run, server, submit

# curl's exit code when --max-time was up.
TIME_WAS_UP = 28


class Curl:
    """A curl that reads a stream, and what it has printed so far."""

    def __init__(self, path, *options, seconds=30, token=TOKEN):
        command = ["curl", "--silent", "--show-error", "--fail-with-body", "--no-buffer", "--max-time", str(seconds)]
        command += ["--header", f"Authorization: Bearer {token}", *options, API + path]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def next(self):
        """The next message as its fields, with how long to wait before coming back if that stands before; none at the end."""
        fields = {}
        for line in self.process.stdout:
            name, _, value = line.rstrip("\n").partition(": ")
            if name:
                fields[name] = value
            elif "data" in fields:
                return fields
        return None

    def take(self, count):
        """So many messages, heartbeats left out."""
        taken = []
        while len(taken) < count:
            message = self.next()
            if message is None:
                raise AssertionError(f"the stream ended after {len(taken)} of {count}: {self.end()}")
            if message["event"] != "heartbeat":
                taken.append(message)
        return taken

    def end(self):
        """Waits for its end; what was left, exit code, what it complained of."""
        left, complaint = self.process.communicate()
        return left, self.process.returncode, complaint

    def leave(self):
        """Hangs up, as Ctrl-C does."""
        self.process.terminate()
        self.process.communicate()


def events_of(messages, after=-1):
    """Looks whether messages are what the ledger has behind an event: ids, types, bytes."""
    held = ledger(after)
    equal([message["data"] for message in messages], held, "data")
    equal([int(message["id"]) for message in messages], [*range(after + 1, after + 1 + len(held))], "ids")
    equal([message["event"] for message in messages], [json.loads(event)["type"] for event in held], "types")


def the_whole_past_comes_byte_for_byte():
    submit(300)
    curl = Curl("/stream?after=-1")
    messages = curl.take(len(ledger()))
    curl.leave()
    equal(messages[0]["retry"], "2000", "how long to wait before coming back")
    events_of(messages)


def last_event_id_resumes_behind_it_and_wins_over_after():
    curl = Curl("/stream?after=-1", "--header", "Last-Event-ID: 250")
    messages = curl.take(len(ledger()) - 251)
    curl.leave()
    events_of(messages, after=250)


def filters_let_through_what_they_name():
    submit(3, correlationId="asked-for")
    submit(3, correlationId="another")
    held = [json.loads(event) for event in ledger()]
    for asked, wanted in [
        ({"type": "ledger.*"}, lambda event: event["type"].startswith("ledger.")),
        ({"type": "job.*", "correlationId": "asked-for"}, lambda event: event.get("correlationId") == "asked-for"),
    ]:
        expected = [canonical(event) for event in held if wanted(event)]
        if not expected:
            raise AssertionError(f"nothing fits {asked}")
        curl = Curl("/stream?" + urlencode({"after": -1, "heartbeatMs": 1_000, **asked}))
        found = [curl.next() for _ in expected]
        beat = curl.next()
        curl.leave()
        equal([message["data"] for message in found], expected, asked)
        equal(beat["event"], "heartbeat", "behind the last that fits")


def a_heartbeat_comes_each_second_and_max_time_ends_it():
    last = len(ledger()) - 1
    curl = Curl(f"/stream?after={last}&heartbeatMs=1000", seconds=3.5)
    left, code, _ = curl.end()
    equal(code, TIME_WAS_UP, "exit code")
    beats = [message.splitlines() for message in left.strip().split("\n\n") if "data: " in message]
    if len(beats) not in (3, 4):
        raise AssertionError(f"{len(beats)} heartbeats in 3.5 s: {left}")
    for identity, event, data in beats:
        equal((identity, event), (f"id: {last}", "event: heartbeat"))
        equal(json.loads(data.removeprefix("data: "))["asOf"], last)


def what_happens_now_comes_now():
    last = len(ledger()) - 1
    curl = Curl(f"/stream?after={last}")
    for more in (1, 2, 3):
        submit(1)
        equal(curl.take(1)[0]["id"], str(last + more))
    curl.leave()


def the_stream_of_a_job_ends_with_it():
    job = submit(1, hold=True)[0]
    curl = Curl(f"/stream/jobs/{job}?after=-1")
    equal(curl.take(1)[0]["event"], "job.created")
    ask("POST", f"/jobs/{job}/cancel", {"reason": "tried by a test"})
    equal([message["event"] for message in curl.take(2)], ["job.cancelled", "end"])
    equal(curl.end(), ("", 0, ""), "the end of the stream is no error")


def a_restart_is_survived_with_last_event_id():
    last = len(ledger()) - 1
    curl = Curl(f"/stream?after={last}")
    submit(5)
    before = curl.take(5)
    server("stop")
    left, code, complaint = curl.end()
    equal((left, code), ("", 0), f"the server takes its leave: {complaint}")
    refused = Curl("/stream").end()
    equal(refused[1], 7, "nobody is there")
    server("start")
    submit(5)
    curl = Curl("/stream", "--header", f"Last-Event-ID: {before[-1]['id']}")
    messages = before + curl.take(5)
    curl.leave()
    events_of(messages, after=last)


def a_revoked_token_ends_the_stream():
    token, identity = make_token()
    curl = Curl(f"/stream?after={len(ledger()) - 2}", token=token)
    curl.take(1)
    revoke(identity)
    watch = threading.Timer(5, curl.process.kill)
    watch.start()
    _, code, _ = curl.end()
    watch.cancel()
    equal(code, 0, "it ended by itself")
    answer, code, complaint = Curl("/stream", token=token).end()
    equal((json.loads(answer)["code"], code), ("unauthenticated", 22), complaint)


run(
    [
        the_whole_past_comes_byte_for_byte,
        last_event_id_resumes_behind_it_and_wins_over_after,
        filters_let_through_what_they_name,
        a_heartbeat_comes_each_second_and_max_time_ends_it,
        what_happens_now_comes_now,
        the_stream_of_a_job_ends_with_it,
        a_restart_is_survived_with_last_event_id,
        a_revoked_token_ends_the_stream,
    ]
)
