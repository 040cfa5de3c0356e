"""What every Signer must do, for a file as for a token: a suite to inherit from."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from usance.audit import note
from usance.audit.codes import Detected
from usance.audit.note import Checkpoint, Verifier
from usance.audit.ports import Signer
from usance.engine.proof.notary import sign
from usance.kernel.errors import Unavailable

NAME = "bank.example/usance/test/heads"
THREADS, EACH = 4, 25


class SignerConformance:
    """Inherit, and say how a signer is opened."""

    def open_signer(self, *, make: bool) -> Signer:
        """Return a signer of the same key each time; `make` makes the key where there is none."""
        raise NotImplementedError

    def test_no_key_is_made_unless_asked_for(self) -> None:
        """Whoever only reads makes no key."""
        with pytest.raises(Unavailable):
            self.open_signer(make=False)

    def test_a_key_is_made_once_and_found_again(self) -> None:
        """The key outlives its signer."""
        first = self.open_signer(make=True)
        assert len(first.public) == 32
        assert self.open_signer(make=True).public == first.public
        assert self.open_signer(make=False).public == first.public

    def test_a_signed_head_opens_with_its_key_and_with_no_other(self) -> None:
        """It is an Ed25519 signature of C2SP's kind 1."""
        signer = self.open_signer(make=True)
        head = Checkpoint(NAME, 7, bytes(32))
        raw = sign(head.text(), NAME, signer)
        assert note.open_checkpoint(raw, Verifier(NAME, signer.public)) == head
        stranger = Verifier(NAME, note.SigningKey(bytes(32)).public)
        with pytest.raises(Detected):
            note.open_checkpoint(raw, stranger)

    def test_the_same_text_has_the_same_signature_after_a_restart_too(self) -> None:
        """What a crash leaves unpublished is signed again: it must be the same bytes."""
        signer = self.open_signer(make=True)
        first = signer.sign(b"a head")
        signer.close()
        assert self.open_signer(make=False).sign(b"a head") == first

    @pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 4_096, 65_536])
    def test_texts_of_any_length_are_signed(self, size: int) -> None:
        """Padding, blocks and buffers of a token show at their edges."""
        signer = self.open_signer(make=True)
        text = "x" * size
        assert Verifier(NAME, signer.public).accepts(text, signer.sign(text.encode()))

    def test_threads_may_sign_at_once(self) -> None:
        """Notary, packs and scrubs share a signer."""
        signer = self.open_signer(make=True)
        texts = [f"head {n}" for n in range(THREADS * EACH)]
        with ThreadPoolExecutor(THREADS) as pool:
            signed = list(pool.map(lambda text: signer.sign(text.encode()), texts))
        key = Verifier(NAME, signer.public)
        assert all(key.accepts(text, blob) for text, blob in zip(texts, signed, strict=True))
