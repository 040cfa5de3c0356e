"""Answers come from other threads: each to its caller, in few wake-ups, late ones to nobody."""

from __future__ import annotations

import asyncio
import threading

import pytest

from usance.engine.reactors.reactor import Outgoing
from usance.kernel.errors import Conflict, Refused, Unavailable
from usance.messages.outcome import Outcome
from usance.web.answers import RECENT_MAX, Answer, Answers

KEY = "albion/facility/F1"


def told(command_id: str) -> Outcome:
    return Outcome(command_id=command_id, body_hash=bytes(32), answer="accepted", log_time=1)


class Line:
    """A gateway whose answers come when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple] = []
        self.full = False

    def submit(self, outgoing, on_answer, on_error):
        if self.full:
            raise Unavailable("full", hint="wait")
        self.waiting.append((outgoing, on_answer, on_error))

    def answer(self) -> None:
        waiting, self.waiting = self.waiting, []
        for outgoing, on_answer, _ in waiting:
            on_answer(told(outgoing.id))


def ask(command_id: str, command: object = "x") -> Outgoing:
    return Outgoing(KEY, command, command_id, "")


def test_a_batch_of_answers_wakes_the_loop_once_and_each_caller_gets_his_own():
    async def run() -> None:
        line = Line()
        answers = Answers(line)
        futures = {f"c{n}": answers.ask(ask(f"c{n}")) for n in range(300)}
        loop = asyncio.get_running_loop()
        woken = []
        real = loop.call_soon_threadsafe
        loop.call_soon_threadsafe = lambda *a, **k: (woken.append(1), real(*a, **k))[1]
        thread = threading.Thread(target=line.answer)
        thread.start()
        thread.join()
        results = await asyncio.gather(*futures.values())
        assert [r.command_id for r in results] == list(futures)
        assert len(woken) == 1

    asyncio.run(run())


def test_the_same_command_under_way_is_a_conflict_and_another_body_a_reused_key():
    async def run() -> None:
        answers = Answers(Line())
        answers.ask(ask("c1"))
        with pytest.raises(Conflict):
            answers.ask(ask("c1"))
        with pytest.raises(Refused, match="Idempotency-Key"):
            answers.ask(ask("c1", "other"))

    asyncio.run(run())


def test_no_answer_in_time_is_none_and_an_answer_that_comes_later_harms_nobody():
    async def run() -> None:
        line = Line()
        answers = Answers(line, timeout=0.05)
        assert await answers.ask(ask("c1")) is None
        line.answer()
        again = answers.ask(ask("c1"))
        line.answer()
        assert (await again).answer == "accepted"

    asyncio.run(run())


def test_a_full_gateway_leaves_nothing_under_way():
    async def run() -> None:
        line = Line()
        answers = Answers(line)
        line.full = True
        with pytest.raises(Unavailable):
            answers.ask(ask("c1"))
        line.full = False
        future = answers.ask(ask("c1"))
        line.answer()
        assert (await future).command_id == "c1"

    asyncio.run(run())


def test_an_error_of_the_gateway_reaches_its_caller():
    async def run() -> None:
        line = Line()
        answers = Answers(line)
        future = answers.ask(ask("c1"))
        line.waiting.pop()[2](Unavailable("the disk is full"))
        with pytest.raises(Unavailable, match="disk"):
            await future

    asyncio.run(run())


def test_a_caller_who_went_away_does_not_disturb_the_others():
    async def run() -> None:
        line = Line()
        answers = Answers(line)
        gone, stays = answers.ask(ask("c1")), answers.ask(ask("c2"))
        gone.cancel()
        line.answer()
        assert (await stays).command_id == "c2"

    asyncio.run(run())


def test_memory_of_answers_is_bounded():
    answers = Answers(Line())
    for n in range(RECENT_MAX + 10):
        answers.remember(Answer(command_id=str(n), outcome="accepted"))
    assert len(answers.recent) == RECENT_MAX and "0" not in answers.recent
