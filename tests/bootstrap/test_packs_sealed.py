"""Packs of a log that seals: private parts stay sealed and proven, and are opened for some, with a reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from pack_world import CHECKER, CREDIT, STREAM, PackWorld, files_of, lines, told, zip_of

from usance import config
from usance.bootstrap.packs.pack_scope import Request
from usance.kernel.errors import Refused

WORDS = "MERUDHARA SPICES"
"""A party of the credit: it stands in private blocks alone."""


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory, screening_cache: Path) -> Iterator[PackWorld]:
    folder = tmp_path_factory.mktemp("sealed")
    settings = replace(config.load(environ={}).settings, profile="secure", data=str(folder))
    found = PackWorld(folder, screening_cache, 20, settings)
    yield found
    found.close()


@pytest.fixture(scope="module")
def plain(sealed: PackWorld):
    return sealed.pack(Request("credit", CREDIT))


@pytest.fixture(scope="module")
def revealed(sealed: PackWorld):
    return sealed.pack(Request("credit", CREDIT, reveal=True, reason="FCA 2026/17"))


def test_what_is_sealed_stays_sealed_and_is_proven(sealed: PackWorld, plain) -> None:
    files = files_of(plain)
    assert not [name for name, data in files.items() if WORDS.encode() in data]
    report = told(plain.data, plain.fingerprint)
    assert isinstance(report, dict), report
    assert report["clear"] == 0 < report["sealed"] and report["revealed"] == 0
    applied = next(line for line in lines(files) if line["type"].endswith(".CreditApplied"))
    assert {block["name"] for block in applied["sealed"]} >= {"parties"}
    assert not any(block["clear"] for block in applied["content"]["private"])


def test_the_register_names_the_keys_and_holds_none(sealed: PackWorld, plain) -> None:
    keys = json.loads(files_of(plain)["keys.json"])["keys"]
    used = {block["key"] for line in lines(files_of(plain), "") for block in line["sealed"]}
    assert {key["key"] for key in keys} == used
    assert all(key["state"] == "active" and "blob" not in key for key in keys)
    assert all(len(key["check"]) and key["subject"] for key in keys)


def test_the_timeline_of_a_sealed_credit_is_told_without_its_private_parts(plain) -> None:
    page = files_of(plain)["index.html"].decode()
    assert "Application received for USD 90,000.00" in page and "Amara Okafor" in page


def test_private_parts_are_revealed_to_an_auditor_with_a_reason(revealed) -> None:
    files = files_of(revealed)
    report = told(revealed.data, revealed.fingerprint)
    assert isinstance(report, dict) and report["revealed"] > 0, report
    applied = next(line for line in lines(files) if line["type"].endswith(".CreditApplied"))
    opened = {block["name"]: block["content"] for block in applied["revealed"]}
    assert WORDS in json.dumps(opened["parties"])


def test_what_was_revealed_and_why_is_recorded_and_the_reason_is_private(
    sealed: PackWorld, revealed
) -> None:
    (past,) = sealed.runtime.store.history.stream(f"albion/export/{revealed.reference}")
    assert past.message.revealed > 0 and past.message.reason.text == "FCA 2026/17"
    raw = files_of(revealed)["sealed/export.bin"]
    assert b"FCA 2026/17" not in raw


def test_nobody_else_and_nobody_without_a_reason_reveals_anything(sealed: PackWorld) -> None:
    with pytest.raises(Refused) as refused:
        sealed.pack(Request("credit", CREDIT, reveal=True, reason="curious"), CHECKER)
    assert refused.value.code == "REVEAL_DENIED"
    with pytest.raises(Refused) as refused:
        sealed.pack(Request("credit", CREDIT, reveal=True))
    assert refused.value.code == "REASON_NEEDED"


def test_a_key_that_went_without_a_certificate_and_a_wrong_one_are_found(
    sealed: PackWorld, plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    from usance.audit import pack_verify

    monkeypatch.setattr(pack_verify.Pack, "_altered", lambda _: "")
    for change, code in (
        ({"state": "destroyed", "certificate": ""}, "KEY_MISSING"),
        ({"check": "00" * 8}, "KEY_COMMITMENT"),
    ):
        files = files_of(plain)
        keys = json.loads(files["keys.json"])
        keys["keys"] = [key | change for key in keys["keys"]]
        files["keys.json"] = json.dumps(keys).encode()
        found = told(zip_of(files), plain.fingerprint)
        assert isinstance(found, Exception) and found.code == code
    keys["keys"] = [
        key | {"state": "destroyed", "certificate": "C1", "check": ""} for key in keys["keys"]
    ]
    report = told(zip_of(files | {"keys.json": json.dumps(keys).encode()}), plain.fingerprint)
    assert isinstance(report, dict) and report["erased"] > 0 == report["sealed"]
    assert STREAM in report["scope"]["value"] or report["scope"]["value"] == CREDIT
