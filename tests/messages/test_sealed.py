"""Private blocks in logs that seal them: bound to their record, opened by whoever has the keys, never in clear."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_messages import (
    APPLICANT,
    COMMAND,
    COMMAND_ID,
    EVENT,
    INPUT,
    INSTANT,
    KEY,
    LOG_ID,
    MAKER,
    PREV,
    catalogue,
)

from usance.crypto.vault import KeyUnavailable, SubjectErased
from usance.kernel.decider import Denied, Erased
from usance.kernel.errors import Tampered, Unreadable
from usance.log.contract import Record
from usance.messages.envelope import Decoder, Encoder, Meta
from usance.messages.headers import unpack_headers
from usance.messages.registry import registered
from usance.messages.sealed import Sealer
from usance.testing.secrecy import Switched, memory_vault

CANARY = APPLICANT.name.encode()


class Sealed:
    """A sealing encoder and decoder over one vault."""

    def __init__(self) -> None:
        known = catalogue()
        registry = registered(known)
        plain = memory_vault()
        self.service = Switched(plain.service)
        self.vault = memory_vault(store=plain.store, service=self.service)
        self.encoder = Encoder(
            log_id=LOG_ID,
            catalogue=known,
            registry=registry,
            body_key=self.vault.derived("body"),
            sealer=Sealer(self.vault),
        )
        self.decoder = Decoder(
            catalogue=known, registry=registry, clear_blocks=False, vault=self.vault
        )
        self.clear = Encoder(log_id=LOG_ID, catalogue=known, registry=registry)

    def command(self, **more: Any) -> Any:
        arguments = {"key": KEY, "command_id": COMMAND_ID, "tenant": "albion", "actor": MAKER}
        return self.encoder.command(more.pop("message", COMMAND), **arguments | more)

    def event(self, message: Any = EVENT, **more: Any) -> Any:
        meta = self.decoder.meta(self.command()[2])
        place = {"stream": KEY, "ordinal": 0, "revision": 1, "index": 5, "prev": PREV} | more
        made = self.encoder.event(message, meta, instant=INSTANT, input=INPUT, **place)
        return made[1], made[2]


@pytest.fixture(autouse=True, scope="module")
def codec_in_turn(each_codec: str) -> None:
    """Do everything with one codec, then with the other."""


@pytest.fixture
def world() -> Sealed:
    return Sealed()


def test_a_command_and_an_event_are_read_as_they_were_written(world: Sealed) -> None:
    _, value, headers = world.command()
    assert world.decoder.message(headers, value) == COMMAND
    value, headers = world.event()
    assert world.decoder.message(headers, value) == EVENT
    made, _, _ = world.encoder.events(
        [EVENT, EVENT],
        world.decoder.meta(headers),
        stream=KEY.encode(),
        revision=7,
        index=1,
        prev=PREV,
        instant=INSTANT,
        input=INPUT,
        to=(lambda *parts: parts, "usance.trade.events", 0),
    )
    for _, _, _, value, packed in made:
        assert world.decoder.message(unpack_headers(packed), value) == EVENT


def test_nothing_of_a_private_block_stands_in_what_is_written(world: Sealed) -> None:
    for value in (world.command()[1], world.event()[0]):
        assert CANARY not in value
        assert b"CH93" not in value
        assert b"GGGG" not in value
        assert b"party-1" in value  # whose data it is stays readable: an opaque id


def test_sealing_the_same_record_twice_gives_other_bytes_and_the_same_body_hash(
    world: Sealed,
) -> None:
    one, other = world.command(), world.command()
    assert one[1] != other[1]
    hashes = {world.decoder.meta(headers).body_hash for _, _, headers in (one, other)}
    assert len(hashes) == 1
    changed = world.command(
        message=msgspec.structs.replace(
            COMMAND, applicant=msgspec.structs.replace(APPLICANT, name="X")
        )
    )
    assert world.decoder.meta(changed[2]).body_hash not in hashes


def test_the_body_hash_has_a_key_that_nobody_knows(world: Sealed) -> None:
    clear = world.clear.command(
        COMMAND, key=KEY, command_id=COMMAND_ID, tenant="albion", actor=MAKER
    )
    secret = world.decoder.meta(world.command()[2]).body_hash
    assert world.decoder.meta(clear[2]).body_hash != secret


def test_a_block_is_opened_in_its_own_record_alone(world: Sealed) -> None:
    value, headers = world.event()
    swaps = [
        world.event(revision=2),
        world.event(ordinal=1),
        world.event(stream="albion/file/OTHER"),
        world.event(stream="other/file/TF26"),
    ]
    for _, elsewhere in swaps:
        with pytest.raises(Tampered):
            world.decoder.message(elsewhere, value)
    _, command, at = world.command()
    _, _, other = world.command(command_id="5f1c3c0e-8a57-5d0a-9d51-5c7b1f0d2a12")
    with pytest.raises(Tampered):
        world.decoder.message(other, command)
    assert world.decoder.message(at, command) == COMMAND
    assert world.decoder.message(headers, value) == EVENT


def test_another_tenant_in_the_meta_opens_nothing(world: Sealed) -> None:
    _, value, _ = world.command()
    _, _, other = world.command(tenant="other")
    with pytest.raises(Tampered):
        world.decoder.message(other, value)


def test_a_block_in_clear_is_tampering_where_blocks_are_sealed(world: Sealed) -> None:
    _, value, headers = world.clear.command(
        COMMAND, key=KEY, command_id=COMMAND_ID, tenant="albion", actor=MAKER
    )
    with pytest.raises(Tampered, match="clear"):
        world.decoder.message(headers, value)
    with pytest.raises(Tampered, match="clear"):
        world.decoder.closed().message(headers, value)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_damaged_record_never_gives_another_message(data: Any) -> None:
    world = WORLD
    value, headers = WIRE
    raw = bytearray(value)
    start = value.index(b"\x01\x01")
    raw[data.draw(st.integers(start, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        world.decoder.message(headers, bytes(raw))
    except (Tampered, Unreadable):
        return
    pytest.fail("a changed record was read")


WORLD = Sealed()
WIRE = WORLD.event()


def test_whoever_has_no_keys_gets_denied_for_each_block(world: Sealed) -> None:
    value, headers = world.event()
    seen = world.decoder.closed().message(headers, value)
    assert seen.applicant == Denied("applicant", "party-1")
    assert seen.guarantor == Denied("guarantor", "party-2")
    assert seen.reference == EVENT.reference


def test_without_headers_nothing_can_be_opened(world: Sealed) -> None:
    value, _ = world.event()
    assert isinstance(world.decoder.value(value).applicant, Denied)


def test_an_erased_subject_leaves_its_blocks_erased_and_the_others_whole(world: Sealed) -> None:
    value, headers = world.event()
    vault = world.vault
    vault.save()
    name = vault.pseudonym("albion", "party-1")
    gone = vault.store.destroy("albion", name, 77, "certificate-1")
    vault.forget()
    seen = world.decoder.message(headers, value)
    assert seen.applicant == Erased("applicant", "party-1", gone[0].key_id, 77, "certificate-1")
    assert seen.guarantor == EVENT.guarantor
    assert not gone[0].blob
    with pytest.raises(SubjectErased):
        world.command()


def test_a_destroyed_key_of_somebody_else_is_tampering_and_no_erasure(world: Sealed) -> None:
    """Trap 19: the id of a tombstone in a living block would read as lawful."""
    value, headers = world.event()
    vault = world.vault
    vault.save()
    first, second = (vault.pseudonym("albion", f"party-{n}") for n in (1, 2))
    ids = {r.subject: r.key_id for r in vault.store.records()}
    vault.store.destroy("albion", second, 77, "c")
    vault.forget()
    swapped = value.replace(ids[first], ids[second])
    with pytest.raises(Tampered):
        world.decoder.message(headers, swapped)


def test_an_unknown_key_is_tampering_and_reading_never_mints(world: Sealed) -> None:
    value, headers = world.event()
    world.vault.save()
    known = [r.key_id for r in world.vault.store.records()]
    with pytest.raises(Tampered):
        world.decoder.message(headers, value.replace(known[0], b"\x77" * 16))
    assert [r.key_id for r in world.vault.store.records()] == known


def test_while_the_key_service_is_down_cached_subjects_go_on_and_new_ones_wait(
    world: Sealed,
) -> None:
    value, headers = world.event()
    world.service.up = False
    assert world.decoder.message(headers, value) == EVENT
    world.command()
    stranger = msgspec.structs.replace(
        COMMAND, applicant=msgspec.structs.replace(APPLICANT, subject="party-new")
    )
    with pytest.raises(KeyUnavailable):
        world.command(message=stranger)
    world.vault.save()
    world.vault.forget()
    with pytest.raises(KeyUnavailable):
        world.decoder.message(headers, value)
    world.service.up = True
    world.vault.patience()
    assert world.decoder.message(headers, value) == EVENT
    world.command(message=stranger)


def test_a_batch_asks_the_key_service_once(world: Sealed) -> None:
    """Trap 18: one call per batch, however many subjects it has."""
    wires = []
    for n in range(300):
        applicant = msgspec.structs.replace(APPLICANT, subject=f"party-{n}")
        message = msgspec.structs.replace(COMMAND, applicant=applicant)
        wires.append((message, world.command(message=message)))
    world.vault.save()
    world.vault.forget()
    world.service.calls.clear()
    batch = [(headers, value) for _, (_, value, headers) in wires]
    records = [Record("t", 0, n, None, v, h, 0) for n, (h, v) in enumerate(batch)]
    world.decoder.prefetch([records[:120], records[120:], []])
    read = [world.decoder.message(headers, value) for headers, value in batch]
    assert read == [message for message, _ in wires]
    unwraps = [c for c in world.service.calls if c[0] == "unwrap"]
    assert unwraps == [("unwrap", 300)]
    assert len(world.service.calls) == 1


def test_uses_are_counted_by_key(world: Sealed) -> None:
    sealer = world.encoder.sealer
    sealer.uses = {}
    world.event()
    world.event()
    assert sorted(sealer.uses.values()) == [2, 4]  # the command of the event's meta has party-1 too


def test_an_empty_subject_means_the_stream(world: Sealed) -> None:
    nobody = msgspec.structs.replace(APPLICANT, subject="")
    message = msgspec.structs.replace(COMMAND, applicant=nobody)
    _, value, headers = world.command(message=message)
    assert world.decoder.message(headers, value) == message
    world.vault.save()
    names = {r.subject for r in world.vault.store.records()}
    assert names == {world.vault.pseudonym("albion", KEY)}


def test_a_block_is_sixty_two_bytes_larger_and_its_length(world: Sealed) -> None:
    clear = world.clear.command(
        COMMAND, key=KEY, command_id=COMMAND_ID, tenant="albion", actor=MAKER
    )[1]
    assert len(world.command()[1]) - len(clear) <= 64


def test_meta_is_the_same_in_both(world: Sealed) -> None:
    sealed = world.decoder.meta(world.command()[2])
    assert isinstance(sealed, Meta)
    assert sealed.command_id == COMMAND_ID


def test_two_logs_in_one_process_keep_their_keys_apart(world: Sealed) -> None:
    """Trap 20: nothing of keys, codecs or services is the process's own."""
    other = Sealed()
    for one, another in ((world, other), (other, world)):
        value, headers = one.event()
        assert one.decoder.message(headers, value) == EVENT
        with pytest.raises(Tampered, match="never was"):
            another.decoder.message(headers, value)
