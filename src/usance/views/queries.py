"""The questions people ask, and who may ask them: one object for console, API and command line.

Every method takes the `viewer`; `Asking.reading` is the one place that opens compliance tables, and
only for that role. Trade sees a held credit as it sees a slow one. Answers are structs of `results`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from usance.engine.projections.reading import ReadStore
from usance.engine.topics import Topics
from usance.kernel.decider import Decider
from usance.log.contract import Log
from usance.messages.decoder import Decoder
from usance.views import PROJECTIONS
from usance.views.asking_access import AccessQuestions
from usance.views.asking_operations import OperationQuestions


class Queries(AccessQuestions, OperationQuestions):
    """Every read of console, API and CLI; safe across threads.

    `definitions` are saga definitions by name, for their pictures. With a `tenant` only that one's book is read.
    """

    def __init__(
        self,
        store: ReadStore,
        log: Log,
        decoder: Decoder,
        topics: Topics,
        deciders: Mapping[str, Decider[Any]],
        *,
        definitions: Mapping[str, Any] | None = None,
        tenant: str = "",
    ) -> None:
        super().__init__(
            store,
            log,
            decoder,
            topics,
            deciders,
            definitions=definitions,
            projections=PROJECTIONS,
            tenant=tenant,
        )
