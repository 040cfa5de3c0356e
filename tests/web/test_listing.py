"""Sanctions lists by console and API: proposed by one, activated by another, taken up while it runs."""

from __future__ import annotations

import http.client
import time
from typing import Any

import httpx
from world import COMPLIANCE, MAKER

OFFICER = {"usance-as": "farid.haddad"}
ANALYST = {"usance-as": COMPLIANCE}
FILE = b"uid,name,type\nW-1,GRELLVANDER ODOBAS SHIPPING,organisation\n"
SAID = {"list": "web-house", "version": "2026-11-20"}


def sent(web: httpx.Client, path: str = "/lists", data: bytes = FILE, **headers: str) -> Any:
    files = {"files": ("house.csv", data, "text/csv")}
    return web.post(path, files=files, data=SAID, headers=ANALYST | headers, timeout=120)


def row(web: httpx.Client) -> Any:
    rows = web.get("/lists.json", headers=OFFICER).json()["rows"]
    return next((r for r in rows if r["list_id"] == "web-house"), None)


def waited(web: httpx.Client, wanted: Any) -> Any:
    """Return the row once it is as wanted: views and screeners follow within moments."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = row(web)
        if found is not None and wanted(found):
            return found
        time.sleep(0.05)
    raise AssertionError(f"the list did not become so: {row(web)}")


def test_a_list_goes_through_gate_two_people_and_into_the_running_screener(web):
    assert sent(web, "/lists?dry_run").json()["outcome"] == "accepted"
    assert row(web) is None
    told = sent(web, **{"idempotency-key": "list-1"})
    assert (told.status_code, told.json()["outcome"]) == (200, "accepted")
    assert sent(web, **{"idempotency-key": "list-1"}).json() == told.json()
    waits = waited(web, lambda r: r["waiting"])["waiting"]
    assert (waits["added"], waits["proposer"]) == (1, COMPLIANCE)

    page = web.get("/lists", headers=OFFICER).text
    assert "ApproveList" in page and waits["proposal"] in page
    assert "nobody approves their own work" in web.get("/lists", headers=ANALYST).text
    ids = [a["id"] for a in web.get("/approvals.json", headers=OFFICER).json()]
    assert f"list:{waits['proposal']}" in ids
    assert not any(
        a["kind"] == "list" for a in web.get("/approvals.json", headers={"usance-as": MAKER}).json()
    )

    said = {"proposal": waits["proposal"], "content": waits["content"]}
    own = web.post("/commands/ApproveList", json=said, headers=ANALYST)
    assert (own.status_code, own.json()["code"]) == (422, "SELF_APPROVAL")
    form = {
        "proposal": waits["proposal"],
        "content": waits["content"],
        "back": "/lists",
        "once": "l",
    }
    form["key"] = "albion/list/sanctions"
    done = web.post("/do/ApproveList", data=form, headers=OFFICER)
    assert done.status_code == 303 and done.headers["location"].startswith("/lists")
    waited(web, lambda r: r["version"] == "2026-11-20")
    deadline = time.monotonic() + 300  # compiled beside everything else
    loaded: set[str] = set()
    while "web-house" not in loaded and time.monotonic() < deadline:
        time.sleep(0.1)
        loaded = {s["list_id"] for s in web.get("/lists.json", headers=OFFICER).json()["loaded"]}
    assert {"web-house", "un", "ofac-sdn"} <= loaded


def test_who_may_not_propose_a_list_is_told_before_the_gate(web):
    files = {"files": ("house.csv", FILE, "text/csv")}
    no = web.post("/lists", files=files, data=SAID, headers={"usance-as": MAKER})
    assert (no.status_code, no.json()["code"]) == (422, "ROLE_NEEDED")
    assert "Propose a version" not in web.get("/lists", headers={"usance-as": MAKER}).text


def test_a_file_that_is_no_list_and_a_body_that_is_no_form_are_told_apart(web):
    unread = sent(web, data=b"\x00 no list")
    assert unread.status_code == 400 and unread.json()["hint"]
    plain = web.post("/lists", content=b"{}", headers=ANALYST)
    assert (plain.status_code, plain.json()["code"]) == (422, "FORM_EXPECTED")


def test_a_list_may_be_longer_than_other_bodies_and_is_bounded_all_the_same(web):
    long = FILE + b"".join(b"W-%d,NOBODY,organisation\n" % n for n in range(2))
    padded = long + b"\n" * 2_100_000
    assert sent(web, "/lists?dry_run", padded).status_code != 413
    # Only the head is sent: the door answers to the length that it names.
    asking = http.client.HTTPConnection(web.base_url.host, web.base_url.port or 80, timeout=60)
    asking.putrequest("POST", "/lists")
    for name, value in {
        "usance-as": COMPLIANCE,
        "content-type": "multipart/form-data; boundary=x",
        "content-length": "64000001",
    }.items():
        asking.putheader(name, value)
    asking.endheaders()
    assert asking.getresponse().status == 413
    asking.close()


def test_a_list_is_proposed_only_where_its_bytes_are_brought(web):
    # Bytes that nobody kept could be activated, and screening would wait for them.
    told = web.post("/commands/ProposeList", json={}, headers=ANALYST)
    assert told.status_code == 404
    assert "ProposeList" not in str(web.get("/openapi.json").json()["paths"].keys())
