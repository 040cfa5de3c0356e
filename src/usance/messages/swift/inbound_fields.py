"""The fields of one inbound message and its continuations, read with refusals that hold no values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from usance.kernel.errors import Unreadable
from usance.messages.swift.fin import Message
from usance.messages.swift.values import read_sequence

T = TypeVar("T")

_ASK = "ask the sender for a corrected message"


def unreadable(reason: str, hint: str = _ASK) -> Unreadable:
    """Return the error of a message that can be parsed and not understood."""
    return Unreadable("validate", reason, hint=hint)


def home(bic: str) -> str:
    """Return a BIC without the branch code of a head office."""
    return bic.removesuffix("XXX") if len(bic) == 11 else bic


def same_bank(one: str, other: str) -> bool:
    """Tell whether two BICs are of one bank in one place, whatever the branch."""
    return len(one) >= 8 and one[:8] == other[:8]


class Fields:
    """Fields by tag; a narrative that goes on in a continuation is joined. Notes what was read."""

    def __init__(self, message: Message, further: Sequence[Message] = ()) -> None:
        self._values: dict[str, list[str]] = {}
        for part in (message, *further):
            for field in part.fields:
                skip = part is not message and field.tag in ("20", "21", "23", "26E", "27", "30")
                if not skip:
                    self._values.setdefault(field.tag, []).append(field.value)
        self._read: set[str] = set()

    def text(self, *tags: str) -> str:
        """Return the text of the first tag that is there, lines kept; empty when none is."""
        return self.tagged(*tags)[1]

    def line(self, *tags: str) -> str:
        """Return the text of the first tag that is there, as one line."""
        return " ".join(self.text(*tags).split())

    def tagged(self, *tags: str) -> tuple[str, str]:
        """Return tag and text of the first tag that is there; both empty when none is."""
        for tag in tags:
            if tag in self._values:
                self._read.add(tag)
                return tag, "\n".join(self._values[tag])
        return "", ""

    def has(self, *tags: str) -> bool:
        """Tell whether one of the fields is there."""
        return any(tag in self._values for tag in tags)

    def peek(self, tag: str) -> list[str]:
        """Return the texts of a field without marking it as read."""
        return self._values.get(tag, [])

    def read(self, reader: Callable[[str], T], *tags: str) -> T | None:
        """Return what a reader makes of the first tag that is there, None when none is.

        Raises Unreadable naming the tag when the reader cannot.
        """
        tag, text = self.tagged(*tags)
        if not tag:
            return None
        try:
            return reader(text)
        except ValueError:
            raise unreadable(f"field {tag} cannot be read") from None

    def need(self, reader: Callable[[str], T], *tags: str) -> T:
        """Return what a reader makes of a mandatory field; raises Unreadable when it is absent."""
        found = self.read(reader, *tags)
        if found is None:
            raise unreadable(f"field {tags[0]} is mandatory and not there")
        return found

    def keep(self, *tags: str) -> None:
        """Mark fields as read."""
        self._read.update(tags)

    def unread(self, tag: str) -> None:
        """Take a mark back: a field says more than what was read of it."""
        self._read.discard(tag)

    def rest(self) -> str:
        """Return fields that nobody read, as `:tag:value` lines, so that no word is lost."""
        return "\n".join(
            f":{tag}:{value}"
            for tag, values in self._values.items()
            if tag not in self._read
            for value in values
        )


def block_text(message: Message, further: Sequence[Message] = ()) -> str:
    """Return block 4 of a message and its continuations as it was read."""
    fields = (field for part in (message, *further) for field in part.fields)
    return "\n".join(f":{field.tag}:{field.value}" for field in fields)


def check_parts(message: Message, further: Sequence[Message]) -> None:
    """Refuse a message of several parts unless all are here, in order, of one sender and number.

    Raises Unreadable naming field 27, 20 or the block.
    """
    for place, part in enumerate((message, *further), 1):
        try:
            number, total = read_sequence(part.value("27") or "1/1")
        except ValueError:
            raise unreadable("field 27 cannot be read") from None
        if (number, total) != (place, 1 + len(further)):
            raise unreadable(_PARTS, _TOGETHER)
        if part.value("20") != message.value("20") or part.sender != message.sender:
            raise unreadable("a continuation belongs to another message (field 20)", _TOGETHER)


_PARTS = "field 27: parts of the message are missing or out of order"
_TOGETHER = "hand the message in with its continuations, in one file and in order"
