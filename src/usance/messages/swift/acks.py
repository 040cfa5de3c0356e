"""ACK and NAK: the network's answer (service 21) to a message sent to it."""

from __future__ import annotations

import re

import msgspec

from usance.messages.swift.fin import Basic, Message, numbered

_ERROR = re.compile(r"([A-Z][0-9]{2})\(?([0-9]{0,3})\)?")


class Acknowledgement(msgspec.Struct, frozen=True, kw_only=True):
    """What a service 21 message says, and of which message.

    `session` and `sequence` are those of the message answered; `mur` its block 3 reference and
    `reference` its field 20 where the answer gives them, else empty. `error_code` and `error_line`
    (405) are set on a rejection. `stamp` (177) is the network's YYMMDDHHMM.
    """

    accepted: bool
    lt: str
    session: str
    sequence: str
    mur: str = ""
    reference: str = ""
    error_code: str = ""
    error_line: int | None = None
    stamp: str = ""


def read_acknowledgement(message: Message) -> Acknowledgement | None:
    """Return the answer that the message is or carries in front; None when there is none."""
    answer = message if message.basic.service == "21" else message.acknowledgement
    verdict = answer.value("451") if answer else None
    if answer is None or verdict not in ("0", "1"):
        return None
    copy = None if answer is message else message
    error = _ERROR.fullmatch(answer.value("405") or "")
    basic = answer.basic
    return Acknowledgement(
        accepted=verdict == "0",
        lt=basic.lt,
        session=basic.session,
        sequence=basic.sequence,
        mur=answer.value("108") or (copy.mur if copy else ""),
        reference=(copy.value("20") if copy else None) or "",
        error_code=error[1] if error else (answer.value("405") or ""),
        error_line=int(error[2]) if error and error[2] else None,
        stamp=answer.value("177") or "",
    )


def acknowledge(message: Message, stamp: str, *, error: str = "", line: int = 0) -> Message:
    """Return the network's answer to an outgoing message: ACK, or NAK when `error` holds a code.

    `stamp` is YYMMDDHHMM; `line` is the line of the error, 0 for none. To send a copy of the
    message along, as the network does, set the answer as the message's `acknowledgement`.
    """
    pairs = [("177", stamp), ("451", "1" if error else "0")]
    if error:
        pairs.append(("405", f"{error}{line:03d}" if line else error))
    if message.mur:
        pairs.append(("108", message.mur))
    basic = message.basic
    return Message(
        basic=Basic(basic.app, "21", basic.lt, basic.session, basic.sequence),
        fields=tuple(msgspec.structs.replace(field, line=1) for field in numbered(pairs)),
        tagged=True,
    )
