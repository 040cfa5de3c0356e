"""Settings: `usance.toml`, then `USANCE_*` variables, then flags; every value knows where it came from."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from usance.kernel.errors import Unreadable

FILE = "usance.toml"
PREFIX = "USANCE_"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
SECRET_WORDS = ("password", "secret", "key", "token")


class Bank(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose book this is: tenant (prefix of every key), BIC and name."""

    tenant: str = "albion"
    bic: str = "ALBNGB2LXXX"
    name: str = "Albion Trade Bank"


class Web(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where console and API listen; loopback only until there is authentication."""

    host: str = "127.0.0.1"
    port: int = 8400


class OwnerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds of the owner: commands per unit."""

    batch_max: int = 500


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The FIN gateway. `loopback` answers each sent message with an ACK: a stand-in for the network."""

    loopback: bool = False


class TelemetrySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """OpenTelemetry: off unless a provider is configured and this is on."""

    enabled: bool = False


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings. `namespace` prefixes topics; `partitions` counts only when a log is founded."""

    namespace: str = "usance"
    partitions: int = 4
    data: str = "data"
    bank: Bank = Bank()
    web: Web = Web()
    owner: OwnerSettings = OwnerSettings()
    gateway: GatewaySettings = GatewaySettings()
    telemetry: TelemetrySettings = TelemetrySettings()


class Effective(msgspec.Struct, frozen=True, kw_only=True):
    """Settings with the source of each value: default, file, environment or flag."""

    settings: Settings
    sources: dict[str, str]


def load(
    folder: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Effective:
    """Return the effective settings; raises Unreadable naming the setting that is wrong.

    `usance.toml` is read from the working folder, then from the data folder. Variables are
    `USANCE_WEB__PORT=8400` for `web.port`; flags are dotted names, None meaning "not given".
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for file in (Path(FILE), *([folder / FILE] if folder else [])):
        if file.is_file():
            _merge(values, _read(file), sources, f"file {file.name}")
    known = _names(Settings)
    env = os.environ if environ is None else environ
    for name, text in sorted(env.items()):
        dotted = name.removeprefix(PREFIX).lower().replace("__", ".")
        if name.startswith(PREFIX) and dotted in known:
            _put(values, dotted, text, sources, f"environment {name}")
    for dotted, value in (flags or {}).items():
        if value is not None:
            _put(values, dotted, value, sources, "flag")
    try:
        settings = msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise Unreadable(
            "validate",
            f"a setting is wrong: {error}",
            hint="`usance config show` lists all settings with their defaults.",
        ) from error
    _check(settings)
    return Effective(settings=settings, sources={n: sources.get(n, "default") for n in known})


def shown(effective: Effective) -> list[tuple[str, str, str]]:
    """Return (name, value, source) of every setting, secrets masked."""
    rows = []
    for name, source in effective.sources.items():
        value: Any = effective.settings
        for part in name.split("."):
            value = getattr(value, part)
        secret = any(word in name for word in SECRET_WORDS)
        rows.append((name, "********" if secret else str(value), source))
    return rows


def _check(settings: Settings) -> None:
    if settings.web.host not in LOOPBACK:
        raise Unreadable(
            "validate",
            f"web.host is {settings.web.host}: there is no authentication yet",
            hint=f"Use one of {', '.join(LOOPBACK)}.",
        )
    if not 1 <= settings.partitions <= 64:
        raise Unreadable("validate", "partitions must be 1 to 64", hint="4 suits one machine.")
    if not 1 <= settings.owner.batch_max <= 2_000:
        raise Unreadable("validate", "owner.batch_max must be 1 to 2000", hint="500 is usual.")


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Unreadable(
            "validate", f"{file.name} cannot be read: {error}", hint="Correct or remove it."
        ) from error


def _names(cls: Any, prefix: str = "") -> list[str]:
    found: list[str] = []
    for field in msgspec.structs.fields(cls):
        if isinstance(field.default, msgspec.Struct):
            found += _names(type(field.default), f"{prefix}{field.name}.")
        else:
            found.append(prefix + field.name)
    return found


def _merge(
    into: dict[str, Any],
    more: Mapping[str, Any],
    sources: dict[str, str],
    source: str,
    prefix: str = "",
) -> None:
    for name, value in more.items():
        if isinstance(value, dict):
            _merge(into.setdefault(name, {}), value, sources, source, f"{prefix}{name}.")
        else:
            into[name] = value
            sources[prefix + name] = source


def _put(
    into: dict[str, Any], dotted: str, value: Any, sources: dict[str, str], source: str
) -> None:
    *path, last = dotted.split(".")
    for part in path:
        into = into.setdefault(part, {})
    into[last] = value
    sources[dotted] = source
