"""The matrix of controls stands on tests that exist and run, and on events that the program has."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from usance.bootstrap.controls import Control, read_controls
from usance.kernel.errors import Unreadable
from usance.messages import catalogue

ROOT = Path(__file__).parents[2]
ROWS = read_controls()
LAWS = (
    "17a-4", "FINRA 4511", "CFTC 1.31", "SYSC 9", "RTS 25", "DORA", "PCI DSS 4.0.1, 3",
    "PCI DSS 4.0.1, 4", "PCI DSS 4.0.1, 7", "8.2", "PCI DSS 4.0.1, 10", "GDPR", "reg. 40",
    "31 CFR 501.601", "501.603", "31 CFR 1020.320", "SYSC 6.3", "CSCF", "27001", "eIDAS",
)  # fmt: skip


def missing_tests(row: Control, root: Path = ROOT) -> list[str]:
    """Return the tests of a row that do not exist, or are always skipped."""
    return [test for test in row.tests if not _runs(root, test)]


def _runs(root: Path, test: str) -> bool:
    file, _, name = test.partition("::")
    if not (root / file).is_file():
        return False
    for node in ast.walk(ast.parse((root / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            marks = {ast.unparse(d).partition("(")[0] for d in node.decorator_list}
            return not marks & {"pytest.mark.skip", "pytest.mark.xfail"}
    return False


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_row_names_tests_that_run_and_events_that_exist(row: Control) -> None:
    assert missing_tests(row) == []
    known = {entry.cls.__name__ for entry in catalogue.default().types()} | {"*"}
    assert set(row.events) <= known
    assert (row.state == "met") == (not row.missing), "what is not met says what is missing"
    assert bool(row.tests) == (row.state != "open"), "nothing is met without a test"


def test_every_rule_of_the_plan_has_a_row() -> None:
    laws = " | ".join(row.law for row in ROWS)
    assert [law for law in LAWS if law not in laws] == []
    assert len({row.id for row in ROWS}) == len(ROWS)


def test_a_row_whose_test_is_gone_or_skipped_is_found(tmp_path: Path) -> None:
    (tmp_path / "test_x.py").write_text(
        "import pytest\n\ndef test_runs(): ...\n\n@pytest.mark.skip(reason='later')\ndef test_later(): ...\n"
    )
    row = ROWS[0]
    for test, found in (
        ("test_x.py::test_runs", 0), ("test_x.py::test_later", 1), ("test_x.py::test_gone", 1),
        ("gone.py::test_runs", 1),
    ):  # fmt: skip
        changed = Control(
            **{f: getattr(row, f) for f in row.__struct_fields__} | {"tests": (test,)}
        )
        assert len(missing_tests(changed, tmp_path)) == found


def test_nothing_claims_certification() -> None:
    for row in ROWS:
        said = f"{row.does} {row.asks}".casefold()
        assert not any(word in said for word in ("certified", "compliant with", "guarantee"))


def test_a_matrix_with_an_unknown_word_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="matrix"):
        read_controls('[[control]]\nid = "X"\nstate = "perfect"\n')
