"""Pages without scripts: they show what their twins say, escape everything, and take forms."""

from __future__ import annotations

import json
import re
import time
from html import unescape
from html.parser import HTMLParser

import httpx
import pytest
from world import CHECKER, COMPLIANCE, ENGINEER, HOSTILE, LISTED, MAKER

from usance.messages import inputs

PAGES = [
    "/", "/work", "/credits", "/credits?side=import&order=-amount&min=1,000", "/apply",
    "/credits/TF26LC000102", "/credits/TF26LC000102?tab=timeline&view=full",
    "/credits/TF26LC000102?tab=timeline&view=json", "/credits/TF26LC000102?tab=state&revision=5",
    "/credits/TF26LC000102?tab=messages", "/credits/TF26LC000102?tab=ledger", "/credits/EXP001",
    "/presentations", "/presentations/PR26000001", "/presentations/PR26000002?tab=state",
    "/present?credit=TF26LC000102", "/facilities", "/facilities/F1", "/approvals",
    "/approvals/credit:albion/credit/TF26LC000104", "/ledger", "/messages", "/search?q=TF26",
    "/sagas", "/sagas/issuance:TF26LC000103", "/incidents", "/dead-letters", "/parked", "/answers",
    "/events", "/projections", "/schemas", "/system",
    "/lag", "/lag?behind=1",
]  # fmt: skip


class Form(HTMLParser):
    """The first form that posts to `action`, with its fields as a browser would send them."""

    def __init__(self, action: str, page: str) -> None:
        super().__init__()
        self.action, self.inside, self.fields = action, False, dict[str, str]()
        self.select = ""
        self.found = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        said = dict(attrs)
        if tag == "form":
            self.inside = said.get("action") == self.action and not self.found
            self.found = self.found or self.inside
        if self.inside and tag in ("input", "textarea") and said.get("name"):
            self.fields[said["name"]] = said.get("value") or ""
        if self.inside and tag == "select":
            self.select = said["name"]
        if self.inside and tag == "option" and self.select:
            self.fields.setdefault(self.select, said.get("value") or "")

    def handle_endtag(self, tag):
        if tag == "form":
            self.inside = False
        if tag == "select":
            self.select = ""


@pytest.fixture
def browse(address):
    """A browser without scripts that acts as the person named."""
    clients = []

    def as_person(person: str, role: str) -> httpx.Client:
        client = httpx.Client(base_url=address, follow_redirects=True, timeout=20)
        client.headers["accept"] = "text/html"
        client.post("/act-as", data={"person": f"{person}:{role}", "back": "/"})
        clients.append(client)
        return client

    yield as_person
    for client in clients:
        client.close()


@pytest.mark.parametrize("path", PAGES)
def test_every_page_answers_within_its_size_with_a_twin_and_a_strict_policy(browse, path):
    client = browse(CHECKER, "checker")
    page = client.get(path)
    assert page.status_code == 200, page.text[-800:]
    assert len(page.content) < 200_000
    policy = page.headers["content-security-policy"]
    assert "unsafe-inline" not in policy and "script-src 'self'" in policy
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=|\sstyle=|https?://(?!www\.w3)", page.text)
    twin = re.search(r'rel="alternate" type="application/json" href="([^"]+)"', page.text)
    assert twin, "no twin"
    assert client.get(unescape(twin[1])).headers["content-type"] == "application/json"


def test_the_rows_of_a_page_are_those_of_its_twin(browse):
    client = browse(MAKER, "maker")
    page = client.get("/credits?side=import&order=reference").text
    twin = client.get("/credits.json?side=import&order=reference").json()
    shown = re.findall(r'href="/credits/(TF26LC\d+)">', page)
    assert shown == [row["reference"] for row in twin["rows"]]
    assert "USD</abbr> 250,000.00" in page


def test_hostile_names_are_text_and_nothing_else(browse):
    client = browse(CHECKER, "checker")
    for path in (
        "/credits",
        "/credits/TF26LC000104",
        "/search?q=<script>alert(1)</script>",
        "/approvals/credit:albion/credit/TF26LC000104",
        "/credits?text=%22><script>",
    ):
        page = client.get(path).text
        assert "<script>alert" not in page and '"><script>' not in page
    assert HOSTILE in unescape(client.get("/credits/TF26LC000104").text)


def test_whoever_made_it_is_told_why_he_cannot_approve_and_finds_no_button(browse):
    made = browse(MAKER, "maker").get("/approvals/credit:albion/credit/TF26LC000101").text
    assert "nobody approves their own work" in made and "/do/ApproveCredit" not in made
    second = browse(CHECKER, "checker").get("/approvals/credit:albion/credit/TF26LC000101").text
    assert "/do/ApproveCredit" in second


def test_a_second_person_approves_what_is_shown_and_sees_the_outcome(browse):
    maker = browse(MAKER, "maker")
    fields = Form("/do/ApplyForCredit", maker.get("/apply").text).fields | {
        "credit": "WEB001", "application": "APP-WEB1", "facility": "F1",
        "terms.currency": "USD", "terms.amount~terms.currency": "12,500.00",
        "terms.expiry_date": "2027-02-26", "terms.expiry_place": "SINGAPORE",
        "terms.available_with": "MERLSGSGXXX", "terms.advising_bank": "MERLSGSGXXX",
        "parties.subject": "party-1",
        "parties.applicant.name": "Albion Furniture Ltd", "parties.applicant.country": "GB",
        "parties.beneficiary.name": "Tanjong Timber Pte Ltd",
        "parties.beneficiary.country": "SG", "narrative.goods": "TEAK",
        "terms.required_documents.0.kind": "invoice",
    }  # fmt: skip
    applied = maker.post("/do/ApplyForCredit", data=fields)
    assert applied.url.path == "/credits/WEB001" and "Accepted" in applied.text, applied.text
    assert "USD</abbr> 12,500.00" in applied.text
    approval = "/approvals/credit:albion/credit/WEB001"
    checker = browse(CHECKER, "checker")
    page = wait_for(checker, approval)
    form = Form("/do/ApproveCredit", page).fields
    preview = checker.post("/do/ApproveCredit", data=form | {"preview": "1"})
    assert "It would be accepted" in preview.text and "CreditApproved" in preview.text
    done = checker.post("/do/ApproveCredit", data=form)
    assert "Accepted" in done.text and done.url.path == "/approvals"
    again = checker.post("/do/ApproveCredit", data=form)
    assert "Accepted" in again.text, "the same form sent twice is the same act"


def wait_for(client: httpx.Client, path: str) -> str:
    for _ in range(100):
        page = client.get(path)
        if page.status_code == 200:
            return page.text
        time.sleep(0.1)
    raise AssertionError(f"{path} never came")


def test_a_form_that_is_refused_comes_back_as_it_was_filled_in(browse):
    maker = browse(MAKER, "maker")
    fields = Form("/do/ApplyForCredit", maker.get("/apply").text).fields
    filled = fields | {
        "credit": "BAD1", "terms.currency": "USD", "terms.amount~terms.currency": "12.345,67",
        "parties.beneficiary.name": HOSTILE,
    }  # fmt: skip
    back = maker.post("/do/ApplyForCredit", data=filled)
    assert back.status_code == 400 and "point" in back.text
    assert 'value="BAD1"' in back.text and HOSTILE in unescape(back.text)
    assert "<script>alert" not in back.text


def test_a_refusal_on_a_page_shows_rule_and_next_step_after_the_redirect(browse):
    checker = browse(CHECKER, "checker")
    fields = {"key": "TF26LC000101", "back": "/credits/TF26LC000101", "reason": "wrong"}
    page = checker.post("/do/RequestVoid", data=fields)
    assert page.url.path == "/credits/TF26LC000101" and "outcome=" in str(page.url)
    assert "Refused" in page.text and "NOT_IN_THIS_STATE" in page.text and "Next" in page.text


def test_the_refusal_builder_previews_the_one_notice_and_offers_only_lawful_disposals(browse):
    page = browse(CHECKER, "checker").get("/presentations/PR26000002").text
    offered = re.findall(r'<option value="(\w+)">[A-Z]+ –', page)
    assert offered == ["HOLD", "NOTIFY", "RETURN", "PREVINST"]
    form = Form("/do/RefusePresentation", page).fields
    assert "discrepancies" not in form, "discrepancies are those found, never typed"
    preview = browse(MAKER, "maker").post("/do/RefusePresentation", data=form | {"preview": "1"})
    assert "PresentationRefused" in preview.text or "would be refused" in preview.text


def test_cases_show_compliance_the_score_and_the_list_and_nobody_else_the_page(browse):
    trade, officer = browse(MAKER, "maker"), browse(COMPLIANCE, "compliance")
    assert 'href="/cases"' not in trade.get("/").text
    assert trade.get("/cases").status_code == 404
    page = officer.get("/cases").text
    reference = re.search(r'href="/cases/([^"]+)"', page)
    shown = officer.get(f"/cases/{reference[1]}").text
    assert LISTED in unescape(shown) and "token by token" in shown
    held = trade.get("/credits/TF26LC000105").text
    assert "in process" in held
    assert not re.search(r"sanction|screening|hit\b|compliance case", held, re.IGNORECASE)


def test_today_is_what_one_may_do_and_says_how_much_waits_for_others(browse):
    checker, maker = browse(CHECKER, "checker"), browse(MAKER, "maker")
    assert "Not you:" not in checker.get("/").text
    today = maker.get("/today.json").json()
    assert all(row["blocked"] == "" for row in today["work"]) and today["for_others"] > 0
    assert f"{today['for_others']} more wait for others" in maker.get("/").text


def test_work_is_claimed_seen_by_others_and_given_back_and_gives_no_right(browse, web):
    maker, checker = browse(MAKER, "maker"), browse(CHECKER, "checker")
    rows = checker.get("/work.json?kind=approve_credit").json()["rows"]
    item = next(row for row in rows if row["reference"] == "TF26LC000101")
    form = {"work": item["id"], "back": "/work?kind=approve_credit"}
    page = maker.post("/do/ClaimWork", data=form).text
    assert "✓ Accepted" in page and ">You<" in page and "Release: Approve the issue" in page
    assert "✕ Refused" in checker.post("/do/ClaimWork", data=form).text
    held = checker.get(f"/work.json?holder={MAKER}").json()["rows"]
    assert [(row["id"], row["holder"]) for row in held] == [(item["id"], MAKER)]
    assert item["id"] not in checker.get("/work.json?holder=nobody").text
    blocked = maker.get("/work.json?kind=approve_credit&subject=TF26LC000101").json()["rows"][0]
    assert "second person" in blocked["blocked"], "a claim gives no right"
    assert checker.post("/do/ReleaseWork", data=form).text.count("NOT_THE_HOLDER") == 1
    answer = web.post(
        "/commands/ReleaseWork", json={"work": item["id"]}, headers={"usance-as": MAKER}
    )
    assert answer.status_code == 200 and answer.json()["key"].endswith(item["id"])


def test_deadlines_stand_in_banking_days_of_their_calendar_wherever_they_are_shown(browse):
    client = browse(CHECKER, "checker")
    for path in ("/", "/work", "/presentations", "/credits/TF26LC000103"):
        page = client.get(path).text
        assert "banking days left <small>" in page and "GBLON</small>" in page, path


def test_an_approval_shows_lists_as_tables_and_leaves_nothing_out(browse):
    client = browse(CHECKER, "checker")
    path = "/approvals/credit:albion/credit/TF26LC000104"
    page, content = client.get(path).text, client.get(f"{path}.json").json()["content"]
    assert "documents.1" not in page
    rows = page.partition("<h3>Required documents</h3>")[2].partition("</table>")[0]
    kinds = [
        v for n, v in content.items() if n.startswith("terms.required_documents") or "kind" in n
    ]
    assert kinds and all(kind.replace("_", " ") in rows for kind in kinds)


def test_the_slider_page_shows_what_an_event_changed(browse):
    page = browse(CHECKER, "checker").get("/credits/TF26LC000102?tab=state&revision=5").text
    assert "AWAITING_APPROVAL" in page and "What changed" in page
    twin = browse(CHECKER, "checker").get("/credits/TF26LC000102.json?tab=state&revision=5").json()
    assert twin["revision"] == 5 and {c["field"] for c in twin["changed"]} >= {"state"}


def test_filters_are_kept_under_a_name_and_forgotten(browse):
    client = browse(MAKER, "maker")
    client.post("/saved", data={"name": "Big", "back": "/credits?min=200000"})
    assert "★ Big" in client.get("/credits").text
    client.post("/saved", data={"name": "Big", "back": "/credits", "forget": "1"})
    assert "★ Big" not in client.get("/credits").text


@pytest.mark.parametrize("back", ["//evil.example", "https://evil.example", "/\\evil", "/a\r\nb"])
def test_a_redirect_never_leaves_the_console(address, back):
    with httpx.Client(base_url=address) as client:
        answer = client.post("/act-as", data={"person": f"{MAKER}:maker", "back": back})
        assert answer.headers["location"] == "/"


def test_a_wrong_address_and_a_wrong_filter_are_pages_that_say_what_next(browse):
    client = browse(MAKER, "maker")
    for path, status in (
        ("/nowhere", 404), ("/credits/NONE", 404), ("/credits?amount_from=abc", 400),
        ("/credits?cursor=%00garbage", 400), ("/events/none", 404), ("/messages/none", 404),
        ("/schemas/none", 404), ("/credits?limit=²", 400), ("/credits?side=%ff", 200),
        ("/schemas/usance.Meta?version=²", 200), ("/credits/TF26LC000102?tab=state&revision=²", 400),
        ("/credits/TF26LC000102?tab=state&revision=99999", 404),
    ):  # fmt: skip
        page = client.get(path)
        assert page.status_code == status, (path, page.status_code)
        assert ("Traceback" not in page.text and "Next" in page.text) or page.status_code == 200


def test_a_dead_letter_shows_its_bytes_and_is_discarded_with_a_reason(browse):
    engineer = browse(ENGINEER, "engineer")
    twin = engineer.get("/dead-letters.json").json()["rows"]
    assert twin, "the broken file is a dead letter"
    page = engineer.get(f"/dead-letters/{twin[0]['id']}").text
    assert "this is no message" in page
    form = Form("/do/Discard", page).fields | {"reason": "test file"}
    preview = engineer.post("/do/Discard", data=form | {"preview": "1"})
    assert "answered as discarded" in preview.text
    done = engineer.post("/do/Discard", data=form)
    assert "Accepted" in done.text, done.text


def test_an_unreadable_input_is_read_again_from_its_page_and_counts_once(
    browse, web, world, monkeypatch
):
    said = {"id": "set-F9", "as": CHECKER, "role": "checker", "margin_account": "GB00ALBN0009"}
    facility = {"type": "SetFacility", "facility": "F9", "customer": "party-9", "currency": "USD"}
    document = said | facility | {"limit": 1_000_000, "expiry": "2027-12-31"}
    with monkeypatch.context() as older:
        older.setattr(inputs, "INPUT_LIMIT", 20)
        drop(world, "late.json", json.dumps(document).encode())
        letter = eventually(lambda: find_letter(web, "F9"))
    maker, engineer = browse(MAKER, "maker"), browse(ENGINEER, "engineer")
    path = f"/dead-letters/{letter['id']}"
    before = web.get("/system.json").json()
    form = Form("/do/Reread", engineer.get(path).text).fields | {"reason": "a larger limit"}
    assert "FacilitySet" in engineer.post("/do/Reread", data=form | {"preview": "1"}).text
    assert "ROLE_NEEDED" in maker.post("/do/Reread", data=form).text
    assert web.get("/system.json").json()["accepted"] == before["accepted"]
    assert "✓ Accepted" in engineer.post("/do/Reread", data=form).text
    after = eventually(lambda: settled(web, path))
    assert after["row"]["state"] == "discarded"
    counts = web.get("/system.json").json()
    assert counts["inputs"] == before["inputs"] and counts["accepted"] == before["accepted"] + 1
    assert counts["dead_letters"] == before["dead_letters"] - 1
    again = web.post(f"{path}/reread", json={"reason": "once more"})
    assert (again.status_code, again.json()["code"]) == (422, "NOT_AN_INPUT")


def test_dead_letters_are_filtered_by_class_key_and_time_in_the_address(browse):
    client = browse(ENGINEER, "engineer")
    every = client.get("/dead-letters.json").json()["rows"]
    assert every
    for query, wanted in (
        ("failure=poison", len(every)), ("failure=process-killer", 0), ("key=unreadable", len(every)),
        ("key=nowhere", 0), ("since=2020-01-01&until=2099-01-01", len(every)), ("until=2020-01-01", 0),
    ):  # fmt: skip
        assert len(client.get(f"/dead-letters.json?{query}").json()["rows"]) == wanted, query
    page = client.get("/dead-letters?failure=poison&since=2020-01-01").text
    assert "<option selected>poison" in page and 'value="2020-01-01"' in page
    assert client.get("/dead-letters?since=yesterday").status_code == 400


def test_a_form_filled_in_on_an_older_revision_says_what_changed_and_keeps_it(browse, web):
    maker, other = browse(MAKER, "maker"), browse(MAKER, "maker")
    path, change = (
        "/credits/TF26LC000102",
        {"reason": "a longer voyage", "changes.expiry_date": "2027-06-30"},
    )
    form = Form("/do/RequestAmendment", maker.get(path).text).fields | change
    looked_at = web.get(f"{path}.json").headers["etag"]
    assert looked_at == f'"{form["if_match"]}"'
    first = Form("/do/RequestAmendment", other.get(path).text).fields
    first |= {"reason": "another port", "changes.port_of_discharge": "HAMBURG"}
    assert "✓ Accepted" in other.post("/do/RequestAmendment", data=first).text
    late = maker.post("/do/RequestAmendment", data=form)
    assert late.status_code == 412 and "What changed since you looked" in late.text
    key = "albion/credit/TF26LC000102"
    told = web.post(
        f"/commands/CloseCredit?key={key}",
        json={},
        headers={"if-match": looked_at, "usance-as": MAKER},
    )
    problem = told.json()
    assert (told.status_code, problem["code"]) == (412, "REVISION_MOVED")
    assert problem["changed"][-1]["revision"] == problem["revision"]
    assert problem["revision"] > int(form["if_match"]) and problem["changed"][0]["person"] == MAKER
    again = Form("/do/RequestAmendment", late.text).fields
    assert "if_match" not in again and again["reason"] == "a longer voyage"
    assert "412" not in str(maker.post("/do/RequestAmendment", data=again).status_code)
    junk = web.post(f"/commands/CloseCredit?key={key}", json={}, headers={"if-match": "abc"})
    assert junk.status_code == 400


def test_the_number_of_a_dropped_amendment_is_offered_again(browse, web):
    maker, path = browse(MAKER, "maker"), "/credits/TF26LC000103"
    wish = {"changes.port_of_discharge": "HAMBURG"}
    form = Form("/do/RequestAmendment", maker.get(path).text).fields | wish
    assert form["amendment"] == "1"
    assert "✓ Accepted" in maker.post("/do/RequestAmendment", data=form).text
    key = "albion/credit/TF26LC000103"
    drop_it = {"amendment": 1, "reason": "not wanted"}
    gone = web.post(
        f"/commands/DropAmendment?key={key}", json=drop_it, headers={"usance-as": MAKER}
    )
    assert gone.status_code == 200, gone.text
    page = maker.get(path, headers={"if-position": gone.json()["position"]}).text
    assert Form("/do/RequestAmendment", page).fields["amendment"] == "1"


def test_a_repeat_under_its_key_gets_its_first_answer_whatever_its_if_match(web):
    headers = {"idempotency-key": "facility-again", "usance-as": CHECKER}
    body = {"facility": "F1", "customer": "party-1", "currency": "USD", "limit": 500000001}
    body |= {"expiry": "2027-12-31", "margin_account": "GB00ALBN0001"}
    revision = web.get("/facilities/F1.json").headers["etag"]
    headers |= {"if-match": revision}
    first = web.post("/commands/SetFacility", json=body, headers=headers)
    assert first.status_code == 200, first.text
    assert web.post("/commands/SetFacility", json=body, headers=headers).json() == first.json()


def test_lag_stands_per_group_and_partition_and_hides_compliance(browse):
    engineer, officer = browse(ENGINEER, "engineer"), browse(COMPLIANCE, "compliance")
    mine, all_of = engineer.get("/lag.json").json(), officer.get("/lag.json").json()
    groups = {(row["group"], row["topic"]) for row in mine["groups"]}
    assert ("usance-owner", "usance.trade.commands") in groups
    assert not any(".compliance." in topic for _, topic in groups)
    assert any(".compliance." in row["topic"] for row in all_of["groups"])
    assert all(row["end"] >= row["position"] for row in mine["groups"])
    assert "book" in {row["name"] for row in mine["views"]} and mine["consume_groups"] == []
    one = engineer.get("/lag.json?group=usance-intake").json()["groups"]
    assert {row["topic"] for row in one} == {"usance.trade.intake"}
    assert engineer.get("/lag?group=nobody").status_code == 404
    assert "usance-owner" in engineer.get("/lag").text


def test_system_says_what_this_process_is_and_does(browse, world):
    client = browse(ENGINEER, "engineer")
    process = client.get("/system.json").json()["process"]
    assert (process["log"], process["address"]) == ("embedded", str(world.program.folder.log))
    assert "trade.p0" in process["owns"] and process["roles"] == sorted(world.program.roles)
    assert {"owner", "projector"} <= {part["name"] for part in process["parts"]}
    assert {part["state"] for part in process["parts"]} == {"works"}
    page = client.get("/system").text
    for text in ("embedded file", process["address"], process["codec"], "sample data, stale"):
        assert text in unescape(page), text


def drop(world, name, data):
    inbox = world.program.folder.gateway / "in"
    part = inbox / f".{name}.part"
    part.write_bytes(data)
    part.rename(inbox / name)


def eventually(look):
    for _ in range(200):
        if (found := look()) is not None:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come")


def find_letter(web, text):
    rows = web.get("/dead-letters.json?state=open").json()["rows"]
    letters = (web.get(f"/dead-letters/{row['id']}.json").json() for row in rows)
    return next(({"id": x["row"]["id"]} for x in letters if text in x["text"]), None)


def settled(web, path):
    found = web.get(f"{path}.json").json()
    return None if found["row"]["state"] == "open" else found


def test_a_timeline_shows_causes_and_matters_as_arrows(browse):
    page = browse(CHECKER, "checker").get("/credits/TF26LC000102?tab=timeline").text
    assert 'id="r1"' in page and "⤴ 1</a>" in page and 'href="#r1"' in page
    assert re.search(r'← <a href="/sagas/[^"]+">saga</a>', page)
