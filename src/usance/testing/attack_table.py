"""The table of attacks: what an attacker does, and by which code it must be found."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from usance.audit.codes import Code, Detected
from usance.audit.report import Finding
from usance.testing.attack_scene import Scene

Act = Callable[[Scene], list[Finding]]


class Attack(NamedTuple):
    """An attack by its number in the table of `docs/proof.md`."""

    number: int
    name: str
    code: Code
    act: Act


class Result(NamedTuple):
    """What came of it: detected is true only where its own code was found."""

    id: int
    name: str
    code: Code
    detected: bool
    where: str


TABLE: dict[int, Attack] = {}


def attack(number: int, name: str, code: Code) -> Callable[[Act], Act]:
    """Return a decorator that puts an attack into the table."""

    def put(act: Act) -> Act:
        assert number not in TABLE, f"attack {number} stands twice"
        TABLE[number] = Attack(number, name, code, act)
        return act

    return put


def result(one: Attack, scene: Scene) -> Result:
    """Do an attack and say whether it was found, by its own code before any other."""
    found = one.act(scene)
    first = found[0] if found else None
    detected = first is not None and first.code == one.code
    where = first.where if first is not None else ""
    if first is not None and not detected:
        where = f"found as {first.code}: {where}"
    return Result(one.number, one.name, one.code, detected, where)


def caught(act: Callable[[], object]) -> list[Finding]:
    """Return what an act is refused with, or the findings that it returns."""
    try:
        found = act()
    except Detected as refused:
        return [Finding.of(refused)]
    return found if isinstance(found, list) else []
