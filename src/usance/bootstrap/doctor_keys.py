"""What `doctor` says of keys and certificates: their states, their ages, who can get at them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from usance.adapters import pem_files
from usance.bootstrap.proof.proving import places_of
from usance.bootstrap.store import Folder, Store
from usance.bootstrap.vaults import SECRET_FILE
from usance.config import Settings
from usance.crypto.keyservice import KeyState
from usance.crypto.vault import Vault
from usance.engine.findings import Finding, held, ok
from usance.kernel.clock import MS_PER_DAY, SystemClock, iso
from usance.kernel.errors import Tampered, UsanceError

KEK_DAYS_MAX = 366
"""How long one version of the key-encryption key wraps new keys (SP 800-57 part 1, 5.3.6: a year or two)."""
CERTIFICATE_DAYS_MIN = 30
OTHERS = 0o077


def keys(store: Store, settings: Settings) -> Iterator[Finding]:
    """Look at key files, and at the states of data keys and of the keys that wrap them."""
    yield from _files(store.folder, settings)
    if store.genesis.clear_blocks:
        yield ok("keys", "KEYS_CLOSED", "data keys", "none: private fields stand in clear here")
        return
    try:
        vault = store.vault
    except UsanceError as error:
        severity = "tampered" if isinstance(error, Tampered) else "wrong"
        command = f"usance key check --data {store.folder.root}"
        hint = error.hint
        yield Finding("keys", "KEYS_CLOSED", severity, "data keys", error.message, command, hint)
        return
    if vault is not None:
        yield from _wrapping(vault, settings)
        yield from _states(vault, str(store.folder.root))


def _files(folder: Folder, settings: Settings) -> Iterator[Finding]:
    """Files that hold secrets are for their owner alone."""
    places = places_of(folder, settings)
    root = folder.root
    known = (
        places.key,
        places.witness / "witness.key",
        root / "keys.sealed",
        root / SECRET_FILE,
        *(Path(p) for p in (settings.keys.secret_file, settings.proof.signer_secret_file) if p),
        *(Path(p) for p in (settings.kafka.certificate_key_file,) if p),
    )
    there = [file for file in dict.fromkeys(known) if file.exists()]
    bad = [file for file in there if file.stat().st_mode & OTHERS]
    for file in bad:
        said = f"{file.name} has rights {file.stat().st_mode & 0o777:o}: others can get at it"
        yield Finding("keys", "SECRET_FILE_OPEN", "wrong", file.name, said, f"chmod 600 {file}")
    if not bad:
        said = f"{len(there)} files, each for its owner alone"
        yield ok("keys", "SECRET_FILE_OPEN", "files with secrets", said)
    beside = root / SECRET_FILE
    if beside.exists() and not settings.keys.secret_file:
        yield Finding(
            "keys",
            "SECRET_BESIDE_KEYRING",
            "warning",
            "keyring",
            "what opens it stands beside it: good for trials",
            f"mv {beside} /etc/usance.secret && export USANCE_KEYS_SECRET_FILE=/etc/usance.secret",
            "better, found the log after a ceremony: usance key ceremony",
        )


def _wrapping(vault: Vault, settings: Settings) -> Iterator[Finding]:
    """Look at the versions of the key-encryption key."""
    data = settings.data
    try:
        versions = vault.service.versions(settings.bank.tenant)
    except UsanceError as error:
        said = error.message
        yield Finding(
            "keys", "KEY_SERVICE_AWAY", "wrong", "key service", said, "usance key check", error.hint
        )
        return
    newest = versions[-1]
    days = (SystemClock().now() - newest.created) // MS_PER_DAY if newest.created else 0
    yield held(
        "keys",
        "KEK_OLD",
        "key-encryption key",
        f"version {newest.id.version}, {days} days old",
        well=days <= KEK_DAYS_MAX,
        command=f"usance key rotate --data {data} && usance key rewrap --data {data}",
        severity="warning",
    )
    old = [r for r in vault.store.records() if not r.dead and r.kek != newest.id.version]
    yield held(
        "keys",
        "KEYS_UNDER_OLD_KEK",
        "wrapped by",
        f"{len(old)} living keys are wrapped by an older version"
        if old
        else "the newest version, all of them",
        well=not old,
        command=f"usance key rewrap --data {data}",
        severity="warning",
    )


def _states(vault: Vault, data: str) -> Iterator[Finding]:
    """Count the states of data keys, and name those that wait for somebody."""
    records = list(vault.store.records())
    counted = Counter(r.state.value for r in records)
    said = ", ".join(f"{n} {state}" for state, n in sorted(counted.items())) or "none yet"
    yield ok("keys", "KEY_STATES", "data keys", said)
    unsigned = vault.store.unsigned()
    yield held(
        "keys",
        "KEYS_UNSIGNED",
        "key records",
        f"{len(unsigned)} were written by an earlier version and are not signed"
        if unsigned
        else "each is signed by the log",
        well=not unsigned,
        command=f"usance key adopt --data {data}",
    )
    told = {
        KeyState.SUSPENDED: (
            "KEY_SUSPENDED",
            "it seals nothing until somebody turns it: an erasure is under way, or somebody suspended it",
            "active",
        ),
        KeyState.COMPROMISED: (
            "KEY_COMPROMISED",
            "it opens, flagged, and seals nothing more",
            "",
        ),
    }
    for state, (code, why, to) in told.items():
        found = [r for r in records if r.state is state]
        if not found:
            continue
        name = found[0].key_id.hex()
        turn = f"usance key turn {name} {to} --reason WHY --as PERSON --data {data}"
        command = turn if to else f"usance key show {name} --data {data}"
        hint = "two other people agree by the same command" if to else "an erasure ends it"
        many = f"{len(found)} {state.value}: {why}"
        yield Finding("keys", code, "warning", "data keys", many, command, hint)


# -- certificates


def certificates(settings: Settings) -> Iterator[Finding]:
    """Look at every certificate that the settings name: whether it holds, and for how long."""
    kafka = settings.kafka
    named = (
        ("kafka.ca_file", kafka.ca_file, ""),
        ("kafka.certificate_file", kafka.certificate_file, kafka.certificate_key_file),
        ("keys.ca_file", settings.keys.ca_file, ""),
        ("registry.ca_file", settings.registry.ca_file, ""),
        ("proof.time_ca_file", settings.proof.time_ca_file, ""),
    )
    there = [(name, Path(file), key) for name, file, key in named if file]
    if not there:
        yield ok("certificates", "CERTIFICATE", "certificates", "the settings name none")
    for name, file, key in there:
        yield _certificate(name, file, key)


def _certificate(name: str, file: Path, key: str) -> Finding:
    mend = (
        f"openssl req -new -key {key} -subj /CN=usance -out {file}.csr"
        if key
        else f"openssl s_client -connect HOST:PORT -showcerts > {file}"
    )
    hint = (
        f"have your authority sign it, and put the answer at {file}"
        if key
        else f"or put the authority's present root at {file}"
    )
    try:
        found = pem_files.certificates(file)
    except UsanceError as error:
        said = error.message
        return Finding("certificates", "CERTIFICATE_UNREADABLE", "wrong", name, said, mend, hint)
    now = SystemClock().now()
    first = min(found, key=lambda c: c.until)
    days = (first.until - now) // MS_PER_DAY
    until = iso(first.until)[:10]
    if first.until <= now or first.since > now:
        over = first.until <= now
        said = f"{first.subject} {'held until' if over else 'holds from'} "
        said += until if over else iso(first.since)[:10]
        return Finding("certificates", "CERTIFICATE_EXPIRED", "wrong", name, said, mend, hint)
    if days < CERTIFICATE_DAYS_MIN:
        said = f"{first.subject} holds until {until}, {days} days"
        return Finding("certificates", "CERTIFICATE_EXPIRES", "warning", name, said, mend, hint)
    return ok("certificates", "CERTIFICATE", name, f"holds until {until}, {days} days")
