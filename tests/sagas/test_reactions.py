"""Tables of reactions: several may answer one event, and no two of their commands share an id."""

from __future__ import annotations

from typing import Any

from usance.domain.credit import drawing_messages as dr
from usance.domain.presentation import messages as pr
from usance.engine.history import History
from usance.engine.reactors.reactor import Commands, Reactor
from usance.engine.topics import Topics
from usance.kernel.clock import BookClock
from usance.kernel.decider import Actor
from usance.log.contract import Output, TopicPartition
from usance.messages import catalogue
from usance.messages.envelope import Decoder, Encoder
from usance.messages.registry import registered
from usance.sagas.reactions import Reaction, Reactions, merged
from usance.sagas.screening import Screening
from usance.testing.sim_log import SimulatedLog

NOW = 1_796_000_000_000
STREAM = "albion/presentation/P1"
EVENT = pr.PresentationSettled(credit="LC1", currency="USD", amount=5)


def _saying(*references: str) -> Reaction:
    def react(stream: str, event: Any, history: History) -> list[tuple[str, Any]]:
        return [(stream, pr.SettlePresentation(reference=text)) for text in references]

    return react


def _elsewhere(stream: str, event: Any, history: History) -> list[tuple[str, Any]]:
    return [("albion/credit/LC1", dr.SettleDrawing(presentation="P1"))]


class World:
    """One event in a log, and reactors that follow it."""

    def __init__(self) -> None:
        known = catalogue.default()
        registry = registered(known)
        self.topics = Topics("usance", 2)
        self.log = SimulatedLog(BookClock(NOW))
        for settings in self.topics.settings():
            self.log.create_topic(settings)
        self.encoder = Encoder(log_id="log", catalogue=known, registry=registry)
        self.decoder = Decoder(catalogue=known, registry=registry, clear_blocks=True)
        self.history = History(self.log, self.topics, self.decoder)
        place = self.topics.place(STREAM)
        key, value, headers = self.encoder.command(
            EVENT, key=STREAM, command_id="e", tenant="albion", actor=Actor("", "", ""), at=NOW
        )
        name = self.topics.name(place.context, "events")
        self.log.append([Output(name, place.partition, key, value, headers)])

    def ids(self, group: str, table: dict[type, Reaction]) -> list[str]:
        """Return the ids of the commands that a reactor of its own makes of the event."""
        made: list[str] = []
        react = Reactions(table, self.decoder, self.history).react

        def noted(record: Any) -> Any:
            found = react(record)
            made.extend(one.id for one in found)
            return found

        commands = Commands(self.log, self.topics, self.encoder, book_clock=True)
        name = self.topics.name("trade", "events")
        reactor = Reactor(group, self.log, [name], noted, commands, lambda: NOW)
        reactor.open()
        while reactor.step():
            pass
        reactor.close()
        return made


def test_reactors_that_answer_one_event_give_their_commands_different_ids() -> None:
    world = World()
    first = world.ids("first", {type(EVENT): _saying("A", "B")})
    second = world.ids("second", {type(EVENT): _elsewhere})
    assert len({*first, *second}) == 3


def test_a_reaction_done_twice_gives_the_same_ids() -> None:
    world = World()
    table = {type(EVENT): _saying("A", "B")}
    assert world.ids("first", table) == world.ids("again", table) != []


def test_a_merged_table_makes_the_commands_of_every_table_for_the_same_event() -> None:
    world = World()
    table = merged({type(EVENT): _saying("A")}, {type(EVENT): _elsewhere})
    made = table[type(EVENT)](STREAM, EVENT, world.history)
    wanted: list[type] = [pr.SettlePresentation, dr.SettleDrawing]
    assert [type(command) for _, command in made] == wanted


def test_a_presentation_is_screened_only_when_its_saga_can_hear_of_it() -> None:
    table = Screening.table(object.__new__(Screening))
    assert pr.PresentationReceived not in table  # the saga may not have begun then
    assert dr.DrawingRegistered in table  # only the saga's own command makes this one


def test_records_that_cause_nothing_are_saved_when_the_reactor_leaves() -> None:
    world = World()
    topic = world.topics.name("trade", "events")
    place = TopicPartition(topic, world.topics.place(STREAM).partition)
    commands = Commands(world.log, world.topics, world.encoder, book_clock=True)
    react = Reactions({}, world.decoder, world.history).react
    reactor = Reactor("idle", world.log, [topic], react, commands, lambda: NOW)
    reactor.open()
    assert reactor.step() == 1
    assert world.log.position("idle", place) == 0
    assert reactor.lag() == 0
    reactor.close()
    assert world.log.position("idle", place) == 1
