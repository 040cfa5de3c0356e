"""Plays the story on a real runtime and writes down each input as it is handed in.

Approvals name what they approve (revision, content hash, evidence), answers of the network name the message
they answer: both are known only once the inputs before them were decided. That is why the book is
written by playing it.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace

from usance.aml.case import CaseDecider, CaseOpened
from usance.bootstrap.runtime import Runtime
from usance.domain.credit.decider import CreditDecider
from usance.domain.message_exchange import MessageQueued, MessageRepaired
from usance.domain.presentation.decider import PresentationDecider
from usance.kernel.decider import key_of
from usance.messages.swift.acks import acknowledge
from usance.messages.swift.fin import Message, build, parse

TENANT = "albion"
YEAR = 2026
ANSWER_AFTER = timedelta(minutes=9)
OUR_SESSION = "0087"

Make = Callable[["Scribe"], "dict[str, Any] | list[dict[str, Any]] | bytes"]


class Step(NamedTuple):
    """One file: `when` is MMDDTHHMM (UTC), `label` names it, `make` writes it at its time.

    A label without a suffix gets that of its form.
    """

    when: str
    label: str
    make: Make

    @property
    def instant(self) -> datetime:
        """When the file arrives."""
        return datetime.strptime(f"{YEAR}{self.when}", "%Y%m%dT%H%M").replace(tzinfo=UTC)


class Scribe:
    """Writes the book into a folder while the runtime plays it.

    `silent` are references (MUR) of messages whose answer the story itself gives.
    """

    def __init__(self, runtime: Runtime, target: Path, silent: frozenset[str]) -> None:
        self.runtime = runtime
        self.target = target
        self.silent = silent
        self.answered: set[str] = set()
        self.sequence = 2200
        self.written: list[str] = []

    def play(self, steps: list[Step]) -> None:
        """Hand in all steps in the order of their instants, and the network's answers between them."""
        waiting = [(step.instant, number, step) for number, step in enumerate(steps)]
        heapq.heapify(waiting)
        number = len(steps)
        while waiting:
            instant, _, step = waiting[0]
            due = self.runtime.owner.next_due()
            if due is not None and due < _ms(instant):
                self.runtime.run_until(due)
                at = datetime.fromtimestamp(due / 1000, UTC)
            else:
                heapq.heappop(waiting)
                self.runtime.run_until(_ms(instant))
                self._take(step, instant)
                at = instant
            if self._unanswered() and not any(_is_answer(w[2]) for w in waiting):
                when = (at + ANSWER_AFTER).strftime("%m%dT%H%M")
                number += 1
                answer = Step(when, "network-answers", Scribe.answers)
                heapq.heappush(waiting, (answer.instant, number, answer))

    def _take(self, step: Step, instant: datetime) -> None:
        made = step.make(self)
        if not made:
            return
        if isinstance(made, bytes):
            data, kind = made, "fin"
        elif isinstance(made, list):
            data, kind = "\n".join(json.dumps(m) for m in made).encode() + b"\n", "jsonl"
        else:
            data, kind = json.dumps(made, indent=1).encode() + b"\n", "json"
        label = step.label if "." in step.label else f"{step.label}.{kind}"
        name = f"{instant:%Y%m%dT%H%M}Z-{label}"
        if name in self.written:
            raise ValueError(f"two files are called {name}")
        self.written.append(name)
        (self.target / name).write_bytes(data)
        (self.runtime.folder.gateway / "in" / name).write_bytes(data)
        self.runtime.drive()

    def again(self, ending: str) -> bytes:
        """Return the bytes of an earlier file, by how its name ends."""
        name = next(name for name in self.written if name.endswith(ending))
        return (self.target / name).read_bytes()

    # -- what stands in the log

    def credit(self, number: str) -> Any:
        """Return the state of a credit."""
        return self._fold(CreditDecider(), key_of(TENANT, "credit", number))

    def presentation(self, number: str) -> Any:
        """Return the state of a presentation."""
        return self._fold(PresentationDecider(), key_of(TENANT, "presentation", number))

    def saga(self, identity: str) -> Any:
        """Return the state of a saga, such as `issuance:TF26LC0101`."""
        decider = self.runtime.store.deciders["saga"]
        return self._fold(decider, key_of(TENANT, "saga", identity))

    def case(self, category: str, number: str) -> tuple[str, str]:
        """Return id and evidence of the case about a stream."""
        stream = key_of(TENANT, category, number)
        for message in self._events("compliance"):
            if isinstance(message, CaseOpened) and message.subject_stream == stream:
                state = self._fold(CaseDecider(), key_of(TENANT, "case", message.case_id))
                return message.case_id, state.evidence_hash
        raise LookupError(f"no case is open about {number}")

    def text(self, message: str) -> str:
        """Return the latest text of one of our own messages."""
        found = ""
        for past in self.runtime.store.history.stream(key_of(TENANT, "message", message)):
            if isinstance(past.message, MessageQueued | MessageRepaired):
                found = past.message.text.text
        return found

    def _fold(self, decider: Any, key: str) -> Any:
        return self.runtime.store.history.fold(decider, key)

    def _events(self, context: str) -> list[Any]:
        store = self.runtime.store
        places = (store.topics.at(context, "events", p) for p in range(store.topics.partitions))
        return [
            store.decoder.message(record.headers, record.value)
            for place in places
            for record in store.log.scan(place, 0)
        ]

    # -- the network's answers

    def _unanswered(self) -> list[str]:
        """Return the files in `out/` that no answer was given to, by name."""
        files = sorted(path.name for path in (self.runtime.folder.gateway / "out").glob("*.fin"))
        return [
            name
            for name in files
            if name not in self.answered and name.rpartition("-")[0] not in self.silent
        ]

    def answers(self) -> bytes:
        """Return ACKs of everything that waits for one, as one file."""
        names = self._unanswered()
        self.answered.update(names)
        folder = self.runtime.folder.gateway / "out"
        return b"".join(self.answer((folder / name).read_bytes()) for name in names)

    def answer(self, sent: bytes, *, error: str = "", tag: str = "") -> bytes:
        """Return the network's answer to a message; `error` and the field it is in make it a NAK."""
        message = parse(sent)
        line = next((field.line for field in message.fields if field.tag == tag), 0)
        stamp = datetime.fromtimestamp(self.runtime.clock.now() / 1000, UTC).strftime("%y%m%d%H%M")
        self.sequence += 1
        found = acknowledge(message, stamp, error=error, line=line)
        basic = replace(found.basic, session=OUR_SESSION, sequence=f"{self.sequence:06d}")
        return build(Message(basic=basic, fields=found.fields, tagged=True)) + b"\r\n"


def _is_answer(step: Step) -> bool:
    return step.label == "network-answers"


def _ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)
