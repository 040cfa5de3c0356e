"""Settings: what `usance.toml`, the environment and the command line may say.

A later source wins: defaults, then `usance.toml` of the working folder, then that of the data folder,
then `USANCE_*` variables, then flags. A name is dotted, such as `web.port`; its variable is
`USANCE_WEB_PORT`. A name that means nothing here is an error, because a misspelt setting that is
ignored is found out at the worst time.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec

from usance.kernel.errors import Refused, Unreadable

FILE = "usance.toml"
PREFIX = "USANCE_"
NOT_SETTINGS = frozenset({"USANCE_AS", "USANCE_OUTPUT", "USANCE_NATIVE"})
"""Variables of the program itself: who acts, how to print, and whether the compiled codec runs."""
SECRET_WORDS = frozenset({"key", "password", "secret", "token"})
"""Last words of the names whose values are never printed."""

MASK = "********"
_PASSWORD = re.compile(r"(//[^/:@\s]*:)[^/@\s]+(?=@)|([?&]password=)[^&\s]+")
"""A password within an address."""

Word = Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9-]{0,30}$")]
LogAddress = Annotated[str, msgspec.Meta(pattern="^(sqlite|kafka://[^/\\s]+)$")]
"""`sqlite` (in the data folder), or `kafka://HOST:PORT[,HOST:PORT...]`."""
ViewsAddress = Annotated[str, msgspec.Meta(pattern="^(sqlite|postgres(ql)?://\\S+)$")]
"""`sqlite` (in the data folder), or `postgresql://USER@HOST:PORT/DATABASE` and libpq's parameters."""
KeysAddress = Annotated[str, msgspec.Meta(pattern="^(file|pkcs11|vault|aws):\\S*$")]
"""Scheme of a key service and where it is; see `KeySettings`."""
SafeAddress = Annotated[str, msgspec.Meta(pattern="^(s3:[a-z0-9][a-z0-9.-]+(/\\S*)?(\\?\\S+)?)?$")]
"""Where anchors are kept: empty for a folder; see `ProofSettings`."""
SignerAddress = Annotated[str, msgspec.Meta(pattern="^(pkcs11:\\S+)?$")]
"""Where the key is that signs heads: empty for a file; see `ProofSettings`."""
RegistryAddress = Annotated[
    str, msgspec.Meta(pattern="^(log|https?://[^\\s/]+(/\\S*)?|pinned:\\S+)$")
]
"""Which schema registry; see `RegistrySettings`."""
KAFKA_SCHEME = "kafka://"
Bic = Annotated[str, msgspec.Meta(pattern="^[A-Z]{6}[A-Z0-9]{2}([A-Z0-9]{3})?$")]


class Bank(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose book this is: tenant (prefix of every key), BIC (ISO 9362) and name."""

    tenant: Word = "albion"
    bic: Bic = "ALBNGB2LXXX"
    name: str = "Albion Trade Bank"


class Web(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where console and API listen; loopback only until there is authentication."""

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 8400


class OwnerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The owner: commands per unit, and whether records gather while commits queue (on a cluster).

    Gathering trades latency for fewer commits. It is off: at 200 commands a second it more than doubled
    the median here, and no gain was measured.
    """

    batch_max: Annotated[int, msgspec.Meta(ge=1, le=2_000)] = 500
    gather: bool = False


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The FIN gateway. `loopback` answers each sent message with an ACK: a stand-in for the network."""

    loopback: bool = False


class TelemetrySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Metrics at `/metrics` while `enabled`; `spans`: off, or stderr for traces that callers sampled.

    A part that does not come round for `stuck_after` seconds ends the program's `/health/live`.
    """

    enabled: bool = True
    spans: Literal["off", "stderr"] = "off"
    stuck_after: Annotated[int, msgspec.Meta(ge=1, le=3_600)] = 60


class KafkaSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to reach a Kafka cluster, where `log` names one.

    `security`: plaintext (loopback and trials), tls (server certificate, and our own where `certificate` is
    set), scram (TLS with SCRAM-SHA-512). Paths are of PEM files; an encrypted key needs its password. `slot`
    names this worker for life: its transactional ids are made of it. `instance` makes a static member, whose
    restart needs no rebalance: `usance start` sets it to the slot. `prefix` stands before the names of topics
    and groups, so that several logs can share a cluster. `replication` counts when topics are created.
    `session_ms` and `transaction_ms` bound how long a dead worker's partitions and an open unit of its wait
    (`usance kafka doctor` prints the sum); shorter ones take over sooner, and mistake a slow machine for a
    dead one sooner. Unsafe cluster settings stop the start unless `i_accept_loss` is true.
    """

    security: Literal["plaintext", "tls", "scram"] = "plaintext"
    ca_file: str = ""
    certificate_file: str = ""
    certificate_key_file: str = ""
    certificate_key_password: str = ""
    username: str = ""
    password: str = ""
    group_protocol: Literal["classic", "consumer"] = "classic"
    slot: Word = "a"
    instance: Annotated[str, msgspec.Meta(pattern="^([a-z0-9][a-z0-9._-]{0,99})?$")] = ""
    prefix: Annotated[str, msgspec.Meta(pattern="^([a-z0-9][a-z0-9._-]{0,60})?$")] = ""
    replication: Annotated[int, msgspec.Meta(ge=1, le=9)] = 3
    session_ms: Annotated[int, msgspec.Meta(ge=2_000, le=60_000)] = 6_000
    transaction_ms: Annotated[int, msgspec.Meta(ge=3_000, le=60_000)] = 4_000
    i_accept_loss: bool = False


class KeySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who keeps the keys that wrap data keys.

    `service`: `file:[PATH]` (default `keys.sealed` in the data folder), `pkcs11:token=LABEL?module-path=FILE`
    (RFC 7512), `vault:https://HOST:PORT[/MOUNT][?namespace=NAME]` (Vault or OpenBao),
    `aws:REGION[?prefix=WORD&endpoint=URL]`. `secret_file` holds what opens it: the passphrase (or shares, a
    line each), the PIN, or the token; where it is empty a person is asked. `ca_file` is Vault's.
    """

    service: KeysAddress = "file:"
    secret_file: str = ""
    ca_file: str = ""


class RegistrySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which schema registry gives the ids of schemas.

    `service`: `log` (the log itself), the address of one with Confluent's REST interface (such as
    `http://HOST:8081`, or `http://HOST:8080/apis/ccompat/v7`), or `pinned:FILE` (ids given elsewhere, read
    only). Choose before the first start: a record keeps its id for ever. `ca_file` is its certificate's.
    """

    service: RegistryAddress = "log"
    username: str = ""
    password: str = ""
    ca_file: str = ""


class ProofSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The transparency log: names of its trees, where things are, who attests heads from outside.

    Trees are called `<domain>/usance/<env>/...`. Paths default to the data folder: `proof` (tiles), `heads`
    (last heads and pinned keys: put it on another disk), `anchors` (kept heads), `notary.key`. `signer` puts the
    key into a token instead (`pkcs11:token=LABEL;object=NAME?module-path=FILE`, RFC 7512), whose PIN is in
    `signer_secret_file`. `safe` puts anchors into a bucket with Object Lock instead of a folder
    (`s3:BUCKET[/PREFIX][?region=NAME&endpoint=URL]`), where they are kept for `safe_days`. `witnesses` is
    a C2SP policy file with the addresses of witnesses and their quorum; without one the program's own
    witness cosigns (`own_witness`), which shows a rollback of the tiles, and nothing to a stranger. `time_url`
    is a time-stamping service (RFC 3161), `time_ca_file` its root as PEM. Anchors are put away every
    `anchor_every` seconds.
    """

    enabled: bool = True
    domain: Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9.-]{0,99}$")] = "albion.example"
    env: Word = "book"
    tiles: str = ""
    heads: str = ""
    anchors: str = ""
    safe: SafeAddress = ""
    safe_days: Annotated[int, msgspec.Meta(ge=0, le=36_525)] = 0
    key_file: str = ""
    signer: SignerAddress = ""
    signer_secret_file: str = ""
    witnesses: str = ""
    own_witness: bool = True
    time_url: str = ""
    time_ca_file: str = ""
    anchor_every: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 3_600


class CardSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Card numbers in what comes in: `refuse`, `tokenise` (where the log seals), or `off` (let pass)."""

    action: Literal["refuse", "tokenise", "off"] = "refuse"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings. `namespace` prefixes topics; `partitions` and `profile` count when a log is founded.

    `profile`: in a log founded as `secure`, private blocks are sealed under a key per data subject; in a
    `default` one they stand in clear. It is fixed for the log's life.
    """

    profile: Literal["default", "secure"] = "default"
    namespace: Word = "usance"
    partitions: Annotated[int, msgspec.Meta(ge=1, le=64)] = 4
    data: str = "data"
    log: LogAddress = "sqlite"
    views: ViewsAddress = "sqlite"
    bank: Bank = Bank()
    web: Web = Web()
    owner: OwnerSettings = OwnerSettings()
    gateway: GatewaySettings = GatewaySettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    kafka: KafkaSettings = KafkaSettings()
    keys: KeySettings = KeySettings()
    cards: CardSettings = CardSettings()
    proof: ProofSettings = ProofSettings()
    registry: RegistrySettings = RegistrySettings()

    @property
    def bootstrap_servers(self) -> str:
        """Brokers to ask first (`HOST:PORT,...`), empty where the log is embedded."""
        return self.log.removeprefix(KAFKA_SCHEME) if self.log.startswith(KAFKA_SCHEME) else ""


class Effective(msgspec.Struct, frozen=True, kw_only=True):
    """Settings with the source of each value: default, file, environment or flag."""

    settings: Settings
    sources: dict[str, str]


def load(
    folder: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Effective:
    """Return the effective settings of the files, the environment and dotted `flags`.

    `folder` is the data folder; a flag of None was not given. Raises Unreadable naming what is wrong
    and where it was set, Refused for an address that others can reach.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    given = (
        *(_from_file(f) for f in (Path(FILE), *([folder / FILE] if folder else []))),
        _from_environment(os.environ if environ is None else environ),
        {name: (value, "flag") for name, value in (flags or {}).items() if value is not None},
    )
    kinds = _kinds(Settings)
    for found in given:
        for name, (value, source) in found.items():
            _put(values, name, _converted(name, value, source, kinds[name]))
            sources[name] = source
    settings = msgspec.convert(values, Settings)
    _demand_loopback(settings.web.host)
    return Effective(settings=settings, sources={n: sources.get(n, "default") for n in kinds})


def shown(effective: Effective) -> list[tuple[str, str, str]]:
    """Return (name, value, source) of every setting, secrets masked."""
    rows = []
    for name, source in effective.sources.items():
        value: Any = effective.settings
        for part in name.split("."):
            value = getattr(value, part)
        rows.append((name, masked(name, str(value)), source))
    return rows


def masked(name: str, value: str) -> str:
    """Return a setting's value as it may be printed."""
    secret = name.replace(".", "_").rsplit("_", 1)[-1] in SECRET_WORDS
    if secret and value:
        return MASK
    return _PASSWORD.sub(lambda found: f"{found[1] or found[2]}{MASK}", value)


def variable(name: str) -> str:
    """Return the environment variable of a dotted name."""
    return PREFIX + name.replace(".", "_").upper()


def _kinds(cls: Any, prefix: str = "") -> dict[str, Any]:
    """Return the dotted names below a class with their types."""
    found: dict[str, Any] = {}
    for name, kind in get_type_hints(cls, include_extras=True).items():
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            found |= _kinds(kind, f"{prefix}{name}.")
        else:
            found[prefix + name] = kind
    return found


def _from_file(file: Path) -> dict[str, tuple[Any, str]]:
    if not file.exists():
        return {}
    source = f"file {file}"
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Unreadable(
            "settings", f"{source} cannot be read: {error}", hint="Correct or remove it."
        ) from error
    found = dict(_flat(table))
    for name in found:
        _demand_known(name, source, _kinds(Settings))
    return {name: (value, source) for name, value in found.items()}


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _from_environment(environ: Mapping[str, str]) -> dict[str, tuple[Any, str]]:
    names = {variable(name): name for name in _kinds(Settings)}
    found: dict[str, tuple[Any, str]] = {}
    for name, text in environ.items():
        if name.startswith(PREFIX) and name not in NOT_SETTINGS:
            _demand_known(name, "the environment", names)
            found[names[name]] = (text, f"environment {name}")
    return found


def _demand_known(name: str, source: str, known: Mapping[str, Any]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"Did you mean {near[0]}?" if near else f"Known are {', '.join(known)}."
        raise Unreadable("settings", f"{name}, set in {source}, means nothing here", hint=hint)


def _converted(name: str, value: Any, source: str, kind: Any) -> Any:
    # Variables and flags are text; a file can say what it means.
    try:
        return msgspec.convert(value, kind, strict=source.startswith("file"))
    except msgspec.ValidationError as error:
        raise Unreadable(
            "settings",
            f"{name}, set in {source}: {_said(name, error)}",
            hint="`usance config show` lists all settings with their values and sources.",
        ) from error


FROM_FLAG = "set in flag"
FORMS = {
    "log": "sqlite, or kafka://HOST:PORT with more brokers after commas",
    "views": "sqlite, or postgresql://USER@HOST/DATABASE",
    "keys.service": "file:, pkcs11:, vault: or aws: with what each needs behind it",
    "bank.tenant": "a word of small letters, digits and dashes",
    "bank.bic": "a BIC of 8 or 11 signs",
}
"""What is taken, in words, where a pattern says it otherwise."""


def _said(name: str, error: msgspec.ValidationError) -> str:
    return f"expected {FORMS[name]}" if name in FORMS else str(error)


def _put(values: dict[str, Any], name: str, value: Any) -> None:
    *path, last = name.split(".")
    for part in path:
        values = values.setdefault(part, {})
    values[last] = value


def _demand_loopback(host: str) -> None:
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise Refused(
            "NOT_LOOPBACK",
            f"web.host is {host}: there is no authentication yet",
            hint="Use 127.0.0.1, and reach it from elsewhere through an SSH tunnel.",
        )
