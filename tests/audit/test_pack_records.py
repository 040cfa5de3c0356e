"""Zips, Avro and lines as `verify.py` reads them: as others do, and nothing else."""

from __future__ import annotations

import contextlib
import io
import json
import random
import zipfile
from pathlib import Path

import msgspec
import pytest

from usance.audit.pack_proofs import Refused
from usance.audit.pack_records import (
    Schemas,
    avro,
    parts_of,
    place_of,
    prefixed,
    unprefixed,
    unzipped,
    zipped,
)
from usance.messages.catalogue import default

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = {"a.txt": b"one", "b/c.bin": bytes(range(256)), "b/d": b""}


@pytest.mark.parametrize("name", sorted(p.stem for p in GOLDEN.glob("*.bin")))
def test_every_golden_record_reads_as_the_programs_own_codec_reads_it(name: str) -> None:
    fullname, _, version = name.rpartition(".v")
    entry = default().by_name[fullname]
    if int(version) != entry.version:
        pytest.skip("the program reads older versions through upcasters; here they are as written")
    data = (GOLDEN / f"{name}.bin").read_bytes()
    reader = avro(json.loads(entry.versions[int(version)]), {})
    found, end = reader(data, 0)
    assert end == len(data)
    told = json.loads((GOLDEN / f"{name}.json").read_text())
    same = {f: v for f, v in found.items() if isinstance(v, str | int) and f in told}
    assert all(v == told[f] for f, v in same.items() if not _is_bytes(entry.text, f)), name
    assert same or not any(isinstance(v, str | int) for v in told.values())


def _is_bytes(schema: str, field: str) -> bool:
    """Tell whether a field is bytes, which this reader writes in hexadecimal."""
    (kind,) = [f["type"] for f in json.loads(schema)["fields"] if f["name"] == field]
    return "bytes" in json.dumps(kind) or "fixed" in json.dumps(kind) or "Hash" in json.dumps(kind)


def test_zips_come_back_as_they_were_and_other_programs_open_them() -> None:
    data = b"".join(zipped(FILES))
    assert {n: bytes(c) for n, c in unzipped(memoryview(data)).items()} == FILES
    with zipfile.ZipFile(io.BytesIO(data)) as found:
        assert {n: found.read(n) for n in found.namelist()} == FILES
        assert found.infolist()[0].date_time == (1980, 1, 1, 0, 0, 0)


def test_no_bit_of_a_zip_may_change() -> None:
    data = bytearray(b"".join(zipped(FILES)))
    for bit in range(len(data) * 8):
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Refused) as refused:
            unzipped(memoryview(bytes(data)))
        assert refused.value.code == "MALFORMED"
        data[bit // 8] ^= 1 << bit % 8


@pytest.mark.parametrize("name", ["../x", "/x", "a//b", "a/", "é", "a\\b", "-x", ".x", ""])
def test_names_that_could_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(Refused):
        unzipped(memoryview(b"".join(zipped({name: b"x"}))))


def test_hostile_avro_is_an_error_that_can_be_caught_and_ends() -> None:
    rng = random.Random(11)
    for path in sorted(GOLDEN.glob("usance.trade.*.bin"))[:40]:
        fullname, _, version = path.stem.rpartition(".v")
        reader = avro(json.loads(default().by_name[fullname].versions[int(version)]), {})
        data = path.read_bytes()
        for _ in range(50):
            other = bytearray(data[: rng.randrange(len(data) + 1)])
            for _ in range(min(len(other), 3)):
                other[rng.randrange(len(other))] = rng.randrange(256)
            with contextlib.suppress(ValueError, LookupError):
                reader(bytes(other), 0)


def test_a_list_that_claims_to_be_endless_is_refused() -> None:
    reader = avro({"type": "array", "items": "null"}, {})
    with pytest.raises(ValueError, match="longer than its bytes"):
        reader(b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", 0)
    with pytest.raises(ValueError, match="too long"):
        avro("long", {})(b"\xff" * 20, 0)


def test_parts_are_told_apart_by_their_lengths() -> None:
    assert unprefixed(prefixed([b"ab", b"c"]), "") != unprefixed(prefixed([b"a", b"bc"]), "")
    with pytest.raises(Refused):
        unprefixed(prefixed([b"ab"])[:-1], "here")
    with pytest.raises(ValueError, match="nine parts"):
        parts_of(prefixed([b""] * 8))
    with pytest.raises(ValueError, match="cut"):
        parts_of(prefixed([b"x"] * 9)[:-1])


def test_folders_that_are_no_trees_are_refused() -> None:
    assert place_of("trade.events/p003") == ("trade", "events", 3)
    for folder in ("heads", "trade.events", "trade.commands/p000", "../trade.events/p000", "packs"):
        with pytest.raises(Refused):
            place_of(folder)


def test_a_schema_is_read_by_the_first_one_which_every_log_begins_with() -> None:
    schemas = Schemas()
    assert schemas.register(b"\0\0\0\0\x09rest") == 0
    with pytest.raises((ValueError, IndexError)):
        schemas.register(b"\0\0\0\0\x01")
    assert msgspec.json.encode(schemas.texts) == b"{}"
