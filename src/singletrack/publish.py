"""Sends events and results to other programs while tracking runs: to a web address, or to an MQTT broker.

Sending happens in a thread of its own, so that a slow receiver never holds up tracking. What waits is bounded.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

from singletrack.errors import InputError, MissingDependencyError, SingletrackError
from singletrack.install import install_command
from singletrack.video.streams import hide_password

log = logging.getLogger(__name__)

LONGEST_QUEUE = 1000  # messages that wait; then the oldest is left out
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds between attempts
GIVE_UP_AFTER = 300.0  # seconds for which one message is tried
ANSWER_SECONDS = 10.0  # that a receiver may take
CLOSING_SECONDS = 10.0  # for what still waits at the end
WORTH_RETRYING = (408, 425, 429)  # and 500 to 599: the receiver may take the same message later


class Webhook:
    """Context manager that posts each message as JSON to an address.

    A message that does not arrive is sent again with growing waits. Messages keep their order.

    Args:
        url: http:// or https:// address.

    Attributes:
        sent: number of messages that arrived.
        lost: number of messages that were refused, given up, or left out because too many waited.

    Raises:
        InputError: another kind of address.
    """

    def __init__(self, url: str) -> None:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise InputError(f"webhook must be an http:// or https:// address; got {hide_password(url)}")
        self._url, self._name = url, hide_password(url)
        self._waiting: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._closing = self._busy = False
        self.sent = self.lost = 0
        self._last_error = ""
        self._thread = threading.Thread(target=self._work, name="webhook", daemon=True)
        self._thread.start()

    def send(self, message: dict[str, Any]) -> None:
        """Put a message into the queue and return at once."""
        with self._changed:
            if len(self._waiting) >= LONGEST_QUEUE:
                self._waiting.popleft()
                self.lost += 1
            self._waiting.append(json.dumps(message).encode())
            self._changed.notify_all()

    def close(self) -> None:
        """Wait a moment for what is still to be sent, and end. Reports what did not arrive."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._busy, CLOSING_SECONDS)
            self._closing = True
            left = len(self._waiting) + self._busy
            self._waiting.clear()
            self._changed.notify_all()
        self.lost += left
        if self.lost:
            log.warning(
                "webhook %s: %d events arrived, %d did not (%s)", self._name, self.sent, self.lost, self._last_error
            )

    def __enter__(self) -> Webhook:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting) or self._closing)
                if self._closing:
                    return
                message, self._busy = self._waiting.popleft(), True
            arrived = self._deliver(message)
            with self._changed:
                if self._closing:
                    return
                self._busy = False
                self.sent += arrived
                self.lost += not arrived
                self._changed.notify_all()

    def _deliver(self, message: bytes) -> bool:
        """Send one message until it arrives, is refused, or was tried long enough."""
        began, wait = time.monotonic(), FIRST_WAIT
        while True:
            try:
                self._post(message)
                return True
            except urllib.error.HTTPError as error:
                reason, again = f"HTTP {error.code}", error.code >= 500 or error.code in WORTH_RETRYING
                error.close()
            except (OSError, ValueError) as error:
                reason, again = str(getattr(error, "reason", None) or error), True
            if reason != self._last_error:
                self._last_error = reason
                log.warning("webhook %s: %s%s", self._name, reason, "; trying again" if again else "")
            if not again or time.monotonic() + wait - began > GIVE_UP_AFTER:
                return False
            with self._changed:
                if self._changed.wait_for(lambda: self._closing, wait):
                    return False
            wait = min(LONGEST_WAIT, 2 * wait)

    def _post(self, message: bytes) -> None:
        request = urllib.request.Request(self._url, message, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
            answer.read(1)


class MqttPublisher:
    """Context manager that publishes events and results to an MQTT broker, by the package paho-mqtt.

    TOPIC/events gets each event, TOPIC/results each result, as JSON. TOPIC/status is "online", and "offline" at the
    end; the broker says so too where this program is killed.

    Args:
        url: mqtt://host:port/topic, with user:password@ before the host if needed; mqtts:// for TLS.

    Raises:
        InputError: an invalid address.
        MissingDependencyError: paho-mqtt is not installed.
        SingletrackError: the broker cannot be reached. When it is lost later, the connection is made again.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._name, self._topic = hide_password(url), parts.path.strip("/")
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or not self._topic or set("#+") & set(url):
            raise InputError(
                f"MQTT address must be mqtt://host:port/topic, such as mqtt://localhost/cameras/door; got {self._name}"
            )
        try:
            from paho.mqtt import client as mqtt
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError as error:
            raise MissingDependencyError(f"--mqtt needs paho-mqtt; install it: {install_command('mqtt')}") from error
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.max_queued_messages_set(LONGEST_QUEUE)
        self._client.reconnect_delay_set(1, int(LONGEST_WAIT))
        self._client.will_set(f"{self._topic}/status", "offline", qos=1, retain=True)
        if parts.username:
            self._client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
        if parts.scheme == "mqtts":
            self._client.tls_set()
        answered = threading.Event()
        refused: list[str] = []

        def connected(client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
            if reason.is_failure:
                refused.append(str(reason))
            else:
                client.publish(f"{self._topic}/status", "online", qos=1, retain=True)
            answered.set()

        def disconnected(client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
            if reason.is_failure and not refused:
                log.warning("MQTT broker %s: %s; connecting again", self._name, reason)

        self._client.on_connect, self._client.on_disconnect = connected, disconnected
        self._closed = False
        try:
            self._client.connect(parts.hostname, parts.port or (8883 if parts.scheme == "mqtts" else 1883))
        except (OSError, ValueError) as error:
            raise SingletrackError(f"cannot reach MQTT broker {self._name} ({error}); check its address") from error
        self._client.loop_start()
        if not answered.wait(ANSWER_SECONDS) or refused:
            self._client.loop_stop()
            raise SingletrackError(
                f"MQTT broker {self._name} refused the connection ({', '.join(refused[:1]) or 'no answer'}); check "
                "user name and password"
            )
        self._last: Any = None

    def send_event(self, message: dict[str, Any]) -> None:
        """Publish an event; the broker confirms it (QoS 1)."""
        self._last = self._client.publish(f"{self._topic}/events", json.dumps(message), qos=1)

    def send_result(self, message: dict[str, Any]) -> None:
        """Publish a result, without confirmation (QoS 0): the next one follows soon."""
        self._client.publish(f"{self._topic}/results", json.dumps(message))

    def close(self) -> None:
        """Wait a moment for what is still to be sent, and disconnect. Closing it again does nothing."""
        if self._closed:
            return
        self._closed = True
        last = self._client.publish(f"{self._topic}/status", "offline", qos=1, retain=True)
        try:
            last.wait_for_publish(CLOSING_SECONDS)
        except (RuntimeError, ValueError):  # not connected, or the queue is full
            log.warning("MQTT broker %s: the last messages did not arrive", self._name)
        self._client.disconnect()
        self._client.loop_stop()

    def __enter__(self) -> MqttPublisher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
