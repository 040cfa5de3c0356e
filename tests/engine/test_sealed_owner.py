"""An owner on a log that seals: keys counted and announced, outages waited out in order, restarts, snapshots."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from usance.crypto.keyservice import KeyState
from usance.crypto.vault import MAX_AGE_MS, REFRESH_MS, Vault
from usance.domain.guards import digest
from usance.engine.history import History
from usance.engine.reactors.reactor import Outgoing
from usance.engine.secrecy.keys import TAKEOVER_USES
from usance.kernel.decider import Context
from usance.messages.decoder import AHEAD
from usance.testing.bench_rig import PARTITIONS, Rig
from usance.testing.secrecy import Switched
from usance.testing.workload import Workload

STRANGERS = 7


def secure(tmp_path: Path) -> tuple[Rig, Switched]:
    rig = Rig(tmp_path, profile="secure")
    assert rig.vault is not None
    service = Switched(rig.vault.service)
    rig.vault.service = service
    return rig, service


def vault_of(rig: Rig) -> Vault:
    assert rig.vault is not None
    return rig.vault


def applications(work: Workload, count: int) -> list[Outgoing]:
    return [c for c in work.take(count * 2) if "/credit/" in c.key]


def events_of(rig: Rig, name: str) -> list[Any]:
    places = [rig.topics.at("trade", "events", n) for n in range(rig.topics.partitions)]
    return [
        (record, rig.decoder.message(record.headers, record.value))
        for place in places
        for record in rig.log.scan(place, 0)
        if dict(record.headers)["ce_type"].endswith(name.encode())
    ]


def test_each_key_is_announced_once_per_partition_and_its_uses_are_counted(tmp_path: Path) -> None:
    rig, _ = secure(tmp_path)
    rig.preload(applications(Workload(1, subjects=4), 40))
    rig.work_off()
    rig.verify()
    announced = [m.key for _, m in events_of(rig, "KeyCreated")]
    counted = {p: s.uses for p, s in rig.owner.states.items() if s.uses}
    assert len(announced) == sum(len(uses) for uses in counted.values())
    assert sum(sum(uses.values()) for uses in counted.values()) == 2 * len(
        events_of(rig, "CreditApplied")
    )
    kept = {r.key_id.hex(): r for r in vault_of(rig).store.records()}
    for _, message in events_of(rig, "KeyCreated"):
        assert kept[message.key].check.hex() == message.check
    rig.close()


def test_a_take_over_counts_on_from_what_the_log_shows_and_some_more(tmp_path: Path) -> None:
    rig, _ = secure(tmp_path)
    rig.preload(applications(Workload(1, subjects=4), 40))
    rig.work_off()
    before = {p: dict(s.uses) for p, s in rig.owner.states.items()}
    for snapshots in (False, True):
        rig.restore(snapshots=snapshots)
        for place, uses in before.items():
            after = rig.owner.states[place].uses
            assert after.keys() == uses.keys()
            assert all(after[k] >= n + TAKEOVER_USES for k, n in uses.items())
        before = {p: dict(s.uses) for p, s in rig.owner.states.items()}
    rig.verify()
    rig.close()


def test_a_key_that_sealed_enough_gets_a_successor_and_still_opens(tmp_path: Path) -> None:
    rig, _ = secure(tmp_path)
    vault = vault_of(rig)
    vault.uses_max = 10_020
    work = Workload(1, subjects=1)
    for _ in range(4):
        rig.preload(applications(work, 20))
        rig.work_off()
    records = [r for r in vault.store.records() if r.retention == "relationship"]
    versions = sorted(r.version for r in records)
    assert versions[0] == 1 and versions[-1] > 1
    assert sum(r.state is KeyState.ACTIVE for r in records) <= 1  # the next use mints the next
    rig.verify()  # every event is opened again
    rig.close()


def test_while_the_key_service_is_down_known_subjects_go_on_and_new_ones_wait_in_order(
    tmp_path: Path,
) -> None:
    rig, service = secure(tmp_path)
    known = Workload(1, subjects=2)
    rig.preload(applications(known, 4))
    rig.work_off()
    other = Workload(2, subjects=STRANGERS)
    other.take(100)  # streams of their own
    strangers = applications(other, STRANGERS)
    rig.preload(strangers)  # their gateway had the keys
    vault = vault_of(rig)
    mine = vault.pseudonym("albion", "party-0")
    vault.evict([r.key_id for r in vault.store.records() if r.subject != mine])
    service.up = False
    late = applications(known, 4)
    rig.preload(late)
    rig.work_off(1)
    assert {c.id for c in late} <= rig.answered.keys()
    strangers = [c for c in strangers if c.command.parties.subject != "party-0"]
    parked = [p for s in rig.owner.states.values() for p in s.parks.values() if p]
    waiting = {p.key for p in parked}
    assert waiting and waiting <= {c.key for c in strangers}
    assert all(p.due and not p.dead_letter_id for p in parked)
    assert not any(s.dead_letters for s in rig.owner.states.values())
    service.up = True
    vault.patience()
    _until_drained(rig)
    assert {c.id for c in strangers} <= rig.answered.keys()
    verdict = rig.verify()
    assert verdict.answers["accepted"] == rig.sent
    rig.close()


def _until_drained(rig: Rig) -> None:
    for _ in range(200):
        rig.owner.step(0.05)
        rig.owner.settle()
        if not any(p for s in rig.owner.states.values() for p in s.parks.values()):
            return
    pytest.fail("what waited was not drained")


def test_what_waits_survives_a_restart_and_is_decided_once(tmp_path: Path) -> None:
    rig, service = secure(tmp_path)
    strangers = applications(Workload(2, subjects=STRANGERS), STRANGERS)
    rig.preload(strangers)
    vault = vault_of(rig)
    vault.evict(list(vault.open_keys))
    service.up = False
    rig.work_off(1)
    assert not rig.answered
    rig.restore(snapshots=True)
    service.up = True
    vault.patience()
    _until_drained(rig)
    assert {c.id for c in strangers} <= rig.answered.keys()
    assert rig.verify().answers["accepted"] == len(strangers)
    rig.close()


def test_nothing_in_clear_is_in_any_file_of_the_log(tmp_path: Path) -> None:
    rig, _ = secure(tmp_path)
    commands = applications(Workload(3, subjects=5), 20)
    rig.preload(commands)
    rig.work_off()
    rig.restore(snapshots=True)
    rig.close()
    names = {c.command.parties.beneficiary.address.encode() for c in commands}
    names |= {c.command.narrative.conditions.encode() for c in commands}
    for file in tmp_path.rglob("*"):
        data = file.read_bytes() if file.is_file() else b""
        assert not [n for n in names if n in data], file


def test_a_command_of_an_erased_subject_is_refused_and_its_neighbours_are_not(
    tmp_path: Path,
) -> None:
    rig, _ = secure(tmp_path)
    work = Workload(1, subjects=2)
    first = applications(work, 2)
    rig.preload(first)
    rig.work_off()
    vault = vault_of(rig)
    rest = applications(work, 4)
    outputs = rig.outputs(rest)
    gone = first[0].command.parties.subject
    vault.store.destroy("albion", vault.pseudonym("albion", gone), 5, "certificate")
    vault.forget()
    rig.log.append(outputs)
    rig.work_off(4)
    verdict = rig.verify()
    mine = sum(c.command.parties.subject == gone for c in rest)
    assert verdict.answers["refused"] == mine > 0
    assert verdict.answers["accepted"] == rig.sent - mine
    restored, _ = rig.restore(snapshots=False)  # replay goes on, with Erased in the place of blocks
    assert restored
    rig.verify()
    rig.close()


def test_cached_keys_are_asked_for_again_and_let_go_at_their_greatest_age(tmp_path: Path) -> None:
    rig, service = secure(tmp_path)
    rig.preload(applications(Workload(1, subjects=3), 6))
    vault = vault_of(rig)
    assert vault.cached()
    now = rig.clock.now()
    vault.clock = _At(now + REFRESH_MS + 1)
    vault.tick()
    assert vault.cached() == 3
    service.up = False
    vault.clock = _At(now + 2 * REFRESH_MS + 20_000)
    vault.tick()
    assert vault.cached() == 3  # down, but young enough
    vault.clock = _At(now + REFRESH_MS + MAX_AGE_MS + 40_000)
    vault.tick()
    assert vault.cached() == 0
    rig.close()


class _At:
    def __init__(self, now: int) -> None:
        self._now = now

    def now(self) -> int:
        return self._now

    def monotonic(self) -> float:
        return self._now / 1000

    def sleep(self, seconds: float) -> None:
        pass


def test_digests_of_what_is_private_are_made_under_a_key_of_the_tenant(tmp_path: Path) -> None:
    """Anybody can make a plain one of a guess, and would know whether an erased person was meant."""
    rig, _ = secure(tmp_path)
    rig.preload(applications(Workload(1, subjects=2), 4))
    rig.work_off()
    vault = vault_of(rig)
    for record, event in events_of(rig, "CreditApplied"):
        plain = Context(record.key.decode(), 0, 0, "albion", event.maker, "", "", "")
        keyed = msgspec.structs.replace(plain, digest_key=vault.digest_key("albion"))
        assert event.parties_digest == digest(keyed, event.parties) != digest(plain, event.parties)
        other = msgspec.structs.replace(plain, digest_key=vault.digest_key("other"))
        assert event.parties_digest != digest(other, event.parties)
    rig.close()


def test_whoever_reads_on_has_keys_unwrapped_together(tmp_path: Path) -> None:
    """Trap 18: a call for each key would be a millisecond each on a key service that is another machine."""
    rig, service = secure(tmp_path)
    subjects = 300
    commands = applications(Workload(7, subjects=subjects), 1_200)
    rig.preload(commands)
    rig.work_off()
    vault = vault_of(rig)
    keys = sum(1 for _ in vault.store.records())
    assert keys > 100

    def calls(read: Callable[[], Any]) -> list[int]:
        vault.forget()
        service.calls.clear()
        read()
        return [count for name, count in service.calls if name == "unwrap"]

    streams = {c.key for c in commands}
    history = History(rig.log, rig.topics, rig.decoder)
    readings: dict[str, tuple[Callable[[], Any], int]] = {
        "take-over": (
            lambda: rig.restore(snapshots=False),
            len(commands) // AHEAD + 3 * PARTITIONS,
        ),
        "views": (rig.project, len(commands) // 100),
        "one stream": (lambda: history.stream(min(streams)), 1),
    }
    for name, (read, most) in readings.items():
        asked = calls(read)
        assert asked and len(asked) <= most, (name, asked)
        assert sum(asked) <= 2 * keys, name
    # A key that a record names by chance, or that is damaged, is told where the record is read.
    forged = [r._replace(value=b"\x01\x01" + bytes(16)) for r, _ in events_of(rig, "CreditApplied")]
    assert len(list(rig.decoder.with_keys(forged))) == len(forged)
    rig.close()


def test_a_tombstone_stays_one_in_a_log_that_seals(tmp_path: Path) -> None:
    """Trap 17: what is compacted away by null must be null, sealed or not, and its key names nobody."""
    rig, service = secure(tmp_path)
    strangers = applications(Workload(2, subjects=STRANGERS), STRANGERS)
    rig.preload(strangers)
    vault = vault_of(rig)
    vault.evict(list(vault.open_keys))
    service.up = False
    rig.work_off(1)
    service.up = True
    vault.patience()
    _until_drained(rig)
    places = [rig.topics.at("trade", "parked", n) for n in range(rig.topics.partitions)]
    parked = [r for place in places for r in rig.log.scan(place, 0)]
    gone = {r.key for r in parked if r.value is None}
    assert gone and gone == {r.key for r in parked}  # all that waited went, each by a null
    names = {c.command.parties.applicant.name.encode() for c in strangers}
    assert not [r.key for r in parked if any(n in (r.key or b"") for n in names)]
    assert list(rig.decoder.with_keys(parked)) == parked  # and readers pass over it
    rig.close()
