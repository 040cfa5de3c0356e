"""Which key service an address means, and where its secret comes from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from usance.adapters.keys_aws import AwsKeyService
from usance.adapters.keys_pkcs11 import Pkcs11KeyService
from usance.adapters.keys_vault import VaultKeyService
from usance.bootstrap import keys
from usance.bootstrap.keys import open_keys
from usance.config import Settings, load
from usance.crypto.keyservice import KeyServiceDenied
from usance.crypto.secret import Secret
from usance.crypto.shamir import Share
from usance.kernel.errors import Refused, Tampered, Unavailable, Unreadable

WORDS = "anchor velvet nine orchard"


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., Settings]:
    def made(service: str = "file:", **more: Any) -> Settings:
        flags = {"data": str(tmp_path / "data"), "keys.service": service}
        return load(None, flags | {f"keys.{k}": v for k, v in more.items()}, {}).settings

    return made


def secret(tmp_path: Path, text: str, mode: int = 0o600) -> str:
    file = tmp_path / "secret"
    file.write_text(text + "\n")
    file.chmod(mode)
    return str(file)


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("pkcs11:token=usance?module-path=/usr/lib/some/module.so", Pkcs11KeyService),
        ("vault:https://vault.example:8200", VaultKeyService),
        ("vault:http://127.0.0.1:8200/transit/of/us?namespace=trade", VaultKeyService),
        ("aws:eu-central-1", AwsKeyService),
        ("aws:eu-central-1?prefix=ours&endpoint=http://127.0.0.1:4566", AwsKeyService),
    ],
)
def test_an_address_names_a_service_without_asking_it(
    settings: Callable[..., Settings], address: str, kind: type
) -> None:
    service = open_keys(settings(address), lambda _: "s.token")
    assert isinstance(service, kind)
    service.close()


@pytest.mark.parametrize(
    "address",
    [
        "pkcs11:",
        "pkcs11:token=usance",
        "pkcs11:token=usance;pin-value=1234?module-path=/m.so",
        "pkcs11:token=usance?module-path=/m.so&pin-value=1234",
        "vault:vault.example:8200",
        "vault:ftp://vault.example",
        "vault:https://user:word@vault.example",
        "vault:https://vault.example?token=s.abc",
        "aws:",
        "aws:eu-central-1?secret=x",
    ],
)
def test_an_address_that_cannot_be_meant_leads_to_one_that_can(
    settings: Callable[..., Settings], address: str
) -> None:
    with pytest.raises(Unreadable) as error:
        open_keys(settings(address))
    assert error.value.hint.startswith("Such as ")
    with pytest.raises(Unreadable):
        settings("hsm:somewhere")


def test_data_keys_do_not_travel_in_clear(settings: Callable[..., Settings]) -> None:
    with pytest.raises(Refused) as error:
        open_keys(settings("vault:http://vault.example:8200"))
    assert error.value.code == "KEYS_IN_CLEAR"


def test_a_passphrase_comes_from_a_file_or_a_person(
    settings: Callable[..., Settings], tmp_path: Path
) -> None:
    found = settings()
    path = keys.keyring_path(found)
    assert path == tmp_path / "data" / "keys.sealed"
    keys.found_by_passphrase(path, Secret(WORDS.encode()))
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return WORDS

    open_keys(found, ask).create("albion")
    assert asked == ["passphrase"]
    by_file = settings(secret_file=secret(tmp_path, WORDS))
    assert open_keys(by_file).versions("albion")
    with pytest.raises(Refused) as error:
        open_keys(found)
    assert error.value.code == "KEYS_SECRET_MISSING"
    with pytest.raises(KeyServiceDenied):
        open_keys(found, lambda _: "another twelve words")


def test_a_secret_that_everybody_can_read_is_refused(
    settings: Callable[..., Settings], tmp_path: Path
) -> None:
    found = settings("vault:https://v.example", secret_file=secret(tmp_path, "s.token", 0o604))
    with pytest.raises(Refused) as error:
        open_keys(found).check()
    assert error.value.code == "SECRET_FILE_OPEN"
    missing = settings("vault:https://v.example", secret_file=str(tmp_path / "nothing"))
    with pytest.raises(Unreadable):
        open_keys(missing).check()


def test_a_renewed_token_file_is_read_again(
    settings: Callable[..., Settings], tmp_path: Path
) -> None:
    file = secret(tmp_path, "first")
    give = keys._Secrets(settings(secret_file=file).keys, keys.ask_nobody).remembered("token")
    assert give() == Secret(b"first")
    secret(tmp_path, "second")
    assert give() == Secret(b"second")


def test_shares_are_asked_for_one_by_one(settings: Callable[..., Settings], tmp_path: Path) -> None:
    found = settings()
    path = keys.keyring_path(found)
    assert path is not None
    shares = keys.found_by_shares(path, threshold=3, shares=5, hand_out=lambda made: made)
    texts = [shares[n].text() for n in (4, 0, 2)]
    prompts: list[str] = []

    def ask(prompt: str) -> str:
        prompts.append(prompt)
        return texts[len(prompts) - 1]

    open_keys(found, ask).create("albion")
    assert prompts == ["share 1 of 3", "share 2 of 3", "share 3 of 3"]
    file = secret(tmp_path, "\n".join(texts))
    assert open_keys(settings(secret_file=file)).versions("albion")
    with pytest.raises(Refused) as error:
        open_keys(found, lambda _: texts[0])
    assert error.value.code == "SHARES_TOO_FEW"


def test_no_keyring_is_written_before_every_share_is_seen_to_fit(tmp_path: Path) -> None:
    path = tmp_path / "keys.sealed"

    def misread(made: list[Share]) -> list[Share]:
        bad = bytes([made[4].value[0] ^ 1]) + made[4].value[1:]
        return [*made[:4], Share(5, bad, 3, made[4].commitment)]

    for hand_out, kind in ((misread, Refused), (lambda made: made[:4], Tampered)):
        with pytest.raises(kind):
            keys.found_by_shares(path, threshold=3, shares=5, hand_out=hand_out)
        assert not path.exists()


def test_a_missing_extra_says_how_to_get_it(
    settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    from usance.adapters import keys_aws, pkcs11_token

    monkeypatch.setattr(keys_aws, "boto3", None)
    monkeypatch.setattr(pkcs11_token, "pkcs11", None)
    for address in ("aws:eu-central-1", "pkcs11:token=t?module-path=/m.so"):
        with pytest.raises(Unavailable) as error:
            open_keys(settings(address))
        assert "pip install usance[" in error.value.hint
