"""One of two programs on one log: today's, or the one before `CreditExpired` had a second version.

    python upgrade_child.py old|new play ROOT CREDIT EXPIRY FROM UNTIL    plays one credit until it expires
    python upgrade_child.py old|new watch ROOT CREDIT...                  opens the log, then reads on request

The old program knows neither the second schema nor the upcaster, and its class lacks the field.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

NAME = "usance.trade.CreditExpired"


def become_old() -> None:
    """Take back what version 2 brought, before anything has imported it."""
    from usance.domain.credit import drawing_messages
    from usance.messages import catalogue, upcasting

    class CreditExpired(msgspec.Struct, frozen=True, kw_only=True):
        """The last day for presentation is over."""

        expiry_date: str
        last_day: str

    new, drawing_messages.CreditExpired = drawing_messages.CreditExpired, CreditExpired  # type: ignore[misc]
    drawing_messages.MESSAGES = tuple(
        (CreditExpired if cls is new else cls, kind) for cls, kind in drawing_messages.MESSAGES
    )
    files = catalogue.schema_files

    def without_v2() -> dict[str, dict[int, str]]:
        found = files()
        del found[NAME][2]
        return found

    catalogue.schema_files = without_v2
    upcasting.UPCASTERS._steps.clear()
    from usance.domain.credit import drawings

    def expired(state: Any) -> Any:
        day = str(drawings.last_day(state) or "")
        return CreditExpired(expiry_date=state.stipulated.expiry_date, last_day=day)

    drawings._expired = expired
    from usance.views import sentences

    sentences._SENTENCES["CreditExpired"] = ("Expired: {last_day}", "UCP600-6d")


def told(store: Any, credit: str) -> dict[str, Any]:
    """Return what a program knows of a credit's expiry, and with which schema it was written."""
    past = store.history.stream(f"albion/credit/{credit}")
    found = [p for p in past if type(p.message).__name__ == "CreditExpired"]
    assert len(found) == 1, [type(p.message).__name__ for p in past]
    known = store.registry.by_id(int.from_bytes(found[0].record.value[1:5], "big"))
    state = store.history.fold(store.deciders["credit"], f"albion/credit/{credit}")
    return {
        "expiry": msgspec.to_builtins(found[0].message),
        "version": known.version,
        "state": state.state,
    }


def play(root: str, credit: str, expiry: str, begin: str, until: str) -> dict[str, Any]:
    """Issue a credit, let it expire, and tell what stands in the log."""
    from usance.bootstrap.runtime import Runtime
    from usance.bootstrap.store import Folder
    from usance.config import GatewaySettings, Settings
    from usance.domain.credit import messages as cm
    from usance.domain.facility_messages import SetFacility
    from usance.domain.terms import Narrative, RequiredDocument
    from usance.engine.reactors.reactor import Outgoing
    from usance.engine.verify import verify_log
    from usance.kernel.clock import BookClock
    from usance.kernel.ids import derived
    from usance.testing.trade import parties, terms

    settings = Settings(gateway=GatewaySettings(loopback=True))
    program = Runtime(Folder(Path(root)), settings, BookClock(int(begin)))

    def say(key: str, command: Any, person: str) -> None:
        command_id = derived("upgrade", credit, type(command).__name__)
        actor = program.directory.actor(person)
        outcome = program.ask(Outgoing(key, command, command_id, "", command_id, actor))
        assert outcome.answer in ("accepted", "duplicate"), outcome
        program.drive()

    facility = SetFacility(
        facility="F1",
        customer="party-1",
        currency="USD",
        limit=5_000_000_00,
        expiry="2027-12-31",
        margin_account="GB00ALBN0001",
    )
    try:
        program.drive()
        say("albion/facility/F1", facility, "bruno.lindqvist")
        application = cm.ApplyForCredit(
            credit=credit,
            application=f"APP-{credit}",
            terms=terms(
                required_documents=[RequiredDocument(kind="invoice", originals=3)],
                expiry_date=expiry,
                latest_shipment="",
            ),
            parties=parties(),
            narrative=Narrative(subject="party-1", goods="TEAK SAWN TIMBER, 120 CBM"),
            facility="F1",
        )
        key = f"albion/credit/{credit}"
        say(key, application, "amara.okafor")
        viewer = program.directory.actor("bruno.lindqvist")
        asked = program.queries.credit(viewer, key).approval
        assert asked is not None
        approval = cm.ApproveCredit(revision=asked.revision, content_hash=asked.content_hash)
        say(key, approval, "bruno.lindqvist")
        program.run_until(int(until))
        store = program.store
        reports = verify_log(store.log, store.genesis.log_id, store.decoder)
        letters = sum(
            program.store.log.end(program.store.topics.at(c, "dead-letters", n))
            for c in ("trade", "compliance", "system")
            for n in range(program.store.topics.partitions)
        )
        return told(program.store, credit) | {
            "chain": all(r.broken is None for r in reports),
            "letters": letters,
        }
    finally:
        program.close()


def watch(root: str, *names: str) -> list[dict[str, Any]]:
    """Open the log, say so, wait for a line, then read what was written meanwhile."""
    from usance.bootstrap.store import Folder, Store
    from usance.config import Settings
    from usance.kernel.clock import SystemClock

    store = Store(Folder(Path(root)), Settings(), SystemClock(), owner=False)
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        return [told(store, credit) for credit in names]
    finally:
        store.log.close()


if __name__ == "__main__":
    age, act, *rest = sys.argv[1:]
    if age == "old":
        become_old()
    print(json.dumps({"play": play, "watch": watch}[act](*rest)))
