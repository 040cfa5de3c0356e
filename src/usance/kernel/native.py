"""The optional extension `usance._native` (folder `native`): whether it is there, and may run.

It does a few things that are done for every record, in C, with the Python code beside it as reference and
stand-in. `USANCE_NATIVE=0` switches it off.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

LAYOUT = 12
"""What native/native.h must say too: extension and program come from the same sources."""
SWITCH = "USANCE_NATIVE"
"""Environment variable; 0 switches the extension off."""


def load(switch: str = "1") -> tuple[Any, str]:
    """Return the extension or None, and what to tell people; `switch` is what SWITCH says."""
    if switch.lower() in ("0", "false", "no", "off"):
        return None, f"Python, as {SWITCH} says"
    try:
        native = importlib.import_module("usance._native")
    except ImportError:
        return None, "Python: there is no extension (`make setup` builds it, with a C compiler)"
    if native.LAYOUT != LAYOUT:
        return None, "Python: the extension is of other sources (`make setup` builds it anew)"
    return native, "native"


NATIVE, RUNNING = load(os.environ.get(SWITCH, "1"))
"""The extension, or None; and which codec runs, in words."""
SOURCE = f"environment {SWITCH}" if SWITCH in os.environ else "default"
"""Who decided that, in the words of the settings."""
