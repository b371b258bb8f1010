"""A webhook as PyPI's `pusher` reads it. Arguments: the server's port, and the port to listen on."""

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

import pusher
import websocket

PORT, HOOKS = int(sys.argv[1]), int(sys.argv[2])
backend = pusher.Pusher(app_id="123456", key="reverb-key", secret="reverb-secret", host="127.0.0.1", port=PORT, ssl=False)
told = []


class Endpoint(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        told.append(backend.validate_webhook(self.headers["x-pusher-key"], self.headers["x-pusher-signature"], body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


endpoint = HTTPServer(("127.0.0.1", HOOKS), Endpoint)
endpoint.timeout = 10
client = websocket.create_connection(f"ws://127.0.0.1:{PORT}/app/reverb-key?protocol=7", timeout=10)
client.recv()
client.send('{"event":"pusher:subscribe","data":{"channel":"news"}}')
endpoint.handle_request()
assert told and told[0] is not None, "the SDK refuses the signature"
assert told[0]["events"] == [{"name": "channel_occupied", "channel": "news"}], told
