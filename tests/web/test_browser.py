"""A real browser walks the console: keys, palette, live rows, the slider; no script or style errors."""

from __future__ import annotations

import pytest
from world import COMPLIANCE, MAKER

pytestmark = pytest.mark.browser

OFFICER = "farid.haddad:compliance_officer"
LOOKED_AT = [
    "/", "/work", "/credits", "/credits/TF26LC000102", "/credits/TF26LC000102?tab=timeline&view=full",
    "/credits/TF26LC000102?tab=state&revision=5", "/presentations", "/presentations/PR26000002",
    "/facilities", "/approvals", "/approvals/credit:albion/credit/TF26LC000101", "/cases", "/ledger",
    "/messages", "/sagas", "/sagas/issuance:TF26LC000103", "/incidents", "/dead-letters", "/events",
    "/projections", "/schemas", "/system", "/doctor", "/lag", "/apply", "/send", "/audit", "/audit/heads",
]  # fmt: skip

CHECKS = r"""
() => {
  const found = [];
  const shown = (e) => e.checkVisibility({ visibilityProperty: true }) && e.getClientRects().length;
  const name = (e) => (e.getAttribute("aria-label") || e.title || e.textContent || e.value || "").trim();
  for (const e of document.querySelectorAll("input:not([type=hidden]), select, textarea"))
    if (!e.labels.length && !e.getAttribute("aria-label")) found.push("no label: " + e.outerHTML.slice(0, 90));
  for (const e of document.querySelectorAll("a[href], button"))
    if (shown(e) && !name(e)) found.push("no name: " + e.outerHTML.slice(0, 90));
  for (const e of document.querySelectorAll("svg[role=img]"))
    if (!e.getAttribute("aria-label")) found.push("picture without words");
  for (const e of document.querySelectorAll("[tabindex]"))
    if (e.tabIndex > 0) found.push("focus order is forced: " + e.outerHTML.slice(0, 90));
  if (document.querySelectorAll("h1").length !== 1) found.push("not one h1");
  if (!document.documentElement.lang) found.push("no language");
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  if (new Set(ids).size !== ids.length) found.push("an id stands twice");
  const numbers = (c) => c.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const c = numbers(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const seen = new Set();
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || seen.has(e) || !shown(e) || e.closest("svg, option, .skip, .rail kbd")) continue;
    seen.add(e);
    const a = light(numbers(getComputedStyle(e).color)), b = light(ground(e));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push("contrast " + ratio.toFixed(2) + ": " + e.outerHTML.slice(0, 90));
  }
  if (document.documentElement.scrollWidth > innerWidth + 1) found.push("wider than the window");
  return [...new Set(found)];
}
"""
"""What an accessibility checker looks for: labels, names, contrast AA, focus order, one heading."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_labelled_legible_and_no_wider_than_the_window(visit, address, scheme):
    page = visit("/", OFFICER, color_scheme=scheme)
    flaws = {}
    for path in LOOKED_AT:
        page.goto(address + path)
        if found := page.evaluate(CHECKS):
            flaws[path] = found
    assert flaws == {}


def test_a_phone_shows_every_page_without_scrolling_sideways(visit, address):
    page = visit("/", OFFICER)
    page.set_viewport_size({"width": 390, "height": 800})
    wide = []
    for path in LOOKED_AT:
        page.goto(address + path)
        if page.evaluate("document.documentElement.scrollWidth > innerWidth + 1"):
            wide.append(path)
    assert wide == []


def test_keys_search_move_open_and_go(visit):
    page = visit("/credits?order=reference&side=import")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    assert page.locator("tr.here").count() == 1
    page.keyboard.press("Enter")
    page.wait_for_url("**/credits/TF26LC000101")
    page.keyboard.press("g")
    page.keyboard.press("p")
    page.wait_for_url("**/presentations")
    page.keyboard.press("/")
    page.keyboard.type("TF26LC000103")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search?q=TF26LC000103")
    assert page.get_by_role("link", name="TF26LC000103").count() >= 1
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")


def test_the_palette_goes_to_pages_and_to_acts(visit):
    page = visit("/credits/TF26LC000102")
    page.keyboard.press("Control+k")
    page.keyboard.type("dead")
    page.keyboard.press("Enter")
    page.wait_for_url("**/dead-letters")
    page.go_back()
    page.keyboard.press(".")
    page.keyboard.press("Enter")
    assert page.locator(".acts details[open]").count() == 1


def test_the_slider_moves_by_keyboard_and_shows_what_changed(visit):
    page = visit("/credits/TF26LC000102?tab=state&revision=5")
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**revision=6")
    page.locator("input[type=range]").focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_url("**revision=5")
    assert page.locator("td.changed").count() >= 1


def test_who_acts_is_chosen_at_once_and_kept(visit):
    page = visit("/cases", f"{COMPLIANCE}:compliance")
    page.goto(page.url.replace("/cases", "/"))
    page.select_option("select[name=person]", f"{MAKER}:maker")
    page.wait_for_load_state()
    assert page.locator("select[name=person]").input_value() == f"{MAKER}:maker"
    assert page.locator('.rail a[href="/cases"]').count() == 0
    assert "no authentication yet" in page.locator("header").inner_text()


def test_a_row_that_comes_while_one_looks_appears_by_itself(visit, web):
    page = visit("/facilities")
    body = {
        "facility": "LIVE1", "customer": "party-1", "currency": "EUR", "limit": 1_000_00,
        "expiry": "2027-12-31",
    }  # fmt: skip
    assert web.post("/commands/SetFacility", json=body).status_code == 200
    page.get_by_role("link", name="LIVE1").wait_for(timeout=8000)


def test_what_somebody_types_is_not_swept_away_by_live_rows(visit, web):
    page = visit("/credits/TF26LC000102")
    page.locator("summary", has_text="Ask for cancellation").click()
    field = page.locator('form[action="/do/CancelCredit"] input[name=reason]')
    field.fill("the applicant asked")
    body = {
        "facility": "LIVE2", "customer": "party-1", "currency": "EUR", "limit": 1_000_00,
        "expiry": "2027-12-31",
    }  # fmt: skip
    assert web.post("/commands/SetFacility", json=body).status_code == 200
    page.wait_for_timeout(2500)
    assert field.input_value() == "the applicant asked"


def test_with_scripts_off_a_form_is_sent_and_its_refusal_shown(visit):
    page = visit("/credits/TF26LC000101", f"{MAKER}:maker", java_script_enabled=False)
    page.get_by_text("Withdraw the application").first.click()
    form = page.locator('form[action="/do/WithdrawApplication"]')
    form.locator("input[name=reason]").fill("changed their mind")
    form.get_by_role("button", name="Preview").click()
    assert page.get_by_text("It would be accepted").is_visible()
    assert page.get_by_text("ApplicationWithdrawn").is_visible()
