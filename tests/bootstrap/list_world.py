"""A program over a folder whose people of compliance bring lists in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from usance.aml import activation as act
from usance.aml.list_formats import read_csv
from usance.aml.lists import ListSnapshot
from usance.aml.screening import Labelled, Screener
from usance.bootstrap.lists import keep, propose
from usance.bootstrap.runtime import Runtime
from usance.bootstrap.store import Folder
from usance.config import Settings
from usance.engine.reactors.reactor import Outgoing
from usance.kernel.clock import BookClock
from usance.kernel.ids import derived
from usance.testing.trade import MONDAY


def house(*names: str, day: str = "2026-11-20") -> ListSnapshot:
    rows = "".join(f"H-{n},{name},organisation\n" for n, name in enumerate(names))
    return read_csv(f"uid,name,type\n{rows}".encode(), list_id="house", version=day)


class World:
    """A program over a folder, and people of compliance."""

    def __init__(self, root: Path, screener: Screener, profile: str = "default") -> None:
        self.root, self.given = root, screener
        self.settings = Settings(data=str(root), profile=profile)
        self.said = 0
        self.program = self.begin()

    def begin(self) -> Runtime:
        clock = BookClock(MONDAY)
        return Runtime(Folder(self.root), self.settings, clock, screener=self.given)

    def again(self) -> None:
        self.program.close()
        self.program = self.begin()

    def ask(self, key: str, command: Any, person: str) -> Any:
        self.said += 1
        actor, made = self.program.directory.actor(person), derived("lists", self.said)
        outcome = self.program.ask(Outgoing(key, command, made, "", made, actor))
        self.program.drive()
        return outcome

    def propose(self, new: ListSnapshot, person: str = "elif.demir") -> act.ListVersion:
        book = self.program.store.lists()
        state = book.state()
        assert self.program.lists is not None
        active = self.program.lists.opened(state.active)
        found = propose(new, active, state, approve_count=True)
        keep(book, found)
        assert self.ask(book.key, found.command, person).answer == "accepted"
        return found.command.version

    def activate(self, new: ListSnapshot) -> act.ListVersion:
        version = self.propose(new)
        said = act.ApproveList(proposal=act.proposal_of(version), content=version.content)
        key = self.program.store.lists().key
        assert self.ask(key, said, "farid.haddad").answer == "accepted"
        return version

    def band(self, name: str) -> str:
        assert self.program.screener is not None
        strings = [Labelled(field="x", kind="organisation", text=name)]
        return self.program.screener.screen_parties(strings, "2026-11-24").band

    def decisions(self) -> list[Any]:
        """Return the screenings recorded, in the order of their partitions."""
        store, found = self.program.store, []
        for number in range(store.topics.partitions):
            place = store.topics.at("compliance", "events", number)
            for record in store.log.scan(place, 0):
                message = store.decoder.message(record.headers, record.value)
                if type(message).__name__ == "ScreeningDecided":
                    found.append(message)
        return found
