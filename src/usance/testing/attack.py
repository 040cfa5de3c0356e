"""`usance audit attack`: every attack of the table, each on a copy of its own, each found by its own code."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from usance.config import Settings
from usance.kernel.errors import NotFound, UsanceError
from usance.testing import attacks_heads, attacks_log, attacks_rest
from usance.testing.attack_scene import Scene
from usance.testing.attack_table import TABLE, Result, result

COUNT = 35
"""Attacks in the table of `docs/proof.md`."""
ROOMS = (attacks_log, attacks_heads, attacks_rest)


def run_attacks(
    source: Path,
    settings: Settings,
    ids: Sequence[int] = (),
    tell: Callable[[Result], None] = lambda _: None,
) -> dict[str, Any]:
    """Do attacks on copies of a data folder; returns `{"attacks": [...]}` as the command prints it.

    All without `ids`. The folder itself is only read. Raises Owned where it is in use, NotFound for an
    unknown number.
    """
    unknown = [n for n in ids if n not in TABLE]
    if unknown:
        raise NotFound(f"there is no attack {unknown[0]}", hint=f"Attacks are 1 to {COUNT}.")
    found = []
    with tempfile.TemporaryDirectory(prefix="usance-attack-") as work:
        scene = Scene.prepare(source, settings, Path(work))
        for number in sorted(ids or TABLE):
            found.append(_one(scene, number))
            scene.drop()
            tell(found[-1])
    return {"attacks": [one._asdict() for one in found]}


def _one(scene: Scene, number: int) -> Result:
    one = TABLE[number]
    try:
        return result(one, scene)
    except UsanceError as other:
        return Result(number, one.name, one.code, False, f"not found: {other.message}")
