from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from usance.adapters.keys_pkcs11 import Pkcs11KeyService
from usance.adapters.pkcs11_token import TokenSettings
from usance.crypto.keyservice import KekId, KeyGone, KeyServiceDenied, KeyState
from usance.crypto.secret import Secret
from usance.kernel.clock import SystemClock
from usance.kernel.errors import Tampered, Unavailable
from usance.testing.key_conformance import TENANT, KeyServiceConformance, data_keys
from usance.testing.key_servers import PIN, softhsm_module, softhsm_token

pytestmark = pytest.mark.softhsm

_tokens = itertools.count(1)


@pytest.fixture(scope="module")
def tokens() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="usance-hsm-") as folder:
        yield Path(folder)


@pytest.fixture
def token(tokens: Path) -> str:
    label = f"token-{next(_tokens)}"
    softhsm_token(tokens, label)
    import pkcs11

    pkcs11.lib(softhsm_module() or "").reinitialize()  # it lists tokens when it starts
    return label


_services: list[Pkcs11KeyService] = []


@pytest.fixture(autouse=True)
def _closing() -> Iterator[None]:
    yield
    while _services:
        _services.pop().close()


def opened(token: str, pin: str = PIN) -> Pkcs11KeyService:
    settings = TokenSettings(softhsm_module() or "", token)
    _services.append(Pkcs11KeyService(settings, lambda: Secret(pin.encode()), SystemClock()))
    return _services[-1]


class TestPkcs11KeyService(KeyServiceConformance):
    @pytest.fixture(autouse=True)
    def _token(self, token: str) -> None:
        self.token = token

    def open_service(self) -> Pkcs11KeyService:
        return opened(self.token)


def test_a_kek_never_leaves_the_token(token: str) -> None:
    import pkcs11

    service = opened(token)
    service.create(TENANT)
    [key] = service._found(TENANT).values()
    with pytest.raises(pkcs11.AttributeSensitive):
        key[pkcs11.Attribute.VALUE]
    assert key[pkcs11.Attribute.EXTRACTABLE] is False
    assert key[pkcs11.Attribute.NEVER_EXTRACTABLE] is True
    assert key[pkcs11.Attribute.WRAP] is False


def test_a_wrong_pin_is_denied_and_a_missing_token_is_unavailable(token: str) -> None:
    with pytest.raises(KeyServiceDenied, match="refuses us"):
        opened(token, "9999").check()
    with pytest.raises(Unavailable):
        opened("no-such-token").check()
    settings = TokenSettings("/nowhere/module.so", token)
    with pytest.raises(Unavailable, match="cannot be loaded"):
        Pkcs11KeyService(settings, lambda: Secret(b"1"), SystemClock()).check()


def test_a_pin_is_in_no_error_and_no_repr(token: str) -> None:
    service = opened(token, "73519284")
    with pytest.raises(KeyServiceDenied) as error:
        service.check()
    assert "73519284" not in f"{error.value} {error.value.hint} {vars(service)!r}"


def test_a_session_that_ended_is_opened_anew(token: str) -> None:
    service = opened(token)
    service.create(TENANT)
    keys = data_keys(2)
    wrapped = service.wrap(TENANT, keys)
    service._session.close()
    assert service.unwrap(wrapped) == [k for _, k in keys]


def test_two_keys_of_one_name_stop_the_line(token: str) -> None:
    service = opened(token)
    service.create(TENANT)
    with pytest.raises(Tampered, match="two keys named usance/albion/1"):
        service._grown(TENANT, 1)
    with pytest.raises(Tampered):
        service.wrap(TENANT, data_keys(1))


def test_a_process_sees_what_another_one_destroyed(token: str) -> None:
    service = opened(token)
    service.create(TENANT)
    keys = data_keys(1)
    wrapped = service.wrap(TENANT, keys)
    assert service.unwrap(wrapped) == [keys[0][1]]
    service.rotate(TENANT)
    program = (
        "from usance.adapters.keys_pkcs11 import *\n"
        "from usance.kernel.clock import SystemClock\n"
        f"settings = TokenSettings({softhsm_module()!r}, {token!r})\n"
        f"service = Pkcs11KeyService(settings, lambda: Secret({PIN!r}.encode()), SystemClock())\n"
        f"print(service.destroy(KekId({TENANT!r}, 1)).state)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "destroyed"
    assert service.unwrap(wrapped) == [KeyGone(KekId(TENANT, 1), wrapped[0].context.key_id)]
    assert [v.state for v in service.versions(TENANT)] == [KeyState.DESTROYED, KeyState.ACTIVE]


def test_a_forked_child_uses_a_session_of_its_own(token: str) -> None:
    service = opened(token)
    service.create(TENANT)
    keys = data_keys(1)
    wrapped = service.wrap(TENANT, keys)
    child = os.fork()
    if child == 0:
        try:
            well = service.unwrap(wrapped) == [keys[0][1]]
        except BaseException:  # noqa: BLE001  a child never returns into pytest
            well = False
        os._exit(0 if well else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert service.unwrap(wrapped) == [keys[0][1]]


def test_the_instant_a_version_was_made_is_kept_by_the_token(token: str) -> None:
    service = opened(token)
    now = SystemClock().now()
    created = service.create(TENANT).created
    assert now <= created <= SystemClock().now()
