"""Names that stood among codes in version 1: in a block now, and old and new program read each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from usance.domain.credit.messages import ApplyForCredit
from usance.domain.presentation import messages as m
from usance.domain.terms import APPLICANT, Parties, PresentedDocument, is_code
from usance.kernel.decider import Actor, Denied
from usance.messages.catalogue import Catalogue, build, default, schema_files
from usance.messages.envelope import BODY_KEY_CLEAR, Decoder, Encoder
from usance.messages.registry import frame, registered
from usance.messages.sealed import Sealer
from usance.testing import trade
from usance.testing.secrecy import memory_vault

GOLDEN = Path(__file__).parent.parent / "golden"
NAMES = ("usance.trade.PresentDocuments", "usance.trade.PresentationReceived")
LOG_ID, KEY, ACTOR = "0" * 8 + "-0000-4000-8000-" + "0" * 12, "albion/presentation/P1", "maker"
NAME, DRAWEE = "THORNE VALLEY FOODS PLC", "QUILLON MARINE SUPPLIES LTD"
DOCUMENTS = [
    PresentedDocument(kind="invoice", reference="7"),
    PresentedDocument(kind="draft", drawee=DRAWEE),
]


def old_class(cls: Any) -> Any:
    """The class as version 1 had it."""
    fields = [
        (f.name, f.type) if f.required else (f.name, f.type, f.default if f.default_factory is msgspec.NODEFAULT else msgspec.field(default_factory=f.default_factory))
        for f in msgspec.structs.fields(cls)
        if f.name != "names"
    ]  # fmt: skip
    return msgspec.defstruct(cls.__name__, fields, frozen=True, kw_only=True)


def old_catalogue() -> Catalogue:
    files = schema_files()
    for name in NAMES:
        del files[name][2]
    del files["usance.trade.PresentedNames"]
    modules = [n for n in sorted({e.cls.__module__ for e in default().types()}) if "usance" in n]
    given = [n for n in modules if n != m.__name__ and hasattr(__import__(n, fromlist=["x"]), "MESSAGES")]  # fmt: skip
    found = build(given, files)
    swapped = {m.PresentDocuments, m.PresentationReceived}
    found.register([(old_class(c) if c in swapped else c, kind) for c, kind in m.MESSAGES])
    return found


REGISTRY = registered(default())
OLD = old_catalogue()
VAULT = memory_vault()


def program(catalogue: Catalogue, *, secure: bool) -> tuple[Encoder, Decoder]:
    sealer = Sealer(VAULT) if secure else None
    encoder = Encoder(
        log_id=LOG_ID, catalogue=catalogue, registry=REGISTRY, body_key=BODY_KEY_CLEAR, sealer=sealer
    )  # fmt: skip
    vault = VAULT if secure else None
    return encoder, Decoder(
        catalogue=catalogue, registry=REGISTRY, clear_blocks=not secure, vault=vault
    )


def command(cls: Any) -> Any:
    return cls(
        presentation="P1", credit="LC1", presenter=NAME, currency="USD", amount=7, documents=DOCUMENTS
    )  # fmt: skip


def sent(encoder: Encoder, message: Any) -> Any:
    return encoder.command(
        message, key=KEY, command_id="c1", tenant="albion", actor=Actor(ACTOR, ACTOR, "maker")
    )


@pytest.mark.parametrize("secure", [False, True])
def test_whoever_writes_a_command_names_stand_in_its_block(secure: bool) -> None:
    encoder, decoder = program(default(), secure=secure)
    _, value, headers = sent(encoder, command(m.PresentDocuments))
    read = decoder.message(headers, value)
    assert read.presenter == "" and read.names.presenter == NAME
    assert [d.drawee for d in read.documents] == ["", ""] and read.names.drawees == ["", DRAWEE]
    assert read.names.subject == "LC1"
    assert (NAME.encode() in value) is (not secure) is (DRAWEE.encode() in value)
    closed = Decoder(catalogue=default(), registry=REGISTRY, clear_blocks=not secure)
    if secure:
        assert isinstance(closed.message(headers, value).names, Denied)


@pytest.mark.parametrize("secure", [False, True])
def test_an_old_program_reads_what_a_new_one_wrote(secure: bool) -> None:
    encoder, _ = program(default(), secure=secure)
    _, value, headers = sent(encoder, command(m.PresentDocuments))
    read = program(OLD, secure=secure)[1].message(headers, value)
    assert not hasattr(read, "names") and read.presenter == "" and read.amount == 7
    assert [d.kind for d in read.documents] == ["invoice", "draft"]


@pytest.mark.parametrize("secure", [False, True])
def test_a_new_program_reads_what_an_old_one_wrote(secure: bool) -> None:
    encoder, _ = program(OLD, secure=secure)
    cls = next(c for c in OLD.by_class if c.__name__ == "PresentDocuments")
    _, value, headers = sent(encoder, command(cls))
    read = program(default(), secure=secure)[1].message(headers, value)
    assert read.names is None and read.presenter == NAME
    apart = read.apart()
    assert apart.presenter == "" and apart.names.drawees == ["", DRAWEE]


def test_an_event_of_version_1_still_says_who_presented_and_version_2_too() -> None:
    for version in (1, 2):
        body = (GOLDEN / f"{NAMES[1]}.v{version}.bin").read_bytes()
        schema = REGISTRY.versions(f"usance.trade.events-{NAMES[1]}")[version - 1]
        read = Decoder(catalogue=default(), registry=REGISTRY).value(
            frame(REGISTRY.id_of(schema)) + body
        )
        plain = json.loads((GOLDEN / f"{NAMES[1]}.v{version}.json").read_text(encoding="utf-8"))
        assert read.presenter == plain["presenter"]
        assert read.presented_by() and isinstance(read.whole(), list)


@pytest.mark.parametrize("cls", ["ApplyForCredit", "ReceiveCredit"])
def test_the_applicants_name_stands_not_among_the_terms(cls: str) -> None:
    terms, parties = trade.terms(draft_on="  albion   furniture LTD "), trade.parties()
    parties = msgspec.structs.replace(
        parties, applicant=msgspec.structs.replace(parties.applicant, name="Albion Furniture Ltd")
    )
    assert isinstance(parties, Parties)
    kind = default().named(f"usance.trade.{cls}").cls
    more = (
        {"application": "A1", "facility": "F1"}
        if kind is ApplyForCredit
        else {"mt": "700", "sender": "MERLSGSGXXX", "sender_reference": "R1"}
    )
    message = kind(credit="LC1", terms=terms, parties=parties, **more)
    encoder, decoder = program(default(), secure=True)
    _, value, headers = sent(encoder, message)
    assert b"furniture" not in value.lower()
    assert decoder.message(headers, value).terms.draft_on == APPLICANT
    bank = msgspec.structs.replace(message, terms=trade.terms(draft_on="MERLSGSGXXX"))
    assert bank.apart() is bank


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("MERLSGSGXXX", True), ("ALBNGB2L", True), ("", False), ("JOHN SMITH", False),
        ("merlsgsg", False), ("MERLSGSGXX", False), ("MERLSGSG ", False), ("1ERLSGSG", False),
    ],
)  # fmt: skip
def test_a_code_has_the_shape_of_a_bic(text: str, code: bool) -> None:
    assert is_code(text) is code
