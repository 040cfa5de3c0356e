"""`usance doctor`: each thing made wrong gives its finding, and the command that it names exists and mends it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from usance.adapters import kernel_clock
from usance.bootstrap import doctor_heads, doctor_keys, doctor_log
from usance.bootstrap.doctor import examine
from usance.bootstrap.runtime import Runtime
from usance.bootstrap.store import Folder, Store
from usance.cli.main import usance
from usance.config import Settings
from usance.crypto.keyservice import KeyState
from usance.engine.findings import AREAS, SEVERITIES, Finding
from usance.engine.reactors.reactor import Outgoing
from usance.engine.secrecy.subjects import PlaceHold
from usance.engine.topics import Topics
from usance.kernel.clock import MS_PER_DAY, SystemClock
from usance.kernel.decider import Actor
from usance.kernel.ids import derived
from usance.kernel.words import Words
from usance.log.contract import TopicSettings

SOURCES = Path(__file__).parents[2] / "src" / "usance"


def log_of(root: Path, **settings: Any) -> Path:
    """Found a log whose clock is the machine's, let it run for a moment, and close it."""
    program = Runtime(Folder(root), Settings(data=str(root), **settings), SystemClock())
    officer = Actor("farid.haddad", "farid.haddad", "compliance_officer")
    if program.store.vault is not None:
        name = program.store.vault.pseudonym("albion", "party-1")
        placed = PlaceHold(reason=Words(text="court order"))
        asked = Outgoing(f"albion/subject/{name}", placed, derived("hold"), "", "", officer)
        assert program.ask(asked).answer == "accepted"
    program.drive()
    program.close()
    root.chmod(0o700)
    return root


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return log_of(tmp_path_factory.mktemp("clear") / "data")


@pytest.fixture(scope="module")
def sealed_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return log_of(tmp_path_factory.mktemp("sealed") / "data", profile="secure")


@pytest.fixture
def root(founded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(founded, tmp_path / "data"))


@pytest.fixture
def sealed(sealed_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sealed_once, tmp_path / "sealed"))


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of whoever runs the tests, and a kernel whose clock is kept."""
    for name in [n for n in os.environ if n.startswith("USANCE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(kernel_clock, "kept", lambda: kernel_clock.Kept(True, 5))


def findings(root: Path, **settings: Any) -> list[Finding]:
    return list(examine(Folder(root), Settings(data=str(root), **settings)))


def bad(root: Path, **settings: Any) -> dict[str, Finding]:
    """Return what is not well, by its code."""
    return {f.code: f for f in findings(root, **settings) if f.severity != "ok"}


def usance_run(command: str) -> Result:
    """Run a command that a finding names, as a person would paste it."""
    words = shlex.split(command)
    assert words[0] == "usance", command
    return CliRunner().invoke(usance, words[1:])


def done(command: str) -> None:
    """Run it, whatever program it is of; it must succeed."""
    for part in command.split(" && "):
        if part.startswith("usance "):
            result = usance_run(part)
            assert result.exit_code == 0, result.output
        else:
            subprocess.run(part, shell=True, check=True, executable="/bin/sh")


BASE = {"SCRUB_OLD", "FOUR_EYES_SHORT"}
"""What a fresh log with the sample people has to be told: no verification was kept, one compliance officer."""


def test_a_fresh_log_is_well_but_for_what_nobody_did_yet(root: Path, sealed: Path) -> None:
    assert set(bad(root)) == BASE
    assert set(bad(sealed)) == BASE | {"SECRET_BESIDE_KEYRING"}
    for one in (*findings(root), *findings(sealed)):
        assert one.area in AREAS and one.severity in SEVERITIES
        assert re.fullmatch("[A-Z][A-Z_]+", one.code) and one.found
        assert one.severity == "ok" or one.command, f"{one.code} names no command"
    assert {f.area for f in findings(sealed)} == set(AREAS) - {"flow"}
    assert all(f.well for f in findings(root))


def test_the_command_prints_what_is_wrong_first_and_how_to_mend_it(root: Path) -> None:
    run = CliRunner()
    told = run.invoke(usance, ["doctor", "--data", str(root)])
    assert told.exit_code == 0
    assert "SCRUB_OLD" in told.stdout and f"usance audit scrub --data {root}" in told.stdout
    assert "Python" not in told.stdout and "--all" in told.stdout
    assert "Python" in run.invoke(usance, ["doctor", "--all", "--data", str(root)]).stdout
    rows = json.loads(
        run.invoke(usance, ["doctor", "--output", "json", "--data", str(root)]).stdout
    )
    scrub = next(r for r in rows if r["code"] == "SCRUB_OLD")
    assert scrub["severity"] == "warning" and scrub["command"].startswith("usance audit scrub")
    (root / "notary.key").chmod(0o644)
    assert run.invoke(usance, ["doctor", "--data", str(root)]).exit_code == 1


# -- topics


def test_a_topic_that_would_lose_events_is_unsafe_and_settled(root: Path) -> None:
    with sqlite3.connect(root / "log.sqlite") as log:
        log.execute("UPDATE topic SET cleanup='delete', retention_ms=1 WHERE name LIKE '%.events'")
    found = bad(root)["TOPIC_SETTING"]
    assert found.severity == "unsafe" and "delete" in found.found
    done(f"{found.command} --dry-run")
    assert "TOPIC_SETTING" in bad(root), "a rehearsal changes nothing"
    done(found.command)
    assert "TOPIC_SETTING" not in bad(root)


def test_a_topic_that_an_older_program_did_not_know_is_named_and_made(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Topics.settings
    newer = TopicSettings("usance.system.later", "later", 1, "keep", -1, "")
    monkeypatch.setattr(Topics, "settings", lambda self: [*before(self), newer])
    found = bad(root)["TOPICS_MISSING"]
    assert "usance.system.later" in found.found
    done(found.command)
    assert "TOPICS_MISSING" not in bad(root)


def test_a_topic_that_is_gone_is_no_setting_but_a_log_to_be_restored(
    root: Path, tmp_path: Path
) -> None:
    done(f"usance backup {tmp_path / 'kept'} --data {root}")
    with sqlite3.connect(root / "log.sqlite") as log:
        log.execute("DELETE FROM topic WHERE name = 'usance.system.replies'")
    found = bad(root)["LOG_CLOSED"]
    assert not found.well and "usance restore" in found.command
    done(found.command.replace("BACKUP", str(tmp_path / "kept")))
    root.chmod(0o700)
    assert "LOG_CLOSED" not in bad(root)


# -- clocks


class Late(SystemClock):
    """A clock that went back by a day."""

    def now(self) -> int:
        """Return yesterday's instant."""
        return super().now() - MS_PER_DAY


def test_a_clock_that_went_back_and_one_that_nobody_keeps_are_named(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data=str(root))
    store = Store(Folder(root), settings, SystemClock(), owner=False)
    try:
        late = {f.code: f for f in doctor_log.clocks(store, Late())}
        good = {f.code: f for f in doctor_log.clocks(store, SystemClock())}
        monkeypatch.setattr(kernel_clock, "kept", lambda: kernel_clock.Kept(False, 16_000))
        unkept = {f.code: f for f in doctor_log.clocks(store, SystemClock())}
    finally:
        store.close()
    assert late["CLOCK_BEHIND_LOG"].severity == "wrong"
    assert "ahead of this machine" in late["CLOCK_BEHIND_LOG"].found
    assert good["CLOCK_BEHIND_LOG"].severity == good["CLOCK_UNSYNCHRONISED"].severity == "ok"
    assert unkept["CLOCK_UNSYNCHRONISED"].severity == "warning"
    assert unkept["CLOCK_UNSYNCHRONISED"].command == "timedatectl set-ntp true"


def test_the_kernel_is_asked_where_it_can_be() -> None:
    monkey = pytest.MonkeyPatch()
    monkey.undo()
    told = kernel_clock.__dict__["kept"]()
    assert told is None or told.error_ms >= 0


# -- keys


def test_files_with_secrets_are_for_their_owner_alone(sealed: Path) -> None:
    for name in ("notary.key", "keys.sealed"):
        (sealed / name).chmod(0o644)
    told = [f for f in findings(sealed) if f.code == "SECRET_FILE_OPEN"]
    assert {f.check for f in told} == {"notary.key", "keys.sealed"}
    for one in told:
        assert one.severity == "wrong"
        done(one.command)
    assert "SECRET_FILE_OPEN" not in bad(sealed)


def test_keys_under_an_old_wrapping_key_and_an_old_one_are_named_and_mended(
    sealed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotate = f"usance key rotate --data {sealed} --as henrik.solberg"
    done(rotate)
    found = bad(sealed)["KEYS_UNDER_OLD_KEK"]
    done(f"{found.command} --as henrik.solberg")
    assert "KEYS_UNDER_OLD_KEK" not in bad(sealed)
    monkeypatch.setattr(doctor_keys, "KEK_DAYS_MAX", -1)
    assert bad(sealed)["KEK_OLD"].command.startswith("usance key rotate")


def test_a_suspended_and_a_compromised_key_are_named(sealed: Path) -> None:
    settings = Settings(data=str(sealed))
    store = Store(Folder(sealed), settings, SystemClock(), owner=False)
    try:
        assert store.vault is not None
        keys = [r.key_id for r in store.vault.store.records() if r.subject != "log"]
        assert keys, "the hold's reason is sealed"
        store.vault.store.turn(keys[:1], KeyState.SUSPENDED)
        found = {f.code: f for f in doctor_keys.keys(store, settings)}
        assert keys[0].hex() in found["KEY_SUSPENDED"].command
        assert "1 suspended" in found["KEY_STATES"].found
        store.vault.store.turn(keys[:1], KeyState.ACTIVE)
        assert "KEY_SUSPENDED" not in {f.code for f in doctor_keys.keys(store, settings)}
        store.vault.store.turn(keys[:1], KeyState.COMPROMISED)
        found = {f.code: f for f in doctor_keys.keys(store, settings)}
    finally:
        store.close()
    done(found["KEY_COMPROMISED"].command)


def test_a_keyring_that_does_not_open_is_named(sealed: Path) -> None:
    (sealed / "keys.secret").write_text("another secret altogether, and long enough")
    (sealed / "keys.secret").chmod(0o600)
    found = bad(sealed)["KEYS_CLOSED"]
    assert not found.well and found.command == f"usance key check --data {sealed}"
    assert usance_run(found.command).exit_code != 0, "it says why"


# -- certificates


def certificate(folder: Path, days: int) -> tuple[Path, Path]:
    """Write a key and a certificate of it that holds for some days from yesterday's day before on."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "usance-owner")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=400))
        .not_valid_after(now + timedelta(days=days, hours=1))
        .sign(key, hashes.SHA256())
    )
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    files = folder / "owner.pem", folder / "owner.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
    files[1].chmod(0o600)
    return files


@pytest.mark.parametrize(
    ("days", "code"), [(-2, "CERTIFICATE_EXPIRED"), (9, "CERTIFICATE_EXPIRES"), (90, "")]
)
def test_certificates_are_told_before_they_are_over(tmp_path: Path, days: int, code: str) -> None:
    file, key = certificate(tmp_path, days)
    said = {"certificate_file": str(file), "certificate_key_file": str(key), "ca_file": str(file)}
    settings = Settings(kafka=Settings().kafka.__class__(**said))
    found = [f for f in doctor_keys.certificates(settings) if f.severity != "ok"]
    assert {f.code for f in found} == ({code} if code else set())
    for one in found:
        assert "usance-owner" in one.found
    own = [f for f in found if f.check == "kafka.certificate_file"]
    if own and shutil.which("openssl"):
        done(own[0].command)
        assert b"CERTIFICATE REQUEST" in file.with_name("owner.pem.csr").read_bytes()


def test_a_file_without_a_certificate_is_named(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    said = Settings().keys.__class__(ca_file=str(file))
    found = list(doctor_keys.certificates(Settings(keys=said)))
    assert [f.code for f in found] == ["CERTIFICATE_UNREADABLE"]


# -- heads


def test_records_that_wait_for_a_head_are_named_until_the_notary_ran(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet = Settings(data=str(root), proof=Settings().proof.__class__(enabled=False))
    assert bad(root, proof=quiet.proof)["PROOF_OFF"].severity == "warning"
    program = Runtime(Folder(root), quiet, SystemClock())
    program.directory.actor("elif.demir")
    officer = Actor("elif.demir", "elif.demir", "compliance")
    glass = Outgoing(
        "albion/credit/NONE", PlaceHold(reason=Words(text="x")), derived("x"), "", "", officer
    )
    program.ask(glass)
    program.close()
    monkeypatch.setattr(doctor_heads, "HEAD_MS_MAX", -1)
    found = bad(root)["HEAD_OLD"]
    assert "wait for one" in found.found and found.command == f"usance start --data {root}"
    log_of(root)  # what `usance start` does, for a moment
    assert "every record" in next(f.found for f in findings(root) if f.code == "HEAD_OLD")


def test_verification_and_anchors_have_an_age(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = bad(root)["SCRUB_OLD"]
    done(found.command)
    assert "SCRUB_OLD" not in bad(root)
    monkeypatch.setattr(doctor_heads, "SCRUB_DAYS_MAX", -1)
    assert bad(root)["SCRUB_OLD"].found == "0 days ago"
    shutil.rmtree(root / "anchors" / "heads")
    assert bad(root)["ANCHOR_OLD"].severity == "warning"
    shutil.rmtree(root / "heads")
    assert bad(root)["NO_HEAD"].severity == "wrong"


# -- access


def test_a_folder_that_others_can_read_is_named_and_closed(root: Path, sealed: Path) -> None:
    for place, severity in ((root, "warning"), (sealed, "wrong")):
        place.chmod(0o755)
        found = bad(place)["FOLDER_OPEN"]
        assert found.severity == severity
        done(found.command)
        assert "FOLDER_OPEN" not in bad(place)


def test_who_may_do_what_is_listed_and_a_missing_second_person_is_named(root: Path) -> None:
    told = {f.check: f.found for f in findings(root) if f.code == "ACCESS_LIST"}
    assert told["role senior_checker"].startswith("dev.raghavan")
    people = json.loads((root / "people.json").read_text())
    few = [p for p in people if "checker" not in p["roles"] and "senior_checker" not in p["roles"]]
    (root / "people.json").write_text(
        json.dumps([*few, {"id": "x", "name": "X", "roles": ["odd"]}])
    )
    found = [f for f in findings(root) if f.code == "FOUR_EYES_SHORT"]
    wrong = {f.check for f in found if f.severity == "wrong"}
    assert "ApproveCredit" in wrong and "ApproveDisposition" not in wrong
    assert bad(root)["ROLE_UNKNOWN"].check == "role odd"
    (root / "people.json").write_text("no json")
    assert bad(root)["PEOPLE_UNREADABLE"].severity == "wrong"


# -- every command that is named


def named() -> Iterator[str]:
    """Yield what of `usance ...` stands in the sources of the doctor."""
    files = [
        *SOURCES.glob("bootstrap/doctor*.py"),
        *SOURCES.glob("adapters/kafka_*.py"),
        SOURCES / "adapters" / "postgres_store.py",
    ]
    for file in files:
        for found in re.finditer(
            r"[\"'`](?:USANCE_[A-Z]+=\S+ )?(usance [a-z][^\"'`]*)", file.read_text()
        ):
            yield from (part for part in found[1].split(" && ") if part.startswith("usance "))


def leaf(words: list[str]) -> tuple[click.Command, list[str]]:
    """Return the command that words name, and what of them is left."""
    found: click.Command = usance
    while words and isinstance(found, click.Group):
        inner = found.get_command(click.Context(found), words[0])
        if inner is None:
            break
        found, words = inner, words[1:]
    return found, words


@pytest.mark.parametrize("command", sorted(set(named())))
def test_every_command_that_is_named_exists_with_its_options(command: str) -> None:
    words = command.replace("{", "").replace("}", "").split()[1:]
    found, rest = leaf(words)
    assert not isinstance(found, click.Group), f"{command} is no command"
    known = {o for p in found.params for o in p.opts}
    for word in rest:
        if word.startswith("--"):
            assert word in known, f"{command}: {word} is no option"


def test_every_code_stands_in_the_document() -> None:
    text = (SOURCES.parents[1] / "docs" / "doctor.md").read_text()
    files = [
        *SOURCES.glob("bootstrap/doctor*.py"),
        *(SOURCES / "adapters" / f"kafka_{n}.py" for n in ("doctor", "flow", "rights")),
        SOURCES / "adapters" / "postgres_store.py",
    ]
    codes = {m[1] for f in files for m in re.finditer(r'"([A-Z][A-Z_]{2,})"', f.read_text())}
    codes -= {"KAFKA_UNSAFE", "UNKNOWN_KEY", "ROLLBACK", "WITNESS_REFUSED"}  # of errors
    assert len(codes) > 50
    assert {c for c in codes if not re.search(rf"\b{c}\b", text)} == set()
