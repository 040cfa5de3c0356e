"""Card numbers in requests: refused with the place named, echoed to nobody, kept nowhere."""

from __future__ import annotations

import subprocess
from pathlib import Path

import httpx
import pytest
from world import CHECKER, COMPLIANCE, MAKER, World

from usance.bootstrap.accessing import Look, Refusals, looked
from usance.engine.owner.accesses import AccessRecorded
from usance.kernel.decider import Actor

VISA = "4012888888881881"
GROUPED = "4012 8888 8888 1881"
BODY = {"reason": f"charge {GROUPED}"}
KEY = "TF26LC000001"


def found_in(folder: Path) -> str:
    """Search every file of the data folder, from a process of its own: its database is open here."""
    words = [part for number in (VISA, GROUPED) for part in ("-e", number)]
    return subprocess.run(["grep", "-rlF", *words, folder], capture_output=True, text=True).stdout


def demand_refusal(answer: httpx.Response) -> None:
    assert answer.status_code == 422, answer.text
    told = answer.json()
    assert told["code"] == "CARD_NUMBER"
    assert told["article"] == "PCI-DSS-3.5.1"
    assert "in field reason" in told["detail"]
    assert VISA[6:12] not in answer.text


@pytest.mark.parametrize("query", [f"?key={KEY}", f"?key={KEY}&dry_run"])
def test_a_command_with_a_card_in_its_words_is_refused(web: httpx.Client, query: str) -> None:
    demand_refusal(web.post(f"/commands/CloseCredit{query}", json=BODY))


def test_one_item_of_a_batch_is_refused_and_the_others_are_answered(web: httpx.Client) -> None:
    items = [
        {"type": "CloseCredit", "key": KEY, "command": BODY},
        {"type": "CloseCredit", "key": "NOSUCH", "command": {"reason": "by mail"}},
    ]
    first, second = web.post("/commands:batch?dry_run", json=items).json()
    assert (first["status"], first["answer"]["code"]) == (422, "CARD_NUMBER")
    assert second["answer"].get("code") != "CARD_NUMBER"


def test_a_form_with_a_card_comes_back_masked(web: httpx.Client) -> None:
    web.cookies.set("usance_as", CHECKER)
    origin = {"origin": str(web.base_url).rstrip("/")}
    form = {"command": "CloseCredit", "key": KEY, "reason": f"charge {GROUPED}", "form": "/send"}
    answer = web.post("/do", data=form, headers=origin)
    assert answer.status_code == 422, answer.text[:500]
    assert "A card number" in answer.text or "a card number" in answer.text
    assert GROUPED not in answer.text
    as_json = {
        "command": "CloseCredit",
        "key": KEY,
        "json": f'{{"reason":"{VISA}"}}',
        "form": "/send",
    }
    answer = web.post("/do", data=as_json, headers=origin)
    assert VISA not in answer.text
    assert "401288******1881" in answer.text


def test_reading_an_input_again_takes_no_card_as_its_reason(web: httpx.Client) -> None:
    demand_refusal(web.post("/dead-letters/any/reread", json=BODY, headers={"usance-as": MAKER}))


def test_a_card_in_the_key_that_a_command_is_sent_to_is_refused(web: httpx.Client) -> None:
    answer = web.post(
        "/commands/CloseCredit", params={"key": f"card {GROUPED}"}, json={"reason": "by mail"}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "CARD_NUMBER")
    assert VISA[6:12] not in answer.text and GROUPED not in answer.text


@pytest.mark.parametrize("field", ["subject", "credit"])
def test_a_look_for_a_card_is_recorded_with_its_mask(
    web: httpx.Client, world: World, field: str
) -> None:
    answer = web.get("/cases.json", params={field: VISA}, headers={"usance-as": COMPLIANCE})
    assert answer.status_code == 200, answer.text
    said = world.program.store.history.stream(f"albion/access/{COMPLIANCE}")[-1].message
    assert isinstance(said, AccessRecorded)
    assert "401288******1881" in said.resource + said.credit
    assert VISA not in said.resource + said.credit


def test_a_denial_that_names_a_card_is_recorded_with_its_mask() -> None:
    person, look = Actor(MAKER, "", "maker"), Look("case.view", f"card {GROUPED}", VISA)
    denied = Refusals().outgoing("albion", person, look, "ROLE_NEEDED", "api", 0)
    assert denied is not None
    for made in (denied, looked("albion", person, look, "api")):
        assert made.command.resource == "card 401288******1881"
    assert looked("albion", person, look, "api").command.credit == "401288******1881"


def test_nothing_of_it_is_in_any_file_while_other_words_are(
    web: httpx.Client, world: World
) -> None:
    web.post(f"/commands/CloseCredit?key={KEY}", json=BODY)
    web.post(f"/commands/CloseCredit?key={KEY}", json={"reason": "an unmistakable marker"})
    folder = world.program.folder.root
    assert found_in(folder) == ""
    control = subprocess.run(
        ["grep", "-rlF", "an unmistakable marker", folder], capture_output=True
    )
    assert control.stdout  # so that the search would find it
