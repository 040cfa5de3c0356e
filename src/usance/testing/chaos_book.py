"""The book of a chaos run: seeded inputs as a gateway gets them, and what must come of them.

The expectations are a model of their own, in plain arithmetic over the inputs: nothing here asks a decider.
"""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import msgspec

from usance.messages.inputs import decode_input
from usance.testing.workload import BANK, TENANT

MAKER, CHECKER, SENIOR = "amara.okafor", "bruno.lindqvist", "dev.raghavan"
LIMIT = 900_000_000_00
_BENEFICIARIES = ("Tanjong Timber Pte Ltd", "Elbe Maschinenbau GmbH", "Porto Coffee Exports")


class Given(NamedTuple):
    """One input: the document's bytes, the command id that follows from them, and the answer due.

    `answer` is accepted, refused, dead-lettered (never decided), powerless (whatever the answer, no event), or
    "" where inputs race by intent.
    """

    data: bytes
    command_id: str
    answer: str


class Application(NamedTuple):
    """A credit applied for, as the model knows it."""

    credit: str
    facility: str
    amount: int


class Book:
    """Makes the inputs, and remembers what they must amount to."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311  a plan that can be repeated
        self.seed = seed
        self.applications: dict[str, Application] = {}
        self.approved: set[str] = set()
        self.given: list[Given] = []
        self.racing: set[str] = set()
        self.facilities: set[str] = set()
        self.doubles: set[str] = set()
        for number in range(3):
            self.facility(f"FAC{number}", LIMIT)

    def _add(self, document: dict[str, Any], answer: str) -> Given:
        data = msgspec.json.encode(document)
        found = decode_input(data, tenant=TENANT, our_bic=BANK)
        given = Given(data, found.command_id, answer)
        self.given.append(given)
        return given

    def facility(self, name: str, limit: int) -> Given:
        """Grant a facility."""
        self.facilities.add(name)
        return self._add(
            {
                "type": "SetFacility",
                "id": f"{name}-{limit}",
                "as": SENIOR,
                "role": "senior_checker",
                "facility": name,
                "customer": f"cust-{name}",
                "currency": "USD",
                "limit": limit,
                "expiry": "2031-12-31",
                "margin_account": f"MARGIN-{name}",
            },
            "accepted",
        )

    def application(self) -> list[Given]:
        """Apply for another credit; now and then impossibly, or under a number that is taken."""
        number = len(self.applications) + 1
        credit = f"CH{self.seed % 1000:03d}{number:05d}"
        facility = f"FAC{self.random.randrange(3)}"
        amount = self.random.randrange(1_000_00, 400_000_00)
        found = [self._add(self._document(credit, facility, amount, "apply"), "accepted")]
        self.applications[credit] = Application(credit, facility, amount)
        if self.approved and number % 3 == 0:
            taken = self.applications[self.random.choice(sorted(self.approved))]
            rival = self._document(taken.credit, taken.facility, taken.amount + 1, f"rival{number}")
            found.append(self._add(rival, "refused"))
        if number % 5 == 0:
            bad = self._document(f"{credit}X", facility, amount, "margin")
            found.append(self._add({**bad, "margin_percent": 400}, "refused"))
        return found

    def conflict(self) -> list[Given]:
        """Grant one facility twice under one id with two limits: one of them counts, never both."""
        name = f"RACE{len(self.racing)}"
        self.racing.add(name)
        first = self.facility(name, 5_000_00)
        document = msgspec.json.decode(first.data)
        other = msgspec.json.encode({**document, "limit": 7_000_00})
        again = decode_input(other, tenant=TENANT, our_bic=BANK)
        second = Given(other, again.command_id, "")
        self.doubles.add(again.command_id)
        self.given.append(second)
        return [first, second]

    def garbage(self) -> Given:
        """Hand in bytes that are no input."""
        data = self.random.randbytes(40) + f"no input {len(self.given)}".encode()
        given = Given(data, "", "dead-lettered")
        self.given.append(given)
        return given

    def approval(self, credit: str, revision: int, content_hash: str) -> list[Given]:
        """Approve a credit, after its maker tried to do it alone."""
        self.approved.add(credit)
        body = {
            "type": "ApproveCredit",
            "credit": credit,
            "revision": revision,
            "content_hash": content_hash,
        }
        alone = {**body, "id": f"self-{credit}", "as": MAKER, "role": "maker"}
        other = {**body, "id": f"approve-{credit}", "as": CHECKER, "role": "checker"}
        return [self._add(alone, "powerless"), self._add(other, "accepted")]

    def _document(self, credit: str, facility: str, amount: int, what: str) -> dict[str, Any]:
        beneficiary = self.random.choice(_BENEFICIARIES)
        return {
            "type": "ApplyForCredit",
            "id": f"{what}-{credit}",
            "as": MAKER,
            "role": "maker",
            "credit": credit,
            "application": f"APP-{credit}",
            "facility": facility,
            "terms": {
                "currency": "USD",
                "amount": amount,
                "expiry_date": "2031-02-26",
                "expiry_place": "SINGAPORE",
                "available_with": "KESTSGSGXXX",
                "available_by": "sight",
                "latest_shipment": "2031-01-25",
                "required_documents": [{"kind": "invoice"}, {"kind": "bill_of_lading"}],
                "issuing_bank": BANK,
                "advising_bank": "KESTSGSGXXX",
            },
            "parties": {
                "subject": f"cust-{facility}",
                "applicant": {"name": "Quillon Homewares plc", "town": "LEEDS", "country": "GB"},
                "beneficiary": {"name": beneficiary, "town": "SINGAPORE", "country": "SG"},
            },
            "narrative": {"subject": f"cust-{facility}", "goods": "HOUSEHOLD GOODS"},
        }

    # -- the model

    def reserved(self) -> dict[str, int]:
        """Return what the facilities must have earmarked or used, all applications together."""
        found: dict[str, int] = {}
        for line in self.applications.values():
            found[line.facility] = found.get(line.facility, 0) + line.amount
        return found

    def liability(self) -> int:
        """Return the contingent liability of the issued credits, in cents."""
        return sum(self.applications[credit].amount for credit in self.approved)
