"""A process that consumes a folder's orders: until it rests, until a signal, or until a record kills it."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from consume_world import GROUP, IN, OUT

import usance


def handle(record: usance.Delivery) -> usance.Emit:
    """Die on `kill`, die on a second try on `later`, else pass on; says on stdout what it handles."""
    value = record.value or b""
    if value == b"kill" or (value == b"later" and record.attempt > 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if value == b"later":
        raise ConnectionError
    if value == b"slow":
        print("slow", flush=True)
        signal.sigtimedwait([], 0.6)
    return usance.Emit(OUT, value.upper(), record.key)


if __name__ == "__main__":
    consumer = usance.consume(
        IN,
        GROUP,
        handle,
        log=Path(sys.argv[1]),
        retry=usance.Retry(in_place=0, wait_ms=int(sys.argv[3]), attempts_max=50),
    )
    if sys.argv[2] == "run":
        consumer.run()
    else:
        while consumer.step(0.0) or not consumer.idle():
            pass
        consumer.close()
