"""Which fact makes which FIN message, by our part in the credit; each message breaks no rule."""

from __future__ import annotations

from typing import Any

import pytest

from usance.domain.credit import amendment_messages as am
from usance.domain.credit import messages as cr
from usance.domain.message_exchange import AbandonMessage
from usance.domain.presentation import messages as pr
from usance.domain.terms import Narrative, Parties, Party, RequiredDocument, Terms
from usance.engine.history import History
from usance.engine.topics import Topics
from usance.kernel.clock import BookClock
from usance.kernel.decider import Actor
from usance.kernel.words import Words
from usance.log.contract import Output
from usance.messages import catalogue
from usance.messages.envelope import Decoder, Encoder
from usance.messages.inputs import decode_input
from usance.messages.outcome import UnreadableInput
from usance.messages.registry import registered
from usance.messages.swift.fin import Message, parse
from usance.messages.swift.validation import validate
from usance.sagas.fin_out import fin_reactions
from usance.testing.sim_log import SimulatedLog

US, THEM, REIMBURSER = "ALBNGB2L", "BBBBSGSG", "CCCCUS33"
DAY = 1_796_000_000_000  # 2026-11-30
IMPORT, EXPORT = "albion/credit/TF26LC000123", f"albion/credit/{THEM}-LC77"
SHOWN = "albion/presentation/P1"
TERMS = Terms(
    currency="USD", amount=100_000_00, expiry_date="2027-02-15", expiry_place="SINGAPORE",
    available_with=THEM, available_by="negotiation", issuing_bank=US, advising_bank=THEM,
    required_documents=[RequiredDocument(kind="invoice", copies=2)],
)  # fmt: skip
PARTY = Party(name="ORIENT", address="1 QUAY", town="SINGAPORE", country="SG")
PARTIES = Parties(subject="cust-1", applicant=PARTY, beneficiary=PARTY)
APPLIED = cr.CreditApplied(
    credit="TF26LC000123", application="A1", side="import", terms=TERMS, parties=PARTIES,
    facility="F1", margin_percent=0, maker="p1", parties_digest="", narrative_digest="",
    content_hash="h",
)  # fmt: skip
ISSUED = cr.CreditIssued(
    credit="TF26LC000123", issue_date="2026-11-23", message="U700MUR", currency="USD",
    liability=100_000_00, margin=0, content_hash="h", facility="F1",
)  # fmt: skip
RECEIVED = cr.CreditReceived(
    credit=f"{THEM}-LC77", mt="700", sender=THEM, sender_reference="LC77", role="nominated",
    terms=TERMS, parties=PARTIES, issue_date="2026-11-20", parties_digest="", narrative_digest="",
    content_hash="h",
)  # fmt: skip
ADVISED = cr.CreditAdvised(to="beneficiary", date="2026-11-24")
REFUSED = pr.PresentationRefused(
    discrepancies=pr.Stated(subject="TF1", sentences=["Late shipment."]), disposal="HOLD", statement="S", given=DAY, due=DAY + 1,
)  # fmt: skip


class Book:
    """Streams of a book, written event by event, and the reactions that read them."""

    def __init__(self) -> None:
        known = catalogue.default()
        registry = registered(known)
        self.topics = Topics("usance", 2)
        self.log = SimulatedLog(BookClock(DAY))
        for settings in self.topics.settings():
            self.log.create_topic(settings)
        self.encoder = Encoder(log_id="log", catalogue=known, registry=registry)
        decoder = Decoder(catalogue=known, registry=registry, clear_blocks=True)
        self.history = History(self.log, self.topics, decoder)
        self.notes: list[str] = []
        self.table = fin_reactions(US, self.notes.append)

    def add(self, stream: str, *events: Any) -> None:
        place = self.topics.place(stream)
        for event in events:
            key, value, headers = self.encoder.command(
                event, key=stream, command_id="e", tenant="albion", actor=Actor("", "", ""), at=DAY
            )
            topic = self.topics.name(place.context, "events")
            self.log.append([Output(topic, place.partition, key, value, headers)])

    def after(self, stream: str, event: Any) -> list[Any]:
        """Add an event and return the commands it causes; each must be a valid message."""
        self.add(stream, event)
        made = self.table[type(event)](stream, event, self.history)
        for key, command in made:
            assert key == f"albion/message/{command.message}"
            assert validate(parse(command.text.text.encode())) == []
            assert parse(command.text.text.encode()).mur == command.message
        return [command for _, command in made]

    def one(self, stream: str, event: Any) -> tuple[Any, Message]:
        (command,) = self.after(stream, event)
        return command, parse(command.text.text.encode())


@pytest.fixture
def book() -> Book:
    book = Book()
    book.add(IMPORT, APPLIED)
    book.add(EXPORT, RECEIVED)
    return book


def present(book: Book, role: str, presenter: str = THEM) -> None:
    credit = "TF26LC000123" if role == "issuing" else f"{THEM}-LC77"
    book.add(
        SHOWN,
        pr.PresentationReceived(
            presentation="P1", credit=credit, presenter=presenter, presenter_reference="BILL9",
            presented_at=DAY, presented="2026-11-28", place="London", presentee=US, currency="USD",
            amount=100_000_00, documents=[], role=role, maker="p1", due=DAY, calendar="c",
            calendar_version="1",
        ),
    )  # fmt: skip


def negotiated(**more: Any) -> pr.PresentationNegotiated:
    given = {"basis": "complying", "maturity": "", **more}
    return pr.PresentationNegotiated(
        credit="x", currency="USD", amount=100_000_00, approver="p2", calendar="c",
        calendar_version="1", **given,
    )  # fmt: skip


def honoured(basis: str) -> pr.PresentationHonoured:
    return pr.PresentationHonoured(
        credit="x", currency="USD", amount=100_000_00, basis=basis, approver="p2"
    )


def test_an_issued_credit_goes_to_the_advising_bank_under_the_sagas_reference(book):
    command, message = book.one(IMPORT, ISSUED)
    assert (command.mt, command.message, command.receiver) == ("700", "U700MUR", THEM)
    assert (message.sender, message.receiver) == ("ALBNGB2LXXX", "BBBBSGSGXXX")
    assert command.text.subject == "cust-1"
    theirs = decode_input(command.text.text.encode(), tenant="t", our_bic=THEM).command
    assert theirs.terms.amount == TERMS.amount
    assert theirs.sender_reference == "TF26LC000123"


def test_the_same_fact_makes_the_same_messages(book):
    assert book.after(IMPORT, ISSUED) == book.after(IMPORT, ISSUED)


def test_a_long_credit_and_a_reimbursing_bank_make_further_messages():
    book = Book()
    terms = Terms(
        **{f: getattr(TERMS, f) for f in TERMS.__struct_fields__ if f != "reimbursing_bank"},
        reimbursing_bank=REIMBURSER,
    )
    goods = Narrative(subject="cust-1", goods="+LINE\n" * 150)
    fields = {f: getattr(APPLIED, f) for f in APPLIED.__struct_fields__}
    book.add(IMPORT, cr.CreditApplied(**{**fields, "terms": terms, "narrative": goods}))
    made = book.after(IMPORT, ISSUED)
    assert [(c.mt, c.receiver) for c in made] == [
        ("700", THEM), ("701", THEM), ("740", REIMBURSER),
    ]  # fmt: skip
    assert len({c.message for c in made}) == 3


def test_a_credit_that_cannot_be_written_is_noted_and_becomes_a_dead_letter():
    book = Book()
    bare = Parties(subject="s", applicant=Party(name="X"), beneficiary=PARTY)
    fields = {f: getattr(APPLIED, f) for f in APPLIED.__struct_fields__}
    book.add(IMPORT, cr.CreditApplied(**{**fields, "parties": bare}))
    book.add(IMPORT, ISSUED)
    ((key, command),) = book.table[cr.CreditIssued](IMPORT, ISSUED, book.history)
    assert isinstance(command, UnreadableInput)
    assert key.startswith("albion/unreadable/")
    assert "MT700 cannot be written" in command.reason
    assert "ORIENT" not in command.reason
    assert "MT700 of TF26LC000123" in book.notes[0]


def test_an_amendment_goes_out_with_its_own_reference(book):
    book.add(IMPORT, ISSUED, cr.AdviceAcknowledged(reference="ADV1", sender=THEM))
    changes = am.TermsChanges(increase=5_000_00)
    event = am.AmendmentIssued(
        amendment=1, changes=changes, message="U707MUR", date="2026-11-30",
        consents=["beneficiary"], currency="USD", liability=1, liability_change=1,
    )  # fmt: skip
    command, message = book.one(IMPORT, event)
    assert (command.mt, command.message, command.amendment) == ("707", "U707MUR", 1)
    assert message.value("32B") == "USD5000,"
    assert (message.value("21"), message.value("31C")) == ("ADV1", "261123")


def test_a_credit_advised_through_a_second_bank_goes_on_as_mt710(book: Book) -> None:
    through = cr.CreditAdvised(to="CCCCDEFFXXX", date="2026-11-24")
    ack, passed = book.after(EXPORT, through)
    assert (ack.mt, ack.receiver) == ("730", THEM)
    assert (passed.mt, passed.receiver) == ("710", "CCCCDEFFXXX")
    message = parse(passed.text.text.encode())
    assert (message.value("21"), message.value("52A")) == (
        "LC77",
        RECEIVED.terms.issuing_bank or THEM,
    )
    assert (message.value("40B") or "").endswith("WITHOUT OUR CONFIRMATION")
    assert message.value("59N") == PARTY.name


def test_a_confirmed_credit_says_so_to_the_second_bank(book: Book) -> None:
    book.add(EXPORT, cr.ConfirmationAdded(person="p1", liability=1))
    _, passed = book.after(EXPORT, cr.CreditAdvised(to="CCCCDEFFXXX", date="2026-11-24"))
    form = parse(passed.text.text.encode()).value("40B") or ""
    assert form.endswith("ADDING OUR CONFIRMATION") and "WITHOUT" not in form


def test_a_confirmation_after_the_advice_changes_nothing_of_it(book: Book) -> None:
    through = cr.CreditAdvised(to="CCCCDEFFXXX", date="2026-11-24")
    before = book.after(EXPORT, through)
    book.add(EXPORT, cr.ConfirmationAdded(person="p1", liability=1))
    again = [c for _, c in book.table[cr.CreditAdvised](EXPORT, through, book.history)]
    assert again == before


def test_a_second_bank_that_is_none_leaves_a_dead_letter_and_no_silence(book: Book) -> None:
    nowhere = cr.CreditAdvised(to="CCCCXXFF", date="2026-11-24")
    book.add(EXPORT, nowhere)
    _, (key, letter) = book.table[cr.CreditAdvised](EXPORT, nowhere, book.history)
    assert (
        key.startswith("albion/unreadable/")
        and letter.reason == "MT710 cannot be written (RECEIVER_UNKNOWN)"
    )


def test_advice_and_the_beneficiarys_answer_are_told_to_the_issuing_bank(book):
    command, message = book.one(EXPORT, ADVISED)
    assert (command.mt, command.receiver, message.value("21")) == ("730", THEM, "LC77")
    accepted = am.AmendmentAccepted(amendment=1, terms_version=2, liability=0, liability_change=0)
    rejected = am.AmendmentRejected(
        amendment=2, party="beneficiary", in_part=True, liability=0, liability_change=0
    )
    assert "AMENDMENT 1 IS ACCEPTED" in (book.one(EXPORT, accepted)[1].value("79Z") or "")
    assert "REJECTED" in (book.one(EXPORT, rejected)[1].value("79Z") or "")
    assert book.after(IMPORT, accepted) == []


def test_what_we_decline_is_told_without_delay(book):
    declined = cr.AdviceDeclined(reason=Words(text="not authentic"))
    command, message = book.one(EXPORT, declined)
    assert (command.mt, message.value("21")) == ("799", "LC77")
    unconfirmed = book.one(EXPORT, cr.ConfirmationDeclined(reason=Words(text="no line")))[0]
    assert unconfirmed.message != command.message


def test_as_issuing_bank_we_answer_the_presenting_bank(book):
    present(book, "issuing")
    _, refusal = book.one(SHOWN, REFUSED)
    assert (refusal.type, refusal.value("20"), refusal.value("21")) == (
        "734", "TF26LC000123", "BILL9",
    )  # fmt: skip
    assert book.one(SHOWN, pr.TakeUpAuthorised())[1].type == "752"
    assert book.after(SHOWN, honoured("complying")) == []
    assert book.one(SHOWN, honoured("waived"))[1].type == "732"
    assert book.one(SHOWN, negotiated(maturity="2027-01-05"))[1].type == "732"
    settled = pr.PresentationSettled(credit="x", currency="USD", amount=100_000_00)
    _, paid = book.one(SHOWN, settled)
    assert (paid.type, paid.value("33A")) == ("756", "261130USD100000,")


def test_as_nominated_bank_we_write_to_the_issuing_bank(book):
    present(book, "nominated", presenter="beneficiary-7")
    referred = pr.DiscrepanciesReferred(
        discrepancies=pr.Stated(subject="TF1", sentences=["Late shipment."])
    )
    command, message = book.one(SHOWN, referred)
    assert (command.mt, command.receiver) == ("750", US)
    assert (message.value("20"), message.value("21")) == ("P1", "LC77")
    assert book.after(SHOWN, pr.TakeUpAuthorised(by=THEM)) == []
    _, advice = book.one(SHOWN, negotiated(maturity="2027-01-05"))
    assert (advice.type, advice.value("32A")) == ("754", "270105USD100000,")
    assert book.after(SHOWN, REFUSED) == []  # the beneficiary is no bank
    settled = pr.PresentationSettled(credit="x", currency="USD", amount=100_000_00)
    assert book.after(SHOWN, settled) == []


def test_an_unknown_credit_makes_no_message(book):
    assert book.after("albion/presentation/P9", REFUSED) == []


def test_a_voided_issue_takes_back_every_message_that_waits(book):
    queued = book.after(IMPORT, ISSUED)
    event = cr.IssueVoided(reason=Words(text="not delivered"), person="p1")
    book.add(IMPORT, event)
    back = book.table[cr.IssueVoided](IMPORT, event, book.history)
    assert [key for key, _ in back] == [f"albion/message/{c.message}" for c in queued]
    assert all(isinstance(command, AbandonMessage) for _, command in back)
