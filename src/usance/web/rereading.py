"""Reading an unreadable input again: its command is sent, then its dead letter is closed."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from usance.engine.reactors.reactor import Outgoing
from usance.kernel.decider import Actor
from usance.kernel.errors import Refused
from usance.kernel.ids import derived
from usance.messages.words import command_of
from usance.views.results import DeadLetterRow
from usance.web.answers import Answer
from usance.web.api import Desk, response_of, said_by
from usance.web.commands import command_type
from usance.web.previews import Forecast


class Reread(msgspec.Struct, frozen=True, kw_only=True):
    """Read the bytes of a dead letter again with today's program; `reason` says what changed since."""

    reason: str


_decode = msgspec.json.Decoder(Reread).decode


async def outlook(desk: Desk, dead_letter_id: str, actor: Actor) -> Forecast:
    """Return what reading it again would do; raises Unreadable when it still cannot be read."""

    def look() -> Forecast:
        _, outgoing = _again(desk, dead_letter_id, actor)
        return desk.forecast(outgoing)

    return await run_in_threadpool(look)


async def read_again(
    desk: Desk, dead_letter_id: str, reason: str, actor: Actor
) -> tuple[Outgoing, Answer | None]:
    """Send the command that the bytes mean and close the dead letter; None: not decided in time."""
    if not reason.strip():
        raise Refused("REASON_MISSING", "No reason is given.", hint="Say what changed since.")
    row, outgoing = await run_in_threadpool(_again, desk, dead_letter_id, actor)
    answer = await desk.send(outgoing)
    if answer is not None:
        kind = command_type("Discard")
        said = {"dead_letter_id": row.id, "dead_letter_index": row.index}
        command = command_of({**said, "reason": f"redriven: {reason}"}, kind.cls, row.id)
        place = f"{row.context}.p{row.partition}"
        closing = desk.outgoing(kind, command, place, actor, derived(row.id, "redriven"))
        await desk.send(closing)
    return outgoing, answer


def _again(desk: Desk, dead_letter_id: str, actor: Actor) -> tuple[DeadLetterRow, Outgoing]:
    row = desk.backend.queries.dead_letter(actor, dead_letter_id).row
    return row, desk.backend.reread(row, actor)


async def endpoint(request: Request) -> Response:
    """Answer `POST /dead-letters/{id}/reread`; `?dry_run` records nothing."""
    desk: Desk = request.app.state.desk
    wanted = _decode(desk.cards.passed(await request.body()))
    actor = desk.actor(said_by(dict(request.scope["headers"])))
    ref: str = request.path_params["ref"]
    if "dry_run" in request.query_params:
        told: Any = msgspec.json.encode(await outlook(desk, ref, actor))
        return Response(told, media_type="application/json")
    outgoing, answer = await read_again(desk, ref, wanted.reason, actor)
    status, content, media = response_of(answer, outgoing.id)
    return Response(content, status, media_type=media)
