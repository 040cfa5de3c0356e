"""From the intake topic to commands: what a gateway took in becomes a command, or a dead letter.

No decision is made here. An input that cannot be read goes on as a command as well, with the bytes
as received, so that its owner dead-letters it in the log.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping

from msgspec.structs import replace

from usance.crypto.card_policy import HINT, CardPolicy
from usance.engine.reactors.reactor import Outgoing
from usance.kernel.decider import Actor, key_of
from usance.kernel.errors import Unreadable
from usance.kernel.ids import NAMESPACE, uuid5_text
from usance.log.contract import Record, header
from usance.messages.inputs import Input, decode_input
from usance.messages.outcome import UnreadableInput
from usance.messages.sealed import Raw

SOURCE, ORDINAL, FILE_DIGEST = "usance-source", "usance-ordinal", "usance-file-sha256"
"""Headers of an intake record: file name, place in the file (from 1), SHA-256 (hex) of the file."""

INPUT_DIGEST, SIZE = "usance-sha256", "usance-size"
"""Headers of an intake record: SHA-256 (hex) and bytes of the input itself."""

CARDS = "usance-cards"
"""Header of an intake record that was kept masked: why it is not acted upon."""

INTAKE = Actor("intake", "", "gateway")

People = Mapping[str, Collection[str]]
"""Roles of each person by id, as the directory has them."""


def intake_reaction(
    tenant: str,
    our_bic: str,
    noted: Callable[[Input], None] | None = None,
    people: People | None = None,
    cards: CardPolicy | None = None,
    raw: Raw | None = None,
) -> Callable[[Record], list[Outgoing]]:
    """Return the reaction of a reactor on the intake topic: one input, one command.

    `raw` opens what was taken in where it is sealed, and seals what cannot be read for its command.

    `noted` hears of inputs taken in despite a breach of their format; with `people` nobody acts who
    is not among them; `cards` looks at records that other programs wrote, and the gateway's say for
    themselves that they were masked. Command ids depend on content alone, so that a record that was written twice
    is decided once.
    """

    def react(record: Record) -> list[Outgoing]:
        received, refusal = record.value or b"", _said(record, CARDS)
        if raw is not None:
            opened = raw.open(record.key or b"", received)
            if opened is None:
                return []  # its day's key is gone: nobody can know what it was
            received = opened
        if cards is not None and not refusal:
            received, refusal = cards.kept(received)
        digest = hashlib.sha256(received).hexdigest()
        outgoing = input_command(
            received,
            tenant=tenant,
            our_bic=our_bic,
            source=(record.key or b"").decode("utf-8", "replace"),
            file_digest=_said(record, FILE_DIGEST) or digest,
            ordinal=_said(record, ORDINAL) or "1",
            causation=f"intake:{record.topic}/{record.partition}/{record.offset}",
            noted=noted,
            people=people,
            refusal=refusal,
        )
        command = outgoing.command
        if raw is not None and isinstance(command, UnreadableInput):
            sealed = raw.seal_input(outgoing.key, outgoing.id, command.received)
            outgoing = outgoing._replace(command=replace(command, received=sealed))
        return [outgoing]

    return react


def input_command(
    received: bytes,
    *,
    tenant: str,
    our_bic: str,
    source: str,
    file_digest: str,
    ordinal: int | str,
    causation: str,
    noted: Callable[[Input], None] | None = None,
    people: People | None = None,
    refusal: str = "",
) -> Outgoing:
    """Return the command of one input; `file_digest` and `ordinal` name one that is unreadable.

    With a `refusal` it is not even read: its dead letter says why.
    """
    try:
        if refusal:
            raise Unreadable("cards", refusal, hint=HINT)
        found = decode_input(received, tenant=tenant, our_bic=our_bic)
        _known(found.actor, people)
    except Unreadable as error:
        command = UnreadableInput(
            received=received,
            stage=error.stage,
            reason=f"{error.reason}; {error.hint}" if error.hint else error.reason,
            source=source,
        )
        command_id = uuid5_text(NAMESPACE.bytes, f"{tenant}/unreadable/{file_digest}/{ordinal}")
        key = key_of(tenant, "unreadable", hashlib.sha256(received).hexdigest()[:16])
        return Outgoing(key, command, command_id, causation, actor=INTAKE)
    if found.notes and noted is not None:
        noted(found)
    return Outgoing(found.key, found.command, found.command_id, causation, actor=found.actor)


def _said(record: Record, name: str) -> str:
    return (header(record.headers, name) or b"").decode("utf-8", "replace")


def _known(actor: Actor, people: People | None) -> None:
    """Raise Unreadable for a person whom the directory does not know in the role claimed.

    Four eyes are counted by person: a document that could invent people could be both of them.
    """
    if people is None or not actor.person or actor.role in people.get(actor.person, ()):
        return
    raise Unreadable(
        "validate",
        "$.as: the directory knows nobody of this id in this role",
        hint="name a person of the directory and a role of theirs",
    )
