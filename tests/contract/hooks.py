"""What schemathesis needs to know of this interface beyond its description. Loaded by schemathesis, by name."""

import os
import uuid

import schemathesis
from schemathesis.core.failures import Failure

OWN_TOKEN_ID = os.environ["CONTRACT_TOKEN_ID"]
CLAIM_WAIT_MS_MAX = 20


@schemathesis.serializer("application/zstd")
def as_bytes(context, value):
    """A bundle is bytes; what is drawn is rarely one."""
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogatepass")
    return {"data": value if isinstance(value, bytes) else repr(value).encode()}


@schemathesis.hook
def before_call(context, case, kwargs):
    """Keeps the test short, and its own token alive."""
    if case.operation.path == "/api/v1/tokens/{id}" and (case.path_parameters or {}).get("id") == OWN_TOKEN_ID:
        case.path_parameters["id"] = str(uuid.uuid4())
    body = case.body
    if case.operation.path.startswith("/api/v1/webhooks") and isinstance(body, dict):
        # Nothing is sent from here to anybody else.
        if str(body.get("url")).lower().startswith("http:"):
            body["url"] = "http://127.0.0.1:9/"
    if case.operation.path == "/api/v1/workers/claim":
        shorten(case.body)
    if case.operation.path == "/api/v1/workers/complete" and isinstance(case.body, dict):
        shorten(case.body.get("claim"))


def shorten(claim):
    """A claim may wait for half a minute, and there is rarely work."""
    wait_ms = claim.get("waitMs") if isinstance(claim, dict) else None
    if isinstance(wait_ms, int) and CLAIM_WAIT_MS_MAX < wait_ms <= 30_000:
        claim["waitMs"] = CLAIM_WAIT_MS_MAX


class UnknownField(Failure):
    """What the check below reports."""

    code = "ST902"
    kind_title = "The document and the server know different fields"


@schemathesis.check
def known_fields(ctx, response, case):
    """What fits the document may be refused by a rule, but never for what the document says may be there or left out."""
    if case.meta is None or not case.meta.generation.mode.is_positive or response.status_code not in (400, 422):
        return
    problem = response.json()
    if problem.get("code") not in ("unknown_field", "missing_field", "unknown_parameter", "missing_parameter"):
        return
    pointers = {error["pointer"] for error in problem.get("errors", [])}
    # The one shape of claims serves both calls: only in a completion may the worker be left out.
    if case.operation.path == "/api/v1/workers/claim" and pointers == {"/worker"}:
        return
    # What an event of a worker carries goes by its type, as the document says in words.
    if case.operation.path == "/api/v1/workers/jobs/{id}/events" and all(at.startswith("/payload/") for at in pointers):
        return
    message = f"{problem['code']} at {', '.join(sorted(pointers))}: {problem['detail']}"
    raise UnknownField(operation=case.operation.label, message=message)
