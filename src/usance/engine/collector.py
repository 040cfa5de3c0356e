"""The garbage collector, told what this program is like: few cycles, and states that live for long.

With CPython's own thresholds it walks young states again and again: a sixth of the owner's time, and a
full walk over a large book stops every answer for as long as it takes.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

YOUNG_MAX, MIDDLE_EVERY, OLD_EVERY = 50_000, 20, 100


def relax() -> None:
    """Set what was restored aside for good, and look for cycles among newer objects rarely."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MAX, MIDDLE_EVERY, OLD_EVERY)


@contextmanager
def paused() -> Iterator[None]:
    """Look for no cycles within the block: restoring makes millions of objects and hardly any garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
