"""A process that owns the log of a folder until it rests, or until a command kills it."""

from __future__ import annotations

import sys
from pathlib import Path

from toy_world import NOON, sqlite_world

from usance.kernel.clock import BookClock

if __name__ == "__main__":
    world = sqlite_world(Path(sys.argv[1]), BookClock(NOON), batch=10)
    owner = world.owner()
    world.settle(owner)
    owner.close()
    world.log.close()
