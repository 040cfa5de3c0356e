"""The same job with `usance.consume`: nothing is lost, and alice's later payment waits behind her earlier one.

    python examples/consumer/done_right.py FOLDER

Run it again, with `--mended`, as the release that can read what somebody typed: the payment is taken up
again, then the one that waited, in their order.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from article_loop import PAYMENTS, RECEIPTS, prepare, receipt, values

import usance
from usance.adapters.sqlite_log import SqliteLog
from usance.engine.groups.consumer import Consumer
from usance.log.contract import Log

GROUP = "teller"


def mended(payment: str) -> str:
    """Return a receipt; words for numbers are understood by now."""
    return receipt(payment.replace("thirty", "30.00"))


def teller(log: Log | Path, process: Callable[[str], str] = receipt) -> Consumer:
    """Return a consumer that writes a receipt for each payment."""

    def handle(payment: usance.Delivery) -> usance.Emit:
        text = process((payment.value or b"").decode())
        return usance.Emit(RECEIPTS, text.encode(), payment.key)

    return usance.consume(PAYMENTS, GROUP, handle, log=log)


def until_rest(consumer: Consumer) -> None:
    """Consume until nothing is left; a service would call `consumer.run()`."""
    while consumer.step(0.1) or not consumer.idle():
        pass


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    opened = SqliteLog.open(folder / "log.sqlite")
    if PAYMENTS not in opened.topics():
        prepare(opened)
    with teller(opened, mended if "--mended" in sys.argv else receipt) as consumer:
        until_rest(consumer)
        print("receipts:", *values(opened, RECEIPTS), sep="\n  ")
        standing = consumer.standing()
        print(f"parked keys: {standing.parked_keys}, open dead letters: {standing.dead_letters}")
        if standing.parked_keys:
            print(f"Next: usance park list --group {GROUP} --data {folder}")
    opened.close()
