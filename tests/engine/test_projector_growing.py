"""Growing tables, and batches that a projection takes in at once."""

from __future__ import annotations

from collections.abc import Sequence

from bank_world import KEYS, Bank, Paid, drain

from usance.engine.projections.projection import (
    STALE,
    Fact,
    Projection,
    Rows,
    Table,
    numbers,
    texts,
)
from usance.engine.projections.reading import Order

SLIPS = Table(
    "slips",
    (*texts("key"), *numbers("revision", "amount")),
    key=("key", "revision"),
    indexes=(("amount",),),
    stream="key",
    grows=True,
)


def _slip(fact: Fact, rows: Rows) -> None:
    amount = fact.message.amount
    rows.grow("slips", fact.key, fact.meta.revision, amount)
    if amount < 0:
        raise ZeroDivisionError(amount)


def test_rows_of_a_growing_table_follow_the_same_rules(bank: Bank) -> None:
    growing = Projection("slips", 1, (SLIPS,), {Paid: _slip})
    bank.pay(KEYS[0], 10, -1, 7)
    bank.pay(KEYS[1], 3, 4)
    projector = bank.projector(growing, batch_max=2)
    drain(projector)
    with bank.store.reading() as reading:
        rows = reading.select("slips", (), (Order("amount"),))
    assert [(r["key"], r["amount"]) for r in rows] == [(KEYS[1], 3), (KEYS[1], 4), (KEYS[0], 10)]
    assert [r[STALE] is not None for r in rows] == [False, False, True]
    assert projector.verify("slips") == []


def _slips(facts: Sequence[Fact], rows: Rows) -> None:
    rows.grow_by("slips", [(f.key, f.meta.revision, f.message.amount) for f in facts])
    if any(fact.message.amount < 0 for fact in facts):
        raise ZeroDivisionError


SLIPS_AT_ONCE = Projection("slips", 1, (SLIPS,), {Paid: _slip}, together={"events": _slips})


def test_a_batch_taken_in_at_once_leaves_the_rows_that_its_records_leave_one_by_one(
    bank: Bank,
) -> None:
    handled: list[int] = []

    def together(facts: Sequence[Fact], rows: Rows) -> None:
        handled.append(len(facts))
        _slips(facts, rows)

    for number in range(7):
        for key in KEYS:
            bank.pay(key, number, number + 1)
    drain(bank.projector(SLIPS_AT_ONCE._replace(together={"events": together}), batch_max=5))
    assert sum(handled) == 14 * len(KEYS) and len(handled) < sum(handled), "many at once"
    one_by_one = bank.projector(SLIPS_AT_ONCE._replace(together={}), follow=False)
    assert one_by_one.verify("slips") == []


def test_of_a_batch_that_cannot_be_taken_in_at_once_only_the_culprit_s_key_waits(
    bank: Bank,
) -> None:
    bank.pay(KEYS[0], 10, -1, 7)
    bank.pay(KEYS[1], 3, 4)
    projector = bank.projector(SLIPS_AT_ONCE)
    drain(projector)
    bank.pay(KEYS[0], 5)
    bank.pay(KEYS[1], 6)
    drain(projector)
    with bank.store.reading() as reading:
        rows = reading.select("slips", (), (Order("amount"),))
        waiting = [(p["key"], bool(p["error"])) for p in reading.parked()]
    shown = [(r["key"], r["amount"], r[STALE] is not None) for r in rows]
    assert shown == [*((KEYS[1], n, False) for n in (3, 4, 6)), (KEYS[0], 10, True)]
    assert waiting == [(KEYS[0], True)]
