"""A whole program in a temporary folder with a small book: what the web tests look at."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from usance.bootstrap.runtime import Runtime
from usance.bootstrap.store import Folder
from usance.config import GatewaySettings, Settings
from usance.domain.credit import messages as cm
from usance.domain.facility_messages import SetFacility
from usance.domain.presentation import messages as pm
from usance.domain.terms import Narrative, PresentedDocument, RequiredDocument
from usance.engine.reactors.reactor import Outgoing
from usance.kernel.clock import MS_PER_DAY, BookClock
from usance.kernel.ids import derived
from usance.testing.trade import MONDAY, parties, terms

MAKER, CHECKER, EXAMINER = "amara.okafor", "bruno.lindqvist", "chiara.moretti"
COMPLIANCE, ENGINEER = "elif.demir", "henrik.solberg"
HOSTILE = "<script>alert('LC')</script> & \"Sons\" Ltd"
LISTED = "ISLAMIC REVOLUTIONARY GUARD CORPS"


class World:
    """The program and its book."""

    def __init__(self, root: Path) -> None:
        settings = Settings(gateway=GatewaySettings(loopback=True))
        self.clock = BookClock(MONDAY)
        self.program = Runtime(Folder(root), settings, self.clock)
        self.said = 0

    def say(self, category: str, identity: str, command: Any, person: str = MAKER) -> Any:
        """Send a command as a person, run everything that follows, return its outcome."""
        self.said += 1
        actor = self.program.directory.actor(person)
        key = f"albion/{category}/{identity}"
        command_id = derived("world", self.said)
        outcome = self.program.ask(Outgoing(key, command, command_id, "", command_id, actor))
        self.program.drive()
        return outcome

    def apply(self, number: str, beneficiary: str = "Tanjong Timber Pte Ltd", **more: Any) -> Any:
        """Apply for a credit of USD 100,000 or as `more` has it."""
        documents = [
            RequiredDocument(kind="invoice", originals=3),
            RequiredDocument(kind="bill_of_lading", originals=3, full_set=True),
            RequiredDocument(kind="insurance", originals=2),
        ]
        fields = {
            "required_documents": documents,
            "port_of_loading": "SINGAPORE",
            "port_of_discharge": "FELIXSTOWE",
            "incoterm": "CIF",
        } | more
        return self.say(
            "credit",
            number,
            cm.ApplyForCredit(
                credit=number,
                application=f"APP-{number}",
                terms=terms(**fields),
                parties=parties(beneficiary),
                narrative=Narrative(subject="party-1", goods="TEAK SAWN TIMBER, 120 CBM"),
                facility="F1",
            ),
        )

    def approve(self, number: str, person: str = CHECKER) -> Any:
        """Approve what a credit asks for."""
        queries = self.program.queries
        viewer = self.program.directory.actor(person)
        found = queries.credit(viewer, f"albion/credit/{number}").approval
        assert found is not None, f"{number} asks for no approval"
        command = cm.ApproveCredit(revision=found.revision, content_hash=found.content_hash)
        return self.say("credit", number, command, person)

    def present(self, credit: str, number: str, amount: int) -> Any:
        """Present an invoice and a bill of lading."""
        documents = [
            PresentedDocument(
                kind="invoice",
                reference="INV-7",
                date="2026-11-20",
                currency="USD",
                amount=amount,
                originals=3,
            ),
            PresentedDocument(
                kind="bill_of_lading",
                reference="BL-9",
                date="2026-11-18",
                originals=3,
                originals_issued=3,
                on_board=True,
                on_board_date="2026-11-18",
                port_of_loading="SINGAPORE",
                port_of_discharge="FELIXSTOWE",
            ),
        ]
        command = pm.PresentDocuments(
            presentation=number,
            credit=credit,
            presenter="MERLSGSGXXX",
            place="LONDON",
            presentee="ALBNGB2LXXX",
            currency="USD",
            amount=amount,
            documents=documents,
        )
        return self.say("presentation", number, command)

    def drop(self, name: str, data: bytes) -> None:
        """Put a file into the gateway's folder."""
        inbox = self.program.folder.gateway / "in"
        inbox.mkdir(parents=True, exist_ok=True)
        part = inbox / f".{name}.part"
        part.write_bytes(data)
        part.rename(inbox / name)
        self.program.drive()

    def fill(self) -> None:
        """Write the book."""
        self.program.drive()
        facility = SetFacility(
            facility="F1",
            customer="party-1",
            currency="USD",
            limit=5_000_000_00,
            expiry="2027-12-31",
            margin_account="GB00ALBN0001",
        )
        self.say("facility", "F1", facility, CHECKER)
        self.apply("TF26LC000101")
        for number in ("TF26LC000102", "TF26LC000103"):
            self.apply(number, amount=250_000_00, has_tolerance=True, tolerance_plus=10)
            self.approve(number)
        self.apply("TF26LC000104", HOSTILE, amount=7_500_00)
        self.apply("TF26LC000105", LISTED, currency="USD", amount=90_000_00)
        self.present("TF26LC000102", "PR26000001", 120_000_00)
        self.present("TF26LC000103", "PR26000002", 400_000_00)
        self.say(
            "credit",
            "EXP001",
            cm.ReceiveCredit(
                credit="EXP001",
                mt="700",
                sender="EXPOHKHHXXX",
                sender_reference="HK123",
                terms=terms(currency="JPY", amount=15_000_000),
                parties=parties(),
                issue_date="2026-11-27",
            ),
            CHECKER,
        )
        self.drop("broken.fin", b"\x00\xff this is no message {1:")
        self.program.run_until(MONDAY + 2 * MS_PER_DAY)


def until(true: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to hold in time"
        time.sleep(0.05)
