"""Audit packs from the console and by HTTP: a download that verifies, recorded before it is given."""

from __future__ import annotations

import json

import httpx
import pytest
from world import CHECKER, COMPLIANCE, MAKER, World

from usance.audit.pack_records import unzipped
from usance.audit.pack_verify import judge

AUDITOR = "grace.mwangi"
CREDIT = "TF26LC000102"


@pytest.fixture
def audit(address: str):
    with httpx.Client(base_url=address, headers={"usance-as": AUDITOR}, timeout=60) as client:
        yield client


def test_a_pack_is_downloaded_verifies_and_is_in_the_log(audit: httpx.Client, world: World) -> None:
    answer = audit.get(f"/credits/{CREDIT}/pack.zip", params={"case": "FCA 17"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"].endswith(f'"credit-{CREDIT}.pack.zip"')
    assert answer.headers["cache-control"] == "no-store"
    found = judge(memoryview(answer.content), answer.headers["usance-fingerprint"])
    assert (
        found["handed_over"]["by"] == AUDITOR
        and found["verifier"] == answer.headers["usance-verifier"]
    )
    key = f"albion/export/{answer.headers['usance-pack']}"
    (past,) = world.program.store.history.stream(key)
    assert past.message.scope == f"credit {CREDIT}" and past.message.case == "FCA 17"


def test_the_twin_takes_partitions_and_queries(audit: httpx.Client) -> None:
    answer = audit.get("/audit/pack.zip", params={"query": f"stream=albion/credit/{CREDIT}"})
    assert answer.status_code == 200, answer.text
    files = unzipped(memoryview(answer.content))
    manifest = json.loads(bytes(files["manifest.json"]))
    assert manifest["streams"] == [f"albion/credit/{CREDIT}"]
    whole = audit.get("/audit/pack.zip", params={"partition": "1"})
    assert json.loads(bytes(unzipped(memoryview(whole.content))["manifest.json"]))["scope"] == {
        "kind": "partition",
        "value": "1",
    }


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/credits/TF26LC999999/pack.zip", 404, "NOTFOUND"),
        ("/audit/pack.zip", 422, "EXPORT_WHAT"),
        ("/audit/pack.zip?partition=0&query=x=y", 422, "EXPORT_WHAT"),
        ("/audit/pack.zip?partition=0&known_at=soon", 422, "EXPORT_WHAT"),
        (f"/credits/{CREDIT}/pack.zip?as_of=soon", 400, "UNREADABLE"),
        (f"/credits/{CREDIT}/pack.zip?known_at=1000000", 422, "UNKNOWN_HEAD"),
    ],
)
def test_what_makes_no_pack_is_a_problem_that_says_what_to_do(
    audit: httpx.Client, path: str, status: int, code: str
) -> None:
    answer = audit.get(path)
    told = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (
        status,
        "application/problem+json",
    )
    assert code in json.dumps(told) and told["hint"]


def test_whoever_may_not_take_packs_out_sees_no_link_and_gets_none(address: str) -> None:
    for person, may in ((MAKER, False), (COMPLIANCE, False), (CHECKER, True), (AUDITOR, True)):
        with httpx.Client(base_url=address, headers={"usance-as": person}, timeout=60) as client:
            page = client.get(f"/credits/{CREDIT}", headers={"accept": "text/html"}).text
            assert (f"/credits/{CREDIT}/pack.zip" in page) is may, person
    with httpx.Client(base_url=address, headers={"usance-as": MAKER}, timeout=60) as client:
        answer = client.get(f"/credits/{CREDIT}/pack.zip")
        assert answer.status_code in (403, 422) and "ROLE_NEEDED" in answer.text


def test_the_description_of_the_api_names_the_packs(audit: httpx.Client) -> None:
    paths = audit.get("/openapi.json").json()["paths"]
    for path in ("/credits/{ref}/pack.zip", "/audit/pack.zip"):
        assert "application/zip" in paths[path]["get"]["responses"]["200"]["content"]
