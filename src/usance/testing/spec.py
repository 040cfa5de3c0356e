"""Given these events, when this command comes, then these events follow: tests of deciders.

    spec(decider, "albion/credit/LC1").given(CreditApplied(...)).when(command).then(Approved)

`then` takes events (compared whole) or event classes (compared by type); timers count as events.
"""

from __future__ import annotations

from typing import Any

import msgspec

from usance.kernel.decider import Actor, Context, Decider, Decision, Refusal, key_parts

MAKER = Actor("p-maker", "maker", "maker")
CHECKER = Actor("p-checker", "checker", "checker")
SYSTEM = Actor("saga:issuance", "", "system")


def context_of(key: str, revision: int, actor: Actor, instant: int) -> Context:
    """Return the context of one decision; ids are made from key and revision."""
    command_id = f"{key}:{revision}"
    return Context(
        key, revision, instant, key_parts(key).tenant, actor, command_id, command_id, command_id
    )


class Spec:
    """A decider at a point of one stream. Methods return self, so that they chain."""

    def __init__(self, decider: Decider[Any], key: str, *, instant: int) -> None:
        self.decider = decider
        self.key = key
        self.instant = instant
        self.events: list[Any] = []
        self.state = decider.initial(key)
        self.answer: Decision | Refusal | None = None

    @property
    def revision(self) -> int:
        """The revision of the last event."""
        return len(self.events)

    def given(self, *events: Any) -> Spec:
        """Fold events that were recorded before."""
        for event in events:
            self.events.append(event)
            self.state = self.decider.evolve(self.state, event)
        return self

    def at(self, instant: int) -> Spec:
        """Set the clock, in ms UTC."""
        self.instant = instant
        return self

    def when(self, command: Any, actor: Actor = MAKER) -> Spec:
        """Decide a command and, when it is accepted, fold its events."""
        context = context_of(self.key, self.revision, actor, self.instant)
        before = msgspec.msgpack.encode(self.state)
        self.answer = self.decider.decide(self.state, command, context)
        assert msgspec.msgpack.encode(self.state) == before, "decide changed the state"
        if isinstance(self.answer, Decision):
            self.given(*self.answer.events)
        return self

    @property
    def decided(self) -> tuple[Any, ...]:
        """The events of the last command; fails when it was refused."""
        assert isinstance(self.answer, Decision), f"refused: {self.answer}"
        return self.answer.events

    def then(self, *expected: Any) -> Spec:
        """Check the events of the last command, by value or by class."""
        got = self.decided
        assert [type(e) for e in got] == [e if isinstance(e, type) else type(e) for e in expected]
        for event, wanted in zip(got, expected, strict=True):
            assert isinstance(wanted, type) or event == wanted
        return self

    def sends(self, *expected: Any) -> Spec:
        """Check the commands sent to others by the last command."""
        assert isinstance(self.answer, Decision), f"refused: {self.answer}"
        assert [send.command for send in self.answer.sends] == list(expected)
        return self

    def refused(self, code: str, article: str = "") -> Spec:
        """Check that the last command was refused with a code, and says what to do next."""
        assert isinstance(self.answer, Refusal), f"accepted: {self.answer}"
        assert self.answer.code == code, self.answer
        assert not article or self.answer.article == article
        assert self.answer.message and self.answer.hint
        return self

    def nothing(self) -> Spec:
        """Check that the last command changed nothing, because its effect already stands."""
        assert self.answer == Decision(), self.answer
        return self


def spec(decider: Decider[Any], key: str, *, instant: int = 1_796_000_000_000) -> Spec:
    """Return a fresh stream under a decider; the clock stands at 29 November 2026 by default."""
    return Spec(decider, key, instant=instant)
