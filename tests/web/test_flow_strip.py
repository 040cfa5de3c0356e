"""The flow strip: rates between looks, what stands aside, drawn and told alike."""

from __future__ import annotations

import httpx
from world import ENGINEER, World, until

from usance.kernel.clock import BookClock
from usance.web.flowing import KEPT, Flow, sparkline


def test_rates_are_of_what_was_appended_between_two_looks(web: httpx.Client, world: World) -> None:
    clock = BookClock(1_000_000)
    flow = Flow(clock)
    flow.take(world.program)
    said = {"credit": "NONE", "reason": "a command that is refused, and counts all the same"}
    web.post("/commands/CloseCredit?key=albion/credit/NONE", json=said)
    clock.advance_to(1_001_000)
    flow.take(world.program)
    first, second = flow.moments
    assert (first.commands_per_s, first.events_per_s) == (0, 0)
    assert second.commands_per_s >= 1
    counts = web.get("/system.json", headers={"usance-as": ENGINEER}).json()
    assert second.dead_letters == counts["dead_letters_open"]
    assert flow.moments.maxlen == KEPT


def test_a_line_touches_the_top_at_its_largest_value() -> None:
    assert sparkline([0, 5, 10], 100, 20) == "0,18 50,10 100,2"
    assert sparkline([]) == "" and sparkline([0]) == "0,34"


def test_the_page_draws_the_strip_and_the_twin_has_its_numbers(web: httpx.Client) -> None:
    until(lambda: web.get("/lag.json").json()["flow"])
    page = web.get("/lag").text
    assert page.count("<polyline") == 5 and "over the last 15 minutes" in page
