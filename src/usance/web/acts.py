"""What a person can do on a page: each act is one command, with the fields it asks for.

An act that is shown may still be refused: rules live in the deciders, and the preview asks them.
"""

from __future__ import annotations

from typing import NamedTuple

from usance.domain.refusal import DISPOSALS
from usance.kernel.authority import role_missing
from usance.kernel.decider import Actor, key_parts
from usance.views import results as r

CREDIT_BEFORE_ISSUE = ("SUBMITTED", "IN_PROCESS", "AWAITING_APPROVAL", "APPROVED")
CREDIT_IN_FORCE = ("ISSUED", "ADVISED", "CONFIRMED", "PARTLY_DRAWN", "FULLY_DRAWN", "EXPIRED")
DISCREPANT = ("DISCREPANT", "WAIVER_SOUGHT", "WAIVED", "NOT_WAIVED", "REFERRED")
UNDECIDED = ("RECEIVED", "COMPLYING", "AUTHORISED", *DISCREPANT)
TAKE_UP = {
    "sight": ("HonourPresentation", "Honour at sight"),
    "acceptance": ("AcceptDraft", "Accept the draft"),
    "deferred": ("IncurDeferred", "Undertake to pay at maturity"),
    "negotiation": ("NegotiatePresentation", "Negotiate"),
}


APPROVALS = ("ApproveCredit", "ApproveAmendment", "ApproveAct", "ApproveDisposition", "ApproveList")


class Field(NamedTuple):
    """One input. `kind`: hidden | text | area | number | date | amount | choice (of `choices`)."""

    name: str
    label: str = ""
    kind: str = "text"
    value: str = ""
    required: bool = False
    choices: tuple[tuple[str, str], ...] = ()


class Act(NamedTuple):
    """One act. `blocked` says why this person cannot do it; then no button is offered."""

    command: str
    label: str
    key: str
    fields: tuple[Field, ...] = ()
    tone: str = ""
    blocked: str = ""


def permitted(acts: list[Act], actor: Actor) -> list[Act]:
    """Return the acts that a person's role allows; an approval stays, with who may give it."""
    shown = []
    for act in acts:
        missing = role_missing(actor, act.command)
        if missing is None:
            shown.append(act)
        elif act.command in APPROVALS:
            shown.append(act._replace(blocked=act.blocked or f"{missing.message} {missing.hint}"))
    return shown


def hidden(**values: object) -> tuple[Field, ...]:
    """Return fields that carry what the page binds, such as a revision."""
    return tuple(Field(name, kind="hidden", value=str(value)) for name, value in values.items())


UNISSUED = ("requested", "awaiting", "approved", "awaits_credit")
"""States of an amendment that can be dropped."""


def reason(label: str = "Reason", *, required: bool = True) -> Field:
    """Return the field for a reason."""
    return Field("reason", label, required=required)


def credit_acts(credit: r.Credit) -> list[Act]:
    """Return what can be done with a credit as it stands."""
    row = credit.row
    acts: list[Act] = []
    if credit.approval is not None:
        acts += approval_acts(credit.approval)
    if row.state in CREDIT_BEFORE_ISSUE and row.side == "import":
        acts.append(Act("WithdrawApplication", "Withdraw the application", row.key, (reason(),)))
        if credit.approval is None:
            acts.append(Act("RejectCredit", "Reject", row.key, (reason(),), "bad"))
    if row.side == "export":
        acts += _advising(row)
    acts += _droppable(credit)
    if row.state in CREDIT_IN_FORCE:
        acts += _in_force(credit)
    return acts


def _droppable(credit: r.Credit) -> list[Act]:
    return [
        Act(
            "DropAmendment",
            f"Drop amendment {amendment.number}",
            credit.row.key,
            (*hidden(amendment=amendment.number), reason()),
            "bad",
        )
        for amendment in credit.amendments
        if amendment.state in UNISSUED
    ]


def _advising(row: r.CreditRow) -> list[Act]:
    if row.state == "RECEIVED":
        method = Field(
            "method",
            "How authenticity was checked",
            "choice",
            choices=(("key", "Test key"), ("sender", "With the sender"), ("other", "Other")),
        )
        return [
            Act("AuthenticateCredit", "Authenticate", row.key, (method,)),
            Act("DeclineToAdvise", "Decline to advise", row.key, (reason(),), "bad"),
        ]
    if row.state == "AUTHENTICATED":
        to = Field(
            "to", "To: beneficiary, or the BIC of a second bank", value="beneficiary", required=True
        )
        return [
            Act("AdviseCredit", "Advise", row.key, (to,)),
            Act("DeclineToAdvise", "Decline to advise", row.key, (reason(),), "bad"),
        ]
    if row.state == "ADVISED":
        return [
            Act("AddConfirmation", "Add our confirmation", row.key, (reason(required=False),)),
            Act("DeclineConfirmation", "Decline confirmation", row.key, (reason(),)),
        ]
    return []


def _in_force(credit: r.Credit) -> list[Act]:
    row = credit.row
    acts: list[Act] = []
    acts += [_respond(row, a) for a in credit.amendments if a.state in ("issued", "received")]
    if row.side == "import":
        acts.append(Act("RequestAmendment", "Request an amendment", row.key, _amendment(credit)))
        acts.append(Act("CancelCredit", "Ask for cancellation", row.key, (reason(),), "bad"))
    if row.state == "ISSUED":
        why = (reason("Why nothing left the bank"),)
        acts.append(Act("RequestVoid", "Propose to void the issue", row.key, why, "bad"))
    if row.state in ("FULLY_DRAWN", "EXPIRED"):
        acts.append(Act("CloseCredit", "Close", row.key, (reason(required=False),)))
    return acts


def _respond(row: r.CreditRow, amendment: r.Amendment) -> Act:
    waiting = [p for p, answer in amendment.consents.items() if answer == "waiting"]
    parties = tuple((p, p.capitalize()) for p in waiting or ["beneficiary"])
    answers = (("accept", "Accepts"), ("reject", "Rejects"), ("accept_in_part", "Accepts in part"))
    fields = (
        *hidden(amendment=amendment.number),
        Field("party", "Party", "choice", choices=parties),
        Field("answer", "Answer", "choice", choices=answers),
        Field("reference", "Reference of the answer"),
    )
    return Act("RespondToAmendment", f"Answer to amendment {amendment.number}", row.key, fields)


def next_amendment(credit: r.Credit) -> int:
    """Return the number of a credit's next amendment: that of a dropped one is given again."""
    return max((a.number for a in credit.amendments if a.state != "dropped"), default=0) + 1


def _amendment(credit: r.Credit) -> tuple[Field, ...]:
    currency = credit.row.currency
    return (
        *hidden(amendment=next_amendment(credit)),
        Field(f"changes.increase~{currency}", f"Increase ({currency})", "amount"),
        Field(f"changes.decrease~{currency}", f"Decrease ({currency})", "amount"),
        Field("changes.expiry_date", "New expiry date", "date"),
        Field("changes.latest_shipment", "New latest shipment", "date"),
        Field("changes.port_of_loading", "New port of loading"),
        Field("changes.port_of_discharge", "New port of discharge"),
        Field("reason", "Reason"),
    )


def presentation_acts(shown: r.Presentation) -> list[Act]:
    """Return what can be done with a presentation as it stands; refusal has its own builder."""
    row = shown.row
    key, acts = row.key, list[Act]()
    if row.state in (*UNDECIDED, "PRECLUDED"):
        finding = (
            Field("article", "Article", required=True, value="UCP600-14d"),
            Field("explanation", "The discrepancy, one sentence for the notice", required=True),
        )
        acts.append(Act("RaiseDiscrepancy", "Raise a discrepancy", key, finding))
    if row.state == "DISCREPANT":
        if shown.role == "issuing":
            acts.append(Act("SeekWaiver", "Ask the applicant for a waiver", key))
        else:
            acts.append(Act("ReferDiscrepancies", "Refer to the issuing bank", key))
    if row.state in DISCREPANT:
        answer = Field(
            "waived", "Answer", "choice", choices=(("true", "Waives"), ("false", "Does not waive"))
        )
        acts.append(Act("RecordWaiver", "Record the applicant's answer", key, (answer, _ref())))
        acts.append(Act("AuthoriseTakeUp", "Authorise to take up", key, (_ref("MT752"),)))
    if row.state in ("COMPLYING", "WAIVED", "AUTHORISED", "PRECLUDED"):
        chosen = TAKE_UP.get(shown.proposed_method)
        for command, label in (chosen,) if chosen else TAKE_UP.values():
            acts.append(Act(command, label, key, (reason("Note", required=False),)))
    if row.state in ("HONOURED", "MATURED", "NEGOTIATED"):
        acts.append(Act("SettlePresentation", "Record as paid", key, (_ref("Payment"),)))
    if row.state == "REFUSED":
        courier = (Field("courier", "Courier and number"),)
        acts.append(Act("ReturnDocuments", "Return the documents", key, courier))
    if row.state in UNDECIDED:
        acts.append(
            Act("WithdrawPresentation", "Withdrawn by the presenter", key, (reason(),), "bad")
        )
    return acts


def _ref(of: str = "Answer") -> Field:
    return Field("reference", f"Reference of the {of}")


def refusal_act(shown: r.Presentation) -> Act | None:
    """Return the notice of refusal, or None where none can be given validly.

    Its discrepancies are those found: they are not typed, so none is forgotten or invented; the
    disposal is one of article 16(c)(iii); a missed deadline or a given notice leaves no form.
    """
    if shown.row.state not in DISCREPANT or shown.row.precluded or shown.refusal:
        return None
    options = tuple((code, f"{code} – {text.capitalize()}") for code, text in DISPOSALS.items())
    disposal = Field("disposal", "What happens to the documents", "choice", choices=options)
    return Act("RefusePresentation", "Give notice of refusal", shown.row.key, (disposal,), "bad")


def approval_acts(approval: r.Approval) -> list[Act]:
    """Return approve and reject, bound to exactly what is shown; blocked for its maker."""
    why = ""
    if approval.self_made:
        why = (
            "You entered, examined or proposed this yourself: nobody approves their own work. "
            "Another login of the same person does not count."
        )
    bound = hidden(revision=approval.revision, content_hash=approval.content_hash)
    key, number = approval.key, hidden(amendment=approval.number)
    match approval.kind:
        case "credit":
            yes = Act("ApproveCredit", "Approve the issue", key, (*bound, _note()), "good", why)
            no = Act("RejectCredit", "Reject", key, (reason(),), "bad")
        case "amendment":
            fields = (*number, *bound, _note())
            yes = Act("ApproveAmendment", "Approve the amendment", key, fields, "good", why)
            no = Act("DropAmendment", "Turn it down", key, (*number, reason()), "bad")
        case "void":
            yes = Act("VoidIssue", "Void the issue", key, (_note(),), "bad", why)
            return [yes]
        case "take_up":
            command, label = TAKE_UP.get(approval.content.get("method", "sight"), TAKE_UP["sight"])
            yes = Act(command, label, key, (_note(),), "good", why)
            return [yes]
        case "saga_act":
            act = hidden(act_id=approval.act_id)
            yes = Act("ApproveAct", "Agree to the act", key, act, "good", why)
            no = Act("RejectAct", "Turn the act down", key, (*act, reason()), "bad")
        case "list":
            said = hidden(proposal=approval.reference)
            seen = (*said, *hidden(content=approval.content_hash))
            yes = Act("ApproveList", "Activate", key, seen, "good", why)
            no = Act("RejectList", "Turn it down", key, (*said, reason()), "bad")
            if approval.self_made:
                no = Act("WithdrawList", "Take it back", key, said, "bad")
        case _:
            return []
    return [yes, no]


def _note() -> Field:
    return reason("Note", required=False)


def case_acts(case: r.Case, actor: Actor) -> list[Act]:
    """Return what compliance can do with a case: propose, then a second person agrees."""
    identity, key = case.row.reference, case.row.key
    evidence = case.facts.get("evidence_hash", "")
    subject = case.facts.get("subject", case.row.subject)
    bound = hidden(case_id=identity, evidence_hash=evidence)
    why = (
        Field("reason.text", "Reason", "area", required=True),
        Field("reason.subject", kind="hidden", value=subject),
    )
    if case.row.state == "proposed":
        blocked = ""
        if case.row.proposed_by == actor.person:
            blocked = "You proposed this disposition: a second person of compliance must agree."
        agreed = (*bound, *hidden(disposition=case.row.proposal))
        return [
            Act("ApproveDisposition", f"Agree: {case.row.proposal}", key, agreed, "good", blocked),
            Act(
                "ReturnToInvestigation", "Send back", key, (*hidden(case_id=identity), *why), "bad"
            ),
        ]
    if case.row.state == "closed":
        return []
    choices = (
        ("clear", "Clear: not the listed one"),
        ("block", "Block: the listed one"),
        ("reject", "Reject the deal"),
        ("report", "Report and wait"),
    )
    choice = Field("disposition", "Disposition", "choice", choices=choices)
    return [Act("ProposeDisposition", "Propose", key, (*bound, choice, *why))]


def saga_acts(saga: r.Saga) -> list[Act]:
    """Return the operator acts on a saga that is stuck, those suggested first."""
    if saga.row.phase not in ("running", "compensating"):
        return []
    key = saga.row.key
    step = hidden(step=saga.row.step)
    evidence = Field("evidence", "Where that is recorded", required=True)
    acts = {
        "retry": Act("RetryStep", "Retry the step", key, (reason(),)),
        "skip": Act("SkipStep", "Skip the step", key, (*step, reason())),
        "done-outside": Act(
            "MarkDoneOutside", "Done by other means", key, (*step, reason(), evidence)
        ),
        "compensate": Act("CompensateSaga", "Give up and undo", key, (reason(),), "bad"),
    }
    wanted = [name for i in saga.incidents if i.open for name in i.suggested]
    return [acts[name] for name in dict.fromkeys(wanted) if name in acts]


def dead_letter_acts(letter: r.DeadLetter) -> list[Act]:
    """Return redrive (of a parked key), reading again (of an unreadable input) and discard."""
    row = letter.row
    if row.state != "open":
        return []
    place = f"{row.context}.p{row.partition}"
    bound = hidden(dead_letter_id=row.id, dead_letter_index=row.index)
    said = hidden(dead_letter_id=row.id)
    acts = [Act("Discard", "Discard for good", place, (*bound, reason()), "bad")]
    if key_parts(row.key).category == "unreadable":
        acts.insert(0, Act("Reread", "Read it again", "", (*said, reason("What changed since"))))
    elif row.redrivable:
        acts.insert(0, Act("Redrive", "Redrive", place, (*bound, reason())))
    return acts
