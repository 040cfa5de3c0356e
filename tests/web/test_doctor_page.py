"""The page of findings: what is wrong first, each with its code and command; for those it is for; twin alike."""

from __future__ import annotations

import httpx
from world import COMPLIANCE, ENGINEER, World

AS_ENGINEER = {"usance-as": ENGINEER}


def test_findings_are_shown_with_the_command_that_mends_each(
    web: httpx.Client, world: World
) -> None:
    key = world.program.folder.root / "notary.key"
    key.chmod(0o644)
    try:
        told = web.get("/doctor.json", headers=AS_ENGINEER).json()
        page = web.get("/doctor", headers=AS_ENGINEER).text
    finally:
        key.chmod(0o600)
    found = next(r for r in told["rows"] if r["code"] == "SECRET_FILE_OPEN")
    assert (found["severity"], found["command"]) == ("wrong", f"chmod 600 {key}")
    assert found["code"] in page and f"chmod 600 {key}" in page
    severities = [r["severity"] for r in told["rows"]]
    assert severities == sorted(severities, key=("unsafe", "wrong", "warning", "ok").index)
    assert told["counts"]["wrong"] == severities.count("wrong")
    after = web.get("/doctor.json?area=keys", headers=AS_ENGINEER).json()["rows"]
    assert {r["area"] for r in after} == {"keys"}
    assert {r["severity"] for r in after if r["code"] == "SECRET_FILE_OPEN"} == {"ok"}


def test_the_page_is_for_engineers_auditors_and_the_officer(web: httpx.Client) -> None:
    for person in (ENGINEER, "grace.mwangi", "farid.haddad:compliance_officer"):
        assert web.get("/doctor.json", headers={"usance-as": person}).status_code == 200
    for path in ("/doctor", "/doctor.json"):
        no = web.get(path, headers={"usance-as": COMPLIANCE})
        assert no.status_code == 422 and no.json()["code"] == "ROLE_NEEDED"
    assert 'href="/doctor"' not in web.get("/", headers={"usance-as": COMPLIANCE}).text
    assert 'href="/doctor"' in web.get("/", headers=AS_ENGINEER).text


def test_an_area_that_does_not_exist_is_told(web: httpx.Client) -> None:
    no = web.get("/doctor.json?area=nonsense", headers=AS_ENGINEER)
    assert no.status_code == 404 and "certificates" in no.json()["hint"]
