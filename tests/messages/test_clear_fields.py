"""Which text stands in clear in every log: each field of each message is named here, with what it holds.

A field that is not listed fails: who adds one says what stands in it, or puts it into a private block.
"""

from __future__ import annotations

from typing import Any

from usance.messages.catalogue import default

CODES = """
acknowledges act action acts answer article authentication available_by band basis calendar calendar_version
certificate check code command_type confirmation currency definition disposal disposition event_type form
how hs_code incoterm kind level matcher_version method mt partial_shipments postings.book postings.journal
postings.rule postings.side quantity_unit result retention role rule rules scope side stage step
tenor_from tier timer_id to transhipment verdict version was list_versions consents barriers undoes field actor.role
"""
"""Words of a fixed list, versions, names of parts of the program, positions."""
IDS = """
act_id application approver actor.login actor.person as_of by case case_id causation command_id correlation
credit customer dead_letter_id event event_id examiner facility file incident_id key keys maker message
pack party person presentation presenter_reference proposal proposer reference reviewer saga sender_reference
snapshot_id source source_event stream subject subject_stream subjects target tenant work acknowledged
documents.reference postings.credit received acknowledges obliged list_id base replaced command incident letter
resource hold
"""
"""Opaque ids, references of banks, pseudonyms and streams; `obliged` names credits by their number, `base` and
`replaced` versions of lists; `resource` is a reference or the path of a page, never its query; `letter` and `hold` numbers."""
BANKS = """
available_with confirming_bank reimbursing_bank issuing_bank advising_bank sender receiver presentee presenter
drawee draft_on
"""
"""BICs, and banks by name; `presenter`, `drawee` and `draft_on`: see test_presented_names."""
ACCOUNTS = "account margin_account postings.account"
"""Accounts of the bank's own books."""
PLACES = """
expiry_place final_destination incoterm_place place place_of_receipt port_of_discharge port_of_loading vessel
courier
"""
"""Places of trade, ships, courier services."""
DATES = """
base_date date expiry expiry_date horizon issue_date last_day latest_shipment maturity on_board_date presented
shipment_period
"""
DIGESTS = "content contents content_hash digest evidence_hash narrative_digest parties_digest sha256 indexes.tree"
PROGRAMS_WORDS = (
    "cause explanation hint inputs message suggested reason facts grounds statement text"
)
"""What the program says: of no record's private values. `facts` are of events, in clear there already; `text` is
a schema's, or what a credit asks of a document (46A)."""

KNOWN = {
    name
    for words in (CODES, IDS, BANKS, ACCOUNTS, PLACES, DATES, DIGESTS, PROGRAMS_WORDS)
    for name in words.split()
}


def texts(node: Any, path: tuple[str, ...]) -> list[tuple[str, ...]]:
    if isinstance(node, list):
        return [p for branch in node for p in texts(branch, path)]
    kind = node if isinstance(node, str) else node["type"]
    if kind == "record":
        fields = [f for f in node["fields"] if f["name"] != "private"]
        return [p for f in fields for p in texts(f["type"], (*path, f["name"]))]
    if kind in ("array", "map"):
        return texts(node["items"] if kind == "array" else node["values"], path)
    if isinstance(kind, dict):
        return texts(kind, path)
    return [path] if kind in ("string", "bytes") else []


def test_every_text_in_clear_is_one_that_somebody_looked_at() -> None:
    found: dict[str, str] = {}
    for entry in default().types():
        if entry.kind != "block":
            for path in texts(entry.schema.json, ()):
                short = ".".join(path[-2:])
                found[short if short in KNOWN else path[-1]] = f"{entry.fullname}.{'.'.join(path)}"
    unknown = {where for name, where in found.items() if name not in KNOWN}
    assert unknown == set(), "say what stands there, or put it into a private block"
    assert KNOWN - found.keys() == set(), "no message has these any more"
