"""What attests heads from outside never holds them up: neither a witness that is away nor one that is silent."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from test_notary import KEY, NOON, ORIGINS, counts, grown, notary_of, sealed, world_of

from usance.adapters.head_store import SqliteSeen
from usance.adapters.proof_files import FolderSafe
from usance.adapters.witnesses import OwnWitness
from usance.audit.note import Verifier, open_note
from usance.audit.ports import Cosigned
from usance.audit.witness import WitnessDesk
from usance.engine.proof.attesting import RETRY_S, Attestor
from usance.engine.proof.notary import Notary
from usance.kernel.clock import BookClock, SystemClock
from usance.kernel.errors import Unavailable

LOG = Verifier(ORIGINS.heads, KEY.public)
GENEROUS_S = 60.0


class Moody:
    """A witness that can be away, or take a request and keep its answer to itself."""

    name = "witness.example/w1"

    def __init__(self, root: Path) -> None:
        seen = SqliteSeen(root / "seen.sqlite")
        desk = WitnessDesk(self.name, KEY, {LOG.name: LOG}, seen)
        self.own = OwnWitness(desk, SystemClock())
        self.away = False
        self.asked, self.answers = threading.Event(), threading.Event()
        self.answers.set()

    def add_checkpoint(self, old: int, proof: Sequence[bytes], checkpoint: bytes) -> Cosigned:
        self.asked.set()
        assert self.answers.wait(GENEROUS_S)
        if self.away:
            raise Unavailable("the witness is away")
        return self.own.add_checkpoint(old, proof, checkpoint)


def attestor_of(notary: Notary, root: Path, witness: Moody, clock: BookClock) -> Attestor:
    safe = FolderSafe(root / "anchors")
    return Attestor(notary.board, notary.tiles, ORIGINS, LOG, clock, witnesses=[witness], safe=safe)


def cosigners(notary: Notary) -> int:
    raw = notary.board.raw()
    assert raw is not None
    return len(open_note(raw, [LOG, Verifier(Moody.name, KEY.public, 4)]).times)


def test_a_witness_that_never_answers_holds_up_no_head(tmp_path: Path):
    world, witness = world_of(), Moody(tmp_path)
    grown(world, 2)
    notary = notary_of(world, tmp_path)
    notary.finish()
    attestor = attestor_of(notary, tmp_path, witness, BookClock(NOON))
    witness.answers.clear()
    asking = threading.Thread(target=attestor.step)
    asking.start()
    assert witness.asked.wait(GENEROUS_S)
    for _ in range(3):  # the request is under way all the while
        grown(world, 1)
        notary.finish()
        assert sealed(world, tmp_path) == counts(world)
    assert cosigners(notary) == 0
    witness.answers.set()
    asking.join(GENEROUS_S)
    assert not asking.is_alive()
    attestor.step()
    assert cosigners(notary) == 1, "the newest head, though it was asked about an older one"


def test_a_witness_that_is_away_is_asked_again_and_told_of_until_then(tmp_path: Path):
    world, witness, clock = world_of(), Moody(tmp_path), BookClock(NOON)
    grown(world, 2)
    notary = notary_of(world, tmp_path)
    notary.finish()
    attestor = attestor_of(notary, tmp_path, witness, clock)
    witness.away = True
    attestor.step()
    assert "away" in attestor.trouble
    assert attestor.waiting(notary.leaves())["witnessed"][0] == notary.leaves()
    witness.away = False
    witness.asked.clear()
    attestor.step()
    assert not witness.asked.is_set(), "not at once"
    clock.sleep(RETRY_S + 1)
    attestor.step()
    assert attestor.trouble == ""
    assert cosigners(notary) == 1
    assert attestor.waiting(notary.leaves())["witnessed"] == (0, 0.0)
