from __future__ import annotations

import copy
import pickle

import pytest

from usance.crypto.secret import Secret

MATERIAL = b"an unmistakable marker of a key."


def test_a_secret_shows_itself_nowhere() -> None:
    secret = Secret(MATERIAL)
    told = f"{secret!r} {secret} {[secret]} {secret!s:>40}"
    assert "marker" not in told
    assert "32 bytes" in told


def test_a_secret_leaves_its_process_by_no_copy() -> None:
    secret = Secret(MATERIAL)
    for leave in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="neither pickled nor copied"):
            leave(secret)
    assert not hasattr(secret, "__dict__")


def test_secrets_compare_by_value_and_with_nothing_else() -> None:
    assert Secret(MATERIAL) == Secret(bytearray(MATERIAL))
    assert Secret(MATERIAL) != Secret(MATERIAL[::-1])
    assert Secret(MATERIAL) != MATERIAL
    with pytest.raises(TypeError):
        hash(Secret(MATERIAL))


def test_a_wiped_secret_is_empty_and_used_no_more() -> None:
    given = bytearray(MATERIAL)
    secret = Secret(given)
    secret.wipe()
    assert len(secret) == 0
    with pytest.raises(AssertionError):
        secret.reveal()
    assert given == MATERIAL  # it wiped its own copy, not the caller's
