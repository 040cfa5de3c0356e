"""The data keys of a log that seals: founded with it, and opened by every process that may read its blocks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from usance.adapters.log_keys import LogKeys
from usance.adapters.sqlite_keys import SqliteKeys
from usance.config import Settings
from usance.crypto.keyservice import KeyContext, KeyService, KeyState, Purpose
from usance.crypto.keystore import KeyRecord, KeyStore
from usance.crypto.sealing import KEY_ID_BYTES, self_test
from usance.crypto.secret import KEY_BYTES, Secret
from usance.crypto.vault import Vault, record_mac
from usance.engine.genesis import Genesis
from usance.engine.logs import logger
from usance.engine.topics import Topics
from usance.kernel.clock import SystemClock
from usance.kernel.errors import NotFound, Tampered, Unavailable
from usance.kernel.ids import system_entropy
from usance.log.contract import Log

KEYS_FILE = "keys.sqlite"
SECRET_FILE = "keys.secret"  # noqa: S105  the name of a file
LOG_SUBJECT, LOG_RETENTION = "log", "log"
TRIAL_WORDS = 32

_log = logger("keys")


class Keys(NamedTuple):
    """What keeps keys: the service that wraps them, and the store of the wrapped ones."""

    service: KeyService
    store: KeyStore


def placed(settings: Settings, root: Path) -> Settings:
    """Return settings whose data folder is `root`, and whose keyring is opened by the secret beside it.

    The secret is there only where nobody held a key ceremony: see `found_keyring`.
    """
    settings = replace(settings, data=str(root))
    beside = root / SECRET_FILE
    if settings.keys.service == "file:" and not settings.keys.secret_file and beside.exists():
        return replace(settings, keys=replace(settings.keys, secret_file=str(beside)))
    return settings


def found_keyring(settings: Settings, root: Path) -> Settings:
    """Make a keyring where a log is founded without one: good for trials, and said so."""
    from usance.bootstrap.keys import COST_OF_RANDOM, found_by_passphrase, keyring_path

    settings = placed(settings, root)
    path = keyring_path(settings)
    if path is None or path.exists() or settings.keys.secret_file:
        return settings
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = root / SECRET_FILE
    words = system_entropy(TRIAL_WORDS).hex()
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(words)
    found_by_passphrase(path, Secret(words.encode()), cost=COST_OF_RANDOM)
    _log.warning("started", template="keys.secret stands beside the keyring: hold a key ceremony")
    return placed(settings, root)


def open_both(settings: Settings, root: Path, log: Log, topics: Topics) -> Keys:
    """Open key service and key store."""
    from usance.bootstrap.keys import open_keys

    self_test()
    service = open_keys(placed(settings, root))
    return Keys(service, open_store(settings, root, log, topics))


def open_store(settings: Settings, root: Path, log: Log, topics: Topics) -> KeyStore:
    """Open the key store: a file beside an embedded log, a topic on a cluster."""
    if settings.bootstrap_servers:
        return LogKeys(log, topics.at("system", "keys", 0))
    return SqliteKeys(root / KEYS_FILE)


def found_secret(settings: Settings, root: Path, log: Log, topics: Topics) -> str:
    """Make a log's own secret, durable in its key store; returns its id in hex, for the genesis."""
    keys = open_both(found_keyring(settings, root), root, log, topics)
    try:
        tenant = settings.bank.tenant
        keys.service.create(tenant)
        secret, key_id = Secret(system_entropy(KEY_BYTES)), system_entropy(KEY_ID_BYTES)
        context = KeyContext(tenant, LOG_SUBJECT, LOG_RETENTION, key_id, 1, Purpose.INDEX)
        wrapped = keys.service.wrap(tenant, [(context, secret)])[0]
        keys.store.bind(record_mac(secret))
        secret.wipe()
        record = KeyRecord(
            key_id=key_id,
            tenant=tenant,
            subject=LOG_SUBJECT,
            retention=LOG_RETENTION,
            version=1,
            state=KeyState.ACTIVE,
            kek=wrapped.kek.version,
            blob=wrapped.blob,
            check=b"",
            created=SystemClock().now(),
            purpose=Purpose.INDEX,
        )
        keys.store.put([record])
    finally:
        keys.store.close()
    return key_id.hex()


def open_vault(settings: Settings, root: Path, log: Log, genesis: Genesis) -> Vault:
    """Open the data keys of a log; raises Unavailable, KeyServiceDenied, Tampered with what to do."""
    topics = Topics(genesis.namespace, genesis.partitions)
    keys = open_both(settings, root, log, topics)
    try:
        secret = _log_secret(keys, bytes.fromhex(genesis.secret))
        return Vault(
            keys.service, keys.store, SystemClock(), secret, partitions=genesis.partitions * 3
        )
    except BaseException:
        keys.store.close()
        raise


def _log_secret(keys: Keys, key_id: bytes) -> Secret:
    record = keys.store.by_id([key_id]).get(key_id)
    if record is None:
        raise NotFound(
            "the key store does not hold this log's own key",
            hint=f"Put back the {KEYS_FILE} that belongs to this log.",
        )
    opened = keys.service.unwrap([record.wrapped])[0]
    if isinstance(opened, Secret):
        return opened
    raise Tampered(
        f"this log's own key cannot be opened: {type(opened).__name__}",
        hint="Open the keyring that it was founded with; restore key store and keyring together.",
    )


def demand_profile(settings: Settings, genesis: Genesis) -> None:
    """Raise Unavailable where a log was founded under another profile than the settings ask for."""
    if settings.profile == "secure" and genesis.clear_blocks:
        raise Unavailable(
            "this log was founded with private blocks in clear: its profile is fixed for life",
            hint="Found a new log with --profile secure, in another folder or under another prefix.",
        )
