"""What fell due is proposed by the program, and waits for two people as any proposal does."""

from __future__ import annotations

from usance.bootstrap.desk import Desk
from usance.bootstrap.secrecy import erasing, retaining
from usance.bootstrap.secrecy.retaining import Kept
from usance.engine.logs import logger
from usance.engine.secrecy import subjects as m
from usance.kernel.clock import MS_PER_DAY, Clock
from usance.kernel.errors import NotFound, UsanceError

LOOK_EVERY_MS = MS_PER_DAY
QUIET_MS = 90 * MS_PER_DAY
"""How long what a person took back is not proposed again by itself."""
REASON = "its time is over: proposed by the program"

_log = logger("retention")


class RetentionWatch:
    """Looks once a day, of the log's clock, and proposes one data subject per step."""

    def __init__(self, desk: Desk, wait_on: Clock) -> None:
        self.desk = desk
        self.wait_on = wait_on
        """Whose seconds a step waits: the machine's, whatever the log's clock is."""
        self.next_at = 0
        self.todo: list[Kept] = []

    def step(self, wait: float = 0.0) -> int:
        """Look when it is time, or propose the next; returns how many were proposed."""
        now = self.desk.clock.now()
        if not self.todo:
            if now < self.next_at:
                if wait:
                    self.wait_on.sleep(wait)
                return 0
            self.next_at = now + LOOK_EVERY_MS
            self.todo = self.due(now)
            return 0
        return self._propose(self.todo.pop())

    def due(self, now: int) -> list[Kept]:
        """Return those of whom something fell due that still has keys, and that nobody took back lately."""
        rows = retaining.listed(self.desk.store, now)
        return [row for row in rows if self._falls_due(row, now)]

    def _falls_due(self, row: Kept, now: int) -> bool:
        if row.state not in ("due", "active", "restricted") or row.held or not row.over:
            return False
        store = self.desk.store
        living = erasing.keys_of(erasing.demand_vault(store), store.settings.bank.tenant, row.over)
        return any(not r.dead for r in living) and not self._taken_back(row, now)

    def _taken_back(self, row: Kept, now: int) -> bool:
        try:
            past = self.desk.store.history.stream(row.stream)
        except NotFound:
            return False
        back = [p.instant for p in past if isinstance(p.message, m.DisposalWithdrawn)]
        return bool(back) and max(back) > now - QUIET_MS

    def _propose(self, row: Kept) -> int:
        partial = row.state != "due"
        try:
            said = retaining.propose(
                self.desk, row.subject, REASON, erasing.ENGINE, partial=partial
            )
        except UsanceError as trouble:
            _log.warning("part_waits", part="retention", error_type=type(trouble).__name__)
            return 0
        return int(said.answer == "accepted")
