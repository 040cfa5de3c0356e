from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator

import pytest

from usance.adapters import keys_vault
from usance.adapters.keys_vault import VaultKeyService, VaultSettings
from usance.crypto.keyservice import KekId, KeyServiceDenied, KeyState, Wrapped
from usance.crypto.secret import Secret
from usance.kernel.errors import NotFound, Unavailable
from usance.testing.key_conformance import TENANT, KeyServiceConformance, context, data_keys
from usance.testing.key_servers import ROOT_TOKEN, BaoServer

pytestmark = pytest.mark.vault

_mounts = itertools.count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[BaoServer]:
    server = BaoServer()
    yield server
    server.close()


@pytest.fixture
def mount(server: BaoServer) -> str:
    return server.mounted(f"transit-{next(_mounts)}")


_services: list[VaultKeyService] = []


@pytest.fixture(autouse=True)
def _closing() -> Iterator[None]:
    yield
    while _services:
        _services.pop().close()


def opened(server: BaoServer, mount: str, token: str = ROOT_TOKEN) -> VaultKeyService:
    settings = VaultSettings(server.address, mount)
    _services.append(VaultKeyService(settings, lambda: Secret(token.encode())))
    return _services[-1]


class TestVaultKeyService(KeyServiceConformance):
    @pytest.fixture(autouse=True)
    def _at(self, server: BaoServer, mount: str) -> None:
        self.server, self.mount = server, mount

    def open_service(self) -> VaultKeyService:
        return opened(self.server, self.mount)


def test_wrapping_never_makes_a_key_by_the_way(server: BaoServer, mount: str) -> None:
    service = opened(server, mount)
    with pytest.raises(NotFound):
        service.wrap("nobody", data_keys(1, tenant="nobody"))
    assert server.call("GET", f"{mount}/keys/usance-nobody")[0] == 404
    service.create(TENANT)
    # And the engine itself was told to make none.
    plain = base64.b64encode(b"k" * 32).decode()
    server.call("POST", f"{mount}/encrypt/usance-nobody", {"plaintext": plain})
    assert server.call("GET", f"{mount}/keys/usance-nobody")[0] == 404


def test_a_thousand_keys_cost_a_few_calls_each_way(
    server: BaoServer, mount: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = opened(server, mount)
    service.create(TENANT)
    calls: list[str] = []
    real = service._call

    def counted(method: str, path: str, *args: object, **more: object) -> object:
        calls.append(path.split("/")[0])
        return real(method, path, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(service, "_call", counted)
    keys = data_keys(960)
    wrapped = service.wrap(TENANT, keys)
    assert calls == ["keys", *["encrypt"] * 5]  # the first is found too complex, which is learnt
    calls.clear()
    assert service.unwrap(wrapped) == [k for _, k in keys]
    assert calls == ["decrypt"] * 4


def test_destroying_trims_so_that_no_setting_brings_a_version_back(
    server: BaoServer, mount: str
) -> None:
    service = opened(server, mount)
    service.create(TENANT)
    service.rotate(TENANT)
    service.destroy(KekId(TENANT, 1))
    status, _ = server.call(
        "POST", f"{mount}/keys/usance-{TENANT}/config", {"min_decryption_version": 1}
    )
    assert status == 400


def test_a_version_that_policy_forbids_is_not_taken_for_destroyed(
    server: BaoServer, mount: str
) -> None:
    service = opened(server, mount)
    service.create(TENANT)
    wrapped = service.wrap(TENANT, data_keys(1))
    service.rotate(TENANT)
    where = f"{mount}/keys/usance-{TENANT}/config"
    server.call("POST", where, {"min_decryption_version": 2})
    with pytest.raises(KeyServiceDenied, match="min_decryption_version"):
        service.unwrap(wrapped)
    assert [v.state for v in service.versions(TENANT)] == [KeyState.DEACTIVATED, KeyState.ACTIVE]
    server.call("POST", where, {"min_decryption_version": 1})
    assert service.unwrap(wrapped)


def test_a_token_that_may_not_is_denied_and_a_weaker_one_still_wraps(
    server: BaoServer, mount: str
) -> None:
    opened(server, mount).create(TENANT)
    with pytest.raises(KeyServiceDenied):
        opened(server, mount, "no-such-token").unwrap(
            opened(server, mount).wrap(TENANT, data_keys(1))
        )
    rules = "\n".join(
        f'path "{mount}/{path}" {{ capabilities = ["{may}"] }}'
        for path, may in (
            ("keys/usance-*", "read"),
            ("encrypt/usance-*", "update"),
            ("decrypt/usance-*", "update"),
        )
    )
    server.call("PUT", "sys/policies/acl/" + mount, {"policy": rules})
    _, made = server.call("POST", "auth/token/create", {"policies": [mount]})
    owner = opened(server, mount, made["auth"]["client_token"])
    keys = data_keys(2)
    assert owner.unwrap(owner.wrap(TENANT, keys)) == [k for _, k in keys]
    assert owner.check().version
    for forbidden in (
        lambda: owner.rotate(TENANT),
        lambda: owner.create("another"),
    ):
        with pytest.raises(KeyServiceDenied):
            forbidden()


def test_the_stored_form_names_no_version_that_could_be_changed(
    server: BaoServer, mount: str
) -> None:
    service = opened(server, mount)
    service.create(TENANT)
    [item] = service.wrap(TENANT, [(context(1), Secret(b"\x01" * 32))])
    assert isinstance(item, Wrapped)
    assert len(item.blob) == 60
    assert b"vault" not in item.blob


def test_a_server_that_went_away_is_unavailable_and_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keys_vault, "TIMEOUT_S", 0.3)
    server = BaoServer()
    try:
        service = opened(server, server.mounted("transit"))
        service.create(TENANT)
        keys = data_keys(1)
        wrapped = service.wrap(TENANT, keys)
        server.signal("STOP")
        with pytest.raises(Unavailable):
            service.unwrap(wrapped)
        server.signal("CONT")
        monkeypatch.setattr(keys_vault, "TIMEOUT_S", 5.0)
        assert service.unwrap(wrapped) == [keys[0][1]]
        assert server.call("PUT", "sys/seal")[0] == 204
        with pytest.raises(Unavailable, match="sealed"):
            service.unwrap(wrapped)
        with pytest.raises(Unavailable):
            service.check()
    finally:
        server.close()
    with pytest.raises(Unavailable, match="does not answer"):
        service.unwrap(wrapped)


def test_a_token_is_in_no_error_and_no_repr(server: BaoServer, mount: str) -> None:
    token = "an-unmistakable-token"
    service = opened(server, mount, token)
    with pytest.raises(KeyServiceDenied) as error:
        service.versions(TENANT)
    assert token not in f"{error.value} {error.value.hint} {service!r} {vars(service)!r}"
