"""usance: a documentary-trade book run as auditable event streams.

`usance.consume` runs a handler over topics of a log as a consumer group that loses nothing; what it takes
and gives are `Delivery`, `Emit` and `Retry`, and `Refused` says no. All are imported when used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from usance.bootstrap.consuming import consume
    from usance.engine.groups.consuming import Delivery, Emit, Retry
    from usance.kernel.errors import Refused

__all__ = ["Delivery", "Emit", "Refused", "Retry", "consume"]

_HOMES = {
    "consume": "usance.bootstrap.consuming",
    "Delivery": "usance.engine.groups.consuming",
    "Emit": "usance.engine.groups.consuming",
    "Retry": "usance.engine.groups.consuming",
    "Refused": "usance.kernel.errors",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is asked for: the command line starts without the engine."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'usance' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)
