"""`If-Match`: a command that was decided on by looking at one revision is not sent upon another.

The look is at the log, not at a view. Between it and the decision somebody may still come first: what must
never happen then (an approval of other content) is bound in the command itself and refused by its decider.
"""

from __future__ import annotations

from usance.engine.reactors.reactor import Outgoing
from usance.kernel.clock import SystemClock
from usance.kernel.errors import Unreadable
from usance.views import results as r
from usance.web.backend import Backend
from usance.web.forms import whole_number
from usance.web.problems import Change, Moved

SHOWN_MAX = 20
LOOK_EVERY = 0.02
VIEWS_WITHIN = 2.0
"""Seconds that an answer waits for the views to know what moved."""


def expected(said: str) -> int | None:
    """Return the revision that `If-Match` names; None for none and for `*`; raises Unreadable."""
    text = said.strip()
    if text in ("", "*"):
        return None
    number = whole_number(text.strip('"'))
    if number is None:
        raise Unreadable(
            "validate",
            "If-Match is no revision",
            hint='Pass on the ETag of the twin, such as "17".',
        )
    return number


def unmoved(backend: Backend, outgoing: Outgoing, revision: int) -> None:
    """Raise Moved, with what changed, where an aggregate does not stand at a revision any more."""
    now = backend.preview(outgoing.key, outgoing.command, outgoing.actor).revision
    if now == revision:
        return
    raise Moved(outgoing.key, revision, now, _changed(backend, outgoing, revision, now))


def _changed(backend: Backend, outgoing: Outgoing, revision: int, now: int) -> list[Change]:
    """Return what came after a revision; the views, which lag behind the log, get a moment to know it."""
    for _ in range(int(VIEWS_WITHIN / LOOK_EVERY)):
        changed = _known(backend, outgoing, revision)
        if changed and changed[-1].revision >= now:
            return changed
        SystemClock().sleep(LOOK_EVERY)
    return _known(backend, outgoing, revision)


def _known(backend: Backend, outgoing: Outgoing, revision: int) -> list[Change]:
    wanted = r.EventFilter(stream=outgoing.key)
    page = backend.queries.events(outgoing.actor, wanted, limit=SHOWN_MAX)
    return [
        Change(
            revision=entry.revision,
            type=entry.type,
            sentence=entry.sentence,
            person=entry.actor,
            instant=entry.instant,
        )
        for entry in sorted(page.rows, key=lambda e: e.revision)
        if entry.revision > revision
    ]
