"""The two reports of the command line: what a FIN message says, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from usance.kernel.errors import Unreadable
from usance.messages.swift.acks import read_acknowledgement
from usance.messages.swift.fin import (
    InputHeader,
    Message,
    OutputHeader,
    Pair,
    parse,
    split,
)
from usance.messages.swift.layouts import CURRENT, year_of

INPUT_LIMIT = 64_000_000
"""Bytes of input that are still looked at."""


def parse_report(data: bytes) -> tuple[dict[str, Any], int]:
    """Return a JSON object of the first message, and the exit code: 0, or 2 if unreadable.

    Keys: type, blocks (1, 2, 3, 5, and S when present), fields (tag, value, line).
    `acknowledgement` appears for an ACK or NAK in front of the message or alone,
    `further_messages` counts those behind.
    """
    try:
        message, further = _first(data)
    except Unreadable as error:
        return {"type": None, "error": _why(error)}, error.exit_code
    report: dict[str, Any] = {
        "type": message.type,
        "blocks": _blocks(message),
        "fields": [
            {"tag": field.tag, "value": field.value, "line": field.line} for field in message.fields
        ],
    }
    return report | _extras(message, further), 0


def validate_report(data: bytes, release: str = CURRENT) -> tuple[dict[str, Any], int]:
    """Return a JSON object of what is wrong with the first message, and the exit code.

    Keys: type, release, valid, errors (code, tag, line, rule, message), and those that
    `parse_report` adds; exit code 0 valid, 1 invalid, 2 unreadable.
    Raises Refused("UNKNOWN_RELEASE").
    """
    from usance.messages.swift.validation import validate  # only this report needs the rules

    year_of(release)
    report: dict[str, Any] = {"type": None, "release": release, "valid": False, "errors": []}
    try:
        message, further = _first(data)
    except Unreadable as error:
        return report | {"error": _why(error)}, error.exit_code
    findings = validate(message, release)
    report["type"] = message.type
    report["valid"] = not findings
    report["errors"] = [msgspec.to_builtins(finding) for finding in findings]
    return report | _extras(message, further), 1 if findings else 0


def _first(data: bytes) -> tuple[Message, int]:
    if len(data) > INPUT_LIMIT:
        raise Unreadable("parse", f"input is longer than {INPUT_LIMIT} bytes", hint="split it")
    pieces = split(data)
    if len(pieces) < 2:
        return parse(data), 0
    first = parse(pieces[0])
    if first.type is None and first.acknowledgement is None:
        # A gateway takes an answer and a delivered message behind it as two inputs.
        try:
            return parse(pieces[0] + pieces[1]), len(pieces) - 2
        except Unreadable:
            pass
    return first, len(pieces) - 1


def _why(error: Unreadable) -> str:
    return f"{error.reason}; {error.hint}" if error.hint else error.reason


def _extras(message: Message, further: int) -> dict[str, Any]:
    extras: dict[str, Any] = {}
    if answer := read_acknowledgement(message):
        extras["acknowledgement"] = msgspec.to_builtins(answer)
    if further:
        extras["further_messages"] = further
    return extras


def _blocks(message: Message) -> dict[str, Any]:
    basic = message.basic
    blocks: dict[str, Any] = {
        "1": {
            "app": basic.app,
            "service": basic.service,
            "lt": basic.lt,
            "session": basic.session,
            "sequence": basic.sequence,
        },
        "2": _application(message.application),
        "3": _pairs(message.user),
        "5": _pairs(message.trailer),
    }
    return blocks | ({"S": _pairs(message.system)} if message.system else {})


def _pairs(pairs: Iterable[Pair]) -> list[dict[str, str]]:
    return [{"tag": pair.tag, "value": pair.value} for pair in pairs]


def _application(head: InputHeader | OutputHeader | None) -> dict[str, str | None] | None:
    if head is None:
        return None
    if isinstance(head, OutputHeader):
        return {
            "direction": "O",
            "type": head.type,
            "input_time": head.input_time,
            "mir": head.mir,
            "output_date": head.output_date,
            "output_time": head.output_time,
            "priority": head.priority or None,
        }
    report = {
        "direction": "I",
        "type": head.type,
        "receiver": head.receiver,
        "priority": head.priority or None,
    }
    optional = {"monitoring": head.monitoring, "obsolescence": head.obsolescence}
    return report | {name: value for name, value in optional.items() if value}
