"""One outgoing FIN message from queue to network answer: one stream per message reference (MUR)."""

from __future__ import annotations

import msgspec

from usance.kernel.decider import PrivateBlock


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

    reason: str


class MessageAbandoned(msgspec.Struct, frozen=True, kw_only=True):
    """The message will not be sent."""

    message: str
    reason: str


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
