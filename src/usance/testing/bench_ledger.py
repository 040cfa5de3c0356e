"""Where the owner's time goes, in microseconds of processor time per command: a regression names its step.

Each step runs alone over the same unit of real commands, again and again; the lowest time counts, since
other work on the machine can only add. `between` is what deciding that unit costs beyond its steps: the walk
from one to the next, and the records made on the way. `first time` is what a unit never seen before costs
more: bytes and memory that the processor does not hold yet, and states that stay. The log's own thread is told
apart from the owner's.
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from usance.engine.owner.state import Overlay
from usance.engine.owner.unit import PartitionUnit, UnitBuilder
from usance.kernel.decider import Context, Decision, key_parts
from usance.log.contract import Batch, Record
from usance.messages.meta import InputPosition, Meta
from usance.messages.outcome import Outcome
from usance.testing.bench_rig import Mismatch, Profile, Rig, thread_seconds, warmed
from usance.testing.workload import Workload

UNIT = 500
REPEATS, UNITS = 15, 8
COLLECTED = 8_000


class _Case(NamedTuple):
    """One command on its way: everything that its steps need."""

    record: Record
    share: PartitionUnit
    position: InputPosition
    meta: Meta
    message: Any
    decider: Any
    state: Any
    context: Context
    decision: Decision


def ledger(seed: int = 1, profile: Profile = "default") -> dict[str, float]:
    """Return microseconds per command by step, and the sums."""
    with tempfile.TemporaryDirectory(prefix="usance-ledger-") as made:
        rig, work = warmed(Path(made), seed, profile=profile)
        try:
            gc.collect()
            gc.freeze()
            gc.disable()  # its pauses fall on any step; what it costs is a line of its own
            steps = _decided(rig, work)
            whole = _committed(rig, work)
            rig.verify()
            steps["collector"] = _collected(rig, work)
        finally:
            gc.enable()
            rig.close()
    hot = steps.pop("again")
    steps["between"] = hot - sum(steps.values()) + steps["collector"]
    steps["first time"] = whole["decide the unit"] - hot
    owner = sum(whole.values()) - whole["log thread"] + steps["collector"]
    found = steps | {k: v for k, v in whole.items() if k != "decide the unit"}
    found["owner"], found["all threads"] = owner, owner + whole["log thread"]
    return {name: round(value, 2) for name, value in found.items()}


def _least(work: Callable[[], object], count: int) -> float:
    """Return the lowest processor time of some work, in microseconds per command."""
    found = []
    for _ in range(REPEATS):
        start = thread_seconds()
        work()
        found.append(thread_seconds() - start)
    return min(found) / count * 1e6


# -- the steps of deciding


def _read(rig: Rig) -> Batch:
    owner = rig.owner
    assert owner.member is not None
    for place, position in owner.positions.items():
        owner.member.seek(rig.topics.at(place.context, "commands", place.partition), position)
    return rig.log.read(owner.member, UNIT, 0.0)


def _decided(rig: Rig, work: Workload) -> dict[str, float]:
    """Time each step over one unit of new commands, which stays undecided."""
    rig.preload(work.take(UNIT))
    batch = _read(rig)
    cases = _cases(rig, batch)
    world, count = rig.owner.world, len(cases)
    decoder = world.decoder

    def dedupe() -> None:
        for case in cases:
            overlay = case.share.overlay
            key = case.context.key
            overlay.answer(case.meta.command_id), overlay.park(key), overlay.entry(key)

    def record() -> None:
        for case in cases:
            _recorded(case)

    def evolve() -> None:
        for case in cases:
            state = case.state
            for event in case.decision.events:
                state = case.decider.evolve(state, event)

    def decide() -> None:
        for case in cases:
            case.decider.decide(case.state, case.message, case.context)

    def ahead() -> None:
        rig.owner._ahead(batch)  # noqa: SLF001

    sealed = {} if rig.vault is None else {"keys ahead": _least(ahead, count)}
    return sealed | {
        "decode meta": _least(lambda: [decoder.meta(c.record.headers) for c in cases], count),
        "decode message": _least(
            lambda: [decoder.message(c.record.headers, c.record.value) for c in cases], count
        ),
        "dedupe": _least(dedupe, count),
        "decide": _least(decide, count),
        "evolve": _least(evolve, count),
        "record": _least(record, count),
        "again": _least(lambda: rig.owner._decide(batch), count),  # noqa: SLF001
    }


def _cases(rig: Rig, batch: Batch) -> list[_Case]:
    owner, decoder = rig.owner, rig.owner.world.decoder
    found = []
    for tp, records in batch.records.items():
        place = rig.topics.place_of(tp)
        # Over the committed state lies the unit under way, and over that the one being decided.
        share = PartitionUnit(owner.world, place, Overlay(owner.states[place]), records[0].offset)
        for record in records:
            meta = decoder.meta(record.headers)
            message = decoder.message(record.headers, record.value)
            key = (record.key or b"").decode()
            decider = owner.world.deciders[key_parts(key).category]
            state = decider.initial(key)
            context = Context(
                key, 0, record.timestamp, meta.tenant, meta.actor,
                meta.command_id, meta.correlation, meta.causation,
                b"" if rig.vault is None else rig.vault.digest_key(meta.tenant),
            )  # fmt: skip
            decision = decider.decide(state, message, context)
            if not isinstance(decision, Decision):
                raise Mismatch("a command was refused", hint="The ledger is for accepted ones.")
            position = InputPosition(record.topic, record.partition, record.offset)
            found.append(
                _Case(record, share, position, meta, message, decider, state, context, decision)
            )
    return found


def _recorded(case: _Case) -> None:
    """Make the records of events and outcome: at once in C, else step by step."""
    encoder, events, meta = case.share.world.encoder, case.decision.events, case.meta
    stream, instant = case.context.key.encode(), case.context.instant
    to, answers_to, prev = case.share.events_to, case.share.outcomes_to, bytes(32)
    made = encoder.decided(
        events, None, meta, case.position, stream, 1, instant, None,
        (1_000, prev, to), (1_000, prev, answers_to),
    )  # fmt: skip
    if made is not None:
        return
    place: dict[str, Any] = {
        "index": 1_000, "prev": prev, "instant": instant, "input": case.position,
    }  # fmt: skip
    _, receipts, _ = encoder.events(events, meta, stream=stream, revision=1, to=to, **place)
    said = Outcome(
        command_id=meta.command_id,
        body_hash=meta.body_hash,
        answer="accepted",
        log_time=instant,
        receipts=receipts,
        revision=len(receipts),
    )
    encoder.answer(said, meta, to=answers_to, **place)


# -- whole units


def _committed(rig: Rig, work: Workload) -> dict[str, float]:
    """Time whole units through the owner, part by part; microseconds per command."""
    lowest: dict[str, float] = {}
    for _ in range(UNITS):
        rig.preload(work.take(UNIT))
        for name, taken in _unit(rig).items():
            lowest[name] = min(taken, lowest.get(name, taken))
    rig.work_off()
    return lowest


def _collected(rig: Rig, work: Workload) -> float:
    """Return what the garbage collector takes, as the program sets it, in microseconds per command."""
    marks: list[float] = []
    rig.preload(work.take(COLLECTED))
    gc.callbacks.append(note := lambda _phase, _info: marks.append(thread_seconds()))
    gc.enable()
    rig.work_off()
    gc.callbacks.remove(note)
    taken = [end - start for start, end in zip(marks[2::2], marks[3::2], strict=True)]
    return sum(taken) / COLLECTED * 1e6  # the first walk is `relax`, before the work


def _unit(rig: Rig) -> dict[str, float]:
    owner, log = rig.owner, rig.log
    assert owner.receipt is not None
    marks = [thread_seconds()]

    def mark(value: Any) -> Any:
        marks.append(thread_seconds())
        return value

    batch: Batch = mark(_read(rig))
    builder: UnitBuilder = mark(owner._decide(batch))  # noqa: SLF001
    staged = mark(log.stage(builder.build()))
    everything = time.process_time()
    pending = log.commit(staged, owner.receipt)
    owner.receipt = mark(pending.result())
    everything = time.process_time() - everything - (marks[-1] - marks[-2])
    owner._publish(builder)  # noqa: SLF001
    marks.append(thread_seconds())
    owner.building = None
    names = ("read", "decide the unit", "stage", "hand over", "publish")
    taken = dict(zip(names, (b - a for a, b in pairwise(marks)), strict=True))
    taken["log thread"] = everything
    return {name: seconds / batch.count * 1e6 for name, seconds in taken.items()}
