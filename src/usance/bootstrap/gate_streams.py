"""Golden streams: real events of every version, which today's code must fold to the states of their time."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from usance.kernel.decider import Decider, key_parts
from usance.messages.avro_schema import parsed
from usance.messages.envelope import Decoder
from usance.messages.registry import RegistryState, frame


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One stored event: full name, schema version, Avro body in base64."""

    type: str
    version: int
    body: str


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """One stream with the state that it folded to when it was written."""

    stream: str
    events: list[Event]
    state: dict[str, Any]


def plain_state(state: Any) -> dict[str, Any]:
    """Return a state as JSON values: bytes as hex, keys as text, sets sorted."""
    found: dict[str, Any] = json.loads(json.dumps(_plain(state)))
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {
            k if isinstance(k, str) else json.dumps(_plain(k)): _plain(v) for k, v in value.items()
        }
    if isinstance(value, set | frozenset):
        return sorted((_plain(v) for v in value), key=repr)
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if value is None or isinstance(value, str | int | bool):
        return value
    return str(value)


def folded(
    stream: Stream, deciders: Mapping[str, Decider[Any]], decoder: Decoder, registry: RegistryState
) -> dict[str, Any]:
    """Return the state that today's code makes of a stream; raises what decoding and folding raise."""
    decider = deciders[key_parts(stream.stream).category]
    state = decider.initial(stream.stream)
    for event in stream.events:
        text = decoder.catalogue.named(event.type).versions[event.version]
        framing = frame(registry.id_of(parsed(text)))
        state = decider.evolve(state, decoder.value(framing + base64.b64decode(event.body)))
    return plain_state(state)


def differences(expected: Any, actual: Any, path: str = "") -> Iterator[str]:
    """Yield JSON pointers where a state differs; fields that it did not have then are no difference."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for name, value in expected.items():
            at = f"{path}/{name}"
            if name not in actual:
                yield at
            else:
                yield from differences(value, actual[name], at)
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        for i, (one, other) in enumerate(zip(expected, actual, strict=True)):
            yield from differences(one, other, f"{path}/{i}")
    elif expected != actual:
        yield path
