"""A process that owns the toy log on a broker until it rests, or until something happens to it in a unit.

Arguments: broker, prefix, slot, what happens (nothing, kill, stop, term, sleep), at which stage of the second unit.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
from toy_world import World, on_broker

from usance.adapters.kafka_producer import UnitProducer
from usance.engine.vitals import Vitals
from usance.kernel.clock import SystemClock
from usance.kernel.errors import Fenced, Unavailable

STAGES = ("before-produce", "after-produce", "after-offsets", "before-commit", "after-commit")
UNIT = 2
TIMED_OUT_S = 7.0
"""Longer than the broker lets a transaction be open."""
STUCK_S = 1.0
clock = SystemClock()
stopping = threading.Event()


def happens(what: str) -> None:
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif what == "term":
        os.kill(os.getpid(), signal.SIGTERM)
    elif what == "sleep":
        clock.sleep(TIMED_OUT_S)


def arm(what: str, stage: str) -> None:
    """Have it happen once, at a stage of the second unit that this process commits."""
    commit, send = UnitProducer.commit, UnitProducer._send
    units, sends = [0], [0]

    def at(here: str) -> None:
        if units[0] == UNIT and here == stage:
            happens(what)

    def committing(self: UnitProducer, unit: Any, *more: Any) -> None:
        units[0] += 1
        sends[0] = 0
        at("before-produce")
        commit(self, unit, *more)
        at("after-commit")

    def sending(self: UnitProducer, client: Any, rows: Any, deadline: float) -> None:
        sends[0] += 1
        if sends[0] == 2:
            at("after-offsets")
        send(self, client, rows, deadline)
        at("after-produce" if sends[0] == 1 else "before-commit")

    UnitProducer.commit = committing  # type: ignore[method-assign]
    UnitProducer._send = sending  # type: ignore[method-assign]


def run(world: World, stuck_after: float) -> int:
    vitals = Vitals(clock, stuck_after, lambda *_: os._exit(Unavailable.exit_code))
    threading.Thread(target=vitals.watch, args=(stopping,), daemon=True).start()
    owner = world.owner(alone=False)
    owner.takeover.alive = lambda: vitals.beat("owner")
    rested = 0
    while rested < 20 and not stopping.is_set():
        vitals.beat("owner")
        try:
            worked = owner.step(world.wait)
            rested = 0 if worked or not owner.idle() or not owner.states else rested + 1
        except Fenced:
            return Fenced.exit_code
        except Unavailable:
            stopping.wait(0.2)
    vitals.ended("owner")
    owner.close()
    world.log.close()
    return 0


if __name__ == "__main__":
    kafka, prefix, slot, what, stage = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    if what != "nothing":
        arm(what, stage)
    stuck = STUCK_S if what == "nothing" else 60.0
    sys.exit(run(on_broker(kafka, prefix, slot, clock, batch=4), stuck))
