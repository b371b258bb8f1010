"""PyPI's `pusher` SDK, unmodified, publishes; a plain WebSocket client, `pysher` and `asyncpusher` listen.

Usage: test_pusher.py PORT. Exits with an error when anything is not as it must be.
"""

import asyncio
import json
import queue
import sys
import time

import asyncpusher
import pusher
import pysher
import websocket
from pusher.http import POST, Request

PORT = int(sys.argv[1])
SDK = pusher.Pusher(
    app_id="123456", key="reverb-key", secret="reverb-secret", host="127.0.0.1", port=PORT, ssl=False
)


class Client:
    """One connection, as far as these tests need it."""

    def __init__(self):
        url = f"ws://127.0.0.1:{PORT}/app/reverb-key?protocol=7&client=python&version=1.0"
        self.socket = websocket.create_connection(url, timeout=10)
        greeting = self.expect("pusher:connection_established")
        self.socket_id = json.loads(greeting["data"])["socket_id"]

    def expect(self, event):
        frame = json.loads(self.socket.recv())
        assert frame["event"] == event, f"expected {event}, got {frame}"
        return frame

    def send(self, event, data):
        self.socket.send(json.dumps({"event": event, "data": data}))

    def subscribe(self, channel, **data):
        self.send("pusher:subscribe", {"channel": channel, **data})
        return self.expect("pusher_internal:subscription_succeeded")


def test_trigger_and_exclusion():
    ana, ben = Client(), Client()
    ana.subscribe("news")
    ben.subscribe("news")
    SDK.trigger("news", "first", {"text": "olá"}, socket_id=ana.socket_id)
    SDK.trigger(["news", "other"], "second", "plain text")
    first = ben.expect("first")
    assert json.loads(first["data"]) == {"text": "olá"}, first
    assert ben.expect("second")["data"] == "plain text"
    # Ana is excluded from the first, so the second is what comes next.
    ana.expect("second")


def test_batch():
    ana = Client()
    ana.subscribe("one")
    ana.subscribe("two")
    events = [{"channel": c, "name": "e", "data": {"n": n}} for n, c in enumerate(["one", "two", "one"])]
    SDK.trigger_batch(events)
    got = [json.loads(ana.expect("e")["data"])["n"] for _ in events]
    assert got == [0, 1, 2], got


def test_channels_and_users():
    ana = Client()
    auth = SDK.authenticate("presence-room", ana.socket_id, {"user_id": 7, "user_info": {"name": "Ana"}})
    joined = ana.subscribe("presence-room", **auth)
    presence = json.loads(joined["data"])["presence"]
    assert presence["count"] == 1 and presence["hash"]["7"] == {"name": "Ana"}, presence
    assert SDK.users_info("presence-room") == {"users": [{"id": "7"}]}
    channels = SDK.channels_info("presence-", ["user_count"])
    assert channels == {"channels": {"presence-room": {"user_count": 1}}}, channels
    info = SDK.channel_info("presence-room", ["user_count"])
    assert info == {"occupied": True, "user_count": 1}, info


def test_sign_in_send_to_user_and_terminate():
    ana = Client()
    user = SDK.authenticate_user(ana.socket_id, {"id": "42"})
    ana.send("pusher:signin", user)
    ana.expect("pusher:signin_success")
    ana.subscribe("#server-to-user-42")
    SDK.send_to_user("42", "hello", {"for": "you"})
    assert json.loads(ana.expect("hello")["data"]) == {"for": "you"}

    # `terminate_user_connections` of this version of the SDK leaves the app out of the path.
    try:
        SDK.terminate_user_connections("42")
        raise AssertionError("a path without an app was accepted")
    except pusher.errors.PusherBadStatus as error:
        assert str(error).startswith("404"), error
    path = "/apps/123456/users/42/terminate_connections"
    client = SDK._pusher_client
    assert client.http.send_request(Request(client, POST, path, {})) == {}
    error = ana.expect("pusher:error")
    assert "4009" in json.dumps(error["data"]), error
    opcode, frame = ana.socket.recv_data()
    assert opcode == websocket.ABNF.OPCODE_CLOSE, opcode
    assert int.from_bytes(frame[:2], "big") == 4009, frame


class Pysher:
    """`pysher`, which speaks protocol 6 and signs by itself."""

    def __init__(self, user_id):
        self.client = pysher.Pusher(
            "reverb-key", secret="reverb-secret", custom_host="127.0.0.1", port=PORT, secure=False,
            user_data={"user_id": user_id, "user_info": {"name": user_id}},
        )
        connected = queue.Queue()
        self.client.connection.bind("pusher:connection_established", connected.put)
        self.pongs = queue.Queue()
        self.client.connection.bind("pusher:pong", self.pongs.put)
        self.client.connect()
        connected.get(timeout=10)

    def subscribe(self, name, *events):
        """The channel, and what comes: (event, data)."""
        got, before = queue.Queue(), subscribers(name)
        real = self.client.subscribe(name)
        for event in events:
            real.bind(event, lambda data, event=event: got.put((event, json.loads(data) if isinstance(data, str) else data)))
        # pysher asks before there is anything that could hear the answer: the server itself is asked.
        deadline = time.monotonic() + 10
        while subscribers(name) == before:
            assert time.monotonic() < deadline, name
            time.sleep(0.01)
        return real, got


def subscribers(channel):
    info = "user_count" if channel.startswith("presence-") else "subscription_count"
    return SDK.channel_info(channel, [info]).get(info, 0)


def test_pysher():
    ana, ben = Pysher("ana"), Pysher("ben")
    ana.pongs.get(timeout=10)
    room, at_ana = ana.subscribe("presence-pysher", "pusher_internal:member_added", "e", "client-typing")
    room_of_ben, at_ben = ben.subscribe("presence-pysher", "e")
    added = at_ana.get(timeout=10)
    assert added == ("pusher_internal:member_added", {"user_id": "ben", "user_info": {"name": "ben"}}), added
    SDK.trigger("presence-pysher", "e", {"text": "olá"})
    for got in (at_ana, at_ben):
        assert got.get(timeout=10) == ("e", {"text": "olá"})
    room_of_ben.trigger("client-typing", {"n": 1})
    assert at_ana.get(timeout=10) == ("client-typing", {"n": 1})
    _, private = ana.subscribe("private-pysher", "e")
    SDK.trigger("private-pysher", "e", {"n": 2})
    assert private.get(timeout=10) == ("e", {"n": 2})
    for client in (ana, ben):
        client.client.disconnect(timeout=10)


def test_asyncpusher():
    asyncio.run(asyncio.wait_for(with_asyncpusher(), 20))


async def with_asyncpusher():
    async def authenticate(data):
        member = {"user_id": "7"} if data["channel_name"].startswith("presence-") else None
        return SDK.authenticate(data["channel_name"], data["socket_id"], member)

    client = asyncpusher.Pusher(
        "reverb-key", custom_host="127.0.0.1", custom_port=PORT, secure=False, auto_sub=True,
        channel_authenticator=authenticate,
    )
    connected = asyncio.Queue()
    client.connection.bind("pusher:connection_established", connected.put)
    await client.connect()
    greeting = await connected.get()
    assert greeting["activity_timeout"] > 0, greeting
    for name in ("async", "private-async", "presence-async"):
        got = asyncio.Queue()
        channel = await client.subscribe(name)
        subscribed = asyncio.Queue()
        channel.bind("pusher_internal:subscription_succeeded", subscribed.put)
        channel.bind("e", got.put)
        await subscribed.get()
        await asyncio.to_thread(SDK.trigger, name, "e", {"on": name})
        assert await got.get() == {"on": name}
    await client.disconnect()


def test_a_wrong_secret_is_refused():
    stranger = pusher.Pusher(
        app_id="123456", key="reverb-key", secret="wrong", host="127.0.0.1", port=PORT, ssl=False
    )
    try:
        stranger.trigger("news", "e", {})
    except pusher.errors.PusherBadAuth:
        return
    raise AssertionError("a wrong signature was accepted")


for name, test in list(globals().items()):
    if name.startswith("test_"):
        test()
        print("ok", name)
