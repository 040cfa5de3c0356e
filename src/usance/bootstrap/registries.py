"""Which schema registry the settings mean."""

from __future__ import annotations

from pathlib import Path

from usance.config import RegistrySettings
from usance.messages.registry import Registry

PINNED = "pinned:"


def open_registry(settings: RegistrySettings) -> Registry | None:
    """Return the registry that gives ids; None where the log itself does."""
    if settings.service == "log":
        return None
    if settings.service.startswith(PINNED):
        from usance.adapters.registry_pinned import PinnedRegistry

        return PinnedRegistry(Path(settings.service.removeprefix(PINNED)))
    from usance.adapters.registry_confluent import ConfluentRegistry, ConfluentSettings

    return ConfluentRegistry(
        ConfluentSettings(settings.service, settings.username, settings.password, settings.ca_file)
    )
