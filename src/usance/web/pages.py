"""The pages of the trade desk: what each asks of the read side. The same answer makes its JSON twin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import msgspec

from usance.kernel.decider import Actor
from usance.kernel.errors import NotFound, Unreadable
from usance.messages.swift.report import parse_report, validate_report
from usance.views import results as r
from usance.views.queries import Queries
from usance.web import acts
from usance.web.backend import Backend
from usance.web.forms import amount, whole_number
from usance.web.packs import may_export

F = TypeVar("F")
PAGE_ROWS = 50
PAGE_ROWS_MAX = 500
COMPLIANCE_ROLES = ("compliance", "compliance_officer")


class Visit(NamedTuple):
    """One visit of a page: who looks, at what, with which query, at which instant (book time)."""

    queries: Queries
    viewer: Actor
    tenant: str
    query: dict[str, str]
    ref: str
    now: int
    backend: Backend

    def wanted(self, kind: type[F]) -> F:
        """Return a filter from the query; raises ValidationError naming a wrong field."""
        names = {f.name for f in msgspec.structs.fields(kind)}  # type: ignore[arg-type]
        said = {k: v for k, v in self.query.items() if k in names and v != ""}
        return msgspec.convert(said, kind, strict=False)

    @property
    def cursor(self) -> str:
        """Where the list goes on."""
        return self.query.get("cursor", "")

    @property
    def limit(self) -> int:
        """Rows wanted, within bounds; raises Unreadable for what is no number."""
        said = self.number("limit")
        return PAGE_ROWS if said is None else min(max(said, 1), PAGE_ROWS_MAX)

    def number(self, name: str) -> int | None:
        """Return a whole number of the query, None where it is not there; raises Unreadable."""
        text = self.query.get(name, "")
        found = whole_number(text)
        if text and found is None:
            raise Unreadable("validate", f"{name}: no whole number", hint=f"Such as {name}=50.")
        return found

    def key(self, category: str) -> str:
        """Return the aggregate key that the address means."""
        return self.queries.key(category, self.ref, self.tenant)


class Shown(NamedTuple):
    """What a page shows: the answer (its twin's content), and what only the HTML needs."""

    result: Any
    extra: Mapping[str, Any] = MappingProxyType({})
    revision: int | None = None


class Page(NamedTuple):
    """One page. `path` has `{ref}` where it shows one thing; `goes` is the key behind `g`."""

    path: str
    template: str
    title: str
    show: Callable[[Visit], Shown]
    result: Any
    filters: Any = None


def today(visit: Visit) -> Shown:
    """Today: my work, next deadlines, stuck sagas, what needs a second person."""
    return Shown(visit.queries.today(visit.viewer, visit.now))


def work(visit: Visit) -> Shown:
    """Work that waits for a person, nearest due first."""
    wanted = visit.wanted(r.WorkFilter)
    return Shown(visit.queries.work(visit.viewer, wanted, visit.cursor, visit.limit))


def credits_(visit: Visit) -> Shown:
    """The trade book with filters; `min` and `max` are amounts as people write them."""
    wanted = visit.wanted(r.CreditFilter)
    for name, field in (("min", "amount_from"), ("max", "amount_to")):
        if visit.query.get(name):
            minor = amount(visit.query[name], wanted.currency or "USD", name)
            wanted = msgspec.structs.replace(wanted, **{field: minor})
    page = visit.queries.credits(visit.viewer, wanted, visit.cursor, visit.limit)
    return Shown(page, {"wanted": wanted})


def credit(visit: Visit) -> Shown:
    """One credit; `tab` chooses what is below the facts, `revision` the state shown."""
    queries, viewer, key = visit.queries, visit.viewer, visit.key("credit")
    found = queries.credit(viewer, key)
    extra: dict[str, Any] = {
        "acts": acts.permitted(acts.credit_acts(found), visit.viewer),
        "pack": may_export(viewer),
    }
    return _with_history(visit, key, Shown(found, extra, found.row.revision))


def _with_history(visit: Visit, key: str, shown: Shown) -> Shown:
    """Add what the tab needs; a twin of a tab is that tab's own answer."""
    queries, viewer, tab = visit.queries, visit.viewer, visit.query.get("tab", "")
    view = visit.query.get("view", "compact")
    extra: dict[str, Any] = {**shown.extra, "tab": tab, "view": view}
    if tab == "timeline":
        extra["timeline"] = queries.timeline(viewer, key, visit.cursor)
        extra["twin"] = extra["timeline"]
    elif tab == "state":
        said = visit.number("revision")
        revision = (shown.revision or 0) if said is None else said
        extra["at"] = queries.state_at(viewer, key, revision)
        extra["twin"] = extra["at"]
    elif tab == "ledger":
        extra["postings"] = queries.postings(viewer, visit.ref, visit.cursor)
        extra["twin"] = extra["postings"]
    return Shown(shown.result, extra, shown.revision)


def new_credit(visit: Visit) -> Shown:
    """The application form."""
    return Shown({"facilities": visit.queries.facilities(visit.viewer)})


def presentations(visit: Visit) -> Shown:
    """Presentations, nearest deadline first."""
    wanted = visit.wanted(r.PresentationFilter)
    page = visit.queries.presentations(visit.viewer, wanted, visit.cursor, visit.limit)
    return Shown(page, {"wanted": wanted})


def presentation(visit: Visit) -> Shown:
    """One presentation: checklist, findings, deadline, the refusal builder."""
    key = visit.key("presentation")
    found = visit.queries.presentation(visit.viewer, key)
    extra = {
        "acts": acts.permitted(acts.presentation_acts(found), visit.viewer),
        "refusal": acts.refusal_act(found),
        "required": _required(visit, found.row.credit),
    }
    return _with_history(visit, key, Shown(found, extra, found.row.revision))


def _required(visit: Visit, reference: str) -> list[r.DocumentRequired]:
    """Return what the credit asks for; nothing where the credit is not known here."""
    try:
        key = visit.queries.key("credit", reference, visit.tenant)
        return visit.queries.credit(visit.viewer, key).documents
    except NotFound:
        return []


def new_presentation(visit: Visit) -> Shown:
    """The form for documents that arrived under a credit."""
    credit_ref = visit.query.get("credit", "")
    if not credit_ref:
        return Shown({"credit": None})
    key = visit.queries.key("credit", credit_ref, visit.tenant)
    return Shown({"credit": visit.queries.credit(visit.viewer, key).row})


def facilities(visit: Visit) -> Shown:
    """All facilities."""
    return Shown(visit.queries.facilities(visit.viewer))


def facility(visit: Visit) -> Shown:
    """One facility with what stands against it."""
    key = visit.key("facility")
    found = visit.queries.facility(visit.viewer, key)
    return _with_history(visit, key, Shown(found, {}, found.row.revision))


def approvals(visit: Visit) -> Shown:
    """What needs a second person."""
    return Shown(visit.queries.approvals(visit.viewer))


def approval(visit: Visit) -> Shown:
    """The exact content to be approved, bound by revision and hash."""
    found = visit.queries.approval(visit.viewer, visit.ref)
    plain, lists = listed(found.content)
    extra = {
        "acts": acts.permitted(acts.approval_acts(found), visit.viewer),
        "plain": plain,
        "lists": lists,
    }
    return Shown(found, extra, found.revision)


def listed(content: Mapping[str, str]) -> tuple[dict[str, str], dict[str, list[dict[str, str]]]]:
    """Return flat facts, and those named `list.1.field` as rows per list; nothing is left out."""
    plain: dict[str, str] = {}
    lists: dict[str, dict[str, dict[str, str]]] = {}
    for name, value in content.items():
        first, _, last = name.rpartition(".")
        before, _, number = first.rpartition(".")
        if before and whole_number(number) is not None:
            lists.setdefault(before, {}).setdefault(number, {})[last] = value
        else:
            plain[name] = value
    return plain, {
        name: [dict.fromkeys(_columns(rows.values()), "") | row for row in rows.values()]
        for name, rows in lists.items()
    }


def _columns(rows: Iterable[Mapping[str, str]]) -> list[str]:
    return list(dict.fromkeys(column for row in rows for column in row))


def cases(visit: Visit) -> Shown:
    """Cases; for anybody but compliance this page does not exist (tipping off)."""
    _compliance(visit.viewer)
    wanted = visit.wanted(r.CaseFilter)
    return Shown(visit.queries.cases(visit.viewer, wanted, visit.cursor, visit.limit))


def case(visit: Visit) -> Shown:
    """One case: candidates side by side, the score explained token by token."""
    _compliance(visit.viewer)
    found = visit.queries.case(visit.viewer, visit.key("case"))
    extra = {
        "acts": acts.permitted(acts.case_acts(found, visit.viewer), visit.viewer),
        "hits": [(hit, explanation(hit.get("explanation", ""))) for hit in found.hits],
    }
    return Shown(found, extra, found.row.revision)


def explanation(text: str) -> dict[str, Any]:
    """Return a hit's explanation as an object; text that is none stands under `text`."""
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError:
        found = text
    return found if isinstance(found, dict) else {"text": str(found)}


def _compliance(viewer: Actor) -> None:
    if viewer.role not in COMPLIANCE_ROLES:
        raise NotFound("there is no such page", hint="Choose a page in the rail on the left.")


def ledger(visit: Visit) -> Shown:
    """The trial balance, and the newest entries below it."""
    entries = visit.queries.postings(
        visit.viewer, visit.query.get("credit", ""), visit.cursor, visit.limit
    )
    balance = visit.queries.trial_balance(visit.viewer)
    return Shown({"trial_balance": balance, "postings": entries})


def messages(visit: Visit) -> Shown:
    """FIN messages in and out."""
    return Shown(
        visit.queries.messages(
            visit.viewer, visit.query.get("credit", ""), visit.cursor, visit.limit
        )
    )


def message(visit: Visit) -> Shown:
    """One FIN message: text beside its fields, rules broken at their line."""
    text = visit.queries.message_text(visit.viewer, visit.ref)
    data = text.encode()
    read, _ = parse_report(data)
    checked, _ = validate_report(data)
    return Shown({"event_id": visit.ref, "text": text, "parsed": read, "validated": checked})


def search(visit: Visit) -> Shown:
    """Whatever has the text in it."""
    text = visit.query.get("q", "").strip()
    return Shown(visit.queries.search(visit.viewer, text) if text else [])


PAGES = (
    Page("/today", "today.html", "Today", today, r.Today),
    Page("/work", "work.html", "Work", work, r.WorkPage, r.WorkFilter),
    Page("/credits", "credits.html", "Credits", credits_, r.CreditPage, r.CreditFilter),
    Page("/apply", "apply.html", "Apply for a credit", new_credit, dict),
    Page("/credits/{ref:path}", "credit.html", "Credit", credit, r.Credit),
    Page(
        "/presentations",
        "presentations.html",
        "Presentations",
        presentations,
        r.PresentationPage,
        r.PresentationFilter,
    ),
    Page("/present", "present.html", "Present documents", new_presentation, dict),
    Page(
        "/presentations/{ref:path}",
        "presentation.html",
        "Presentation",
        presentation,
        r.Presentation,
    ),
    Page("/facilities", "facilities.html", "Facilities", facilities, list[r.FacilityRow]),
    Page("/facilities/{ref:path}", "facility.html", "Facility", facility, r.Facility),
    Page("/approvals", "approvals.html", "Approvals", approvals, list[r.Approval]),
    Page("/approvals/{ref:path}", "approval.html", "Approval", approval, r.Approval),
    Page("/cases", "cases.html", "Cases", cases, r.CasePage, r.CaseFilter),
    Page("/cases/{ref:path}", "case.html", "Case", case, r.Case),
    Page("/ledger", "ledger.html", "Ledger", ledger, dict),
    Page("/messages", "messages.html", "Messages", messages, r.MessagePage),
    Page("/messages/{ref:path}", "message.html", "Message", message, dict),
    Page("/search", "search.html", "Search", search, list[r.SearchHit]),
)
"""The pages of the trade desk."""
