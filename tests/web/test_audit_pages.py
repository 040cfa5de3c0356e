"""The audit pages: what they show, and a real browser that verifies a proof and refuses every wrong one by name."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

import httpx
import pytest
from test_browser import CHECKS
from world import CHECKER, COMPLIANCE, MAKER, World, until

from usance.audit import note
from usance.audit.merkle import consistency_proof, leaf_hash
from usance.audit.note import Checkpoint, SigningKey, Verifier, b64, parse_checkpoint, parse_note
from usance.audit.proof import parse_policy, parse_proof, verify_proof
from usance.audit.tiles import Tiles, paths, unpack_bundle
from usance.bootstrap.packs.auditing import evidence
from usance.kernel.errors import Unavailable
from usance.testing import third_parties as others

TRUST, SEEN = "usance.audit.trust", "usance.audit.heads"


@pytest.fixture
def event(web: httpx.Client) -> str:
    """An event that a logged head covers."""
    rows = web.get("/events.json?type=CreditIssued").json()["rows"]
    found: str = rows[0]["event_id"]
    until(lambda: web.get(f"/audit/proof/{found}.json").status_code == 200)
    return found


@pytest.fixture
def policy(web: httpx.Client) -> str:
    return web.get("/audit/policy.txt").text


def heads_key(policy: str) -> str:
    return next(v.vkey for n, v in parse_policy(policy).logs.items() if n.endswith("/heads"))


# -- by HTTP


def test_an_events_proof_by_http_holds_by_the_verifier_of_files(web, event, policy):
    found = web.get(f"/audit/proof/{event}.json").json()
    trusted = parse_policy(policy)
    leaf = base64.b64decode(found["leaf"])
    verify_proof(
        found["proof"].encode(), leaf, trusted.alone(found["origin"], witnessed=False), found["origin"]
    )  # fmt: skip
    head = verify_proof(
        found["head_proof"].encode(), found["entry"].encode(), trusted, found["heads"]
    )
    assert head.size > 0
    assert event.encode() in base64.b64decode(found["envelope"])


def test_the_tiles_by_http_make_the_signed_root_and_nothing_else_is_served(web, event, policy):
    found = web.get(f"/audit/proof/{event}.json").json()
    at = f"/audit/log/{found['folder']}"
    raw = web.get(f"{at}/checkpoint")
    assert raw.headers["content-type"] == "text/plain; charset=utf-8"
    head = note.open_checkpoint(raw.content, parse_policy(policy).log(found["origin"]))
    files = {path: web.get(f"{at}/{path}") for path in paths(head.size)}
    assert all(f.headers["cache-control"].endswith("immutable") for f in files.values())
    tree = Tiles(head.size, lambda path: files[path].content)
    assert tree.root() == head.root
    assert leaf_hash(unpack_bundle(files[paths(head.size)[0]].content)[0]) == tree.node(0, 0)
    for wrong in (
        "tile/0/000.p/0",
        "tile/0/1",
        "tile/99/000",
        "log.vkey",
        "",
        "..%2f..%2fnotary.key",
    ):
        assert web.get(f"{at}/{wrong}").status_code == 404, wrong
    assert web.get("/audit/log/nothing/p000/checkpoint").status_code == 404


def test_consistency_since_an_older_head_is_given_and_holds(web, event):
    now = web.get("/audit/heads.json?since=1").json()
    head = parse_checkpoint(parse_note(now["checkpoint"].encode()).text)
    first = web.get("/audit/log/heads/tile/entries/000.p/1").content
    root = leaf_hash(unpack_bundle(first)[0])
    proof = [base64.b64decode(h) for h in now["since"]]
    from usance.audit.merkle import verify_consistency

    assert verify_consistency(1, head.size, root, head.root, proof)
    assert web.get("/audit/heads.json?since=x").status_code == 400


def test_trees_of_compliance_are_for_those_who_see_compliance(web):
    path = "/audit/log/compliance.events/p000/checkpoint"
    assert web.get(path).status_code == 404
    as_compliance = {"usance-as": f"{COMPLIANCE}:compliance"}

    def folders(**more: Any) -> list[str]:
        answer = web.get("/audit/heads.json", **more)
        return [t["folder"] for t in answer.json()["trees"]] if answer.status_code == 200 else []

    def of_compliance() -> list[str]:
        return [f for f in folders(headers=as_compliance) if f.startswith("compliance.")]

    until(of_compliance)
    hidden = of_compliance()
    assert not any(f.startswith("compliance.") for f in folders())
    assert web.get(f"/audit/log/{hidden[0]}/checkpoint", headers=as_compliance).status_code == 200
    assert web.get(f"/audit/log/{hidden[0]}/checkpoint").status_code == 404


def test_the_page_tells_stages_witness_safe_and_what_was_verified_last(web, world: World, event):
    with evidence(world.program.folder, world.program.settings) as found:
        found.scrubbed(found.audit())
    until(lambda: web.get("/audit.json").json()["kept"] > 0)
    told = web.get("/audit.json").json()
    assert {s["name"] for s in told["stages"]} == {
        "hashed", "integrated", "signed", "witnessed", "anchored",
    }  # fmt: skip
    assert [w["own"] for w in told["witnesses"]] == [True]
    assert told["scrubbed"]["leaves"] > 0
    assert told["scrubbed"]["findings"] == []
    html = web.get("/audit", headers={"accept": "text/html"}).text
    assert "trade.events/p000" in html
    assert "usance audit scrub" not in html, "a kept verification is shown"


def test_openapi_names_what_auditors_programs_ask(web):
    paths_ = web.get("/openapi.json").json()["paths"]
    for path in ("/audit.json", "/audit/heads.json", "/audit/proof/{ref}.json",
                 "/audit/log/{folder}/{path}", "/audit/policy.txt"):  # fmt: skip
        assert path in paths_


@pytest.mark.go
def test_other_peoples_client_follows_the_log_by_http(web, address, event, policy, tmp_path):
    """Tessera's fsck derives root and tiles from what is served, and refuses another key."""
    try:
        programs = others.build()
    except Unavailable as offline:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"{offline.message}: {offline.hint[-300:]}")
    found = web.get(f"/audit/proof/{event}.json").json()
    served, key = f"{address}/audit/log/{found['folder']}/", tmp_path / "log.vkey"
    key.write_text(parse_policy(policy).log(found["origin"]).vkey)
    assert others.fsck_at(programs, served, key)
    key.write_text(Verifier(found["origin"], SigningKey(bytes(32)).public).vkey)
    assert not others.fsck_at(programs, served, key)


# -- in the browser

browser_tests = pytest.mark.browser


def verdict(page: Any, *, within: str = ".proof") -> str:
    """Wait for the verification's end; returns its code."""
    at = page.locator(f"{within} .verdict[data-code]:not([data-code=VERIFYING])")
    at.wait_for(timeout=30_000)
    return str(at.get_attribute("data-code"))


def pin(page: Any, text: str) -> None:
    """Pin a key before the page is loaded."""
    kept = json.dumps({"text": text, "at": 1_790_000_000_000})
    page.add_init_script(f"localStorage.setItem({TRUST!r}, {json.dumps(kept)})")


def remember(page: Any, heads: dict[str, tuple[int, bytes]]) -> None:
    """Let the browser remember heads, once."""
    seen = {o: {"size": n, "root": b64(r), "at": 1_790_000_000_000} for o, (n, r) in heads.items()}
    text = json.dumps(json.dumps(seen))
    page.add_init_script(
        f"if (!localStorage.getItem({SEEN!r})) localStorage.setItem({SEEN!r}, {text})"
    )


def altered(page: Any, change: Any) -> None:
    """Let something between program and browser change the answers."""

    def handle(route: Any) -> None:
        answer = route.fetch()
        body = answer.json()
        change(body)
        route.fulfill(response=answer, body=json.dumps(body))

    page.route("**/audit/**.json?*", handle)


@browser_tests
def test_a_clean_event_is_whole_by_a_pinned_key_and_not_quite_without(visit, event, policy):
    page = visit("/today")
    page.goto(page.url.replace("/today", f"/audit/proof/{event}"))
    assert verdict(page) == "WHOLE, BY THE PROGRAM'S OWN KEY"
    page.locator("[data-trust] textarea").fill(heads_key(policy))
    page.get_by_role("button", name="Pin", exact=True).click()
    page.locator(".verdict[data-code=WHOLE]").wait_for(timeout=30_000)
    assert page.locator(".steps li.held").count() >= 6
    page.goto(page.url.replace(f"/audit/proof/{event}", f"/events/{event}"))
    page.get_by_role("button", name="Verify in this browser").click()
    assert verdict(page) == "WHOLE"
    assert "witness" not in page.locator(".steps").inner_text(), "no witness's key was pinned"


@browser_tests
def test_a_whole_policy_makes_the_witness_count(visit, event, policy):
    page = visit("/today")
    pin(page, policy)
    page.goto(page.url.replace("/today", f"/audit/proof/{event}"))
    assert verdict(page) == "WHOLE"
    assert "1 witness cosigned it" in page.locator(".steps").inner_text()


@browser_tests
def test_the_log_of_heads_is_followed_from_visit_to_visit(visit, web, event, policy):
    page = visit("/today")
    pin(page, policy)
    page.goto(page.url.replace("/today", "/audit"))
    assert verdict(page) == "WHOLE"
    before = web.get("/audit/heads.json").json()["size"]
    body = {
        "facility": "AUDIT1", "customer": "party-1", "currency": "EUR", "limit": 1_000_00,
        "expiry": "2027-12-31",
    }  # fmt: skip
    assert web.post("/commands/SetFacility", json=body).status_code == 200
    until(lambda: web.get("/audit/heads.json").json()["size"] > before)
    page.reload()
    assert verdict(page) == "WHOLE"
    assert "It extends the head that you saw" in page.locator(".steps").inner_text()


def flip(text: str, at: int = 0) -> str:
    """Return base64 of bytes with one bit flipped."""
    data = bytearray(base64.b64decode(text))
    data[at] ^= 1
    return b64(bytes(data))


def wrong_bytes(body: dict[str, Any]) -> None:
    if "envelope" in body:
        body["envelope"] = flip(body["envelope"], -1)


def wrong_leaf(body: dict[str, Any]) -> None:
    body["leaf"] = flip(body["leaf"], 20)


def wrong_proof(body: dict[str, Any]) -> None:
    proof = parse_proof(body["proof"].encode())
    hashes = (bytes([proof.hashes[0][0] ^ 1]) + proof.hashes[0][1:], *proof.hashes[1:])
    body["proof"] = proof._replace(hashes=hashes).raw().decode()


def wrong_place(body: dict[str, Any]) -> None:
    proof = parse_proof(body["proof"].encode())
    body["proof"] = proof._replace(at=proof.at + 1).raw().decode()


def wrong_signature(body: dict[str, Any]) -> None:
    text, _, line = body["head_proof"].rpartition(" ")
    body["head_proof"] = f"{text} {flip(line.strip(), -1)}\n"


def wrong_size(body: dict[str, Any]) -> None:
    lines = body["proof"].split("\n")
    gap = lines.index("")
    lines[gap + 2] = str(int(lines[gap + 2]) + 1)
    body["proof"] = "\n".join(lines)


def wrong_origin(body: dict[str, Any]) -> None:
    body["origin"] = body["origin"][:-1] + ("1" if body["origin"][-1] != "1" else "0")


def no_proof(body: dict[str, Any]) -> None:
    body["head_proof"] = "c2sp.org/tlog-proof@v2\n" + body["head_proof"].partition("\n")[2]


def nothing(body: dict[str, Any]) -> None:
    body.clear()
    body["policy"] = 7


@browser_tests
@pytest.mark.parametrize(
    ("change", "code"),
    [
        (wrong_bytes, "LEAF_MISMATCH"),
        (wrong_leaf, "PROOF_INVALID"),
        (wrong_proof, "PROOF_INVALID"),
        (wrong_place, "PROOF_INVALID"),
        (wrong_signature, "BAD_SIGNATURE"),
        (wrong_size, "BAD_SIGNATURE"),
        (wrong_origin, "LEAF_MISMATCH"),
        (no_proof, "MALFORMED"),
        (nothing, "MALFORMED"),
    ],
    ids=lambda x: getattr(x, "__name__", x),
)
def test_what_is_not_as_it_was_sealed_is_refused_by_name(visit, event, policy, change, code):
    page = visit("/today")
    pin(page, policy)
    altered(page, change)
    page.goto(page.url.replace("/today", f"/audit/proof/{event}"))
    assert verdict(page) == code
    assert page.locator(".verdict.bad").count() == 1
    assert page.locator(".evidence").count() == 1
    assert page.evaluate(f"localStorage.getItem({SEEN!r})") is None, "nothing wrong is remembered"


@browser_tests
def test_another_events_proof_is_refused(visit, web, event, policy):
    rows = (
        web.get("/events.json?type=CreditApplied").json()["rows"]
        or web.get("/events.json").json()["rows"]
    )
    other = next(r["event_id"] for r in rows if r["event_id"] != event)
    until(lambda: web.get(f"/audit/proof/{other}.json").status_code == 200)
    shown = web.get(f"/audit/proof/{other}.json").json()
    page = visit("/today")
    pin(page, policy)
    altered(page, lambda body: body.update(shown))
    page.goto(page.url.replace("/today", f"/audit/proof/{event}"))
    assert verdict(page) == "LEAF_MISMATCH"


@browser_tests
def test_another_key_than_the_pinned_one_is_refused(visit, event, policy):
    name = heads_key(policy).partition("+")[0]
    other = Verifier(name, SigningKey(bytes(32)).public).vkey
    page = visit("/today")
    pin(page, other)
    page.goto(page.url.replace("/today", f"/audit/proof/{event}"))
    assert verdict(page) == "UNKNOWN_KEY"


@browser_tests
def test_a_quorum_of_witnesses_that_is_not_met_is_refused(visit, event, policy):
    stranger = Verifier("stranger.example/w", SigningKey(bytes(32)).public, note.COSIGNATURE).vkey
    page = visit("/today")
    pin(page, f"{heads_key(policy)}\nwitness w {stranger}\nquorum w\n")
    page.goto(page.url.replace("/today", "/audit"))
    assert verdict(page) == "WITNESS_REFUSED"


@browser_tests
@pytest.mark.parametrize("place", ["/audit", "/audit/proof/{event}"])
@pytest.mark.parametrize(("grown", "code"), [(True, "ROLLBACK"), (False, "FORK")])
def test_a_shrunk_and_a_forked_head_are_refused(visit, web, event, policy, place, grown, code):
    now = web.get("/audit/heads.json").json()
    seen = (now["size"] + 1_000_000, bytes(32)) if grown else (now["size"] - 1, bytes(32))
    page = visit("/today")
    pin(page, policy)
    remember(page, {now["origin"]: seen})
    page.goto(page.url.replace("/today", place.format(event=event)))
    assert verdict(page) == code
    kept = json.loads(page.evaluate(f"localStorage.getItem({SEEN!r})"))
    assert kept[now["origin"]]["size"] == seen[0], "what was seen stays remembered"


@browser_tests
def test_a_forked_tree_of_a_partition_is_refused_too(visit, web, event, policy):
    found = web.get(f"/audit/proof/{event}.json").json()
    page = visit("/today")
    pin(page, policy)
    remember(page, {found["origin"]: (1, bytes(32))})
    page.goto(page.url.replace("/today", f"/audit/proof/{event}"))
    assert verdict(page) == "FORK"


@browser_tests
def test_a_head_that_the_true_key_signed_twice_is_a_fork(visit, world: World, web, event, policy):
    """Another history under the genuine key: only what the browser remembers shows it."""
    now = web.get("/audit/heads.json").json()
    key = world.program.sealing.notary.signer
    size, root = now["size"] + 1_000, bytes(range(32))
    text = Checkpoint(now["origin"], size, root).text()
    page = visit("/today")
    pin(page, heads_key(policy))
    page.goto(page.url.replace("/today", "/audit"))
    assert verdict(page) == "WHOLE"

    def forked(body: dict[str, Any]) -> None:
        body["checkpoint"] = note.sign_note(text, now["origin"], key).decode()
        body["since"] = [b64(bytes(32))] * 5

    altered(page, forked)
    page.reload()
    assert verdict(page) == "FORK"


@browser_tests
def test_a_second_log_of_heads_under_another_name_is_refused(visit, world: World, web, policy):
    """The genuine key is good for every tree below its name: a fresh name would have nothing remembered."""
    now = web.get("/audit/heads.json").json()
    key = world.program.sealing.notary.signer
    other = f"{now['origin']}2"
    page = visit("/today")
    pin(page, heads_key(policy))

    def renamed(body: dict[str, Any]) -> None:
        text = Checkpoint(other, 7, bytes(range(32))).text()
        body["origin"], body["since"] = other, []
        body["checkpoint"] = note.sign_note(text, other, key).decode()

    altered(page, renamed)
    page.goto(page.url.replace("/today", "/audit"))
    assert verdict(page) == "WRONG_ORIGIN"


@browser_tests
@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ("crypto.subtle.importKey = () => Promise.reject(new DOMException('no', 'NotSupportedError'))", "Ed25519"),
        ("Object.defineProperty(crypto, 'subtle', { value: undefined })", "no cryptography"),
    ],
    ids=["no Ed25519", "no WebCrypto"],
)  # fmt: skip
def test_a_browser_that_cannot_verify_says_so_and_never_says_whole(
    visit, event, policy, broken, says
):
    page = visit("/today")
    pin(page, policy)
    page.add_init_script(broken)
    page.goto(page.url.replace("/today", f"/audit/proof/{event}"))
    assert verdict(page) == "NOT VERIFIED"
    assert says in page.locator(".verdict").inner_text()


@browser_tests
def test_without_scripts_the_pages_say_how_to_verify(visit, event):
    page = visit(f"/audit/proof/{event}", java_script_enabled=False)
    assert f"usance audit prove {event}" in page.locator(".proof").inner_text()
    page = visit("/audit", java_script_enabled=False)
    assert "usance audit verify --since OLD-HEAD" in page.locator(".proof").inner_text()
    assert page.locator(".proof button").is_hidden()


@browser_tests
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_are_labelled_legible_and_narrow_enough(visit, address, event, scheme):
    page = visit("/audit", color_scheme=scheme)
    altered(page, wrong_bytes)
    for path in ("/audit", f"/audit/proof/{event}", "/audit/heads"):
        page.goto(address + path)
        if path != "/audit/heads":
            verdict(page)
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 860})
            wide = "document.documentElement.scrollWidth > innerWidth + 1"
            assert not page.evaluate(wide), (path, width)
            assert page.evaluate(CHECKS) == [], path


@browser_tests
def test_what_is_pasted_must_be_a_key(visit, event):
    page = visit("/audit", f"{MAKER}:maker")
    field = page.locator("[data-trust] textarea")
    for text in ("", "hello", "a+00000000+AAAA", "witness w x"):
        field.fill(text)
        page.get_by_role("button", name="Pin", exact=True).click()
        page.locator("[data-trust] .told", has_text="No key is pinned").wait_for(
            state="hidden", timeout=30_000
        )
        assert page.evaluate(f"localStorage.getItem({TRUST!r})") is None


INPUTS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657",
          "606162636465666768696a6b6c6d6e6f"]  # fmt: skip
VECTORS = """
async ({ inputs, cases }) => {
  const p = await import("/static/proof.js");
  const bytes = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (b) => parseInt(b, 16));
  const leaves = await Promise.all(inputs.map((one) => p.leafHash(bytes(one))));
  const wrong = [];
  for (const c of cases) {
    const proof = c.proof.map(bytes), root = bytes(c.root);
    const verify = (list, end = root) => c.kind === "inclusion"
      ? p.verifyInclusion(leaves[c.a], c.a, c.b, list, end)
      : p.verifyConsistency(c.a, c.b, bytes(c.old), end, list);
    if (!(await verify(proof))) wrong.push(["refused", c]);
    for (let n = 0; n < proof.length; n++) {
      const flipped = proof.map((h) => h.slice());
      flipped[n][n % 32] ^= 1;
      if (await verify(flipped)) wrong.push(["flipped", c]);
      if (await verify(proof.filter((_, m) => m !== n))) wrong.push(["dropped", c]);
      if (await verify([...proof, proof[n]])) wrong.push(["added", c]);
    }
  }
  return [wrong, leaves.map(p.hex)];
}
"""
"""Hands proofs of our generator, and broken ones, to the browser's verifier."""


@browser_tests
def test_the_browsers_verifier_takes_the_published_vectors_and_no_broken_proof(visit):
    from usance.audit.merkle import inclusion_proof, root_of

    hashes = [leaf_hash(bytes.fromhex(one)) for one in INPUTS]

    def tree(size: int) -> Any:
        return lambda level, index: root_of(hashes[index << level : (index + 1) << level][:size])

    cases: list[dict[str, Any]] = []
    for size in range(1, 9):
        root = root_of(hashes[:size]).hex()
        for index in range(size):
            path = [h.hex() for h in inclusion_proof(index, size, tree(size))]
            cases.append({"kind": "inclusion", "a": index, "b": size, "proof": path, "root": root})
            old = root_of(hashes[:index]).hex()
            path = [h.hex() for h in consistency_proof(index, size, tree(size))]
            cases.append(
                {"kind": "consistency", "a": index, "b": size, "old": old, "proof": path, "root": root}
            )  # fmt: skip
    page = visit("/today", f"{CHECKER}:checker")
    wrong, leaves = page.evaluate(VECTORS, {"inputs": INPUTS, "cases": cases})
    assert wrong == []
    assert leaves == [h.hex() for h in hashes]
    # Of RFC 6962's reference implementation (certificate-transparency, merkle tree tests).
    assert leaves[0] == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert (
        root_of(hashes).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
    )


NOTES = """
async ([text, vkey]) => {
  const p = await import("/static/proof.js");
  const key = await p.parseVkey(vkey), note = p.parseNote(text);
  const known = await crypto.subtle.importKey("raw", key.key, { name: "Ed25519" }, false, ["verify"]);
  return [note.signatures[0].name, p.hex(key.id), p.hex(note.signatures[0].id),
          await crypto.subtle.verify({ name: "Ed25519" }, known, note.signatures[0].blob, new TextEncoder().encode(note.body))];
}
"""


@browser_tests
def test_the_browsers_verifier_reads_the_published_note(visit):
    """The example of C2SP signed-note."""
    vkey = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
    text = (
        "This is an example message.\n\n\u2014 example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2"
        "ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
    )
    page = visit("/today")
    told = page.evaluate(NOTES, [text, vkey])
    assert told == ["example.com/foo", "530d903a", "530d903a", True]
