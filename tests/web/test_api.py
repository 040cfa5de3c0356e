"""The API over a running program: commands answered after their commit, repeats, refusals, bad input."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from world import CHECKER, COMPLIANCE, ENGINEER, MAKER

from usance.domain.facility_messages import SetFacility
from usance.web.app import create_app

JSON = {"content-type": "application/json"}


def facility(number: str, **more: Any) -> dict[str, Any]:
    made = SetFacility(
        facility=number, customer="party-9", currency="USD", limit=1_000_00, expiry="2027-12-31"
    )
    return msgspec.to_builtins(made) | more


def send(web: httpx.Client, body: Any, kind: str = "SetFacility", **more: Any) -> httpx.Response:
    return web.post(f"/commands/{kind}", json=body, **more)


def test_an_accepted_command_tells_revision_events_and_the_position_to_read_at(web):
    answer = send(web, facility("A1"))
    told = answer.json()
    assert (answer.status_code, told["outcome"], told["revision"]) == (200, "accepted", 1)
    assert told["position"] == told["events"][-1]["position"]
    read = web.get("/facilities/A1.json", headers={"if-position": told["position"]})
    assert read.json()["row"]["limit"] == 1_000_00
    assert read.headers["etag"] == '"1"'


def test_the_same_idempotency_key_and_body_get_the_same_answer(web):
    headers = {"idempotency-key": "A2-once"}
    first = send(web, facility("A2"), headers=headers)
    again = send(web, facility("A2"), headers=headers)
    assert first.status_code == again.status_code == 200
    assert first.content == again.content


def test_a_repeat_after_the_answer_left_memory_is_looked_up_and_equal(web, world):
    headers = {"idempotency-key": "A3-once"}
    first = send(web, facility("A3"), headers=headers)
    web.get("/facilities/A3.json", headers={"if-position": first.json()["position"]})
    fresh = create_app(world.program)
    with_fresh = asyncio_post(fresh, "/commands/SetFacility", facility("A3"), headers)
    assert with_fresh.json() == first.json()


def asyncio_post(app: Any, path: str, body: Any, headers: dict[str, str]) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            said = {"usance-as": CHECKER, **headers}
            return await client.post(path, json=body, headers=said)

    return asyncio.run(ask())


def test_the_same_idempotency_key_with_another_body_is_422(web):
    headers = {"idempotency-key": "A4-once"}
    assert send(web, facility("A4"), headers=headers).status_code == 200
    other = send(web, facility("A4", limit=5), headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")


def test_a_refused_command_is_a_problem_with_rule_article_and_next_step(web, world):
    said = {"revision": 1, "content_hash": "00"}
    answer = send(
        web, said, "ApproveCredit", params={"key": "TF26LC000101"}, headers={"usance-as": MAKER}
    )
    told = answer.json()
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert told["code"] == "SELF_APPROVAL" and told["type"] == "urn:usance:refusal:SELF_APPROVAL"
    assert told["hint"]


def test_a_dry_run_tells_events_and_postings_and_records_nothing(web):
    answer = send(web, facility("A5"), params={"dry_run": "1"})
    assert answer.json()["events"][0]["type"] == "FacilitySet"
    assert web.get("/facilities/A5.json").status_code == 404


def test_a_batch_answers_each_command_by_itself_in_order(web):
    items = [
        {"type": "SetFacility", "command": facility("B1")},
        {"type": "SetFacility", "command": facility("B2", limit=-5)},
        {"type": "NoSuchThing", "command": {}},
        {"type": "SetFacility", "command": {"facility": 7}},
        {"type": "SetFacility", "command": facility("B3"), "id": "B3-once"},
        {"type": "SetFacility", "command": facility("B3", limit=9), "id": "B3-once"},
    ]
    answers = web.post("/commands:batch", json=items).json()
    assert [a["status"] for a in answers] == [200, 422, 404, 400, 200, 422]


def test_a_batch_beyond_its_bound_is_refused_whole(web):
    items = [{"type": "SetFacility", "command": {}}] * 501
    assert web.post("/commands:batch", json=items).status_code == 400


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/commands/SetFacility", b"{", JSON, 400),
        ("/commands/SetFacility", b"\xff\xfe", JSON, 400),
        ("/commands/SetFacility", b"[]", JSON, 400),
        ("/commands/SetFacility", b'{"facility": 1}', JSON, 400),
        ("/commands/SetFacility", b"{}", {"content-type": "text/plain"}, 415),
        ("/commands/Nonsense", b"{}", JSON, 404),
        ("/commands/ObserveEvent", b"{}", JSON, 404),
        ("/commands/CompleteComplianceCheck", b"{}", JSON, 404),
        ("/commands/RequestVoid", b'{"reason": "x"}', JSON, 422),
        ("/commands/RequestVoid?key=other/credit/X", b'{"reason": "x"}', JSON, 422),
        ("/commands/SetFacility", b"{}", JSON | {"idempotency-key": "x" * 300}, 400),
        ("/commands/Redrive?key=trade.p99", b"{}", JSON, 400),
        ("/commands:batch", b'{"type": 1}', JSON, 400),
        ("/commands/SetFacility", b" " * 2_000_001, JSON, 413),
        ("/do/SetFacility", b"{}", JSON, 422),
    ],
)
def test_malformed_input_is_a_problem_that_says_what_to_do_next(web, path, body, headers, status):
    answer = web.post(path, content=body, headers=headers)
    assert answer.status_code == status, answer.text
    told = answer.json()
    assert told["status"] == status and told["detail"] and told["hint"]
    assert "Traceback" not in answer.text


def test_a_body_without_a_length_is_cut_at_the_limit(web):
    def endless():
        for _ in range(60):
            yield b" " * 50_000

    for path in ("/commands/SetFacility", "/commands:batch"):
        answer = web.post(path, content=endless(), headers=JSON)
        assert answer.status_code == 413


def test_nobody_acts_without_being_named(address):
    with httpx.Client(base_url=address) as client:
        answer = send(client, facility("N1"))
        assert answer.json()["code"] == "ACTING_AS_MISSING"
        unknown = send(client, facility("N1"), headers={"usance-as": "nobody.knows"})
        assert unknown.status_code == 404 and MAKER in unknown.json()["hint"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1.evil.example"}, 421),
        ({"host": "localhost@evil.example"}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
def test_other_hosts_and_pages_of_other_sites_are_turned_away(web, headers, status):
    for path in ("/commands/SetFacility", "/do/SetFacility", "/act-as", "/commands:batch"):
        answer = web.post(path, json=facility("E1"), headers=headers)
        assert answer.status_code == status
    assert web.get("/facilities/E1.json").status_code == 404


def test_a_rebound_name_cannot_even_read(web):
    assert web.get("/credits.json", headers={"host": "evil.example:8400"}).status_code == 421


def test_a_position_that_is_not_reached_is_412_and_a_malformed_one_400(web):
    far = web.get("/facilities.json", headers={"if-position": "trade.p0#999999"})
    assert (far.status_code, far.json()["code"]) == (412, "POSITION_NOT_REACHED")
    page = web.get("/facilities", headers={"if-position": "trade.p0#999999"})
    assert page.status_code == 200 and page.headers["stale"] == "true" and "Stale" in page.text
    assert web.get("/facilities.json", headers={"if-position": "nonsense"}).status_code == 400


def test_an_outcome_can_be_asked_for_by_command_id(web):
    told = send(web, facility("O1")).json()
    assert web.get(f"/outcomes/{told['command_id']}").json()["outcome"] == "accepted"
    unknown = web.get("/outcomes/00000000-0000-0000-0000-000000000000")
    assert (unknown.status_code, unknown.json()["outcome"]) == (202, "pending")


def test_an_id_under_which_nothing_is_decided_is_not_said_to_be_kept(web):
    answer = web.get("/outcomes/zzz")
    assert answer.status_code == 404 and "UUID" in answer.json()["hint"]
    open_ = web.get("/outcomes/0a4e94cf-1d5c-5d9b-8a3e-2f6f6e3f0001")
    assert open_.status_code == 202 and open_.json()["outcome"] == "pending"
    assert "kept" not in open_.json()["hint"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/credits.json", "GET"),
        ("DELETE", "/credits", "GET"),
        ("GET", "/commands/SetFacility", "POST"),
    ],
)
def test_a_method_that_is_not_answered_tells_those_that_are(web, method, path, allowed):
    answer = web.request(method, path)
    assert answer.status_code == 405 and allowed in answer.headers["allow"]
    assert allowed in answer.json()["hint"] and answer.json()["code"] == "METHOD_NOT_ALLOWED"


@pytest.mark.parametrize("path", ["/credits.json?limit=abc", "/work.json?limit=-1"])
def test_a_number_of_the_query_that_is_none_is_named(web, path):
    answer = web.get(path)
    assert answer.status_code == 400 and "limit" in answer.json()["detail"]


def test_many_callers_at_once_each_get_their_own_answer(web):
    def one(n: int) -> tuple[int, str]:
        answer = send(web, facility(f"M{n}"))
        return answer.status_code, answer.json()["key"]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(one, range(200)))
    assert answers == [(200, f"albion/facility/M{n}") for n in range(200)]


def test_cases_do_not_exist_for_trade_and_their_key_says_nothing(web, world):
    seen = web.get("/cases.json", headers={"usance-as": COMPLIANCE}).json()["rows"]
    assert seen
    for who in (MAKER, CHECKER, ENGINEER):
        headers = {"usance-as": who}
        assert web.get("/cases.json", headers=headers).status_code == 404
        real = web.get(f"/cases/{seen[0]['reference']}.json", headers=headers)
        none = web.get("/cases/no-such-case.json", headers=headers)
        assert real.status_code == none.status_code == 404 and real.content == none.content
        body = {"case_id": seen[0]["reference"], "disposition": "clear", "evidence_hash": ""}
        act = send(web, body, "ApproveDisposition", headers=headers).json()
        other = body | {"case_id": "none"}
        unreal = send(web, other, "ApproveDisposition", headers=headers).json()
        assert act["detail"] == unreal["detail"] and act["code"] == unreal["code"]


def test_the_openapi_document_names_every_command_and_resolves(web):
    document = web.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    assert "/commands/ApplyForCredit" in document["paths"]
    assert "/commands/ObserveEvent" not in document["paths"]
    known = document["components"]["schemas"]

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                if name == "$ref":
                    assert inner.rpartition("/")[2] in known
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(document)


def test_health_answers_both_questions(web):
    assert web.get("/health/live").status_code == 200
    for _ in range(50):
        if web.get("/health/ready").status_code == 200:
            return
        time.sleep(0.1)
    pytest.fail("never ready")


@settings(max_examples=40)
@given(
    body=st.binary(max_size=200), kind=st.sampled_from(("SetFacility", "ApplyForCredit", "Discard"))
)
def test_no_bytes_make_the_endpoint_fail(web_forever, body, kind):
    answer = web_forever.post(f"/commands/{kind}?key=Z", content=body, headers=JSON)
    assert answer.status_code in (400, 422) and answer.json()["hint"]


@pytest.fixture(scope="module")
def web_forever(address):
    with httpx.Client(base_url=address, headers={"usance-as": CHECKER}) as client:
        yield client


def test_the_live_stream_tells_the_light_and_the_position(address):
    with (
        httpx.Client(base_url=address, timeout=10) as client,
        client.stream("GET", "/live") as stream,
    ):
        for line in stream.iter_lines():
            if line.startswith("data: "):
                told = msgspec.json.decode(line[6:].encode())
                assert told["tone"] in ("good", "wait") and told["position"]
                return
    pytest.fail("nothing was told")
