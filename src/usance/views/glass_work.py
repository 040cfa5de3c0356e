"""What broken glass leaves to do: reviews in the worklist, and incidents where they are overdue."""

from __future__ import annotations

from collections.abc import Iterator

from usance.engine.projections.reading import Order, Reading, Where
from usance.kernel.authority import AUTHORITY
from usance.views import results as r

MANY = 200
REVIEWERS = AUTHORITY["ReviewGlass"]


def glass_work(reading: Reading) -> Iterator[r.WorkItem]:
    """Yield what waits for a review."""
    for row in reading.select("glasses", (Where("state", "=", "closed"),), (Order("since"),), MANY):
        yield r.WorkItem(
            kind="review_glass",
            key=row["key"],
            reference=row["person"],
            credit="",
            article="",
            id=f"review_glass:{row['key']}:{row['number']}",
            title=f"Review what {row['person']} did behind broken glass",
            why=f"{row['uses']} acts for {row['incident']}: {row['used'] or 'none was taken'}",
            act="ReviewGlass",
            roles=sorted(REVIEWERS),
            not_by=row["person"],
            due=row["review_due"],
            since=row["closed"],
        )


def glass_incidents(reading: Reading) -> Iterator[r.Incident]:
    """Yield the reviews that are overdue."""
    late = (Where("state", "=", "closed"), Where("overdue", "=", 1))
    for row in reading.select("glasses", late, (Order("since"),), MANY):
        yield r.Incident(
            id=f"glass:{row['key']}:{row['number']}",
            saga=row["key"],
            definition="break-glass",
            subject=row["key"],
            reference=row["person"],
            step="review",
            cause=f"nobody has reviewed what {row['person']} did behind broken glass",
            since=row["review_due"],
            suggested=["review"],
            open=True,
            how="",
            closed=0,
        )
