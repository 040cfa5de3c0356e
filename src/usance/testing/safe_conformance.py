"""What every WormStore must do, for a folder as for a bucket: a suite to inherit from."""

from __future__ import annotations

import pytest

from usance.audit.codes import Detected
from usance.audit.ports import WormStore

HEAD, OTHER = "heads/00000000000000000007.checkpoint", "log/heads/tile/0/000"


class SafeConformance:
    """Inherit, and say how a safe is opened."""

    def open_safe(self) -> WormStore:
        """Return a safe over this test's place: what another process sees."""
        raise NotImplementedError

    def test_what_is_put_is_read_and_listed_by_whoever_opens_it_next(self) -> None:
        """In order of names, and below a prefix."""
        safe = self.open_safe()
        assert safe.names() == []
        safe.put(OTHER, b"tile")
        safe.put(HEAD, b"head")
        again = self.open_safe()
        assert again.names() == [HEAD, OTHER]
        assert again.names("log/") == [OTHER]
        assert again.read(HEAD) == b"head"

    def test_the_same_again_is_no_error_and_other_data_is_refused(self) -> None:
        """What is kept first stays."""
        safe = self.open_safe()
        safe.put(HEAD, b"head")
        safe.put(HEAD, b"head")
        with pytest.raises(Detected, match="ANCHOR_MISMATCH"):
            safe.put(HEAD, b"another")
        assert self.open_safe().read(HEAD) == b"head"

    def test_what_is_not_there_is_not_found(self) -> None:
        """Also where a longer name begins so."""
        safe = self.open_safe()
        safe.put(HEAD + ".more", b"x")
        with pytest.raises(FileNotFoundError):
            safe.read(HEAD)

    def test_it_tells_of_each_object_what_it_keeps(self) -> None:
        """Name, size, and what holds it."""
        safe = self.open_safe()
        safe.put(OTHER, b"tile")
        [kept] = safe.kept()
        assert (kept.name, kept.size, kept.versions, kept.hidden) == (OTHER, 4, 1, False)
        assert list(safe.kept("heads/")) == []

    def test_it_says_where_it_is_and_what_it_is(self) -> None:
        """In words for people."""
        safe = self.open_safe()
        assert safe.place in safe.examine()

    def test_large_and_empty_data_are_kept(self) -> None:
        """A pack may be large; a file may be empty."""
        safe = self.open_safe()
        large = bytes(range(256)) * 4_096
        safe.put("packs/large.zip", large)
        safe.put("packs/empty", b"")
        assert safe.read("packs/large.zip") == large
        assert safe.read("packs/empty") == b""
