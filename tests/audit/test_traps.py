"""The list of traps names tests that are there."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
LIST = TESTS.parent / "docs" / "proof-traps.md"


def test_every_test_that_the_list_of_traps_names_is_there():
    rows = [line for line in LIST.read_text().splitlines() if re.match(r"\| \d", line)]
    numbers = set()
    for row in rows:
        for part in row.split("|")[1].split(","):
            first, _, last = part.strip().partition("-")
            numbers |= set(range(int(first), int(last or first) + 1))
        files = re.findall(r"([a-z_]+/test_[a-z_]+\.py)", row)
        text = "".join((TESTS / name).read_text() for name in files)
        for name in re.findall(r"`([a-z0-9_]{12,})`", row):
            assert re.search(rf"def test_\w*{name}", text), (row, name)
    assert numbers == set(range(1, 44))
