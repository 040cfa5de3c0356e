"""What every key service must do: subclass `KeyServiceConformance` in a test module, give `open_service`."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from usance.crypto.keyservice import (
    BATCH_MAX,
    KekId,
    KeyContext,
    KeyGone,
    KeyService,
    KeyState,
    KeyTampered,
    Purpose,
    Wrapped,
)
from usance.crypto.secret import KEY_BYTES, Secret
from usance.kernel.errors import NotFound, Refused
from usance.kernel.ids import system_entropy

TENANT = "albion"
OTHER_TENANT = "borealis"


def context(number: int = 0, *, tenant: str = TENANT, **changes: Any) -> KeyContext:
    """Return a context; the number makes it another key's."""
    key = KeyContext(
        tenant=tenant, subject=f"s-{number}", retention="trade-10y",
        key_id=number.to_bytes(16, "big"), version=1,
    )  # fmt: skip
    return key._replace(**changes)


def data_keys(count: int, *, tenant: str = TENANT) -> list[tuple[KeyContext, Secret]]:
    """Return fresh data keys with contexts of their own."""
    return [(context(n, tenant=tenant), Secret(system_entropy(KEY_BYTES))) for n in range(count)]


def strangers(item: Wrapped) -> Iterator[tuple[str, Wrapped]]:
    """Yield what an operator could make of a stored key: each binding of it replaced in turn."""
    own = item.context
    for name, changed in (
        ("subject", own._replace(subject="s-of-another")),
        ("retention", own._replace(retention="trade-5y")),
        ("key id", own._replace(key_id=b"\xff" * 16)),
        ("version", own._replace(version=own.version + 1)),
        ("purpose", own._replace(purpose=Purpose.TOKEN)),
        ("a moved boundary", own._replace(subject=own.subject + "t", retention=own.retention[1:])),
    ):
        yield name, item._replace(context=changed)
    yield (
        "tenant",
        Wrapped(KekId(OTHER_TENANT, 1), own._replace(tenant=OTHER_TENANT), item.blob),
    )
    yield "tenant of the KEK alone", item._replace(kek=KekId(OTHER_TENANT, 1))
    yield "tenant of the context alone", item._replace(context=own._replace(tenant=OTHER_TENANT))
    yield "KEK version", item._replace(kek=KekId(own.tenant, 2))
    yield "a KEK version that never was", item._replace(kek=KekId(own.tenant, 9))
    yield "version 0", item._replace(kek=KekId(own.tenant, 0))


class KeyServiceConformance:
    """The contract as tests; each is a promise of `crypto.keyservice.KeyService`."""

    def open_service(self) -> KeyService:
        """Return a service over this test's keys: the same ones at each call, as another process sees them."""
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def _closing(self) -> Iterator[None]:
        self._opened: list[KeyService] = []
        yield
        for service in self._opened:
            service.close()

    def another(self) -> KeyService:
        """Return one more service over this test's keys, closed after the test."""
        self._opened.append(self.open_service())
        return self._opened[-1]

    @pytest.fixture
    def service(self) -> KeyService:
        """Return a service that has a KEK for two tenants."""
        service = self.another()
        service.create(TENANT)
        service.create(OTHER_TENANT)
        return service

    def test_a_tenant_has_no_kek_until_one_is_created(self) -> None:
        """Reading or wrapping mints nothing."""
        service = self.another()
        assert service.versions(TENANT) == []
        with pytest.raises(NotFound):
            service.wrap(TENANT, data_keys(1))
        with pytest.raises(NotFound):
            service.rotate(TENANT)
        assert service.versions(TENANT) == []

    def test_creating_twice_gives_one_version(self, service: KeyService) -> None:
        """A second creation answers with what is there."""
        first = service.create(TENANT)
        assert (first.id, first.state) == (KekId(TENANT, 1), KeyState.ACTIVE)
        assert service.create(TENANT).id == first.id
        assert [v.id for v in service.versions(TENANT)] == [first.id]

    def test_what_was_wrapped_opens_in_any_order_and_batch(self, service: KeyService) -> None:
        """Also across tenants, beyond the bound of one call, and none at all."""
        keys = data_keys(BATCH_MAX + 3)
        wrapped = service.wrap(TENANT, keys)
        other = service.wrap(OTHER_TENANT, data_keys(1, tenant=OTHER_TENANT))
        assert [w.context for w in wrapped] == [c for c, _ in keys]
        mixed = [*reversed(wrapped), *other]
        assert service.unwrap(mixed)[: len(wrapped)] == [k for _, k in reversed(keys)]
        assert service.unwrap(wrapped[7:8]) == [keys[7][1]]
        assert service.unwrap([]) == []
        assert service.wrap(TENANT, []) == []
        assert service.rewrap([]) == []

    def test_wrapping_twice_gives_two_forms_without_the_key_in_them(
        self, service: KeyService
    ) -> None:
        """A nonce is drawn anew for each."""
        keys = data_keys(1)
        one, two = service.wrap(TENANT, keys), service.wrap(TENANT, keys)
        assert one[0].blob != two[0].blob
        assert keys[0][1].reveal() not in one[0].blob

    def test_a_stored_key_opens_in_another_process(self, service: KeyService) -> None:
        """The service keeps what it made."""
        keys = data_keys(2)
        wrapped = service.wrap(TENANT, keys)
        other = self.another()
        assert other.unwrap(wrapped) == [k for _, k in keys]
        assert other.versions(TENANT) == service.versions(TENANT)

    def test_a_key_under_a_strange_context_is_tampering(self, service: KeyService) -> None:
        """Swapping two customers' keys, or moving one to another purpose or tenant, opens nothing."""
        service.rotate(TENANT)
        [item] = service.wrap(TENANT, data_keys(1))
        item = item._replace(kek=KekId(TENANT, 1))  # in place of what version 2 wrapped
        old = self.another()
        [own] = service.wrap(TENANT, data_keys(1))
        for name, stranger in (*strangers(own), ("KEK version before", item)):
            if stranger == own:
                continue
            [verdict] = old.unwrap([stranger])
            assert isinstance(verdict, KeyTampered), name
            [moved] = old.rewrap([stranger])
            assert isinstance(moved, KeyTampered), name

    def test_an_altered_stored_key_is_tampering(self, service: KeyService) -> None:
        """A flipped bit in each byte, each truncation, and bytes added: none opens."""
        [item] = service.wrap(TENANT, data_keys(1))
        blob = item.blob
        altered = [
            blob[:n] + bytes([blob[n] ^ 1 << n % 8]) + blob[n + 1 :] for n in range(len(blob))
        ]
        altered += [blob[:n] for n in range(len(blob))] + [blob + b"\0", b"\0" + blob, b"x" * 500]
        opened = service.unwrap([item._replace(blob=b) for b in altered])
        assert [type(o) for o in opened] == [KeyTampered] * len(altered)

    def test_one_bad_key_does_not_fail_its_neighbours(self, service: KeyService) -> None:
        """Verdicts stand in the place of their item."""
        keys = data_keys(3)
        wrapped = service.wrap(TENANT, keys)
        wrapped[1] = wrapped[1]._replace(blob=wrapped[0].blob)
        opened = service.unwrap(wrapped)
        assert [opened[0], opened[2]] == [keys[0][1], keys[2][1]]
        verdict = opened[1]
        assert isinstance(verdict, KeyTampered)
        assert verdict.key_id == wrapped[1].context.key_id
        assert verdict.reason

    def test_rotation_touches_no_stored_key(self, service: KeyService) -> None:
        """Old versions go on opening; new keys are wrapped by the new one."""
        keys = data_keys(2)
        before = service.wrap(TENANT, keys)
        new = service.rotate(TENANT)
        assert new.id == KekId(TENANT, 2)
        states = [(v.id.version, v.state) for v in service.versions(TENANT)]
        assert states == [(1, KeyState.DEACTIVATED), (2, KeyState.ACTIVE)]
        assert {w.kek for w in service.wrap(TENANT, keys)} == {new.id}
        assert service.unwrap(before) == [k for _, k in keys]
        assert [v.id for v in service.versions(OTHER_TENANT)] == [KekId(OTHER_TENANT, 1)]

    def test_rewrapping_moves_keys_and_changes_nothing_else(self, service: KeyService) -> None:
        """It can be repeated: what moved stays as it is."""
        keys = data_keys(5)
        before = service.wrap(TENANT, keys)
        foreign = service.wrap(OTHER_TENANT, data_keys(1, tenant=OTHER_TENANT))
        new = service.rotate(TENANT)
        after = [w for w in service.rewrap([*before, *foreign]) if isinstance(w, Wrapped)]
        assert [w.context for w in after[:5]] == [w.context for w in before]
        assert {w.kek for w in after[:5]} == {new.id}
        assert after[5:] == foreign
        assert service.unwrap(after[:5]) == [k for _, k in keys]
        assert service.rewrap(after) == after

    def test_a_destroyed_version_opens_nothing_and_stays_known(self, service: KeyService) -> None:
        """In every process, and the verdict is Gone, which tampering never is."""
        keys = data_keys(2)
        before = service.wrap(TENANT, keys)
        elsewhere = self.another()
        assert elsewhere.unwrap(before) == [k for _, k in keys]
        service.rotate(TENANT)
        after = service.rewrap(before)
        assert service.destroy(KekId(TENANT, 1)).state is KeyState.DESTROYED
        assert service.destroy(KekId(TENANT, 1)).state is KeyState.DESTROYED
        for one in (service, elsewhere, self.another()):
            gone = [KeyGone(KekId(TENANT, 1), w.context.key_id) for w in before]
            assert one.unwrap(before) == gone
            assert one.rewrap(before) == gone
            assert one.unwrap([w for w in after if isinstance(w, Wrapped)]) == [k for _, k in keys]
            states = [v.state for v in one.versions(TENANT)]
            assert states == [KeyState.DESTROYED, KeyState.ACTIVE]

    def test_a_version_number_is_never_used_twice(self, service: KeyService) -> None:
        """Else a key of a destroyed version could be taken for one of its successor."""
        service.rotate(TENANT)
        service.destroy(KekId(TENANT, 1))
        assert self.another().rotate(TENANT).id == KekId(TENANT, 3)

    def test_the_active_and_the_younger_version_are_not_destroyed(
        self, service: KeyService
    ) -> None:
        """Rotate first; oldest first; and one that never was is not known."""
        with pytest.raises(Refused) as refusal:
            service.destroy(KekId(TENANT, 1))
        assert refusal.value.code == "KEK_ACTIVE"
        service.rotate(TENANT)
        service.rotate(TENANT)
        with pytest.raises(Refused) as refusal:
            service.destroy(KekId(TENANT, 2))
        assert refusal.value.code == "KEK_OLDER_LIVES"
        for unknown in (KekId(TENANT, 4), KekId(TENANT, 0), KekId("nobody", 1)):
            with pytest.raises(NotFound):
                service.destroy(unknown)

    def test_threads_share_a_service(self, service: KeyService) -> None:
        """Calls from several threads do not mix."""
        wrong: list[Sequence[object]] = []

        def work(number: int) -> None:
            keys = [(context(number * 100 + n), Secret(system_entropy(32))) for n in range(10)]
            for _ in range(5):
                opened = service.unwrap(service.wrap(TENANT, keys))
                if opened != [k for _, k in keys]:
                    wrong.append(opened)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []

    def test_the_check_names_who_answers(self, service: KeyService) -> None:
        """Technology, version and place are filled."""
        assert all(service.check())
