"""The error tree, split by what the caller does next.

UsanceError
├── Refused       business says no: shown to the person, never retried
├── Conflict      the caller's picture is stale: reload and decide again
├── NotFound      no such thing: check the identifier
├── Unreadable    bytes cannot be decoded or validated: dead letter, never retried
├── Unavailable   transient: back off and retry
│   ├── Owned     another process owns the data folder: go through it
│   └── Uncertain a commit may or may not have happened: re-read the log, never guess
├── Fenced        another owner took over: abort, rewind, rejoin
└── Tampered      hash, signature or sequence is wrong: stop the line, page a human

Programmer errors are assertions and end the process.
"""

from __future__ import annotations


class UsanceError(Exception):
    """Root of every error that a caller can act on; `hint` says what to do next."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Refused(UsanceError):
    """A rule says no. `code` is stable, `article` cites the rule's source (such as UCP600-14b)."""

    exit_code = 1

    def __init__(self, code: str, message: str, *, article: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.article = article


class Conflict(UsanceError):
    """The expected revision or body differs from the recorded one."""

    exit_code = 3


class NotFound(UsanceError):
    """Nothing is known under this identifier."""

    exit_code = 1


class Unreadable(UsanceError):
    """Bytes that cannot be decoded or validated; `stage` names where, `reason` holds no values."""

    exit_code = 2

    def __init__(self, stage: str, reason: str, *, hint: str = "") -> None:
        super().__init__(f"{stage}: {reason}", hint=hint)
        self.stage = stage
        self.reason = reason


class Unavailable(UsanceError):
    """A resource is down or busy; trying again later may work. Certainly nothing was committed."""

    exit_code = 4


class Owned(Unavailable):
    """Another process owns the data folder; `pid` is its id (0: unknown)."""

    def __init__(self, message: str, *, pid: int = 0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.pid = pid


class Uncertain(Unavailable):
    """A commit's result is unknown: take the take-over path, which reads the answer in the log."""


class Fenced(UsanceError):
    """Another owner holds the partition; what was staged is dropped."""

    exit_code = 4


class Tampered(UsanceError):
    """Evidence of alteration: a hash, signature or sequence does not hold."""

    exit_code = 5
