"""The sample book's read models on PostgreSQL are those on SQLite, row by row and answer by answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Any

import msgspec
import pytest
from book_world import Played

from usance.adapters.postgres_views import PostgresViews
from usance.bootstrap.store import make_projector, make_queries
from usance.engine.projections.reading import Views
from usance.kernel.decider import Actor
from usance.testing.postgres_server import PostgresServer
from usance.views import PROJECTIONS
from usance.views import results as r
from usance.views.queries import Queries

pytestmark = pytest.mark.postgres

PEOPLE = ("dev.raghavan", "farid.haddad", "henrik.solberg")
BATCH = 97
"""Records to a batch: small, so that rows are changed many times."""


@pytest.fixture(scope="module")
def projected(played: Played, postgres: PostgresServer) -> Iterator[PostgresViews]:
    views = PostgresViews(postgres.address())
    projector = make_projector(played.store, views)
    projector.batch_max = BATCH
    projector.open()
    while projector.step():
        pass
    assert projector.idle()
    yield views
    projector.close()
    views.close()


def rows_of(views: Views) -> dict[str, list[dict[str, Any]]]:
    views.know(PROJECTIONS)
    with views.reading(restricted=True) as reading:
        return {t.name: reading.select(t.name) for p in PROJECTIONS for t in p.tables}


def test_every_row_is_the_same_on_both(played: Played, projected: PostgresViews) -> None:
    here, there = rows_of(played.runtime.views), rows_of(projected)
    assert sum(len(rows) for rows in here.values()) > 1_000
    unlike = [
        (table, one, other)
        for table, rows in here.items()
        for one, other in zip_longest(rows, there[table])
        if one != other
    ]
    assert unlike == []
    with played.runtime.views.reading() as one, projected.reading() as other:
        assert one.checkpoints() == other.checkpoints()
        assert one.log_id() == other.log_id() != ""


def test_a_rebuild_on_the_server_finds_no_difference(
    played: Played, projected: PostgresViews
) -> None:
    projector = make_projector(played.store, projected, follow=False)
    projector.open()
    for projection in PROJECTIONS:
        report = projector.rebuild(projection.name)
        assert report.swapped and report.compared and report.differences == []
    projector.close()
    assert rows_of(projected) == rows_of(played.runtime.views)


def all_pages(ask: Callable[[str], Any]) -> list[Any]:
    pages, cursor = [], ""
    while True:
        pages.append(ask(cursor))
        cursor = pages[-1].page.cursor
        if not cursor:
            return pages


def asked(queries: Queries, viewer: Actor) -> Iterator[tuple[str, Any]]:
    """Ask everything that a person can ask."""
    q, v = queries, viewer
    for order in ("changed", "-changed", "reference", "-amount", "expiry"):
        wanted = r.CreditFilter(order=order)
        yield f"credits {order}", all_pages(lambda c, w=wanted: q.credits(v, w, c, 7))
    for row in q.credits(v, limit=200).rows:
        yield row.key, q.credit(v, row.key)
        yield f"timeline {row.key}", q.timeline(v, row.key)
    for shown in q.presentations(v, limit=200).rows:
        yield shown.key, q.presentation(v, shown.key)
    yield "presentations", all_pages(lambda c: q.presentations(v, r.PresentationFilter(), c, 5))
    yield "facilities", [q.facility(v, f.key) for f in q.facilities(v)]
    yield "postings", all_pages(lambda c: q.postings(v, "", c, 31))
    yield "balance", q.trial_balance(v)
    yield "messages", all_pages(lambda c: q.messages(v, "", c, 6))
    yield "work", all_pages(lambda c: q.work(v, r.WorkFilter(), c, 9))
    yield "today", q.today(v, 1_796_000_000_000)
    yield "approvals", [q.approval(v, a.id) for a in q.approvals(v)]
    yield "sagas", all_pages(lambda c: q.sagas(v, "", c, 11))
    yield "saga", [q.saga(v, s.key) for s in q.sagas(v, limit=100).rows]
    yield "incidents", (q.incidents(v), q.incidents(v, open=False))
    yield "cases", [q.case(v, c.key) for c in q.cases(v, limit=100).rows]
    yield "dead letters", all_pages(lambda c: q.dead_letters(v, r.DeadLetterFilter(), c, 2))
    yield "reason", q.dead_letters(v, r.DeadLetterFilter(reason="BLOCK")).rows
    yield "parked", q.parked(v)
    yield "commands", all_pages(lambda c: q.commands(v, "", c, 40))
    yield "events", all_pages(lambda c: q.events(v, r.EventFilter(), c, 60))
    yield "projections", [(p.name, p.rows, p.lag, p.stale_rows) for p in q.projections(v)]
    yield "schemas", q.schemas(v)
    yield "status", q.status(v)
    for text in (
        "TF26",
        "tf26lc0101",
        "ltd",
        "%",
        "_",
        "Tanjong",
        "P26-01",
        "\N{LATIN SMALL LETTER E WITH ACUTE}",
    ):
        yield f"search {text}", q.search(v, text, 50)


@pytest.mark.parametrize("person", PEOPLE)
def test_every_answer_is_the_same_on_both(
    played: Played, projected: PostgresViews, person: str
) -> None:
    viewer = played.runtime.directory.actor(person)
    there = make_queries(played.store, projected)
    here = played.runtime.queries
    answers = dict(asked(here, viewer))
    others = dict(asked(there, viewer))
    assert len(answers) > 60
    unlike = [name for name, answer in answers.items() if plain(answer) != plain(others[name])]
    assert unlike == [] and answers.keys() == others.keys()


def plain(answer: Any) -> Any:
    return msgspec.to_builtins(answer)
