"""Upcasters: what is checked at the start, and the one that the product has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usance.domain.credit.drawing_messages import CreditExpired
from usance.kernel.errors import Unreadable
from usance.messages.catalogue import default
from usance.messages.envelope import Decoder
from usance.messages.registry import frame, registered
from usance.messages.upcasting import UPCASTERS, Upcasters, blank

GOLDEN = Path(__file__).parent.parent / "golden"
NAME = "usance.trade.CreditExpired"


def decoded(version: int, body: bytes) -> Any:
    state = registered(default())
    schema = state.versions(f"usance.trade.events-{NAME}")[version - 1]
    return Decoder(catalogue=default(), registry=state).value(frame(state.id_of(schema)) + body)


def test_the_bytes_of_version_1_are_kept_and_say_today_what_they_meant() -> None:
    body = (GOLDEN / f"{NAME}.v1.bin").read_bytes()
    plain = json.loads((GOLDEN / f"{NAME}.v1.json").read_text(encoding="utf-8"))
    assert "extended" not in plain
    assert decoded(1, body) == CreditExpired(
        **plain, extended=plain["last_day"] > plain["expiry_date"]
    )


@pytest.mark.parametrize(
    ("last", "extended"), [("2027-02-28", False), ("2027-03-01", True), ("", False)]
)
def test_a_record_of_version_1_learns_whether_its_last_day_had_moved(
    last: str, extended: bool
) -> None:
    raw = last.encode()
    body = bytes([20]) + b"2027-02-28" + bytes([2 * len(raw)]) + raw
    assert decoded(1, body).extended is extended


@given(st.text(), st.text())
def test_the_products_upcasters_are_total_and_pure(expiry: str, last: str) -> None:
    record = {"expiry_date": expiry, "last_day": last, "extended": False}
    before = dict(record)
    raised = UPCASTERS.raise_to(NAME, 1, 2, record)
    assert record == before and set(raised) == set(before)
    assert UPCASTERS.raise_to(NAME, 1, 2, record) == raised
    assert UPCASTERS.raise_to(NAME, 2, 2, record) is record


def test_the_products_upcasters_pass_the_check_of_every_start() -> None:
    UPCASTERS.check(default().by_name)


def _mutates(record: dict[str, Any]) -> dict[str, Any]:
    record["extended"] = True
    return record


class _Counts:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        self.calls += 1
        return record | {"last_day": str(self.calls)}


@pytest.mark.parametrize(
    ("name", "version", "step", "words"),
    [
        (NAME, 2, lambda r: r, "does not exist"),
        (NAME, 7, lambda r: r, "does not exist"),
        ("usance.trade.Nothing", 1, lambda r: r, "does not exist"),
        (NAME, 1, _mutates, "changes the record"),
        (NAME, 1, _Counts(), "not a function"),
        (NAME, 1, lambda r: r | {"more": 1}, "not a function"),
        (NAME, 1, lambda r: r["missing"], "raises KeyError"),
    ],
)
def test_a_step_that_is_not_pure_total_and_in_the_chain_stops_the_start(
    name: str, version: int, step: Any, words: str
) -> None:
    with pytest.raises(Unreadable, match=words) as caught:
        Upcasters({(name, version): step}).check(default().by_name)
    assert caught.value.hint


def test_steps_are_chained_by_version_and_a_failing_one_makes_the_record_unreadable() -> None:
    steps = Upcasters()
    steps.add("A", 1, lambda r: r | {"said": r["said"] + "1"})
    steps.add("A", 3, lambda r: r | {"said": r["said"] + "3"})
    assert steps.raise_to("A", 1, 4, {"said": ""}) == {"said": "13"}
    assert steps.raise_to("A", 2, 3, {"said": ""}) == {"said": ""}
    assert steps.touch("A", 1, 2) and not steps.touch("A", 2, 3)
    steps.add("A", 4, lambda r: r["gone"])
    with pytest.raises(Unreadable, match="version 4 failed"):
        steps.raise_to("A", 4, 5, {})


def test_a_blank_record_fits_every_newest_schema() -> None:
    from usance.messages.avro import plain_writer

    for entry in default().types():
        plain_writer(entry.text)(blank(entry.schema.root), b"")
