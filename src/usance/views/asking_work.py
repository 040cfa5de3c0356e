"""What waits for people: work, approvals, today. Computed from states, so that nothing is forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from usance.domain.credit.state import CreditState
from usance.domain.presentation.state import UNDECIDED
from usance.engine.projections.projection import Row
from usance.engine.projections.reading import Order, Reading, Where
from usance.kernel import authority
from usance.kernel.decider import Actor
from usance.kernel.errors import NotFound
from usance.views import results as r
from usance.views.asking import MANY, flat, loads, made, sees_compliance
from usance.views.asking_trade import TradeQuestions, identity
from usance.views.glass_work import glass_incidents, glass_work

MAKERS = ["maker", "officer"]
CHECKERS = ["checker", "senior_checker", "officer"]
EXAMINERS = ["examiner", "maker", "officer"]
OPERATORS = sorted(authority.OPERATORS)
COMPLIANCE = ["compliance", "compliance_officer"]
DEADLINES_MAX = 20

_PRESENTATION_WORK = {
    "RECEIVED": ("examine", "ExaminePresentation", "Documents wait for examination"),
    "DISCREPANT": ("decide", "RefusePresentation", "Discrepant: refuse, or ask for a waiver"),
    "NOT_WAIVED": ("decide", "RefusePresentation", "Not waived: give the notice of refusal"),
    "REFERRED": ("decide", "AuthoriseTakeUp", "Waits for the issuing bank's authority"),
    "WAIVER_SOUGHT": ("waiver", "RecordWaiver", "Waits for the applicant's answer"),
    "COMPLYING": ("take_up", "HonourPresentation", "Complies: honour or negotiate"),
    "WAIVED": ("take_up", "HonourPresentation", "Discrepancies waived: honour or negotiate"),
    "AUTHORISED": ("take_up", "HonourPresentation", "Authorised: honour or negotiate"),
    "PRECLUDED": ("take_up", "HonourPresentation", "Precluded: the bank must honour"),
}


class WorkQuestions(TradeQuestions):
    """Work and approvals."""

    def work(
        self,
        viewer: Actor,
        wanted: r.WorkFilter = r.WorkFilter(),  # noqa: B008  frozen
        cursor: str = "",
        limit: int = 50,
    ) -> r.WorkPage:
        """Return what waits for a person, nearest due first; `cursor` is a place in that order."""
        with self.reading(viewer) as reading:
            items = [i for i in self._items(reading, viewer) if _wanted(i, wanted)]
            page = self.here(reading)
        start = int(cursor) if cursor.isdecimal() else 0
        following = str(start + limit) if len(items) > start + limit else ""
        page = msgspec.structs.replace(page, cursor=following)
        return r.WorkPage(rows=items[start : start + limit], page=page)

    def work_of(self, reading: Reading, viewer: Actor, credit: str, key: str) -> list[r.WorkItem]:
        """Return the work of one credit (by reference, with its presentations) or presentation."""
        items = self._items(reading, viewer)
        return [i for i in items if i.key == key or (credit and i.credit == credit)]

    def today(self, viewer: Actor, now: int) -> r.Today:  # noqa: ARG002  the caller's clock
        """Return the first page of the day."""
        with self.reading(viewer) as reading:
            items = self._items(reading, viewer)
            mine = [i for i in items if not i.blocked]
            open_letters = (Where("state", "=", "open"),)
            return r.Today(
                work=mine[:DEADLINES_MAX],
                for_others=len(items) - len(mine),
                deadlines=deadlines(reading),
                stuck=incidents(reading, (Where("open", "=", 1),)),
                approvals=self.approvals_of(reading, viewer, ""),
                credits_by_state=reading.count("credits", (), ("state",)),
                dead_letters=reading.count("dead_letters", open_letters),
                parked_keys=reading.count("parked_keys"),
                page=self.here(reading),
            )

    def approvals(self, viewer: Actor) -> list[r.Approval]:
        """Return everything that waits for a second person, oldest first."""
        with self.reading(viewer) as reading:
            return self.approvals_of(reading, viewer, "")

    def approval(self, viewer: Actor, approval_id: str) -> r.Approval:
        """Return one approval; raises NotFound when it does not wait any more."""
        for found in self.approvals(viewer):
            if found.id == approval_id:
                return found
        raise NotFound(
            "no such approval waits", hint="usance approval list shows what waits; reload"
        )

    def approvals_of(self, reading: Reading, viewer: Actor, key: str) -> list[r.Approval]:
        """Return what waits for a second person, of one key (empty: of all), oldest first."""
        found = [*_credit_approvals(reading, key), *_amendment_approvals(reading, key)]
        found += _take_up_approvals(reading, key)
        found += _act_approvals(reading, key)
        if sees_compliance(viewer):
            found += _case_approvals(reading, key)
            found += _list_approvals(reading, key)
        found.sort(key=lambda a: (a.requested, a.id))
        mine = viewer.person
        return [msgspec.structs.replace(a, self_made=a.maker == mine) for a in found]

    def _items(self, reading: Reading, viewer: Actor) -> list[r.WorkItem]:
        found = [
            *_credit_work(reading),
            *_amendment_work(reading),
            *_presentation_work(reading),
            *_message_work(reading),
            *_saga_work(reading),
            *_letter_work(reading),
            *glass_work(reading),
        ]
        if sees_compliance(viewer):
            found += _case_work(reading)
            found += _list_work(reading)
        held = {row["work"]: row for row in reading.select("work_claims", (), (), MANY)}
        found = [_seen(i, viewer, held.get(i.id)) for i in found]
        # What has no deadline waits in the order of who can do something about it.
        return sorted(found, key=lambda i: (i.due == 0, i.due, i.blocked != "", i.since, i.id))


def _seen(item: r.WorkItem, viewer: Actor, claim: Row | None) -> r.WorkItem:
    blocked = _blocked(item, viewer)
    if claim is None:
        return msgspec.structs.replace(item, blocked=blocked)
    holder, since = claim["person"], claim["since"]
    return msgspec.structs.replace(item, blocked=blocked, holder=holder, held_since=since)


def _blocked(item: r.WorkItem, viewer: Actor) -> str:
    if item.not_by and item.not_by == viewer.person:
        return "you made it: a second person decides"
    if viewer.role not in item.roles:
        return f"needs {' or '.join(item.roles)}"
    return ""


def _wanted(item: r.WorkItem, wanted: r.WorkFilter) -> bool:
    return (
        (not wanted.kind or item.kind == wanted.kind)
        and (not wanted.subject or wanted.subject in (item.key, item.reference, item.credit))
        and (not wanted.due_before or 0 < item.due < wanted.due_before)
        and (not wanted.mine or not item.blocked)
        and (not wanted.holder or wanted.holder == (item.holder or "nobody"))
    )


def _item(kind: str, row: Row, **values: Any) -> r.WorkItem:
    key = row["key"]
    facts = {"reference": identity(key), "credit": "", "article": "", "due": 0, "not_by": ""}
    facts |= {"id": f"{kind}:{key}", "since": row.get("changed", 0)}
    return r.WorkItem(kind=kind, key=key, **{**facts, **values})


def _credit_work(reading: Reading) -> Iterator[r.WorkItem]:
    waiting = ["AWAITING_APPROVAL", "MISSING", "RECEIVED", "AUTHENTICATED"]
    rows = reading.select("credits", (Where("state", "in", waiting),), (Order("changed"),), MANY)
    for row in rows:
        credit = row["reference"]
        if row["state"] == "AWAITING_APPROVAL":
            roles = ["senior_checker"] if row["tier"] == "senior" else CHECKERS
            yield _item(
                "approve_credit",
                row,
                credit=credit,
                title=f"Approve the issue of {credit}",
                why="A second person must approve before it is issued",
                act="ApproveCredit",
                roles=roles,
                not_by=row["maker"],
            )
        elif row["state"] == "MISSING":
            yield _item(
                "missing_credit",
                row,
                credit=credit,
                title=f"Ask {row['sender']} for credit {credit}",
                why="Its amendment came days ago and waits for it",
                article="UCP600-9",
                act="DropAmendment",
                roles=MAKERS,
            )
        elif row["state"] == "RECEIVED":
            yield _item(
                "authenticate",
                row,
                credit=credit,
                title=f"Establish the authenticity of {credit}",
                why="A credit arrived that is not yet known to be authentic",
                article="UCP600-9b",
                act="AuthenticateCredit",
                roles=MAKERS,
                not_by=row["maker"],
            )
        else:
            yield _item(
                "advise",
                row,
                credit=credit,
                title=f"Advise {credit}",
                why="An authentic credit waits to be passed on",
                article="UCP600-9b",
                act="AdviseCredit",
                roles=MAKERS,
            )
    for row in reading.select("credits", (Where("void_maker", "!=", ""),), (), MANY):
        yield _item(
            "void",
            row,
            credit=row["reference"],
            title=f"Void the issue of {row['reference']}",
            why="A first person proposed to void an issue of which nothing left the bank",
            act="VoidIssue",
            roles=CHECKERS,
            not_by=row["void_maker"],
        )


def _amendment_work(reading: Reading) -> Iterator[r.WorkItem]:
    where = (Where("state", "in", ["awaiting", "issued", "received"]),)
    for row in reading.select("amendments", where, (Order("changed"),), MANY):
        credit, number = identity(row["key"]), row["number"]
        if row["state"] == "awaiting":
            yield _item(
                "approve_amendment",
                row,
                id=f"approve_amendment:{row['key']}#{number}",
                credit=credit,
                title=f"Approve amendment {number} of {credit}",
                why="A second person must approve before it is issued",
                act="ApproveAmendment",
                roles=CHECKERS,
                not_by=row["maker"],
            )
            continue
        missing = [p for p, a in loads(row["consents"], "{}").items() if a == "waiting"]
        yield _item(
            "answer_amendment",
            row,
            id=f"answer_amendment:{row['key']}#{number}",
            credit=credit,
            title=f"Amendment {number} of {credit} waits for {', '.join(missing)}",
            why="It changes nothing until every party has agreed",
            article="UCP600-10a",
            act="RespondToAmendment",
            roles=MAKERS,
        )


def _presentation_work(reading: Reading) -> Iterator[r.WorkItem]:
    where = (Where("state", "in", [*UNDECIDED, "PRECLUDED"]),)
    for row in reading.select("presentations", where, (Order("due"),), MANY):
        kind, act, why = _PRESENTATION_WORK[row["state"]]
        proposed = kind == "take_up" and row["proposed_by"]
        precluded = row["state"] == "PRECLUDED"
        yield _item(
            kind,
            row,
            credit=row["credit"],
            title=f"{why.partition(':')[0]}: {row['reference']} under {row['credit']}",
            why=f"Take-up by {row['proposed']} was proposed" if proposed else _rest(why),
            article="UCP600-16f" if precluded else "UCP600-14b",
            act=act,
            due=row["due"],
            calendar=row["calendar"],
            roles=CHECKERS if proposed else EXAMINERS,
            not_by=row["proposed_by"] if proposed else "",
        )


def _rest(why: str) -> str:
    """Return what a title has not said yet."""
    first, _, rest = why.partition(": ")
    return rest.capitalize() or first


def _message_work(reading: Reading) -> Iterator[r.WorkItem]:
    where = (Where("state", "in", ["naked", "overdue"]),)
    for row in reading.select("fin_messages", where, (Order("changed"),), MANY):
        naked = row["state"] == "naked"
        yield _item(
            "naked_message",
            {**row, "key": row["stream"]},
            credit=row["credit"],
            title=f"MT{row['mt']} {row['reference']}",
            why=f"The network turned it away ({row['code']})" if naked else "No network answer yet",
            act="RepairMessage" if naked else "RecordAck",
            roles=MAKERS,
        )


def _saga_work(reading: Reading) -> Iterator[r.WorkItem]:
    for found in incidents(reading, (Where("open", "=", 1),)):
        yield r.WorkItem(
            id=f"incident:{found.id}",
            kind="incident",
            key=found.saga,
            reference=found.reference,
            credit=identity(found.subject) if "/credit/" in found.subject else "",
            title=f"{found.definition} of {found.reference} is stuck at {found.step}",
            why=found.cause,
            article="",
            act=found.suggested[0] if found.suggested else "",
            due=0,
            since=found.since,
            roles=OPERATORS,
            not_by="",
        )
    for row in _proposed_acts(reading, ""):
        yield _item(
            "saga_act",
            row,
            id=f"saga_act:{row['act_id']}",
            title=f"Agree to {row['act']} at step {row['step']}",
            why=row["reason"],
            act="ApproveAct",
            since=row["instant"],
            roles=OPERATORS,
            not_by=row["maker"],
        )


def _letter_work(reading: Reading) -> Iterator[r.WorkItem]:
    where = (Where("state", "=", "open"),)
    for row in reading.select("dead_letters", where, (Order("first_seen"),), MANY):
        yield _item(
            "dead_letter",
            row,
            id=f"dead_letter:{row['id']}",
            reference=row["id"],
            title=f"Dead letter at stage {row['stage']}",
            why=row["reason"],
            act="Redrive",
            since=row["first_seen"],
            roles=OPERATORS,
        )


def _case_work(reading: Reading) -> Iterator[r.WorkItem]:
    where = (Where("state", "in", ["open", "proposed", "reported"]),)
    for row in reading.select("cases", where, (Order("opened"),), MANY):
        proposed = row["state"] == "proposed"
        yield _item(
            "case",
            row,
            title=f"Case of {identity(row['subject'])}",
            why=f"Proposed: {row['disposition']}" if proposed else "Candidates wait for a person",
            act="ApproveDisposition" if proposed else "ProposeDisposition",
            since=row["opened"],
            roles=COMPLIANCE,
            not_by=row["proposer"] if proposed else "",
        )


def _list_work(reading: Reading) -> Iterator[r.WorkItem]:
    for row in _lists_waiting(reading, ""):
        yield _item(
            "list",
            row,
            id=f"list:{row['waiting_proposal']}",
            reference=row["waiting_proposal"],
            title=f"List {row['list_id']}",
            why="A new version waits for a second person",
            act="ApproveList",
            since=row["proposed"],
            roles=COMPLIANCE,
            not_by=row["maker"],
        )


# -- approvals


def _approval(kind: str, row: Row, **values: Any) -> r.Approval:
    facts: dict[str, Any] = {
        "id": f"{kind}:{row['key']}",
        "reference": identity(row["key"]),
        "revision": 0,
        "content_hash": row.get("content_hash", ""),
        "requested": row.get("changed", 0),
        "tier": "standard",
        "currency": row.get("currency", ""),
        "amount": 0,
        "number": 0,
        "act_id": "",
        "self_made": False,
    }
    return r.Approval(kind=kind, key=row["key"], **{**facts, **values})


def _one(key: str) -> tuple[Where, ...]:
    return (Where("key", "=", key),) if key else ()


def _credit_approvals(reading: Reading, key: str) -> Iterator[r.Approval]:
    where = (Where("state", "=", "AWAITING_APPROVAL"), *_one(key))
    for row in reading.select("credits", where, (Order("changed"),), MANY):
        state = msgspec.json.decode(row["fold"], type=CreditState)
        content = {
            "applicant": row["applicant"],
            "beneficiary": row["beneficiary"],
            "facility": row["facility"],
            "margin_percent": str(state.margin_percent),
            **flat(state.terms),
        }
        yield _approval(
            "credit",
            row,
            revision=row["approval_revision"],
            maker=row["maker"],
            tier=row["tier"],
            amount=row["undertaken"],
            title=f"Issue {row['reference']}",
            content=content,
        )
    for row in reading.select("credits", (Where("void_maker", "!=", ""), *_one(key)), (), MANY):
        yield _approval(
            "void",
            row,
            maker=row["void_maker"],
            amount=row["liability"],
            title=f"Void the issue of {row['reference']}",
            content={"credit": row["reference"], "liability": str(row["liability"])},
        )


def _amendment_approvals(reading: Reading, key: str) -> Iterator[r.Approval]:
    where = (Where("state", "=", "awaiting"), *_one(key))
    for row in reading.select("amendments", where, (Order("changed"),), MANY):
        reference, number = identity(row["key"]), row["number"]
        yield _approval(
            "amendment",
            row,
            id=f"amendment:{row['key']}#{number}",
            revision=row["revision"],
            maker=row["maker"],
            amount=row["liability_change"],
            number=number,
            title=f"Issue amendment {number} of {reference}",
            content=loads(row["changes"], "{}"),
        )


def _take_up_approvals(reading: Reading, key: str) -> Iterator[r.Approval]:
    where = (Where("proposed_by", "!=", ""), Where("decided", "=", 0), *_one(key))
    for row in reading.select("presentations", where, (Order("due"),), MANY):
        content = {"method": row["proposed"], "credit": row["credit"], "state": row["state"]}
        yield _approval(
            "take_up",
            row,
            maker=row["proposed_by"],
            amount=row["amount"],
            title=f"Take up {row['reference']} by {row['proposed']}",
            content=content,
        )


def _proposed_acts(reading: Reading, key: str) -> Iterator[Row]:
    """Return acts that wait for a second person; those of a saga that is over wait for nobody."""
    where = (Where("state", "=", "proposed"), *_one(key))
    for row in reading.select("saga_acts", where, (Order("instant"),), MANY):
        saga = reading.get("sagas", key=row["key"])
        if saga is not None and saga["phase"] in ("running", "compensating"):
            yield row


def _act_approvals(reading: Reading, key: str) -> Iterator[r.Approval]:
    for row in _proposed_acts(reading, key):
        yield _approval(
            "saga_act",
            row,
            id=f"saga_act:{row['act_id']}",
            revision=row["revision"],
            requested=row["instant"],
            maker=row["maker"],
            act_id=row["act_id"],
            title=f"{row['act']} at step {row['step']}",
            content={k: row[k] for k in ("act", "step", "reason", "evidence") if row[k]},
        )


def _case_approvals(reading: Reading, key: str) -> Iterator[r.Approval]:
    where = (Where("state", "=", "proposed"), *_one(key))
    for row in reading.select("cases", where, (Order("changed"),), MANY):
        yield case_approval(row)


def _lists_waiting(reading: Reading, key: str) -> list[Row]:
    where = (Where("waiting_proposal", "!=", ""), *_one(key))
    return reading.select("lists", where, (Order("proposed"),), MANY)


def _list_approvals(reading: Reading, key: str) -> Iterator[r.Approval]:
    for row in _lists_waiting(reading, key):
        yield _approval(
            "list",
            row,
            id=f"list:{row['waiting_proposal']}",
            reference=row["waiting_proposal"],
            revision=row["revision"],
            requested=row["proposed"],
            maker=row["maker"],
            title=f"Activate {row['waiting_proposal']}",
            content=flat(msgspec.json.decode(row["waiting"])),
        )


def case_approval(row: Row) -> r.Approval:
    """Return the approval of a proposed disposition."""
    return _approval(
        "case",
        row,
        revision=row["revision"],
        content_hash=row["evidence_hash"],
        maker=row["proposer"],
        title=f"{row['disposition']} case of {identity(row['subject'])}",
        content={
            "disposition": row["disposition"],
            "subject": row["subject"],
            "evidence_hash": row["evidence_hash"],
        },
    )


# -- deadlines and incidents


def deadlines(reading: Reading) -> list[r.DeadlineRow]:
    """Return the next deadlines of presentations without a decision, nearest first."""
    rows = reading.select(
        "presentations", (Where("decided", "=", 0),), (Order("due"),), DEADLINES_MAX
    )
    return [
        r.DeadlineRow(
            kind="presentation",
            key=row["key"],
            reference=row["reference"],
            credit=row["credit"],
            due=row["due"],
            what="accept or refuse by the close of the fifth banking day",
            article="UCP600-14b",
            calendar=row["calendar"],
        )
        for row in rows
    ]


def incidents(reading: Reading, where: tuple[Where, ...]) -> list[r.Incident]:
    """Return incidents, oldest first."""
    rows = reading.select("incidents", where, (Order("since"),), MANY)
    found = [
        made(
            r.Incident,
            row,
            saga=row["key"],
            reference=identity(row["subject"]),
            suggested=loads(row["suggested"], "[]"),
            open=bool(row["open"]),
        )
        for row in rows
    ]
    return sorted([*found, *glass_incidents(reading)], key=lambda i: i.since)
