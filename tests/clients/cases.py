"""What the client programs in Python share: how a case is told to the runner, and how things are made in the tenant."""

import asyncio
import hashlib
import json
import os
import sys
import traceback
import urllib.request

URL = os.environ["CLIENT_URL"]
TOKEN = os.environ["CLIENT_TOKEN"]
TENANT = os.environ["CLIENT_TENANT"]
API = URL + "/api/v1"
ANSWER_S_MAX = 30


def run(cases):
    """Runs the functions, coroutines among them, one after the other; does not come back."""
    failed = 0
    for case in cases:
        name = case.__name__.replace("_", " ")
        try:
            if asyncio.iscoroutinefunction(case):
                asyncio.run(case())
            else:
                case()
            print(f"ok {name}", flush=True)
        except Exception:
            traceback.print_exc()
            print(f"failed {name}", flush=True)
            failed += 1
    sys.exit(failed > 0)


def server(order):
    """Has the server ended (`stop`) or started again (`start`), and waits until it is."""
    print(f"server {order}", flush=True)
    equal(sys.stdin.readline(), "done\n")


def equal(found, expected, what=""):
    """Unlike `assert` it always looks, and says what there is."""
    if found != expected:
        raise AssertionError(f"{what}: found {found!r:.2000}, expected {expected!r:.2000}")


def ask(method, path, body=None, token=TOKEN):
    """One request that must be answered well; the bytes of the answer."""
    headers = {"authorization": "Bearer " + token, "content-type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(API + path, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=ANSWER_S_MAX) as answer:
        return answer.read()


def submit(count, **more):
    """Submits jobs in batches; their ids."""
    ids = []
    while len(ids) < count:
        items = [{"type": "client.work", **more}] * min(1_000, count - len(ids))
        answer = json.loads(ask("POST", "/jobs/batch", {"items": items}))
        ids += [result["job"]["id"] for result in answer["results"]]
    return ids


def ledger(after=-1):
    """The ledger as `GET /events` tells it, event by event: the exact bytes of each."""
    events = []
    cursor = ""
    while cursor is not None:
        page = ask("GET", f"/events?after={after}&limit=500{cursor}").decode()
        told = json.loads(page)
        whole = [canonical(item) for item in told["items"]]
        # The bytes stand in the page as we write them, so they are the server's and not ours.
        for event in whole:
            if event not in page:
                raise AssertionError(f"not in the page as it stands: {event}")
        events += whole
        cursor = told["nextCursor"] and f"&cursor={told['nextCursor']}"
    return events


def canonical(value):
    """Canonical JSON (RFC 8785) of what has integers only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def leaf_hash(event):
    """The leaf hash of an event's bytes."""
    return hashlib.sha256(b"\0" + event.encode()).hexdigest()


def make_token():
    """A token that may read, and its id."""
    asked = {"name": "brief", "person": "brief", "scopes": ["orch:read"], "tenants": [TENANT]}
    made = json.loads(ask("POST", "/tokens", asked, os.environ["CLIENT_ADMIN"]))
    return made["token"], made["id"]


def revoke(token_id):
    """Revokes a token."""
    ask("DELETE", f"/tokens/{token_id}", token=os.environ["CLIENT_ADMIN"])
