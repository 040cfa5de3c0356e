"""A small catalogue of messages with private blocks, for the tests of this floor."""

from __future__ import annotations

from typing import Literal

import msgspec

from usance.kernel.decider import Actor, PrivateBlock
from usance.messages.catalogue import Catalogue, schema_files
from usance.messages.envelope import Decoder, Encoder, InputPosition
from usance.messages.registry import RegistryState, registered

LOG_ID = "5d2f0c5e-1111-4222-8333-444455556666"
COMMAND_ID = "0b0e4c1a-53a4-5d4e-9b1e-1f2e3d4c5b6a"
KEY = "albion/credit/TF26LC000123"
MAKER = Actor("p-17", "login-9", "maker")
INSTANT = 1_790_000_000_123
INPUT = InputPosition("usance.trade.commands", 3, 812_345)
PREV = bytes(range(32))


class Applicant(msgspec.Struct, PrivateBlock, frozen=True, kw_only=True):
    """Who applies."""

    subject: str
    name: str
    account: str | None = None


class Guarantor(msgspec.Struct, PrivateBlock, frozen=True, kw_only=True):
    """Who stands in for the applicant."""

    subject: str
    name: str


class Party(msgspec.Struct, frozen=True, kw_only=True):
    """A party by its opaque id."""

    role: Literal["advising-bank", "reimbursing-bank"]
    id: str


class OpenFile(msgspec.Struct, frozen=True, kw_only=True):
    """Open a file."""

    reference: str
    amount: int
    applicant: Applicant
    guarantor: Guarantor | None = None


class FileOpened(msgspec.Struct, frozen=True, kw_only=True):
    """A file was opened."""

    reference: str
    amount: int
    parties: list[Party]
    remarks: dict[str, str]
    applicant: Applicant
    guarantor: Guarantor | None = None


MESSAGES: tuple[tuple[type, str], ...] = ((OpenFile, "command"), (FileOpened, "event"))

APPLICANT = Applicant(subject="party-1", name="Zürich Importe 中国", account="CH93")
COMMAND = OpenFile(reference="TF26", amount=125_000_00, applicant=APPLICANT)
EVENT = FileOpened(
    reference="TF26",
    amount=-7,
    parties=[Party(role="advising-bank", id="b-1"), Party(role="reimbursing-bank", id="b-2")],
    remarks={"a": "b"},
    applicant=APPLICANT,
    guarantor=Guarantor(subject="party-2", name="G" * 300),
)


def catalogue() -> Catalogue:
    """Return the shared messages and those of this module."""
    made = Catalogue(schema_files())
    made.register(MESSAGES, "trade")
    return made


def codec(*, clear_blocks: bool = True) -> tuple[Encoder, Decoder, RegistryState]:
    """Return an encoder, a decoder and the registry behind both."""
    known = catalogue()
    state = registered(known)
    encoder = Encoder(log_id=LOG_ID, catalogue=known, registry=state)
    return encoder, Decoder(catalogue=known, registry=state, clear_blocks=clear_blocks), state
