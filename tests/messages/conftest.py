"""Both codecs, one after the other: the reference in Python, and the compiled one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from usance.kernel import native
from usance.messages import codec


@pytest.fixture(scope="module", params=["python", pytest.param("native", marks=pytest.mark.native)])
def each_codec(request: pytest.FixtureRequest) -> Iterator[str]:
    """Make every reader and writer that is made from now on one of this codec; returns its name."""
    before = codec.NATIVE
    codec.NATIVE = native.load()[0] if request.param == "native" else None
    yield request.param
    codec.NATIVE = before
