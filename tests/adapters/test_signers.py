"""Signers: one suite for a file and for a token, and a log whose heads a token signs."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from usance.adapters.pkcs11_token import TokenSettings
from usance.adapters.proof_files import make_key, read_key
from usance.adapters.signer_pkcs11 import Pkcs11Signer
from usance.audit.codes import Detected
from usance.audit.ports import Signer
from usance.bootstrap.packs.auditing import evidence
from usance.bootstrap.proof.proving import digest_of
from usance.bootstrap.proof.signing import open_signer
from usance.bootstrap.runtime import Runtime
from usance.bootstrap.store import Folder
from usance.config import ProofSettings, Settings
from usance.crypto.keyservice import KeyServiceDenied
from usance.crypto.secret import Secret
from usance.kernel.clock import BookClock
from usance.kernel.errors import Tampered, Unavailable, Unreadable
from usance.testing.key_servers import PIN, softhsm_module, softhsm_token
from usance.testing.signer_conformance import SignerConformance
from usance.testing.trade import MONDAY

LABEL = "notary"


class TestFileSigner(SignerConformance):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "notary.key"

    def open_signer(self, *, make: bool) -> Signer:
        return make_key(self.path) if make else read_key(self.path)


_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def tokens() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="usance-hsm-") as folder:
        yield Path(folder)


@pytest.fixture
def token(tokens: Path) -> str:
    label = f"signer-{next(_numbers)}"
    softhsm_token(tokens, label)
    import pkcs11

    pkcs11.lib(softhsm_module() or "").reinitialize()  # it lists tokens when it starts
    return label


Opened = Callable[..., Pkcs11Signer]


@pytest.fixture
def opened(token: str) -> Iterator[Opened]:
    made: list[Pkcs11Signer] = []

    def one(*, make: bool = True, pin: str = PIN, name: str = token) -> Pkcs11Signer:
        settings = TokenSettings(softhsm_module() or "", name)
        made.append(Pkcs11Signer(settings, lambda: Secret(pin.encode()), LABEL, make=make))
        return made[-1]

    yield one
    for signer in made:
        signer.close()


@pytest.mark.softhsm
class TestPkcs11Signer(SignerConformance):
    @pytest.fixture(autouse=True)
    def _token(self, opened: Opened) -> None:
        self.opened = opened

    def open_signer(self, *, make: bool) -> Signer:
        return self.opened(make=make)


@pytest.mark.softhsm
def test_the_key_never_leaves_the_token(opened: Opened) -> None:
    import pkcs11

    signer = opened()
    key = signer._key
    assert key[pkcs11.Attribute.NEVER_EXTRACTABLE] is True
    assert key[pkcs11.Attribute.EXTRACTABLE] is False
    with pytest.raises(pkcs11.AttributeSensitive):
        key[pkcs11.Attribute.VALUE]


@pytest.mark.softhsm
def test_a_wrong_pin_is_denied_and_a_missing_token_is_unavailable(opened: Opened) -> None:
    with pytest.raises(KeyServiceDenied, match="refuses us"):
        opened(pin="9999")
    with pytest.raises(Unavailable):
        opened(name="no-such-token")


@pytest.mark.softhsm
def test_a_session_that_ended_is_opened_anew(opened: Opened) -> None:
    signer = opened()
    before = signer.sign(b"head")
    signer._session.close()
    assert signer.sign(b"head") == before


@pytest.mark.softhsm
def test_another_key_in_the_keys_place_does_not_sign(opened: Opened) -> None:
    """A token taken out and another put in: nothing is signed by a key that is not the pinned one."""
    import pkcs11

    signer = opened()
    for kind in (pkcs11.ObjectClass.PRIVATE_KEY, pkcs11.ObjectClass.PUBLIC_KEY):
        signer._object(kind).destroy()
    signer._make()
    signer._hang_up()
    with pytest.raises(Tampered, match="another one"):
        signer.sign(b"head")


@pytest.mark.softhsm
def test_two_keys_of_one_name_stop_the_line(opened: Opened) -> None:
    signer = opened()
    signer._make()
    with pytest.raises(Tampered, match="two keys named notary"):
        opened(make=False)


def told(token: str, pin: Path, label: str = LABEL) -> Settings:
    address = f"pkcs11:token={token};object={label}?module-path={softhsm_module()}"
    return Settings(proof=ProofSettings(signer=address, signer_secret_file=str(pin)))


def run_once(root: Path, settings: Settings) -> None:
    program = Runtime(Folder(root), settings, BookClock(MONDAY))
    program.drive()
    program.close()
    if program.trouble:
        raise AssertionError(program.trouble)


@pytest.mark.softhsm
def test_a_token_signs_a_logs_heads_and_no_key_is_in_the_folder(tmp_path: Path, token: str) -> None:
    pin, root = tmp_path / "pin", tmp_path / "data"
    pin.write_text(PIN)
    pin.chmod(0o600)
    settings = told(token, pin)
    run_once(root, settings)
    run_once(root, settings)
    assert not (root / "notary.key").exists()
    with evidence(Folder(root), settings) as found:
        report = found.audit()
        assert report.whole and report.heads, report
        kept = found.scrubbed(report)
        assert found.origins.base.encode() in kept
    with pytest.raises(Detected, match="UNKNOWN_KEY"):
        run_once(root, told(token, pin, "another"))
    with pytest.raises(Detected, match="UNKNOWN_KEY"):  # back to a file, past the pinned key
        run_once(root, replace(settings, proof=ProofSettings()))


@pytest.mark.parametrize(
    "address",
    [
        "pkcs11:token=usance?module-path=/m.so",
        "pkcs11:token=usance;object=?module-path=/m.so",
        "pkcs11:token=usance;object=notary",
    ],
)
def test_an_address_that_names_no_key_says_what_one_looks_like(
    tmp_path: Path, address: str
) -> None:
    settings = Settings(proof=ProofSettings(signer=address))
    with pytest.raises(Unreadable) as wrong:
        open_signer(tmp_path / "notary.key", settings)
    assert "pkcs11:token=usance;object=notary?module-path=" in wrong.value.hint


def test_settings_that_came_later_change_no_sealed_digest_until_they_say_something() -> None:
    """Notaries of before have sealed this digest: an upgrade is no CONFIG_UNSEALED."""
    assert digest_of(Settings()).hex() == BEFORE
    signed = ProofSettings(signer="pkcs11:token=t;object=o?module-path=/m.so")
    assert digest_of(Settings(proof=signed)).hex() != BEFORE


BEFORE = "bf5dbd419b0fe3bdf5fd688f125bcbf5a558670e2c6a7ecfb7a3c4953ac551c7"
