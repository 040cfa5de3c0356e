"""Safes: one suite for a folder and for a bucket of an emulator; attacks on each; a program over one."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner
from moto import mock_aws
from msgspec.structs import replace

from usance.adapters.proof_files import FolderSafe, make_key
from usance.adapters.safe_s3 import BucketSettings, S3Safe
from usance.audit.codes import Detected
from usance.audit.ports import WormStore
from usance.bootstrap.doctor import examine
from usance.bootstrap.packs.auditing import evidence
from usance.bootstrap.packs.depositing import check, deposit, pack_name
from usance.bootstrap.proof.safes import open_safe
from usance.bootstrap.runtime import Runtime
from usance.bootstrap.store import Folder
from usance.cli.main import usance
from usance.config import ProofSettings, Settings
from usance.kernel.clock import MS_PER_DAY, BookClock, SystemClock
from usance.kernel.errors import Refused, Unavailable, Unreadable
from usance.testing.safe_conformance import HEAD, SafeConformance
from usance.testing.trade import MONDAY

REGION, DAYS = "eu-west-1", 3_653
_numbers = itertools.count(1)


class TestFolderSafe(SafeConformance):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.root = tmp_path / "safe"

    def open_safe(self) -> WormStore:
        return FolderSafe(self.root)


def test_a_folder_is_no_safe_and_says_so(tmp_path: Path) -> None:
    safe = FolderSafe(tmp_path / "safe")
    assert "can empty it" in safe.examine()
    assert [one.refused for one in safe.probe()] == [False]


# -- an emulator: the calls, and what a reader makes of versions


@pytest.fixture(scope="module")
def emulated() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "of-a-test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "of-a-test")
        with mock_aws():
            yield boto3.client("s3", region_name=REGION)


def bucket_of(client: Any, *, locked: bool = True) -> str:
    name = f"proofs-{os.getpid()}-{next(_numbers)}"
    place = {"LocationConstraint": REGION}
    client.create_bucket(
        Bucket=name, CreateBucketConfiguration=place, ObjectLockEnabledForBucket=locked
    )
    return name


class Bucketed:
    """A safe over a bucket, and what an administrator does to it."""

    def __init__(self, client: Any, prefix: str = "book") -> None:
        self.client = client
        self.bucket, self.prefix = bucket_of(client), prefix

    def safe(self) -> S3Safe:
        place = BucketSettings(self.bucket, self.prefix, REGION, "", DAYS)
        return S3Safe(place, SystemClock(), self.client)

    def key(self, name: str = HEAD) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": f"{self.prefix}/{name}" if self.prefix else name}

    def versions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.client.list_object_versions(Bucket=self.bucket)[
            "Versions"
        ]
        return found


class TestEmulatedBucket(SafeConformance):
    @pytest.fixture(autouse=True)
    def _place(self, emulated: Any) -> None:
        self.place = Bucketed(emulated)

    def open_safe(self) -> WormStore:
        return self.place.safe()


class TestEmulatedBucketWithoutPrefix(TestEmulatedBucket):
    @pytest.fixture(autouse=True)
    def _place(self, emulated: Any) -> None:
        self.place = Bucketed(emulated, "")


class Locks:
    """What must hold of a bucket, whoever serves it."""

    place: Bucketed

    def test_an_object_is_locked_for_as_long_as_was_said(self) -> None:
        safe = self.place.safe()
        before = SystemClock().now()
        safe.put(HEAD, b"head")
        [kept] = safe.kept()
        assert kept.mode == "COMPLIANCE"
        assert abs(kept.until - before - DAYS * MS_PER_DAY) < 60_000

    def test_a_version_is_not_deleted(self) -> None:
        self.place.safe().put(HEAD, b"head")
        version = self.place.versions()[0]["VersionId"]
        for more in ({}, {"BypassGovernanceRetention": True}):
            with pytest.raises(ClientError):
                self.place.client.delete_object(**self.place.key(), VersionId=version, **more)
        assert self.place.safe().read(HEAD) == b"head"

    def test_what_is_put_over_it_is_a_later_version_that_does_not_count(self) -> None:
        safe = self.place.safe()
        safe.put(HEAD, b"head")
        for n in range(3):
            self.place.client.put_object(**self.place.key(), Body=b"forged %d" % n)
        assert safe.read(HEAD) == b"head"
        assert [k.versions for k in safe.kept()] == [4]
        with pytest.raises(Detected, match="ANCHOR_MISMATCH"):
            safe.put(HEAD, b"forged 2")

    def test_a_marker_hides_nothing(self) -> None:
        safe = self.place.safe()
        safe.put(HEAD, b"head")
        self.place.client.delete_object(**self.place.key())
        assert safe.names() == [HEAD]
        assert safe.read(HEAD) == b"head"
        assert [k.hidden for k in safe.kept()] == [True]

    def test_a_bucket_without_object_lock_is_no_safe(self) -> None:
        client = self.place.client
        place = BucketSettings(bucket_of(client, locked=False), "", REGION, "", DAYS)
        bare = S3Safe(place, SystemClock(), client)
        with pytest.raises(Unavailable, match="no Object Lock"):
            bare.examine()
        with pytest.raises(Unavailable):
            bare.put(HEAD, b"head")

    def test_a_bucket_that_is_not_there_says_what_to_do(self) -> None:
        nowhere = BucketSettings("no-such-bucket-here", "", REGION, "", DAYS)
        with pytest.raises(Unavailable) as away:
            S3Safe(nowhere, SystemClock(), self.place.client).put(HEAD, b"head")
        assert away.value.hint


class TestEmulatedLocks(Locks):
    @pytest.fixture(autouse=True)
    def _place(self, emulated: Any) -> None:
        self.place = Bucketed(emulated)

    def test_an_emulator_is_found_out(self) -> None:
        """Moto lets a retention be shortened and weakened: a probe says so, and no such store is called safe."""
        told = {one.attack: one.refused for one in self.place.safe().probe()}
        assert told["delete the version"]
        assert not told["shorten the retention"]
        assert not told["weaken it to governance"]


# -- in a program


@pytest.fixture
def book(emulated: Any, tmp_path: Path) -> tuple[Path, Settings, Bucketed]:
    """A log whose anchors went into a bucket."""
    place = Bucketed(emulated)
    address = f"s3:{place.bucket}/{place.prefix}?region={REGION}"
    settings = Settings(proof=ProofSettings(safe=address, safe_days=DAYS))
    program = Runtime(Folder(tmp_path / "data"), settings, BookClock(MONDAY))
    program.drive()
    program.close()
    assert not program.trouble
    return tmp_path / "data", settings, place


def test_heads_tiles_and_packs_go_into_the_bucket_and_are_checked(
    book: tuple[Path, Settings, Bucketed], tmp_path: Path
) -> None:
    root, settings, place = book
    assert not (root / "anchors").exists()
    pack = tmp_path / "pack.zip"
    pack.write_bytes(b"a pack")
    with evidence(Folder(root), settings) as found:
        assert found.audit().whole
        done = deposit(found, [pack])
        assert done.objects > 1, "the schemas alone fill a tile"
        assert deposit(found, [pack]) == (1, 6, done.objects - 1)
        report = check(found, SystemClock().now())
        assert report.findings == []
        assert report.objects == report.locked > done.objects
    names = place.safe().names()
    assert pack_name(b"a pack") in names
    assert any(n.startswith("heads/") for n in names)
    assert "log/system.schemas/p000/tile/0/000" in names


def test_what_was_done_to_the_safe_or_to_the_tiles_is_told(
    book: tuple[Path, Settings, Bucketed],
) -> None:
    root, settings, place = book
    name = "log/system.schemas/p000/tile/0/000"
    with evidence(Folder(root), settings) as found:
        deposit(found, [])
        place.client.put_object(**place.key(name), Body=b"forged")
        place.client.delete_object(**place.key("log/system.schemas/p000/tile/0/001"))
        tile = root / "proof" / "system.schemas" / "p000" / "tile" / "entries" / "000"
        tile.write_bytes(tile.read_bytes()[:-1] + b"x")
        told = {(f.code, f.where) for f in check(found, SystemClock().now()).findings}
    assert ("ANCHOR_MISMATCH", name) in told
    assert ("ANCHOR_MISMATCH", "log/system.schemas/p000/tile/0/001") in told
    assert ("TILE_MISMATCH", "log/system.schemas/p000/tile/entries/000") in told
    assert len(told) == 3


def test_a_retention_that_is_over_is_told(book: tuple[Path, Settings, Bucketed]) -> None:
    root, settings, _ = book
    with evidence(Folder(root), settings) as found:
        later = SystemClock().now() + (DAYS + 1) * MS_PER_DAY
        report = check(found, later)
    assert report.locked == 0
    assert len(report.findings) == report.objects > 0


def test_a_bucket_rolled_back_with_the_folder_is_not_possible_so_a_rollback_shows(
    book: tuple[Path, Settings, Bucketed],
) -> None:
    """The last heads are put back to before; the safe keeps what was signed since."""
    root, settings, _ = book
    for name in ("proof", "heads", "witness"):
        folder = root / name
        folder.rename(root / f"{name}.away")
    with pytest.raises(Detected, match="ROLLBACK"):
        program = Runtime(Folder(root), settings, BookClock(MONDAY))
        try:
            program.drive()
            program.sealing.notary.open()
        finally:
            program.sealing.release()
            program.store.close()


def test_addresses_and_days_are_demanded(tmp_path: Path) -> None:
    clock = SystemClock()
    said = Settings(proof=ProofSettings(safe="s3:albion-proofs/book"))
    with pytest.raises(Refused, match="days"):
        open_safe(tmp_path, said, clock)
    wrong = replace(said, proof=ProofSettings(safe="s3:albion?bucket=x", safe_days=1))
    with pytest.raises(Unreadable):
        open_safe(tmp_path, wrong, clock)


def test_doctor_looks_at_the_safe_the_key_and_the_newest_head(
    book: tuple[Path, Settings, Bucketed],
) -> None:
    root, settings, place = book
    told = {f.check: f for f in examine(Folder(root), settings)}
    assert told["safe"].well and "Object Lock" in told["safe"].found
    assert told["signing key"].well and told["newest head"].well
    bare = bucket_of(place.client, locked=False)
    said = replace(settings.proof, safe=f"s3:{bare}?region={REGION}")
    told = {f.check: f for f in examine(Folder(root), replace(settings, proof=said))}
    assert not told["safe"].well and "no Object Lock" in told["safe"].found
    (root / "notary.key").unlink()
    make_key(root / "notary.key")
    told = {f.check: f for f in examine(Folder(root), settings)}
    assert told["signing key"].tampered


def test_a_folders_safe_is_deposited_into_by_commands(tmp_path: Path) -> None:
    program = Runtime(Folder(tmp_path), Settings(), BookClock(MONDAY))
    program.drive()
    program.close()
    run = CliRunner()
    base = ["--data", str(tmp_path), "--output", "json", "audit"]
    first = run.invoke(usance, [*base, "deposit"])
    assert first.exit_code == 0, first.output
    told = json.loads(run.invoke(usance, [*base, "safe"]).stdout)
    assert told["findings"] == [] and told["objects"] > 2 and told["locked"] == 0
    probed = run.invoke(usance, [*base, "safe", "--probe"])
    assert probed.exit_code == 1, "a folder lets its files be deleted"
    tile = next(p for p in (tmp_path / "anchors" / "log").rglob("000") if p.is_file())
    tile.chmod(0o644)
    tile.write_bytes(b"forged")
    assert run.invoke(usance, [*base, "safe"]).exit_code == 5
