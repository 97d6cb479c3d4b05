#!/usr/bin/env python3
"""Python's `websockets`: rooms over one connection, fragments, pings, and a large history. `run.py` starts this program."""

import asyncio
import json
import logging

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from cases import API, TENANT, TOKEN, ANSWER_S_MAX, ask, canonical, equal, leaf_hash, ledger, make_token, revoke, run, server, submit

PLACE = API.replace("http:", "ws:") + "/ws"
HISTORY = 5_000
# An event this long comes in several frames.
LONG = 100_000


class Frames(logging.Handler):
    """What the library tells of each frame: `< PING '41' [text, 2 bytes]`."""

    def __init__(self):
        super().__init__()
        self.told = []

    def emit(self, record):
        self.told.append(record.getMessage())

    def received(self, opcode):
        return [told for told in self.told if told.startswith(f"< {opcode}")]


class Reader:
    """A connection, to be left with `async with`."""

    def __init__(self, token=TOKEN, path="", frames=None):
        logger = logging.Logger("frames", logging.DEBUG)
        logger.addHandler(frames or logging.NullHandler())
        headers = {"Authorization": f"Bearer {token}"}
        self.opening = connect(
            PLACE + path, subprotocols=["fastness.v1"], additional_headers=headers, logger=logger, proxy=None
        )
        self.asked = 0

    async def __aenter__(self):
        self.socket = await self.opening.__aenter__()
        return self

    async def __aexit__(self, *error):
        await self.opening.__aexit__(*error)

    async def next(self):
        """The next message: what it says, and its text."""
        async with asyncio.timeout(ANSWER_S_MAX):
            text = await self.socket.recv()
        return json.loads(text), text

    async def say(self, message, send=None):
        """Says something; the answer, which must come next."""
        self.asked += 1
        text = json.dumps({**message, "id": self.asked})
        await self.socket.send(text if send is None else send(text))
        answer, _ = await self.next()
        equal(answer.get("id"), self.asked, answer)
        return answer

    async def subscribe(self, message, send=None):
        """Opens a room; its name."""
        answer = await self.say(message, send)
        equal(answer["type"], "ack", answer)
        return answer["room"]

    async def event(self):
        """The next message, which must be an event as it must be, and its exact bytes."""
        message, text = await self.next()
        equal(message["type"], "event", text)
        event = text[text.index('"event":{') + len('"event":') : text.rindex(',"hash":"')]
        equal(json.loads(event), message["event"])
        equal(message["cursor"], str(message["event"]["seq"]))
        equal(message["hash"], leaf_hash(event), "hash")
        return message, event

    async def events(self, count):
        return [await self.event() for _ in range(count)]

    async def close_code(self):
        """How it ends, whatever comes before."""
        async with asyncio.timeout(ANSWER_S_MAX):
            try:
                while True:
                    await self.socket.recv()
            except ConnectionClosed as closed:
                return closed.rcvd and closed.rcvd.code


async def later(work, *arguments, **more):
    """What waits, beside the loop, which answers pings meanwhile."""
    return await asyncio.to_thread(work, *arguments, **more)


async def cancel(job):
    await later(ask, "POST", f"/jobs/{job}/cancel", {"reason": "tried by a test"})


async def a_large_history_is_exactly_the_ledger():
    await later(submit, HISTORY)
    held = await later(ledger)
    equal(len(held), HISTORY + 1)
    async with Reader() as reader:
        await reader.subscribe({"type": "subscribe:events", "after": -1})
        found = await reader.events(len(held))
    equal([message["event"]["seq"] for message, _ in found], [*range(len(held))], "sequence")
    # One by one: the two lists would not be told whole.
    for (_, event), expected in zip(found, held):
        equal(event, expected)


async def a_room_that_begins_in_the_midst_brings_what_is_behind():
    held = await later(ledger)
    for after in (0, 2_499, len(held) - 2, len(held) - 1):
        async with Reader() as reader:
            await reader.subscribe({"type": "subscribe:events", "after": str(after)})
            for expected in held[after + 1 :]:
                equal((await reader.event())[1], expected, f"after {after}")
            answer = await reader.say({"type": "unsubscribe:events"})
            equal(answer["asOf"], len(held) - 1, "nothing came behind the last")


async def the_subprotocol_is_spoken_without_extensions():
    async with Reader() as reader:
        equal(reader.socket.subprotocol, "fastness.v1")
        equal(reader.socket.protocol.extensions, [])


async def who_may_not_is_told_at_the_upgrade():
    for token in ("", "nothing"):
        try:
            async with Reader(token=token):
                raise AssertionError("it was let in")
        except InvalidStatus as refused:
            equal(refused.response.status_code, 401)
            equal(json.loads(refused.response.body)["code"], "unauthenticated")


async def an_event_of_three_rooms_comes_once_and_names_them():
    job = (await later(submit, 1, hold=True))[0]
    async with Reader() as reader:
        rooms = [
            await reader.subscribe({"type": "subscribe:job", "jobId": job}),
            await reader.subscribe({"type": "subscribe:workspace:jobs"}),
            await reader.subscribe({"type": "subscribe:events"}),
        ]
        equal(rooms, [f"job:{job}", f"workspace:{TENANT}:jobs", "events"])
        await cancel(job)
        message, _ = await reader.event()
        equal((message["name"], message["event"]["type"]), ("job:status", "job.cancelled"))
        equal(sorted(message["rooms"]), sorted(rooms))
        answer = await reader.say({"type": "unsubscribe:events"})
        equal(answer["asOf"], message["event"]["seq"], "nothing came twice")


async def a_room_that_was_left_is_silent():
    async with Reader() as reader:
        await reader.subscribe({"type": "subscribe:workspace:jobs"})
        await later(submit, 1)
        await reader.event()
        equal((await reader.say({"type": "unsubscribe:workspace:jobs"}))["type"], "ack")
        await later(submit, 3)
        # The refusal is the next that comes: none of the three did.
        equal((await reader.say({"type": "unsubscribe:workspace:jobs"}))["code"], "not_subscribed")


async def a_restart_closes_with_1001_and_after_brings_what_was_missed():
    after = len(await later(ledger)) - 1
    async with Reader() as reader:
        await reader.subscribe({"type": "subscribe:events"})
        await later(submit, 20)
        seen = await reader.events(20)
        # The library answers the server's close meanwhile.
        _, code = await asyncio.gather(later(server, "stop"), reader.close_code())
        equal(code, 1001)
    await later(server, "start")
    await later(submit, 20)
    async with Reader() as reader:
        await reader.subscribe({"type": "subscribe:events", "after": seen[-1][0]["cursor"]})
        await later(submit, 20)
        seen += await reader.events(40)
    equal([event for _, event in seen], await later(ledger, after))


async def a_message_in_fragments_is_one_message():
    frames = Frames()
    async with Reader(frames=frames) as reader:
        # A character in each.
        room = await reader.subscribe({"type": "subscribe:workspace:jobs"}, send=list)
        equal(room, f"workspace:{TENANT}:jobs")
        if not any(told.startswith("> CONT") for told in frames.told):
            raise AssertionError(f"the library sent no fragments: {frames.told}")
        await later(submit, 1)
        await reader.event()


async def a_long_event_comes_in_several_frames():
    frames = Frames()
    async with Reader(frames=frames) as reader:
        await reader.subscribe({"type": "subscribe:events"})
        await later(submit, 1, payload={"long": "x" * LONG})
        message, event = await reader.event()
        equal(len(event) > LONG, True, "it is long")
        if not frames.received("CONT"):
            raise AssertionError(f"it came in one frame: {frames.told}")
        equal(canonical(message["event"]), event, "canonical")


async def pings_go_both_ways():
    last = len(await later(ledger)) - 1
    frames = Frames()
    async with Reader(path="?heartbeatMs=1000", frames=frames) as reader:
        await reader.subscribe({"type": "subscribe:events"})
        async with asyncio.timeout(5):
            await (await reader.socket.ping("are you there"))
            # What the server says in its ping is the last event that it has looked at.
            while not any(f"'{last}'" in told for told in frames.received("PING")):
                await asyncio.sleep(0.05)
        equal(len(frames.received("PONG")), 1, frames.told)
        await later(submit, 1)
        await reader.event()


async def a_revoked_token_closes_with_4401():
    token, identity = await later(make_token)
    async with Reader(token=token) as reader:
        await reader.subscribe({"type": "subscribe:events"})
        await later(revoke, identity)
        async with asyncio.timeout(5):
            equal(await reader.close_code(), 4401)


run(
    [
        a_large_history_is_exactly_the_ledger,
        a_room_that_begins_in_the_midst_brings_what_is_behind,
        the_subprotocol_is_spoken_without_extensions,
        who_may_not_is_told_at_the_upgrade,
        an_event_of_three_rooms_comes_once_and_names_them,
        a_room_that_was_left_is_silent,
        a_restart_closes_with_1001_and_after_brings_what_was_missed,
        a_message_in_fragments_is_one_message,
        a_long_event_comes_in_several_frames,
        pings_go_both_ways,
        a_revoked_token_closes_with_4401,
    ]
)
