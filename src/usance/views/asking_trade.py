"""Questions about credits, presentations, facilities, the ledger and FIN messages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import msgspec

from usance.domain.credit.state import CreditState
from usance.engine.projections.projection import Row
from usance.engine.projections.reading import Order, Reading, Where
from usance.kernel.decider import WITHHELD, Actor, Denied, key_of, key_parts
from usance.kernel.errors import NotFound
from usance.kernel.words import text_of
from usance.views import results as r
from usance.views.asking import MANY, flat, loads, made
from usance.views.asking_history import HistoryQuestions

_CREDIT_ORDERS = {
    "reference": "reference",
    "expiry": "expiry_date",
    "amount": "amount",
    "changed": "changed",
}


class TradeQuestions(HistoryQuestions, ABC):
    """The book."""

    def credits(
        self,
        viewer: Actor,
        wanted: r.CreditFilter = r.CreditFilter(),  # noqa: B008  frozen
        cursor: str = "",
        limit: int = 50,
    ) -> r.CreditPage:
        """Return credits by filter and order."""
        down = wanted.order.startswith("-")
        column = _CREDIT_ORDERS.get(wanted.order.lstrip("-"), "changed")
        order = (Order(column, down), Order("key", down))
        with self.reading(viewer) as reading:
            where = _credit_conditions(reading, wanted)
            rows, page = self.page_of(reading, "credits", where, order, cursor, limit)
            total = reading.count("credits", where)
            return r.CreditPage(rows=credit_rows(reading, rows), page=page, total=total)

    def credit(self, viewer: Actor, key: str) -> r.Credit:
        """Return one credit with its facts; raises NotFound."""
        with self.reading(viewer) as reading:
            row = reading.get("credits", key=key)
            if row is None:
                raise NotFound(f"no credit {key}", hint="usance credit list shows all")
            return self._credit(reading, viewer, row)

    def _credit(self, reading: Reading, viewer: Actor, row: Row) -> r.Credit:
        key, tenant, reference = row["key"], row["tenant"], row["reference"]
        state = msgspec.json.decode(row["fold"], type=CreditState)
        of_credit = (Where("credit", "=", reference), Where("tenant", "=", tenant))
        presented = reading.select("presentations", of_credit, (Order("due"),), MANY)
        messages = reading.select("fin_messages", of_credit, (Order("instant", down=True),), MANY)
        amendments = reading.select(
            "amendments", (Where("key", "=", key),), (Order("number"),), MANY
        )
        terms = msgspec.to_builtins(state.terms) if state.terms else {}
        documents = terms.pop("required_documents", [])
        parked = reading.get("parked_keys", key=key) is not None
        return made(
            r.Credit,
            row,
            row=credit_rows(reading, [row])[0],
            terms=terms,
            documents=[r.DocumentRequired(**d) for d in documents],
            parties=_parties(row),
            narrative=self._narrative(reading, key),
            balances=made(r.Balances, row),
            amendments=[_amendment(a) for a in amendments],
            presentations=presentation_rows(reading, presented),
            messages=[made(r.MessageRow, m) for m in messages],
            saga=self._saga_of(reading, key),
            work=self.work_of(reading, viewer, reference, key),
            approval=next(iter(self.approvals_of(reading, viewer, key)), None),
            confirmed=bool(row["confirmed"]),
            parked=parked,
            page=self.here(reading),
        )

    def _narrative(self, reading: Reading, key: str) -> dict[str, str]:
        """Return the free texts of a credit as it was applied for or received, from the log."""
        where = (
            Where("stream", "=", key),
            Where("type", "in", ["CreditApplied", "CreditReceived"]),
        )
        rows = reading.select("events", where, (Order("revision"),), 1)
        narrative = getattr(self.message_of(rows[0]), "narrative", None) if rows else None
        if isinstance(narrative, WITHHELD):
            why = "usance reveal {} narrative --reason WHY shows it, on record"
            hint = why.format(rows[0]["event_id"]) if isinstance(narrative, Denied) else "for good"
            return {"withheld": f"{text_of(narrative)} {hint}"}
        texts = flat(narrative) if narrative is not None else {}
        texts.pop("subject", None)
        return texts

    def _saga_of(self, reading: Reading, subject: str) -> r.SagaRow | None:
        where = (Where("subject", "=", subject),)
        rows = reading.select("sagas", where, (Order("changed", down=True),), 1)
        return saga_rows(reading, rows)[0] if rows else None

    @abstractmethod
    def work_of(self, reading: Reading, viewer: Actor, credit: str, key: str) -> list[r.WorkItem]:
        """Return the work of one credit or presentation."""
        ...

    @abstractmethod
    def approvals_of(self, reading: Reading, viewer: Actor, key: str) -> list[r.Approval]:
        """Return what waits for a second person, of one key (empty: of all)."""
        ...

    # -- presentations

    def presentations(
        self,
        viewer: Actor,
        wanted: r.PresentationFilter = r.PresentationFilter(),  # noqa: B008  frozen
        cursor: str = "",
        limit: int = 50,
    ) -> r.PresentationPage:
        """Return presentations, nearest deadline first."""
        where = []
        if wanted.state:
            where.append(Where("state", "=", wanted.state))
        if wanted.credit:
            where.append(Where("credit", "=", wanted.credit.rsplit("/", 1)[-1]))
        if wanted.open is not None:
            where.append(Where("decided", "=", int(not wanted.open)))
        if wanted.has_discrepancy is not None:
            where.append(Where("discrepancies", ">" if wanted.has_discrepancy else "=", 0))
        if wanted.due_before:
            where.append(Where("due", "<", wanted.due_before))
        order = (Order("due"), Order("key"))
        with self.reading(viewer) as reading:
            rows, page = self.page_of(reading, "presentations", where, order, cursor, limit)
            total = reading.count("presentations", where)
            return r.PresentationPage(rows=presentation_rows(reading, rows), page=page, total=total)

    def presentation(self, viewer: Actor, key: str) -> r.Presentation:
        """Return one presentation; raises NotFound."""
        with self.reading(viewer) as reading:
            row = reading.get("presentations", key=key)
            if row is None:
                raise NotFound(f"no presentation {key}", hint="usance presentation list shows all")
            credit_key = key_of(row["tenant"], "credit", row["credit"])
            credit = reading.get("credits", key=credit_key)
            of_this = (Where("presentation", "=", row["reference"]),)
            messages = reading.select("fin_messages", of_this, (Order("instant", down=True),), MANY)
            return made(
                r.Presentation,
                row,
                row=presentation_rows(reading, [row])[0],
                proposed_method=row["proposed"],
                documents=[_document(d) for d in loads(row["documents"], "[]")],
                findings=[r.FindingFacts(**f) for f in loads(row["findings"], "[]")],
                complies={"yes": True, "no": False}.get(row["complies"]),
                refusal=loads(row["refusal"], "{}"),
                notice=loads(row["notice"], "[]"),
                deemed=loads(row["deemed"], "[]"),
                credit_row=credit_rows(reading, [credit])[0] if credit else None,
                messages=[made(r.MessageRow, m) for m in messages],
                saga=self._saga_of(reading, key),
                work=self.work_of(reading, viewer, "", key),
                parked=reading.get("parked_keys", key=key) is not None,
                page=self.here(reading),
            )

    # -- facilities and ledger

    def facilities(self, viewer: Actor) -> list[r.FacilityRow]:
        """Return all facilities, by reference."""
        with self.reading(viewer) as reading:
            rows = reading.select("facilities", (), (Order("reference"), Order("key")))
            revisions = _revisions(reading, rows)
            return [made(r.FacilityRow, x, revision=revisions.get(x["key"], 0)) for x in rows]

    def facility(self, viewer: Actor, key: str) -> r.Facility:
        """Return one facility with its reservations; raises NotFound."""
        with self.reading(viewer) as reading:
            row = reading.get("facilities", key=key)
            if row is None:
                raise NotFound(f"no facility {key}", hint="usance facility list shows all")
            where = (Where("facility", "=", key),)
            lines = reading.select("reservations", where, (Order("credit"),), MANY)
            revision = _revisions(reading, [row]).get(key, 0)
            return r.Facility(
                row=made(r.FacilityRow, row, revision=revision),
                reservations=[made(r.ReservationRow, line) for line in lines],
                page=self.here(reading),
            )

    def postings(
        self, viewer: Actor, credit: str = "", cursor: str = "", limit: int = 100
    ) -> r.PostingPage:
        """Return ledger entries of a credit (by reference or key) or of all, newest first."""
        where = (Where("credit", "=", credit.rsplit("/", 1)[-1]),) if credit else ()
        order = (
            Order("instant", down=True),
            Order("journal", down=True),
            Order("line", down=True),
        )
        with self.reading(viewer) as reading:
            rows, page = self.page_of(reading, "postings", where, order, cursor, limit)
        return r.PostingPage(rows=[made(r.PostingRow, row) for row in rows], page=page)

    def trial_balance(self, viewer: Actor) -> r.TrialBalance:
        """Return balances per book, currency and account."""
        with self.reading(viewer) as reading:
            rows = reading.select(
                "balances", (), (Order("book"), Order("currency"), Order("account"))
            )
            found = [
                made(r.TrialBalanceRow, row, balance=row["debit"] - row["credit"]) for row in rows
            ]
            zero = balanced(rows)
            return r.TrialBalance(rows=found, zero=zero, page=self.here(reading))

    # -- FIN messages

    def messages(
        self, viewer: Actor, credit: str = "", cursor: str = "", limit: int = 50
    ) -> r.MessagePage:
        """Return FIN messages of a credit (by reference or key) or of all, newest first."""
        where = (Where("credit", "=", credit.rsplit("/", 1)[-1]),) if credit else ()
        order = (Order("instant", down=True), Order("id", down=True))
        with self.reading(viewer) as reading:
            rows, page = self.page_of(reading, "fin_messages", where, order, cursor, limit)
        return r.MessagePage(rows=[made(r.MessageRow, row) for row in rows], page=page)


def balanced(rows: list[Row]) -> bool:
    """Tell whether every book and currency but memo sums to zero."""
    sums: dict[tuple[str, str], int] = {}
    for row in rows:
        if row["book"] != "memo":
            key = (row["book"], row["currency"])
            sums[key] = sums.get(key, 0) + row["debit"] - row["credit"]
    return not any(sums.values())


def credit_rows(reading: Reading, rows: list[Row]) -> list[r.CreditRow]:
    """Return credits as lists show them, with what presentations say of them."""
    revisions = _revisions(reading, rows)
    where = (
        Where("credit", "in", [row["reference"] for row in rows]),
        Where("decided", "=", 0),
    )
    due: dict[tuple[str, str], int] = {}
    discrepant: set[tuple[str, str]] = set()
    for presented in reading.select("presentations", where, (Order("due"),)) if rows else []:
        at = (presented["tenant"], presented["credit"])
        due.setdefault(at, presented["due"])
        if presented["discrepant"]:
            discrepant.add(at)
    found = []
    for row in rows:
        at = (row["tenant"], row["reference"])
        found.append(
            made(
                r.CreditRow,
                row,
                has_discrepancy=at in discrepant,
                next_due=due.get(at, 0),
                revision=revisions.get(row["key"], 0),
            )
        )
    return found


def presentation_rows(reading: Reading, rows: list[Row]) -> list[r.PresentationRow]:
    """Return presentations as lists show them."""
    revisions = _revisions(reading, rows)
    return [
        made(
            r.PresentationRow,
            row,
            decided=bool(row["decided"]),
            precluded=bool(row["precluded"]),
            revision=revisions.get(row["key"], 0),
        )
        for row in rows
    ]


def saga_rows(reading: Reading, rows: list[Row]) -> list[r.SagaRow]:
    """Return sagas as lists show them."""
    revisions = _revisions(reading, rows)
    return [made(r.SagaRow, row, revision=revisions.get(row["key"], 0)) for row in rows]


def _revisions(reading: Reading, rows: list[Row]) -> dict[str, int]:
    keys = [row["key"] for row in rows]
    found = reading.select("streams", (Where("key", "in", keys),)) if keys else []
    return {row["key"]: row["revision"] for row in found}


def _credit_conditions(reading: Reading, wanted: r.CreditFilter) -> list[Where]:
    pairs: list[tuple[str, str, Any]] = [
        ("side", "=", wanted.side),
        ("state", "=", wanted.state),
        ("currency", "=", wanted.currency.upper()),
        ("applicant", "contains", wanted.applicant),
        ("beneficiary", "contains", wanted.beneficiary),
        ("search", "contains", wanted.text),
        ("expiry_date", "<", wanted.expiring_before),
    ]
    where = [Where(*pair) for pair in pairs if pair[2]]
    if wanted.expiring_before:
        where.append(Where("expiry_date", "!=", ""))
    if wanted.amount_from is not None:
        where.append(Where("amount", ">=", wanted.amount_from))
    if wanted.amount_to is not None:
        where.append(Where("amount", "<=", wanted.amount_to))
    if wanted.has_discrepancy is not None:
        rows = reading.select("presentations", (Where("discrepant", "=", 1),))
        keys = [key_of(row["tenant"], "credit", row["credit"]) for row in rows]
        where.append(Where("key", "in" if wanted.has_discrepancy else "not in", keys))
    return where


def _parties(row: Row) -> list[r.PartyFacts]:
    found = []
    for role, party in loads(row["parties"], "{}").items():
        known = {k: v for k, v in party.items() if k in r.PartyFacts.__struct_fields__}
        found.append(r.PartyFacts(role=role, **known))
    return found


def _amendment(row: Row) -> r.Amendment:
    return made(
        r.Amendment,
        row,
        changes=loads(row["changes"], "{}"),
        consents=loads(row["consents"], "{}"),
        instant=row["changed"],
    )


def _document(document: dict[str, Any]) -> r.DocumentFacts:
    kind = document.pop("kind")
    return r.DocumentFacts(
        kind=kind, facts={k: v for k, v in document.items() if v not in ("", 0, False)}
    )


def identity(key: str) -> str:
    """Return the reference in a key, or the text itself."""
    return key_parts(key).identity if key.count("/") > 1 else key
