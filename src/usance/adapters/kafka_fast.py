"""The fast way of a unit's records into the client's queue: one call for all of them, in C.

The client reports every delivered record under the interpreter's lock, wanted or not. While the owner decides the
next unit each report waits for its turn, and so does the commit behind them. Records queued by `send` have no
report: of a record that is refused the transaction itself tells, with the broker's words, when it is used next.

It reaches through the client's Python object to librdkafka, so it runs only with versions of the client whose
object was looked at, and after the object has named itself; with others `send` is None and all goes the slow way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, Producer, cimpl

from usance.kernel.errors import Unreadable
from usance.kernel.native import NATIVE

KNOWN = ((2, 12), (2, 17))
"""The first version of the client that may be reached through, and the first that may not."""
_DAMAGED, _NO_TOPIC = -1, -2

Send = Callable[[Producer, Sequence[Any]], None]
"""Queues rows with packed headers; raises KafkaException, or Unreadable for headers that cannot be sent."""


def _send(producer: Producer, rows: Sequence[Any]) -> None:
    code = NATIVE.kafka_send(producer, rows)
    if code == _DAMAGED:
        raise Unreadable("log", "a header cannot be sent", hint="its name is empty or holds NUL")
    if code:
        raise KafkaException(KafkaError(KafkaError._UNKNOWN_TOPIC if code == _NO_TOPIC else code))


def sender(native: Any = NATIVE, version: str = str(confluent_kafka.version())) -> Send | None:
    """Return `send` where this client may be reached through, else None."""
    if native is None:
        return None
    first, beyond = KNOWN
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if not first <= numbers < beyond or not native.kafka_bind(cimpl.__file__, Producer):
        return None
    return _send


SEND = sender()
