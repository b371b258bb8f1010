"""PyPI's `pusher` SDK, unmodified, publishes; a plain WebSocket client listens.

Usage: test_pusher.py PORT. Exits with an error when anything is not as it must be.
"""

import json
import sys

import pusher
import websocket

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


def test_terminate():
    ana = Client()
    user = SDK.authenticate_user(ana.socket_id, {"id": "42"})
    ana.send("pusher:signin", user)
    ana.expect("pusher:signin_success")
    ana.subscribe("#server-to-user-42")
    SDK.send_to_user("42", "hello", {"for": "you"})
    assert json.loads(ana.expect("hello")["data"]) == {"for": "you"}
    SDK.terminate_user_connections("42")
    ana.expect("pusher:error")
    opcode, data = ana.socket.recv_data()
    assert opcode == websocket.ABNF.OPCODE_CLOSE, opcode
    assert int.from_bytes(data[:2], "big") == 4009, data


def test_a_wrong_secret_is_refused():
    stranger = pusher.Pusher(
        app_id="123456", key="reverb-key", secret="wrong", host="127.0.0.1", port=PORT, ssl=False
    )
    try:
        stranger.trigger("news", "e", {})
    except pusher.errors.PusherForbidden:
        return
    except pusher.errors.PusherError as error:
        assert "401" in repr(error) or "signature" in str(error).lower(), error
        return
    raise AssertionError("a wrong signature was accepted")


for name, test in list(globals().items()):
    if name.startswith("test_"):
        test()
        print("ok", name)
