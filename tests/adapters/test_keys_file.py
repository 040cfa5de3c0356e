from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import pytest

from usance.adapters import keys_file
from usance.adapters.keys_file import FileKeyService, found_keyring
from usance.crypto import sealed_ring
from usance.crypto.keyservice import KekId, KeyServiceDenied, KeyState, Wrapped
from usance.crypto.sealed_ring import Lock, PassphraseLock, SharesLock
from usance.crypto.secret import Secret
from usance.crypto.shamir import combine, split
from usance.kernel.clock import SystemClock
from usance.kernel.errors import NotFound, Refused, Tampered, Unavailable, Unreadable
from usance.testing.key_conformance import TENANT, KeyServiceConformance, data_keys

PASSPHRASE = Secret(b"anchor velvet nine orchard")
FAST = 10


def by_passphrase(lock: Lock) -> Secret:
    assert isinstance(lock, PassphraseLock)
    return sealed_ring.opened_by_passphrase(lock, PASSPHRASE)


def opened(path: Path) -> FileKeyService:
    return FileKeyService(path, by_passphrase, SystemClock())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    root = sealed_ring.new_root()
    path = tmp_path / "keys.sealed"
    found_keyring(path, sealed_ring.locked_by_passphrase(root, PASSPHRASE, cost=FAST), root)
    return path


class TestFileKeyService(KeyServiceConformance):
    @pytest.fixture(autouse=True)
    def _path(self, path: Path) -> None:
        self.path = path

    def open_service(self) -> FileKeyService:
        return opened(self.path)


def test_three_shares_of_five_open_the_file(tmp_path: Path) -> None:
    path, root = tmp_path / "keys.sealed", sealed_ring.new_root()
    shares = split(root)
    found_keyring(path, sealed_ring.locked_by_shares(root, threshold=3, shares=5), root)

    def by_shares(lock: Lock) -> Secret:
        assert isinstance(lock, SharesLock)
        given = combine(shares[1:4])
        sealed_ring.demand_root(lock, given)
        return given

    service = FileKeyService(path, by_shares, SystemClock())
    service.create(TENANT)
    assert FileKeyService(path, lambda _: root, SystemClock()).versions(TENANT)
    text = path.read_text()
    assert all(share.value.hex() not in text for share in shares)
    other = split(sealed_ring.new_root())
    lock = sealed_ring.read(path.read_bytes()).lock
    assert isinstance(lock, SharesLock)
    with pytest.raises(KeyServiceDenied, match="another keyring"):
        sealed_ring.demand_root(lock, combine(other))


def test_nothing_in_the_file_is_in_clear(path: Path) -> None:
    service = opened(path)
    service.create("a-tenant-with-a-marker")
    text = path.read_text()
    assert "marker" not in text
    assert "version" not in text
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir() if p.suffix == ".new"] == []


def test_another_passphrase_opens_nothing_and_is_no_tampering(path: Path) -> None:
    def wrong(lock: Lock) -> Secret:
        assert isinstance(lock, PassphraseLock)
        return sealed_ring.opened_by_passphrase(lock, Secret(b"anchor velvet nine orchid"))

    with pytest.raises(KeyServiceDenied, match="passphrase does not open"):
        FileKeyService(path, wrong, SystemClock())


def test_a_short_passphrase_is_refused() -> None:
    with pytest.raises(Refused) as error:
        sealed_ring.locked_by_passphrase(sealed_ring.new_root(), Secret(b"velvet"), cost=FAST)
    assert error.value.code == "PASSPHRASE_SHORT"


def test_every_altered_byte_of_the_file_is_refused(path: Path) -> None:
    opened(path).create(TENANT)
    data = path.read_bytes()
    for place in range(len(data)):
        bad = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        path.write_bytes(bad)
        with pytest.raises((Tampered, Unreadable, KeyServiceDenied)):
            opened(path)
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises((Tampered, Unreadable)):
            opened(path)


def test_the_same_keyring_in_other_bytes_is_refused(path: Path) -> None:
    opened(path).create(TENANT)
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(Unreadable):
        opened(path)


def test_a_lock_cannot_be_replaced_by_a_weaker_one(path: Path) -> None:
    # Whoever knows the root of no keyring cannot lead another lock to this ring.
    theirs = sealed_ring.new_root()
    found = sealed_ring.read(path.read_bytes())
    lock = sealed_ring.locked_by_passphrase(theirs, PASSPHRASE, cost=FAST)
    with pytest.raises(Tampered):
        sealed_ring.opened(
            sealed_ring.SealedRing(found.format, lock, found.nonce, found.sealed), theirs
        )
    ours = by_passphrase(found.lock)
    with pytest.raises(Tampered):
        sealed_ring.opened(
            sealed_ring.SealedRing(found.format, lock, found.nonce, found.sealed), ours
        )


def test_a_work_factor_out_of_bounds_is_not_computed(path: Path) -> None:
    found = json.loads(path.read_bytes())
    for cost in (30, 9):
        found["lock"]["cost"] = cost
        path.write_text(json.dumps(found))
        with pytest.raises(Unreadable):
            opened(path)


def test_a_passphrase_changes_and_what_was_wrapped_still_opens(path: Path) -> None:
    service = opened(path)
    service.create(TENANT)
    keys = data_keys(1)
    wrapped = service.wrap(TENANT, keys)
    new = Secret(b"seven kettles under the pier")
    service.change_passphrase(new, cost=FAST)
    with pytest.raises(KeyServiceDenied):
        opened(path)

    def by_new(lock: Lock) -> Secret:
        assert isinstance(lock, PassphraseLock)
        return sealed_ring.opened_by_passphrase(lock, new)

    assert FileKeyService(path, by_new, SystemClock()).unwrap(wrapped) == [keys[0][1]]
    assert service.rotate(TENANT).id == KekId(TENANT, 2)


def test_a_keyring_is_never_written_over(path: Path) -> None:
    before = path.read_bytes()
    root = sealed_ring.new_root()
    with pytest.raises(Refused) as error:
        found_keyring(path, sealed_ring.locked_by_shares(root, threshold=3, shares=5), root)
    assert error.value.code == "KEYRING_EXISTS"
    assert path.read_bytes() == before


def _rotate(path: Path, times: int) -> None:
    service = opened(path)
    for _ in range(times):
        service.rotate(TENANT)


def test_changes_of_several_processes_are_all_kept(path: Path) -> None:
    watcher = opened(path)
    watcher.create(TENANT)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_rotate, args=(path, 5)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [p.exitcode for p in processes] == [0, 0, 0]
    assert [v.id.version for v in watcher.versions(TENANT)] == list(range(1, 17))


def test_a_change_that_did_not_reach_the_disk_did_not_happen(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = opened(path)
    service.create(TENANT)
    keys = data_keys(1)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(keys_file.os, "fsync", full)
        with pytest.raises(Unavailable, match="No space left"):
            service.rotate(TENANT)
    assert [v.state for v in service.versions(TENANT)] == [KeyState.ACTIVE]
    [item] = service.wrap(TENANT, keys)
    assert isinstance(item, Wrapped)
    assert item.kek.version == 1
    assert opened(path).unwrap([item]) == [keys[0][1]]


def test_a_file_that_went_away_is_waited_for(path: Path) -> None:
    service = opened(path)
    service.create(TENANT)
    away = path.with_name("elsewhere")
    path.rename(away)
    with pytest.raises(Unavailable):
        service.wrap(TENANT, data_keys(1))
    with pytest.raises(NotFound) as error:
        opened(path)
    assert "key ceremony" in error.value.hint
    away.rename(path)
    assert service.wrap(TENANT, data_keys(1))


def test_an_older_copy_put_back_brings_a_destroyed_version_back_to_life(path: Path) -> None:
    # Known, and said in `sealed_ring`: a file cannot protect from its own past; certificates name the date.
    service = opened(path)
    service.create(TENANT)
    old = path.read_bytes()
    service.rotate(TENANT)
    service.destroy(KekId(TENANT, 1))
    path.write_bytes(old)
    os.utime(path)
    assert [v.state for v in opened(path).versions(TENANT)] == [KeyState.ACTIVE]


def test_a_file_or_link_put_beside_the_keyring_lends_it_no_rights(tmp_path: Path) -> None:
    path = tmp_path / "keys.sealed"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    (tmp_path / "keys.sealed.new").symlink_to(elsewhere)
    root = sealed_ring.new_root()
    found_keyring(path, sealed_ring.locked_by_passphrase(root, PASSPHRASE, cost=FAST), root)
    assert elsewhere.read_text() == "mine"
    assert path.stat().st_mode & 0o777 == 0o600
