"""What the web needs of the program behind it. The composition root offers it; tests may too."""

from __future__ import annotations

from typing import Any, Protocol

from usance.bootstrap.people import Directory
from usance.bootstrap.proof.proof_serving import ProofDesk
from usance.bootstrap.standing import Standing
from usance.config import Settings
from usance.crypto.card_policy import CardPolicy
from usance.engine.gateway import Gateway
from usance.engine.genesis import Genesis
from usance.engine.reactors.reactor import Outgoing
from usance.kernel.clock import Clock
from usance.kernel.decider import Actor, Refusal
from usance.messages.registry import RegistryState
from usance.views.queries import Queries
from usance.views.results import DeadLetterRow


class Previewed(Protocol):
    """What a command would do now: a refusal, or events and commands to others. None recorded."""

    @property
    def refusal(self) -> Refusal | None:
        """The no, if it would be one."""
        ...

    @property
    def events(self) -> tuple[Any, ...]:
        """Events in order."""
        ...

    @property
    def sends(self) -> tuple[Any, ...]:
        """Commands to other aggregates (`kernel.decider.Send`)."""
        ...

    @property
    def revision(self) -> int:
        """The revision it was decided against."""
        ...


class Backend(Protocol):
    """One running program: reads, the way in for commands, people, time, health."""

    @property
    def queries(self) -> Queries:
        """The read side."""
        ...

    @property
    def gateway(self) -> Gateway:
        """Where commands go; its answers come from other threads."""
        ...

    @property
    def clock(self) -> Clock:
        """The book's time; the real one where no book clock is set."""
        ...

    @property
    def directory(self) -> Directory:
        """The people one can act as."""
        ...

    @property
    def settings(self) -> Settings:
        """The settings: whose book it is, where to listen; shown with secrets masked."""
        ...

    @property
    def genesis(self) -> Genesis:
        """The log's birth record."""
        ...

    @property
    def cards(self) -> CardPolicy:
        """What becomes of card numbers in requests."""
        ...

    @property
    def registry(self) -> RegistryState:
        """The schemas of the log's records."""
        ...

    @property
    def proofs(self) -> ProofDesk:
        """The proof of the log."""
        ...

    def health(self) -> dict[str, Any]:
        """Return `ready`, `live`, `waits_for` (sentences), `projector_lag` (records), `trouble`."""
        ...

    def metrics(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        ...

    def standing(self) -> Standing:
        """Return what this process is and does."""
        ...

    def reread(self, row: DeadLetterRow, actor: Actor) -> Outgoing:
        """Return the command of an input that can be read now; raises Unreadable or Refused."""
        ...

    def preview(self, key: str, command: Any, actor: Actor) -> Previewed:
        """Return what a command would do now; records nothing."""
        ...
