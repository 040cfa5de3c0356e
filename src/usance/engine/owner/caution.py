"""What an owner distrusts in a partition: records that kill, outputs too large to write, spreading errors."""

from __future__ import annotations

from usance.engine.owner import attempts
from usance.kernel.clock import MS_PER_MINUTE, Instant
from usance.log.contract import Record

BREAKER_KEYS = 20
"""Distinct keys failing with the same error within BREAKER_MS that stop a partition."""
BREAKER_MS = 10 * MS_PER_MINUTE
KILLED = "its handling ended the process twice"
UNWRITABLE = "the log cannot take what it would cause"


class Caution:
    """One partition's distrust; `left` records are still to be taken one at a time."""

    def __init__(self) -> None:
        self.left = 0
        self.journaled = False
        self.suspect: attempts.Attempt | None = None
        self.unwritable = -1
        self.failures: dict[tuple[str, str], Instant] = {}
        self.tripped = False

    def after_crash(self, suspect: attempts.Attempt, records: int) -> None:
        """Note each of the next records before it is decided (rule 15)."""
        self.suspect, self.left, self.journaled = suspect, records, True

    def took_one(self) -> None:
        """Count a record taken alone; whole batches come back when enough of them went well."""
        self.left -= 1
        if self.left <= 0:
            self.left, self.journaled = 0, False

    def begun(self, offset: int) -> int:
        """Return how many processes before this one began a record and did not live to commit it."""
        suspect = self.suspect
        return suspect.begun if suspect is not None and suspect.offset == offset else 0

    def watches(self) -> bool:
        """Tell whether any record may have to be set aside."""
        return self.suspect is not None or self.unwritable >= 0

    def set_aside(self, offset: int) -> tuple[str, str] | None:
        """Return failure class and reason when a record must be dead-lettered undecided."""
        if self.begun(offset) >= attempts.DEATHS_MAX:
            return "process-killer", KILLED
        return ("limit", UNWRITABLE) if offset == self.unwritable else None

    def failed(self, kind: str, record: Record) -> str:
        """Count an error; returns why the partition must stop when it meets many keys, else nothing."""
        key = (record.key or b"").decode("utf-8", "replace")
        self.failures[kind, key] = record.timestamp
        for old in [f for f, at in self.failures.items() if at < record.timestamp - BREAKER_MS]:
            del self.failures[old]
        many = sum(k == kind for k, _ in self.failures) >= BREAKER_KEYS
        return f"{kind} on {BREAKER_KEYS} different keys" if many or self.tripped else ""

    def went_well(self) -> None:
        """Close the breaker: a record that was let through to try did not fail."""
        if self.tripped:
            self.tripped = False
            self.failures.clear()

    def half_open(self) -> None:
        """Let one record try: the next failure of its kind stops the partition again."""
        self.left = max(self.left, 1)
        self.tripped = True

    def resume(self) -> None:
        """Try again what stopped the partition."""
        self.unwritable = -1
        self.tripped = False
        self.failures.clear()
