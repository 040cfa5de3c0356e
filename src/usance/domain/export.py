"""Handing over an audit pack: one stream per pack, one event per hand-over, written before it is given.

The event names the pack by the hash of its manifest, and seals the index of streams (how many events each
stream of a partition has) by which a reader of the pack can tell that nothing was left out.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from usance.domain.guards import is_person, unknown_command, wrong_key
from usance.kernel.decider import Context, Decision, Refusal
from usance.kernel.words import Words, text_of

CONTEXT = "system"
REFERENCE_LETTERS = 32
REVEALERS = frozenset(("auditor", "compliance_officer"))
"""Roles that may take private blocks out of their seal for a pack; all who export may take the others."""

Hash = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


class StreamIndex(msgspec.Struct, frozen=True, kw_only=True):
    """The streams of one partition's first `size` events: root over `entries` of them, sorted."""

    tree: str
    size: int
    entries: int
    root: Hash


class ExportPack(msgspec.Struct, frozen=True, kw_only=True):
    """A person takes a pack out. `pack` is its reference: the first letters of the manifest's hash.

    `scope` says what it holds (`credit TF26LC000101`), `known_at` up to how many heads, `as_of` (RFC 3339,
    empty: no bound) up to which instant. `revealed` private blocks were opened for it. `case` is the
    reference of whoever asked for it.
    """

    pack: str
    manifest: Hash
    verifier: Hash
    scope: str
    as_of: str = ""
    known_at: int
    records: int
    revealed: int = 0
    case: str = ""
    indexes: list[StreamIndex] = []
    reason: Words | None = None


class PackExported(msgspec.Struct, frozen=True, kw_only=True):
    """A pack was handed over to the one who acts; fields as in `ExportPack`."""

    pack: str
    manifest: Hash
    verifier: Hash
    scope: str
    as_of: str = ""
    known_at: int
    records: int
    revealed: int = 0
    case: str = ""
    indexes: list[StreamIndex] = []
    reason: Words | None = None


MESSAGES: tuple[tuple[type, str], ...] = (
    (ExportPack, "command"),
    (PackExported, "event"),
)
"""Every message about packs with its kind."""


class ExportState(msgspec.Struct):
    """How often a pack was handed over."""

    times: int = 0


class ExportDecider:
    """Decides whether a pack may be handed over."""

    category = "export"
    fold_id = "export/1"

    def initial(self, key: str) -> ExportState:  # noqa: ARG002
        """Return the state before the first hand-over."""
        return ExportState()

    def decide(self, state: ExportState, command: Any, context: Context) -> Decision | Refusal:  # noqa: ARG002
        """Answer a request for a pack; never raises."""
        if not isinstance(command, ExportPack):
            return unknown_command(command)
        flaw = wrong_key(context, command.pack) or _flaw(command, context)
        if flaw:
            return flaw
        fields = {name: getattr(command, name) for name in command.__struct_fields__}
        return Decision((PackExported(**fields),))

    def evolve(self, state: ExportState, event: Any) -> ExportState:
        """Return the state after one event."""
        return ExportState(state.times + isinstance(event, PackExported))


def _flaw(command: ExportPack, context: Context) -> Refusal | None:
    if not is_person(context.actor):
        return Refusal("NEEDS_A_PERSON", "A pack is handed to a person.", hint="Act as a person.")
    if command.pack != reference_of(command.manifest):
        return Refusal("WRONG_PACK", "This is not the reference of that manifest.")
    if not command.revealed:
        return None
    if context.actor.role not in REVEALERS:
        return Refusal(
            "REVEAL_DENIED",
            f"Private blocks are revealed to: {', '.join(sorted(REVEALERS))}.",
            hint="Leave --reveal out: sealed blocks are proven in the pack, and stay sealed.",
        )
    if not text_of(command.reason):
        return Refusal(
            "REASON_NEEDED", "Whoever reveals private blocks says why.", hint="Add --reason."
        )
    return None


def reference_of(manifest: bytes) -> str:
    """Return the reference of the pack with this manifest hash."""
    return manifest.hex()[:REFERENCE_LETTERS]
