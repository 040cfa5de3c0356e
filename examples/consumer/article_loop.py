"""The consumer loop that many articles teach, on an embedded log, and how it loses a payment.

    python examples/consumer/article_loop.py FOLDER

One message, process it, produce, flush, commit. What it logs and goes on from is gone: the next commit
says that everything before it was done.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path

from usance.adapters.sqlite_log import SqliteLog
from usance.log.contract import Log, Output, TopicPartition, TopicSettings

PAYMENTS, RECEIPTS = "payments", "receipts"
GROUP = "article"
SAMPLE = ("alice 10.00", "bob 20.50", "alice thirty", "alice 5.00", "bob 1.00")
"""The third is what somebody typed; it should have been 30.00."""


def receipt(payment: str) -> str:
    """Return the receipt of a payment; raises ValueError for an amount that is none."""
    who, amount = payment.split()
    return f"{who} paid {round(float(amount) * 100)} cents"


def prepare(log: Log) -> None:
    """Create both topics and pay in."""
    for name in (PAYMENTS, RECEIPTS):
        log.create_topic(TopicSettings(name, name, 1))
    rows = [Output(PAYMENTS, 0, p.split()[0].encode(), p.encode()) for p in SAMPLE]
    log.append(rows)


def article_loop(log: Log, process: Callable[[str], str] = receipt) -> None:
    """Do what the articles do until nothing is left to read."""
    partition = TopicPartition(PAYMENTS, 0)
    if log.position(GROUP, partition) is None:
        log.set_positions(GROUP, {partition: 0})
    member = log.join(GROUP, [PAYMENTS])
    member.poll()
    while records := log.read(member, 1, 0.0).records:
        message = records[partition][0]
        try:
            done = process((message.value or b"").decode())
            log.append([Output(RECEIPTS, 0, message.key, done.encode())])  # produce and flush
        except Exception:
            logging.exception("could not process a message")
            continue
        log.set_positions(GROUP, {partition: message.offset + 1})  # commit
    member.close()


def values(log: Log, topic: str) -> list[str]:
    """Return the values of a topic."""
    return [(r.value or b"").decode() for r in log.scan(TopicPartition(topic, 0), 0)]


if __name__ == "__main__":
    opened = SqliteLog.open(Path(sys.argv[1]) / "log.sqlite")
    prepare(opened)
    article_loop(opened)
    print("paid in: ", *values(opened, PAYMENTS), sep="\n  ")
    print("receipts:", *values(opened, RECEIPTS), sep="\n  ")
    print("committed:", opened.position(GROUP, TopicPartition(PAYMENTS, 0)), "of", len(SAMPLE))
    opened.close()
