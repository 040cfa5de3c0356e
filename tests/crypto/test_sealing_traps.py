"""The list of traps names tests that are there."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
LIST = TESTS.parent / "docs" / "secrecy-traps.md"


def test_every_test_that_the_list_of_traps_names_is_there():
    text = LIST.read_text()
    numbers: set[int] = set()
    for row in (line for line in text.splitlines() if re.match(r"\| \d", line)):
        numbers |= {int(n) for n in row.split("|")[1].split(",")}
        said = re.findall(r"([a-z_]+/test_[a-z_]+\.py)", row)
        suites = "".join((TESTS / name).read_text() for name in said)
        names = re.findall(r"`([a-z0-9_]{12,})`", row)
        assert said and names, row
        for name in names:
            assert re.search(rf"def test_\w*{name}", suites), (row, name)
    assert numbers == set(range(1, 21))
    everywhere = "".join(f.read_text() for f in TESTS.rglob("test_*.py"))
    for name in re.findall(r"`([a-z0-9_]{12,})`", text):
        assert re.search(rf"def test_\w*{name}", everywhere), name
