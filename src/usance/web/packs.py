"""Audit packs by HTTP: `GET /credits/{ref}/pack.zip`, and `GET /audit/pack.zip` for partitions and queries.

The answer is the zip; headers say what the covering letter says. That it was handed over is recorded before the
first byte is sent: where that cannot be, the answer is a problem.
"""

from __future__ import annotations

import re

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from usance.bootstrap.packs.handing import Pack
from usance.bootstrap.packs.pack_scope import Request as Wanted
from usance.bootstrap.packs.pack_scope import instant_of
from usance.bootstrap.packs.pack_serving import Serving, served_pack
from usance.kernel.authority import role_missing
from usance.kernel.decider import Actor
from usance.kernel.errors import Refused

FIELDS = ("credit", "partition", "query")
_PLAIN = re.compile(r"[^A-Za-z0-9._-]+")


def may_export(viewer: Actor) -> bool:
    """Tell whether a viewer may take packs out."""
    return role_missing(viewer, "ExportPack") is None


def wanted_of(said: dict[str, str]) -> Wanted:
    """Return what the fields of a query ask for; raises Refused, Unreadable."""
    chosen = [(field, said[field]) for field in FIELDS if said.get(field)]
    known_at = said.get("known_at", "")
    if len(chosen) != 1 or (known_at and not known_at.isdecimal()):
        raise Refused(
            "EXPORT_WHAT",
            "Name one thing to export; known_at is a number of heads.",
            hint="Such as ?partition=0, or ?query=stream=albion/facility/*.",
        )
    kind, value = chosen[0]
    return Wanted(
        kind,
        value,
        instant_of(said["as_of"]) if said.get("as_of") else "",
        int(known_at) if known_at else -1,
        said.get("case", ""),
        "reveal" in said,
        said.get("reason", ""),
    )


async def endpoint(request: Request) -> Response:
    """Answer with a pack."""
    viewer: Actor = request.app.state.viewer_of(request)
    said = dict(request.query_params)
    if "ref" in request.path_params:
        said |= {"credit": request.path_params["ref"]}
    wanted = wanted_of(said)
    program: Serving = request.app.state.backend
    pack = await run_in_threadpool(served_pack, program, viewer, wanted)
    return Response(pack.data, media_type="application/zip", headers=_headers(wanted, pack))


def _headers(wanted: Wanted, pack: Pack) -> dict[str, str]:
    name = f"{_PLAIN.sub('-', wanted.told)}.pack.zip"
    return {
        "content-disposition": f'attachment; filename="{name}"',
        "cache-control": "no-store",
        "usance-pack": pack.reference,
        "usance-fingerprint": pack.fingerprint,
        "usance-verifier": pack.verifier,
    }


ROUTES = [
    Route("/credits/{ref:path}/pack.zip", endpoint, methods=["GET"]),
    Route("/audit/pack.zip", endpoint, methods=["GET"]),
]
