"""Unreadable inputs read once more from the bytes that were kept: what the gateway could not do before.

The same causation and person stand behind the command: the input counts once, by what becomes of it now.
"""

from __future__ import annotations

from usance.bootstrap.store import Store
from usance.config import Bank
from usance.engine.reactors.reactor import Outgoing
from usance.kernel.authority import demand_role
from usance.kernel.decider import Actor
from usance.kernel.errors import Refused
from usance.log.contract import TopicPartition, header
from usance.messages.inputs import decode_input
from usance.messages.outcome import UnreadableInput, read_dead_letter
from usance.views.results import DeadLetterRow


def received(store: Store, row: DeadLetterRow) -> bytes | None:
    """Return the bytes of an input that no gateway could read; None for any other dead letter."""
    place = TopicPartition(store.topics.name(row.context, "dead-letters"), row.partition)
    for record in store.log.scan(place, row.offset, row.offset + 1, 1):
        try:
            original = read_dead_letter(record.headers).original_headers
            message = store.decoder.message(original, record.value)
        except Exception:  # noqa: BLE001  the letter may be here because nothing can read it
            return None
        if not isinstance(message, UnreadableInput):
            return None
        if store.raw is None:
            return message.received
        return store.raw.open(header(original, "ce_id") or b"", message.received)
    return None


def reread(store: Store, bank: Bank, row: DeadLetterRow, actor: Actor) -> Outgoing:
    """Return the command of an input that can be read now; raises Unreadable when it still cannot.

    Raises Refused where there is nothing to read, or `actor` may not close the dead letter afterwards.
    """
    data = received(store, row) if row.state == "open" else None
    if data is None:
        raise Refused(
            "NOT_AN_INPUT",
            "This dead letter is settled, or is no input that nobody could read.",
            hint="Redrive it where it parks its key; else discard it.",
        )
    demand_role(actor, "Discard")
    found = decode_input(data, tenant=bank.tenant, our_bic=bank.bic)
    return Outgoing(
        found.key, found.command, found.command_id, row.causation, row.command_id, found.actor
    )
