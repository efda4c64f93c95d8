"""Events and results that are sent to other programs: a web server of the test, and a real MQTT broker."""

from __future__ import annotations

import http.server
import json
import queue
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.servers.streams import free_port, need_program

from singletrack import publish
from singletrack.errors import InputError, SingletrackError
from singletrack.publish import MqttPublisher, Webhook


class Receiver(http.server.ThreadingHTTPServer):
    """Keeps what is posted; answers with the coming status codes, then with 200."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[int] = []
        self.received: queue.Queue[Any] = queue.Queue()
        self.url = f"http://127.0.0.1:{self.server_port}/hook"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        code = self.server.answers.pop(0) if self.server.answers else 200
        self.server.received.put((code, self.headers["Content-Type"], body))
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "FIRST_WAIT", 0.01)


def test_events_arrive_in_order(receiver: Receiver) -> None:
    with Webhook(receiver.url) as webhook:
        for number in range(5):
            webhook.send({"event": "found", "id": number})
    assert (webhook.sent, webhook.lost) == (5, 0)
    got = [receiver.received.get_nowait() for _ in range(5)]
    assert [body["id"] for _, _, body in got] == [0, 1, 2, 3, 4]
    assert got[0][1] == "application/json"


def test_a_server_in_trouble_is_asked_again(receiver: Receiver, quick: None, caplog: pytest.LogCaptureFixture) -> None:
    receiver.answers = [503, 500, 429]
    with Webhook(receiver.url) as webhook:
        webhook.send({"event": "lost"})
    assert (webhook.sent, webhook.lost) == (1, 0)
    assert [receiver.received.get_nowait()[0] for _ in range(4)] == [503, 500, 429, 200]
    assert "HTTP 503; trying again" in caplog.text


def test_a_refused_event_is_not_sent_again(receiver: Receiver, quick: None, caplog: pytest.LogCaptureFixture) -> None:
    receiver.answers = [404]
    with Webhook(receiver.url) as webhook:
        webhook.send({"event": "lost"})
        webhook.send({"event": "found_again"})
    assert (webhook.sent, webhook.lost) == (1, 1)
    assert "1 events arrived, 1 did not (HTTP 404)" in caplog.text


def test_the_queue_is_bounded_and_the_end_does_not_wait_for_ever(
    quick: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(publish, "LONGEST_QUEUE", 10)
    monkeypatch.setattr(publish, "CLOSING_SECONDS", 0.1)
    with Webhook(f"http://user:secret@127.0.0.1:{free_port()}/") as webhook:  # nobody listens
        for number in range(50):
            webhook.send({"id": number})
    assert webhook.sent == 0
    assert webhook.lost == 50
    assert "0 events arrived, 50 did not" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("url", ["ftp://host/x", "localhost:80", "http://", "file:///etc/passwd"])
def test_addresses_that_are_no_webhooks(url: str) -> None:
    with pytest.raises(InputError, match="webhook must be an http:// or https:// address"):
        Webhook(url)


# --- MQTT --------------------------------------------------------------------------------------------------


def start_broker(port: int, folder: Path) -> subprocess.Popen[bytes]:
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen([need_program("mosquitto"), "-c", str(config)], stderr=subprocess.DEVNULL)
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return process
        except OSError:  # noqa: PERF203
            pass
    pytest.fail("mosquitto did not start")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[int]:
    pytest.importorskip("paho.mqtt", reason="needs paho-mqtt: pip install paho-mqtt")
    port = free_port()
    process = start_broker(port, tmp_path)
    yield port
    process.kill()
    process.wait()


@pytest.fixture
def listener(broker: int) -> Iterator[queue.Queue[tuple[str, str]]]:
    """What is published, as (topic, text)."""
    from paho.mqtt import client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion

    messages: queue.Queue[tuple[str, str]] = queue.Queue()
    ready = threading.Event()
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda client, data, message: messages.put((message.topic, message.payload.decode()))
    client.on_subscribe = lambda client, data, number, codes, properties: ready.set()
    client.connect("127.0.0.1", broker)
    client.subscribe("#", qos=1)
    client.loop_start()
    assert ready.wait(60)
    yield messages
    client.disconnect()
    client.loop_stop()


def test_mqtt(broker: int, listener: queue.Queue[tuple[str, str]]) -> None:
    with MqttPublisher(f"mqtt://127.0.0.1:{broker}/cameras/door") as publisher:
        publisher.send_event({"event": "found"})
        publisher.send_result({"frame": 3})
    got = [listener.get(timeout=60) for _ in range(4)]
    assert set(got) == {
        ("cameras/door/status", "online"),
        ("cameras/door/events", '{"event": "found"}'),
        ("cameras/door/results", '{"frame": 3}'),
        ("cameras/door/status", "offline"),
    }
    assert got[-1] == ("cameras/door/status", "offline")


def test_a_broker_that_is_not_there() -> None:
    pytest.importorskip("paho.mqtt", reason="needs paho-mqtt: pip install paho-mqtt")
    with pytest.raises(SingletrackError, match=r"cannot reach MQTT broker mqtt://\*\*\*@127.0.0.1:\d+/a \(.*refused"):
        MqttPublisher(f"mqtt://user:secret@127.0.0.1:{free_port()}/a")


@pytest.mark.parametrize("url", ["mqtt://host", "mqtt:///topic", "http://host/topic", "mqtt://host/a/#"])
def test_addresses_that_are_no_brokers(url: str) -> None:
    with pytest.raises(InputError, match="MQTT address must be mqtt://host:port/topic"):
        MqttPublisher(url)
