"""What /metrics tells, as Prometheus's own library for Python reads it. Arguments: port, token."""

import sys
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families
import websocket

PORT, TOKEN = int(sys.argv[1]), sys.argv[2]


def scrape():
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        text = answer.read().decode()
    families = list(text_string_to_metric_families(text))
    for family in families:
        assert family.documentation, family.name
        assert family.name.startswith(("clarim_", "process_")), family.name
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


before = scrape()
assert before[("clarim_connections", "123456")] == 0, before
client = websocket.create_connection(f"ws://127.0.0.1:{PORT}/app/reverb-key?protocol=7", timeout=10)
client.recv()
client.send('{"event":"pusher:subscribe","data":{"channel":"news"}}')
client.recv()
during = scrape()
assert during[("clarim_connections", "123456")] == 1, during
assert during[("clarim_channels", "public")] == 1, during
assert during[("clarim_messages_received_total",)] == 1, during
assert during[("process_resident_memory_bytes",)] > 1_000_000, during
client.close()
