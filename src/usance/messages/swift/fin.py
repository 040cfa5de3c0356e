"""FIN envelope: bytes to `Message` and back, blocks 1 to 5, for every message type.

Reading never repairs: values stay as they came, apart from line ends (CRLF or LF become LF). What
cannot be read raises `Unreadable` with a reason that holds no value of the message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from usance.kernel.errors import Refused, Unreadable

MESSAGE_LIMIT = 1_000_000
"""Bytes of one message that are still read; FIN itself stops at 10,000 characters of text."""

_RESEND = "ask the sender for the whole message again"

_BASIC = re.compile(rb"\{1:([^{}]*)\}")
_APPLICATION = re.compile(rb"\s*\{2:([^{}]*)\}")
_USER = re.compile(rb"\s*\{3:((?:\s*\{[^{}]*\})*)\s*\}")
_TEXT = re.compile(rb"\s*\{4:\r?\n")
_TAGGED = re.compile(rb"\s*\{4:((?:\s*\{[^{}]*\})*)\s*\}")
_TRAILER = re.compile(rb"\s*\{5:((?:\s*\{[^{}]*\})*)\s*\}")
_SYSTEM = re.compile(rb"\s*\{S:((?:\s*\{[^{}]*\})*)\s*\}")
_PAIRS = re.compile(rb"\{([^{}]*)\}")
_HEADER = rb"\{1:[A-Z][0-9]{2}[A-Z0-9]{12}[0-9]{10}\}"
_TEXT_END = re.compile(rb"\n-\}(?=[\s$\x01\x03]*(?:\{|\Z))|" + _HEADER)
_ANY_TEXT_END = re.compile(rb"\n-\}|" + _HEADER)
_MORE = re.compile(rb"\s*\{(?!1:)")
_START = re.compile(_HEADER)
_BETWEEN = re.compile(rb"(?:[\s$\x01\x03]|\xef\xbb\xbf)*")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_TAG_LINE = re.compile(r":([0-9]{2}[A-Z]?):(.*)", re.DOTALL)
_PAIR = re.compile(r"([A-Z0-9]{1,4}):(.*)", re.DOTALL)
_BASIC_PARTS = re.compile(r"([A-Z])([0-9]{2})([A-Z0-9]{12})([0-9]{4})([0-9]{6})")
_INPUT_PARTS = re.compile(r"I([0-9]{3})([A-Z0-9]{12})(?:([SNU])([123])?([0-9]{3})?)?")
_OUTPUT_PARTS = re.compile(
    r"O([0-9]{3})([0-9]{4})([0-9]{6}[A-Z0-9]{12}[0-9]{10})([0-9]{6})([0-9]{4})([SNU])?"
)


class Pair(msgspec.Struct, frozen=True):
    """One `{tag:value}` of block 3, 5 or S."""

    tag: str
    value: str


class Field(msgspec.Struct, frozen=True):
    """One field of block 4; `line` counts from 1, the first line after `{4:`."""

    tag: str
    value: str
    line: int


class Basic(msgspec.Struct, frozen=True):
    """Block 1: application, service (01 message, 21 ACK/NAK), terminal, session, sequence."""

    app: str
    service: str
    lt: str
    session: str
    sequence: str


class InputHeader(msgspec.Struct, frozen=True):
    """Block 2 of a message on its way into the network; absent parts are empty."""

    type: str
    receiver: str
    priority: str = "N"
    monitoring: str = ""
    obsolescence: str = ""


class OutputHeader(msgspec.Struct, frozen=True):
    """Block 2 of a delivered message; `mir` is date, sender's terminal, session, sequence."""

    type: str
    input_time: str
    mir: str
    output_date: str
    output_time: str
    priority: str = "N"


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One FIN message. `tagged`: block 4 holds `{tag:value}` pairs, as service messages do.

    `acknowledgement` is the ACK or NAK that stood before the message (the network sends an answer
    together with a copy of what it answers).
    """

    basic: Basic
    application: InputHeader | OutputHeader | None = None
    user: tuple[Pair, ...] = ()
    fields: tuple[Field, ...] = ()
    trailer: tuple[Pair, ...] = ()
    system: tuple[Pair, ...] = ()
    tagged: bool = False
    acknowledgement: Message | None = None

    @property
    def type(self) -> str | None:
        """Return the message type's three digits, or None for a service message."""
        return self.application.type if self.application else None

    @property
    def sender(self) -> str:
        """Return the sender's BIC (11 characters)."""
        if isinstance(self.application, OutputHeader):
            return bic_of(self.application.mir[6:18])
        return bic_of(self.basic.lt)

    @property
    def receiver(self) -> str:
        """Return the receiver's BIC (11 characters), empty for a service message."""
        if isinstance(self.application, InputHeader):
            return bic_of(self.application.receiver)
        return bic_of(self.basic.lt) if self.application else ""

    @property
    def mur(self) -> str:
        """Return the message user reference (block 3, 108), empty if none."""
        return next((pair.value for pair in self.user if pair.tag == "108"), "")

    def value(self, *tags: str) -> str | None:
        """Return the value of the first field with one of the tags, or None."""
        return next((field.value for field in self.fields if field.tag in tags), None)


def bic_of(terminal: str) -> str:
    """Return the BIC of a 12-character logical terminal: its ninth character is the terminal's."""
    return terminal[:8] + terminal[9:12]


def terminal_of(bic: str, terminal: str = "X") -> str:
    """Return the logical terminal address of a BIC of 8 or 11 characters."""
    return bic[:8] + terminal + (bic[8:11] or "XXX")


def numbered(pairs: Iterable[tuple[str, str]]) -> tuple[Field, ...]:
    """Return block 4 fields of (tag, value) pairs with the line numbers they get when built."""
    fields, line = [], 1
    for tag, value in pairs:
        fields.append(Field(tag, value, line))
        line += 1 + value.count("\n")
    return tuple(fields)


def split(data: bytes) -> list[bytes]:
    """Cut bytes into single messages; joined, the pieces are the input.

    A piece is a message (an ACK and the copy of the message it answers are one), or a stretch of
    bytes that is no message. Separators (blanks, `$`, SOH, ETX) stay with the piece before them.
    """
    pieces: list[bytes] = []
    start, position = 0, _skip_between(data, 0)
    while position < len(data):
        try:
            end = _end_of(data, position)
        except Unreadable:
            following = _START.search(data, position + 1)
            end = following.start() if following else len(data)
        position = _skip_between(data, end)
        pieces.append(data[start:position])
        start = position
    if start < len(data):
        pieces.append(data[start:])
    return pieces


def parse(data: bytes) -> Message:
    """Return the one message in the bytes, with a leading ACK or NAK attached.

    Raises Unreadable("parse", reason) for empty, oversize, binary or truncated input, headers that
    do not have FIN's shape, and bytes left over after the message (see `split`).
    """
    if len(data) > MESSAGE_LIMIT:
        raise _unreadable(f"message is longer than {MESSAGE_LIMIT} bytes")
    start = _skip_between(data, 0)
    if start == len(data):
        raise _unreadable("no message: the input is empty")
    message, end = _message(data, start)
    following = _skip_between(data, end)
    if message.type is None and following < len(data):
        copy, end = _message(data, following)
        if copy.type is None:
            raise _unreadable("two service messages in one input")
        message = msgspec.structs.replace(copy, acknowledgement=message)
        following = _skip_between(data, end)
    if following < len(data):
        raise _unreadable("bytes follow the end of the message")
    return message


def build(message: Message) -> bytes:
    """Return the message's bytes with CRLF line ends; line numbers are counted anew.

    Raises Refused("FIN_TEXT") when a value would change the message's shape, such as a line of free
    text that reads as another field or as the end of the text.
    """
    data = _render(message)
    if message.acknowledgement is not None:
        data = _render(message.acknowledgement) + data
    try:
        same = parse(data) == _renumbered(message) and data.count(b"\n-}") == _texts(message)
    except Unreadable:
        same = False
    if not same:
        raise Refused(
            "FIN_TEXT",
            "a value does not fit into a FIN message",
            hint="take out control characters, braces, and lines starting with ':' or '-'",
        )
    return data


def _texts(message: Message) -> int:
    """Return how many block 4 texts are written: no line inside one may read as its end."""
    answer = message.acknowledgement
    return int(not message.tagged) + (_texts(answer) if answer else 0)


def _unreadable(reason: str) -> Unreadable:
    return Unreadable("parse", reason, hint=_RESEND)


def _skip_between(data: bytes, position: int) -> int:
    match = _BETWEEN.match(data, position)
    return match.end() if match else position


class _Frame(msgspec.Struct):
    """The spans of one message's blocks, still bytes."""

    basic: bytes
    end: int
    application: bytes | None = None
    user: bytes = b""
    text: bytes | None = None
    tagged: bytes | None = None
    trailer: bytes = b""
    system: bytes = b""


def _frame(data: bytes, position: int) -> _Frame:
    basic = _BASIC.match(data, position)
    if not basic:
        raise _unreadable("no FIN message: it does not begin with block 1")
    frame = _Frame(basic[1], basic.end())
    if found := _APPLICATION.match(data, frame.end):
        frame.application, frame.end = found[1], found.end()
    if found := _USER.match(data, frame.end):
        frame.user, frame.end = found[1], found.end()
    _frame_text(data, frame)
    if found := _TRAILER.match(data, frame.end):
        frame.trailer, frame.end = found[1], found.end()
    if found := _SYSTEM.match(data, frame.end):
        frame.system, frame.end = found[1], found.end()
    if _MORE.match(data, frame.end):
        raise _unreadable("truncated or malformed after block 4")
    return frame


def _frame_text(data: bytes, frame: _Frame) -> None:
    if opening := _TEXT.match(data, frame.end):
        closing = _text_end(data, opening.end() - 1)
        if not closing:
            raise _unreadable("truncated: block 4 has no end")
        frame.text = data[opening.end() : closing.start()].removesuffix(b"\r")
        frame.end = closing.end()
    elif tagged := _TAGGED.match(data, frame.end):
        frame.tagged, frame.end = tagged[1], tagged.end()
    else:
        raise _unreadable("truncated or malformed before block 4's text")


def _text_end(data: bytes, position: int) -> re.Match[bytes] | None:
    """Return the end of block 4: where more blocks or nothing follow, else the first `-}` at all.

    So a line of text that begins with `-}` does not cut the message, and rubbish behind a whole
    message does not spoil it.
    """
    for pattern in (_TEXT_END, _ANY_TEXT_END):
        closing = pattern.search(data, position)
        if closing and closing[0] == b"\n-}":
            return closing
    return None


def _end_of(data: bytes, position: int) -> int:
    """Return where the message ends; an answer and the copy of our own message are one.

    A copy is an input message of the same terminal; its session and sequence may differ.
    """
    frame = _frame(data, position)
    if frame.application is None:
        following = _skip_between(data, frame.end)
        if following < len(data):
            try:
                copy = _frame(data, following)
            except Unreadable:
                return frame.end
            sent = copy.application is not None and copy.application.startswith(b"I")
            if sent and copy.basic[3:15] == frame.basic[3:15]:
                return copy.end
    return frame.end


def _message(data: bytes, position: int) -> tuple[Message, int]:
    frame = _frame(data, position)
    if frame.tagged is not None:
        fields = tuple(Field(pair.tag, pair.value, 1) for pair in _pairs(frame.tagged, "4"))
    else:
        fields = _fields(_text(frame.text or b""))
    basic = _BASIC_PARTS.fullmatch(_text(frame.basic))
    if not basic:
        raise _unreadable("block 1 does not have the shape of a basic header")
    application = None if frame.application is None else _application(_text(frame.application))
    if application is None and frame.tagged is None:
        raise _unreadable("a text message without block 2")
    message = Message(
        basic=Basic(*basic.groups()),
        application=application,
        user=_pairs(frame.user, "3"),
        fields=fields,
        trailer=_pairs(frame.trailer, "5"),
        system=_pairs(frame.system, "S"),
        tagged=frame.tagged is not None,
    )
    return message, frame.end


def _text(data: bytes) -> str:
    try:
        text = data.decode().replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise _unreadable("not text: bytes that are not UTF-8") from None
    if _CONTROL.search(text):
        raise _unreadable("not text: control characters")
    return text


def _pairs(data: bytes, block: str) -> tuple[Pair, ...]:
    pairs = []
    for found in _PAIRS.finditer(data):
        pair = _PAIR.fullmatch(_text(found[1]))
        if not pair:
            raise _unreadable(f"block {block} holds something that is no tag and value")
        pairs.append(Pair(*pair.groups()))
    return tuple(pairs)


def _fields(text: str) -> tuple[Field, ...]:
    if not text:
        return ()
    fields: list[tuple[str, int, list[str]]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if tag := _TAG_LINE.fullmatch(line):
            fields.append((tag[1], number, [tag[2]]))
        elif fields:
            fields[-1][2].append(line)
        else:
            raise _unreadable("block 4 does not begin with a field")
    return tuple(Field(tag, "\n".join(lines), number) for tag, number, lines in fields)


def _application(text: str) -> InputHeader | OutputHeader:
    if found := _INPUT_PARTS.fullmatch(text):
        return InputHeader(*(part or "" for part in found.groups()))
    if found := _OUTPUT_PARTS.fullmatch(text):
        return OutputHeader(*(part or "" for part in found.groups()))
    raise _unreadable("block 2 does not have the shape of an application header")


def _renumbered(message: Message) -> Message:
    acknowledgement = message.acknowledgement
    return msgspec.structs.replace(
        message,
        fields=tuple(Field(field.tag, field.value, 1) for field in message.fields)
        if message.tagged
        else numbered((field.tag, field.value) for field in message.fields),
        acknowledgement=None if acknowledgement is None else _renumbered(acknowledgement),
    )


def _render(message: Message) -> bytes:
    basic, head = message.basic, message.application
    text = f"{{1:{basic.app}{basic.service}{basic.lt}{basic.session}{basic.sequence}}}"
    if isinstance(head, InputHeader):
        parts = (head.type, head.receiver, head.priority, head.monitoring, head.obsolescence)
        text += f"{{2:I{''.join(parts)}}}"
    elif head is not None:
        when = head.output_date + head.output_time + head.priority
        text += f"{{2:O{head.type}{head.input_time}{head.mir}{when}}}"
    text += _render_block("3", message.user)
    if message.tagged:
        text += "{4:" + "".join(f"{{{f.tag}:{f.value}}}" for f in message.fields) + "}"
    else:
        text += "{4:\n" + "".join(f":{f.tag}:{f.value}\n" for f in message.fields) + "-}"
    text += _render_block("5", message.trailer) + _render_block("S", message.system)
    return text.replace("\n", "\r\n").encode(errors="replace")


def _render_block(number: str, pairs: tuple[Pair, ...]) -> str:
    inner = "".join(f"{{{pair.tag}:{pair.value}}}" for pair in pairs)
    return f"{{{number}:{inner}}}" if inner else ""
