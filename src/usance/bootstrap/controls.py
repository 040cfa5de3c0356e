"""The matrix of controls: what rules ask, what the program does, and the tests that show it.

The rows are data (`data/compliance/controls.toml`), so that an auditor reads them without the code.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Literal

import msgspec

from usance.kernel.errors import Unreadable

State = Literal["met", "partly", "open"]


class Control(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row. `wording` says whether the rule's text was checked or stands from memory.

    `events` are names of event types (`*` for all), `tests` node ids of the test suite, `missing`
    what keeps the row from being met.
    """

    id: str
    law: str
    asks: str
    does: str
    events: tuple[str, ...]
    artefact: str
    tests: tuple[str, ...]
    state: State
    wording: Literal["checked", "memory"]
    missing: str = ""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    control: tuple[Control, ...]


def read_controls(text: str | None = None) -> tuple[Control, ...]:
    """Return the rows of the matrix; raises Unreadable for a text that is no matrix."""
    if text is None:
        place = resources.files("usance") / "data" / "compliance" / "controls.toml"
        text = place.read_text(encoding="utf-8")
    try:
        return msgspec.convert(tomllib.loads(text), _File).control
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise Unreadable(
            "controls", f"the matrix of controls cannot be read: {error}", hint="correct the row"
        ) from error
