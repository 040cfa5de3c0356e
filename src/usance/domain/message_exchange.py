"""One outgoing FIN message from queue to network answer: one stream per message reference (MUR)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import msgspec

from usance.domain.guards import digest, not_now, unknown_command, wrong_key
from usance.kernel.clock import MS_PER_MINUTE
from usance.kernel.decider import NOTHING, Context, Decision, PrivateBlock, Refusal
from usance.kernel.timers import TimerCancelled, TimerDue, TimerSet
from usance.kernel.words import Words


class FinText(msgspec.Struct, PrivateBlock, frozen=True, kw_only=True):
    """The message as the gateway sends it, blocks 1 to 5; it names parties."""

    subject: str
    text: str


class QueueMessage(msgspec.Struct, frozen=True, kw_only=True):
    """Hand a message to the gateway. `message` is its MUR, `mt` such as 700, `receiver` a BIC."""

    message: str
    mt: str
    receiver: str
    credit: str
    presentation: str = ""
    amendment: int = 0
    text: FinText


class MessageQueued(msgspec.Struct, frozen=True, kw_only=True):
    """A message waits for the gateway. `sha256` (hex) is of its text."""

    message: str
    mt: str
    receiver: str
    credit: str
    presentation: str = ""
    amendment: int = 0
    text: FinText
    sha256: str


class RecordSent(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway took the message: `file` it was written to, SHA-256 (hex) of the file."""

    file: str
    sha256: str


class MessageSent(msgspec.Struct, frozen=True, kw_only=True):
    """The message left the bank; until the network answers, its delivery is in doubt."""

    message: str
    mt: str
    credit: str
    presentation: str = ""
    amendment: int = 0
    file: str
    sha256: str
    attempt: int


class RecordAck(msgspec.Struct, frozen=True, kw_only=True):
    """The network took the message (service 21, 451:0). `reference` is what the ACK carries."""

    reference: str = ""


class MessageAcked(msgspec.Struct, frozen=True, kw_only=True):
    """The network took the message."""

    message: str
    mt: str
    credit: str
    presentation: str = ""
    amendment: int = 0
    reference: str = ""


class RecordNak(msgspec.Struct, frozen=True, kw_only=True):
    """The network turned the message away (service 21, 451:1), with error code and line."""

    code: str
    line: int = 0


class MessageNaked(msgspec.Struct, frozen=True, kw_only=True):
    """The network turned the message away: nothing was delivered."""

    message: str
    mt: str
    credit: str
    presentation: str = ""
    amendment: int = 0
    code: str
    line: int = 0


class RepairMessage(msgspec.Struct, frozen=True, kw_only=True):
    """Queue a corrected text after a NAK."""

    text: FinText


class MessageRepaired(msgspec.Struct, frozen=True, kw_only=True):
    """A corrected text waits for the gateway."""

    message: str
    mt: str
    receiver: str
    credit: str
    presentation: str = ""
    amendment: int = 0
    text: FinText
    sha256: str
    attempt: int


class AbandonMessage(msgspec.Struct, frozen=True, kw_only=True):
    """Never send a message that is queued or was turned away."""

    cause: str = ""
    reason: Words | None = None


class MessageAbandoned(msgspec.Struct, frozen=True, kw_only=True):
    """The message will not be sent."""

    message: str
    cause: str = ""
    reason: Words | None = None


class AckOverdue(msgspec.Struct, frozen=True, kw_only=True):
    """The network has not answered in time: ask the gateway, never send a second copy unasked."""

    message: str
    mt: str
    credit: str
    since: int


MESSAGES: tuple[tuple[type, str], ...] = (
    (QueueMessage, "command"),
    (RecordSent, "command"),
    (RecordAck, "command"),
    (RecordNak, "command"),
    (RepairMessage, "command"),
    (AbandonMessage, "command"),
    (MessageQueued, "event"),
    (MessageSent, "event"),
    (MessageAcked, "event"),
    (MessageNaked, "event"),
    (MessageRepaired, "event"),
    (MessageAbandoned, "event"),
    (AckOverdue, "event"),
)
"""Every message of the exchange with its kind."""


ACK_MINUTES = 15
"""How long the network may take to answer before somebody looks."""

_ACK_TIMER = "ack"


class MessageExchangeState(msgspec.Struct):
    """An outgoing message as its stream tells it; its text stays in the log.

    `state`: QUEUED, SENT, ACKED, NAKED or ABANDONED; empty before it was queued.
    """

    message: str = ""
    mt: str = ""
    receiver: str = ""
    credit: str = ""
    presentation: str = ""
    amendment: int = 0
    state: str = ""
    sha256: str = ""
    file_sha256: str = ""
    attempt: int = 0
    sent_at: int = 0
    overdue: bool = False


Answer = Decision | Refusal


def _text_digest(text: FinText, context: Context) -> str:
    return (
        digest(context, text.text) if context.digest_key else sha256(text.text.encode()).hexdigest()
    )


def _about(state: MessageExchangeState) -> dict[str, Any]:
    """Return what each event of a message says of it."""
    return {
        "message": state.message,
        "mt": state.mt,
        "credit": state.credit,
        "presentation": state.presentation,
        "amendment": state.amendment,
    }


def _not_in(state: MessageExchangeState, needs: str, hint: str) -> Refusal:
    return not_now("message", state.state, needs, hint)


def _queue(state: MessageExchangeState, command: QueueMessage, context: Context) -> Answer:
    flaw = wrong_key(context, command.message)
    if flaw:
        return flaw
    text = _text_digest(command.text, context)
    if state.state:
        same = (state.mt, state.receiver, state.credit) == (
            command.mt,
            command.receiver,
            command.credit,
        )
        if same and (text == state.sha256 or state.attempt > 1):
            return NOTHING
        return Refusal(
            "MESSAGE_REFERENCE_USED",
            "Another message bears this reference.",
            hint="Give the message a reference of its own.",
        )
    fields = {name: getattr(command, name) for name in command.__struct_fields__}
    return Decision((MessageQueued(**fields, sha256=text),))


def _sent(state: MessageExchangeState, command: RecordSent, context: Context) -> Answer:
    if state.state in ("SENT", "ACKED") and state.file_sha256 == command.sha256:
        return NOTHING
    # A message abandoned while the gateway was taking it has left the bank all the same.
    if state.state not in ("QUEUED", "ABANDONED"):
        return _not_in(state, "queued", "Repair it after a NAK; never send a second copy.")
    event = MessageSent(
        **_about(state), file=command.file, sha256=command.sha256, attempt=state.attempt
    )
    timer = TimerSet(
        timer_id=_ACK_TIMER,
        due=context.instant + ACK_MINUTES * MS_PER_MINUTE,
        reason="the network has not answered",
    )
    return Decision((event, timer))


def _silenced(state: MessageExchangeState) -> tuple[TimerCancelled, ...]:
    armed = state.state == "SENT" and not state.overdue
    return (TimerCancelled(timer_id=_ACK_TIMER),) if armed else ()


def _ack(state: MessageExchangeState, command: RecordAck, _context: Context) -> Answer:
    if state.state == "ACKED":
        return NOTHING
    if state.state != "SENT":
        return _not_in(state, "sent", "Check which message the answer means.")
    return Decision((MessageAcked(**_about(state), reference=command.reference), *_silenced(state)))


def _nak(state: MessageExchangeState, command: RecordNak, _context: Context) -> Answer:
    if state.state == "NAKED":
        return NOTHING
    if state.state != "SENT":
        return _not_in(state, "sent", "Check which message the answer means.")
    event = MessageNaked(**_about(state), code=command.code, line=command.line)
    return Decision((event, *_silenced(state)))


def _repair(state: MessageExchangeState, command: RepairMessage, context: Context) -> Answer:
    text = _text_digest(command.text, context)
    if state.state in ("QUEUED", "SENT", "ACKED") and state.attempt > 1 and text == state.sha256:
        return NOTHING
    if state.state != "NAKED":
        return _not_in(state, "turned away by the network", "Only a NAK may be repaired.")
    if text == state.sha256:
        return Refusal(
            "NOTHING_REPAIRED",
            "The text is the one that the network turned away.",
            hint="Correct what the error code names, then repair again.",
        )
    event = MessageRepaired(
        **_about(state),
        receiver=state.receiver,
        text=command.text,
        sha256=text,
        attempt=state.attempt + 1,
    )
    return Decision((event,))


def _abandon(state: MessageExchangeState, command: AbandonMessage, _context: Context) -> Answer:
    if state.state == "ABANDONED":
        return NOTHING
    if state.state not in ("QUEUED", "NAKED"):
        hint = "What left the bank cannot be taken back: write to the receiver."
        return _not_in(state, "queued or turned away", hint)
    return Decision(
        (MessageAbandoned(message=state.message, cause=command.cause, reason=command.reason),)
    )


def _overdue(state: MessageExchangeState, _command: TimerDue, _context: Context) -> Answer:
    if state.state != "SENT":
        return NOTHING
    event = AckOverdue(message=state.message, mt=state.mt, credit=state.credit, since=state.sent_at)
    return Decision((event,))


_DECIDE: dict[type, Callable[[MessageExchangeState, Any, Context], Answer]] = {
    RecordSent: _sent,
    RecordAck: _ack,
    RecordNak: _nak,
    RepairMessage: _repair,
    AbandonMessage: _abandon,
    TimerDue: _overdue,
}


class MessageExchangeDecider:
    """Decides on one outgoing message; keys are `tenant/message/<MUR>`."""

    category = "message"
    fold_id = "message/1"

    def initial(self, key: str) -> MessageExchangeState:  # noqa: ARG002 - all start alike
        """Return the state of a message never queued."""
        return MessageExchangeState()

    def decide(self, state: MessageExchangeState, command: Any, context: Context) -> Answer:
        """Answer a command on the message."""
        if isinstance(command, QueueMessage):
            return _queue(state, command, context)
        handler = _DECIDE.get(type(command))
        if handler is None:
            return unknown_command(command)
        if not state.state and handler is not _overdue:
            return Refusal(
                "UNKNOWN_MESSAGE",
                "No message of ours bears this reference.",
                hint="Check the reference (MUR); it may belong to another tenant or system.",
            )
        return handler(state, command, context)

    def evolve(self, state: MessageExchangeState, event: Any) -> MessageExchangeState:
        """Return the message after an event."""
        new = copy.copy(state)
        match event:
            case MessageQueued():
                for name in ("message", "mt", "receiver", "credit", "presentation", "amendment"):
                    setattr(new, name, getattr(event, name))
                new.state, new.sha256, new.attempt = "QUEUED", event.sha256, 1
            case MessageSent():
                new.state, new.file_sha256, new.overdue = "SENT", event.sha256, False
            case TimerSet():
                new.sent_at = event.due - ACK_MINUTES * MS_PER_MINUTE
            case MessageAcked():
                new.state = "ACKED"
            case MessageNaked():
                new.state = "NAKED"
            case MessageRepaired():
                new.state, new.sha256, new.attempt = "QUEUED", event.sha256, event.attempt
            case MessageAbandoned():
                new.state = "ABANDONED"
            case AckOverdue():
                new.overdue = True
            case _:
                return state
        return new
