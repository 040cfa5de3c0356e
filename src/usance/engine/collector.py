"""The garbage collector, told what this program is like: few cycles, and states that live for long.

With CPython's own thresholds it walks young states again and again: a sixth of the owner's time, and a
full walk over a large book stops every answer for as long as it takes.
"""

from __future__ import annotations

import gc

YOUNG_MAX, MIDDLE_EVERY, OLD_EVERY = 50_000, 20, 100


def relax() -> None:
    """Set what was restored aside for good, and look for cycles among newer objects rarely."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MAX, MIDDLE_EVERY, OLD_EVERY)
