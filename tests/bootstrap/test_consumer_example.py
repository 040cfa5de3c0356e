"""The example `examples/consumer`: the article's loop loses a message where ours does not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from usance.adapters.sqlite_log import SqliteLog
from usance.engine.groups import groups
from usance.log.contract import TopicPartition

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "consumer"
sys.path.insert(0, str(EXAMPLE))

import article_loop  # noqa: E402
import done_right  # noqa: E402


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    opened = SqliteLog.open(tmp_path / "log.sqlite")
    article_loop.prepare(opened)
    yield opened
    opened.close()


def test_the_articles_loop_commits_past_the_message_that_failed(log: SqliteLog) -> None:
    article_loop.article_loop(log)
    receipts = article_loop.values(log, article_loop.RECEIPTS)
    assert len(receipts) == 4
    assert log.position(article_loop.GROUP, TopicPartition(article_loop.PAYMENTS, 0)) == 5
    article_loop.article_loop(log, done_right.mended)
    assert article_loop.values(log, article_loop.RECEIPTS) == receipts, "lost for good"


def test_ours_keeps_it_in_order_and_takes_it_up_again(log: SqliteLog) -> None:
    with done_right.teller(log) as consumer:
        done_right.until_rest(consumer)
        assert consumer.standing()[2:4] == (1, 1)
    receipts = article_loop.values(log, article_loop.RECEIPTS)
    assert receipts == ["alice paid 1000 cents", "bob paid 2050 cents", "bob paid 100 cents"]
    group = groups.named(log, "usance", done_right.GROUP)
    from usance.bootstrap.operating import redrive_letter

    letter = next(iter(group_letters(log, group)))
    redrive_letter(log, "usance", done_right.GROUP, letter, "it can be read now", person="ada")
    with done_right.teller(log, done_right.mended) as consumer:
        done_right.until_rest(consumer)
        assert consumer.standing()[2:4] == (0, 0)
    assert article_loop.values(log, article_loop.RECEIPTS)[3:] == [
        "alice paid 3000 cents",
        "alice paid 500 cents",
    ]


def group_letters(log: SqliteLog, group: groups.Group) -> list[str]:
    tp = group.topics.at(f"consume-{group.name}", "dead-letters", 0)
    return [dict(r.headers)["usance-dlq-id"].decode() for r in log.scan(tp, 0)]


@pytest.mark.parametrize("script", ["article_loop.py", "done_right.py"])
def test_each_script_runs_as_its_page_says(script: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE / script), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "bob paid 2050 cents" in done.stdout
