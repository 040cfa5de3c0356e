"""The pages of auditors: heads, witnesses, anchors, an event's proof; and the log's files for other clients.

`/audit/log/<folder>/` is a C2SP tlog-tiles log for each tree: `checkpoint`, `tile/<L>/<N>`, `tile/entries/<N>`.
What a page says is verified by its reader: in the browser by `static/proof.js`, or with the tools it names.
"""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from usance.audit.shown import AuditStanding, EventProof, Heads
from usance.kernel.errors import Unreadable
from usance.views import results as r
from usance.views.asking import sees_compliance
from usance.web.forms import whole_number
from usance.web.packs import may_export
from usance.web.pages import Page, Shown, Visit

NEWEST = 6
FOR_EVER = "max-age=31536000, immutable"
FOR_SECONDS = "max-age=2"


def audit(visit: Visit) -> Shown:
    """Where proving stands: heads and their ages, witnesses, anchors, what was verified last."""
    seen = sees_compliance(visit.viewer)
    standing = visit.backend.proofs.standing(compliance=seen)
    newest = visit.queries.events(visit.viewer, r.EventFilter(), "", NEWEST)
    extra = {"newest": newest.rows, "may_export": may_export(visit.viewer)}
    return Shown(standing, extra)


def heads(visit: Visit) -> Shown:
    """Every tree's signed head; `since` adds the consistency proof from an older size of the log of heads."""
    seen = sees_compliance(visit.viewer)
    return Shown(visit.backend.proofs.heads(_size(visit, "since"), compliance=seen))


def proof(visit: Visit) -> Shown:
    """One event's proof with its stored bytes; `tree` and `heads` add consistency proofs from older sizes."""
    record = visit.queries.event_record(visit.viewer, visit.ref)
    found = visit.backend.proofs.proof(record, _size(visit, "tree"), _size(visit, "heads"))
    return Shown(found)


def _size(visit: Visit, name: str) -> int:
    said = visit.query.get(name, "")
    found = whole_number(said) if said else 0
    if found is None:
        raise Unreadable("validate", f"{name}: this is no size", hint="Give a number of leaves.")
    return found


async def tile(request: Request) -> Response:
    """Answer with a file of a tree."""
    folder, path = _parts(request.path_params["path"])
    backend = request.app.state.backend
    seen = sees_compliance(request.app.state.viewer_of(request))
    data = await run_in_threadpool(backend.proofs.file, folder, path, compliance=seen)
    if path == "checkpoint":
        return _file(data, "text/plain; charset=utf-8", FOR_SECONDS)
    return _file(data, "application/octet-stream", FOR_EVER)


def _parts(path: str) -> tuple[str, str]:
    """Return folder and file: a folder is `heads`, or a topic and its partition."""
    words = path.split("/")
    depth = 1 if words[0] == "heads" else 2
    return "/".join(words[:depth]), "/".join(words[depth:])


async def policy(request: Request) -> Response:
    """Answer with the keys that this program trusts."""
    text = await run_in_threadpool(request.app.state.backend.proofs.policy_text)
    return _file(text.encode(), "text/plain; charset=utf-8", FOR_SECONDS)


def _file(data: bytes, media: str, cached: str) -> Response:
    return Response(data, media_type=media, headers={"cache-control": cached})


PAGES = (
    Page("/audit", "audit.html", "Audit", audit, AuditStanding),
    Page("/audit/heads", "audit_heads.html", "Heads", heads, Heads),
    Page("/audit/proof/{ref:path}", "audit_proof.html", "Proof", proof, EventProof),
)
"""The pages of auditors."""

ROUTES = [
    Route("/audit/log/{path:path}", tile, methods=["GET"]),
    Route("/audit/policy.txt", policy, methods=["GET"]),
]
