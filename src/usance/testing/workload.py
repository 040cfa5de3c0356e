"""Seeded commands as a bank meets them, for measuring: applications and presentations of about a kilobyte."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from usance.domain.credit.messages import ApplyForCredit
from usance.domain.presentation.messages import PresentDocuments
from usance.domain.terms import (
    Narrative,
    Parties,
    Party,
    PresentedDocument,
    RequiredDocument,
    Terms,
)
from usance.engine.reactors.reactor import Outgoing
from usance.kernel.decider import Actor
from usance.kernel.ids import derived

TENANT = "albion"
BANK = "ALBNGB2LXXX"
MAKER = Actor("p-maker", "maker", "maker")
ZIPF_EXPONENT = 0.99
ZIPF_KEYS = 20_000

_TOWNS = ("SINGAPORE", "HAMBURG", "SANTOS", "MUMBAI", "BUSAN", "ROTTERDAM", "VALPARAISO", "DURBAN")
_BANKS = ("MERLSGSGXXX", "HANSDEHHXXX", "BRASBRSPXXX", "INDOINBBXXX", "KORXKRSEXXX")
_GOODS = ("TEAK PLANKS", "COTTON YARN", "COPPER CATHODES", "GREEN COFFEE", "MACHINE PARTS", "RICE")
_WORDS = (
    "GRADE FIRST QUALITY PACKED IN EXPORT CARTONS MARKED WITH ORDER NUMBER NET WEIGHT GROSS AS PER"
    " CONTRACT DATED SHIPMENT CONTAINER PALLETS SEAWORTHY INSPECTION AT LOADING PORT BY INDEPENDENT"
    " SURVEYOR ORIGIN HARVEST BATCH MOISTURE BELOW PER CENT TOLERANCE BUYER SELLER OPTION"
).split()


class Workload:
    """An endless, repeatable stream of commands; the same seed gives the same bytes."""

    def __init__(self, seed: int = 1, subjects: int = 5_000) -> None:
        self.seed = seed
        self.subjects = subjects
        self._random = random.Random(seed)  # noqa: S311  examples, not secrets
        self._made = 0

    def take(self, count: int, *, zipf: bool = False) -> list[Outgoing]:
        """Return the next commands, an application and a presentation in turn.

        Each goes to a key of its own; with `zipf` the keys are drawn from a skewed law, so that many
        arrive for few keys and are refused, as when a sender repeats itself under new ids.
        """
        numbers = self._numbers(count, zipf)
        return [self._command(n, place) for n, place in enumerate(numbers, self._made - count)]

    def _numbers(self, count: int, zipf: bool) -> list[int]:
        start, self._made = self._made, self._made + count
        if not zipf:
            return list(range(start, start + count))
        weights = list(accumulate(1 / (rank**ZIPF_EXPONENT) for rank in range(1, ZIPF_KEYS + 1)))
        return self._random.choices(range(ZIPF_KEYS), cum_weights=weights, k=count)

    def _command(self, number: int, place: int) -> Outgoing:
        command_id = derived(f"workload-{self.seed}", number)
        command: Any = self._presentation(place) if number % 2 else self._application(place)
        name = f"presentation/P{place:08d}" if number % 2 else f"credit/LC{place:08d}"
        return Outgoing(f"{TENANT}/{name}", command, command_id, "workload", actor=MAKER)

    def _text(self, words: int) -> str:
        return " ".join(self._random.choices(_WORDS, k=words))

    def _party(self, name: str) -> Party:
        town = self._random.choice(_TOWNS)
        return Party(name=name, address=f"{self._random.randrange(1, 400)} QUAY", town=town)

    def _application(self, number: int) -> ApplyForCredit:
        pick = self._random.choice
        subject = f"party-{number % self.subjects}"
        kinds = ("invoice", "bill_of_lading", "packing_list", "insurance")
        terms = Terms(
            currency="USD",
            amount=self._random.randrange(10_000_00, 900_000_00),
            expiry_date="2027-05-28",
            expiry_place=pick(_TOWNS),
            available_with=pick(_BANKS),
            available_by="sight",
            latest_shipment="2027-04-30",
            port_of_loading=pick(_TOWNS),
            port_of_discharge="FELIXSTOWE",
            incoterm="CIF",
            incoterm_place="FELIXSTOWE",
            required_documents=[RequiredDocument(kind=k, originals=3) for k in kinds],
            issuing_bank=BANK,
            advising_bank=pick(_BANKS),
        )
        return ApplyForCredit(
            credit=f"LC{number:08d}",
            application=f"APP-{number}",
            terms=terms,
            parties=Parties(
                subject=subject,
                applicant=self._party("ALBION FURNITURE LTD"),
                beneficiary=self._party(f"{pick(_GOODS)} EXPORTS PTE"),
            ),
            narrative=Narrative(
                subject=subject,
                goods=f"{self._random.randrange(10, 900)} MT {pick(_GOODS)} {self._text(26)}",
                conditions=self._text(24),
            ),
            facility=f"F{number % 500}",
        )

    def _presentation(self, number: int) -> PresentDocuments:
        amount = self._random.randrange(10_000_00, 90_000_00)
        kinds = ("draft", "invoice", "bill_of_lading", "packing_list", "certificate_of_origin")
        documents = [self._document(kind, number, amount) for kind in kinds]
        return PresentDocuments(
            presentation=f"P{number:08d}",
            credit=f"LC{number:08d}",
            presenter=self._random.choice(_BANKS),
            presenter_reference=f"OUR-{number}",
            place="LONDON",
            presentee=BANK,
            currency="USD",
            amount=amount,
            documents=documents,
        )

    def _document(self, kind: str, number: int, amount: int) -> PresentedDocument:
        more: dict[str, Any] = {}
        if kind == "bill_of_lading":
            more = {"on_board": True, "on_board_date": "2026-11-18", "vessel": "MV NORTHERN STAR"}
        if kind in ("draft", "invoice"):
            more = {"currency": "USD", "amount": amount}
        digest = hashlib.sha256(f"{kind}/{number}".encode()).hexdigest()
        return PresentedDocument(
            kind=kind,
            reference=f"{kind[:3].upper()}-{number}",
            digest=digest,
            date="2026-11-20",
            **more,
        )


def batches(commands: list[Outgoing], size: int) -> Iterator[list[Outgoing]]:
    """Yield a list in parts."""
    for at in range(0, len(commands), size):
        yield commands[at : at + size]
