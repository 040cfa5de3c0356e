"""The house rules that a machine can check: sizes, floors, names, ports, words and mirrors."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from importlinter.cli import lint_imports

from usance.kernel import errors

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "usance"
TESTS = ROOT / "tests"

FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 600
TEST_NAME_WORDS_MIN = 3

PORTS = {"kernel/clock.py", "kernel/ids.py"}
"""Where time, dice and identity come from."""
SEEDED = "testing/"
"""May use `random.Random(seed)`: its dice are an input, and printed."""
EXAMPLES = {
    "book": "the sample book, which no floor owns",
    "kafka": "what needs a real broker, whichever floor it is of",
}
BANNED_CALLS = {
    ("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today"),
    ("time", "time"), ("time", "time_ns"), ("time", "monotonic"), ("time", "perf_counter"),
    ("time", "sleep"), ("os", "urandom"), ("uuid", "uuid1"), ("uuid", "uuid4"),
}  # fmt: skip
NO_FLOATS = ("kernel/money.py", "kernel/canonical.py", "domain/")
BANNED_WORDS = {"manager", "helper", "helpers", "util", "utils"}


class Module(NamedTuple):
    """A source file: path below its root with forward slashes, lines, and tree."""

    name: str
    text: str
    tree: ast.Module


def _read(root: Path) -> list[Module]:
    found = []
    for path in sorted(root.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(root).as_posix()
        found.append(Module(name, text, ast.parse(text, name)))
    assert found, f"nothing to check below {root}"
    return found


@cache
def sources() -> list[Module]:
    """Return the modules of the package."""
    return _read(SOURCE)


@cache
def suites() -> list[Module]:
    """Return the modules of the tests."""
    return _read(TESTS)


Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(module: Module) -> Iterator[Function]:
    """Yield every function of a module, nested ones included."""
    for node in ast.walk(module.tree):
        if isinstance(node, Function):
            yield node


def floats(tree: ast.AST) -> Iterator[int]:
    """Yield the lines that name, write or make floats: literals, the type, and true division."""
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=float()) | ast.Name(id="float"):
                yield node.lineno
            case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
                yield node.lineno


def banned_calls(module: Module) -> Iterator[str]:
    """Yield uses of clocks, dice and fresh identity."""
    for node in ast.walk(module.tree):
        match node:
            case ast.Attribute(value=ast.Name(id="random"), attr=name):
                if not module.name.startswith(SEEDED) or name != "Random":
                    yield f"{module.name}:{node.lineno} random.{name}"
            case ast.Attribute(value=ast.Name(id=owner) | ast.Attribute(attr=owner), attr=name):
                if (owner, name) in BANNED_CALLS:
                    yield f"{module.name}:{node.lineno} {owner}.{name}"
            case ast.ImportFrom(module=str(owner), names=names):
                for alias in names:
                    if owner in {"random", "secrets"} or (owner, alias.name) in BANNED_CALLS:
                        yield f"{module.name}:{node.lineno} from {owner} import {alias.name}"


def documented(body: list[ast.stmt], where: str) -> Iterator[str]:
    """Yield public definitions without a docstring, below classes as well."""
    for node in body:
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        name = f"{where}:{node.lineno} {node.name}"
        overload = any("overload" in ast.unparse(d) for d in node.decorator_list)
        if ast.get_docstring(node) is None and not overload:
            yield name
        if isinstance(node, ast.ClassDef):
            yield from documented(node.body, where)


def test_functions_are_short_enough_to_read_at_once() -> None:
    long = [
        f"{m.name}:{f.lineno} {f.name} has {f.end_lineno - f.lineno + 1}"
        for m in sources()
        for f in functions(m)
        if f.end_lineno and f.end_lineno - f.lineno + 1 > FUNCTION_LINES_MAX
    ]
    assert long == []


def test_modules_are_short_enough_to_hold_in_mind() -> None:
    lines = {f"src {m.name}": m.text.count("\n") for m in sources()}
    lines |= {f"tests {m.name}": m.text.count("\n") for m in suites()}
    assert {name: n for name, n in lines.items() if n > MODULE_LINES_MAX} == {}


def test_imports_keep_to_their_floors_and_run_in_no_circle(
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert broken == 0, capsys.readouterr().out


def test_clocks_dice_and_identity_come_through_ports() -> None:
    found = [use for m in sources() if m.name not in PORTS for use in banned_calls(m)]
    assert found == []


def test_money_never_meets_a_float() -> None:
    found = [
        f"{m.name}:{line}"
        for m in sources()
        if m.name.startswith(NO_FLOATS)
        for line in floats(m.tree)
    ]
    assert found == []


def test_every_public_name_is_documented() -> None:
    bare = [m.name for m in sources() if ast.get_docstring(m.tree) is None]
    bare += [name for m in sources() for name in documented(m.tree.body, m.name)]
    assert bare == []


def test_no_name_hides_behind_an_empty_word() -> None:
    names = [(m.name, part) for m in sources() for part in Path(m.name).with_suffix("").parts]
    for module in [*sources(), *suites()]:
        names += [
            (f"{module.name}:{node.lineno}", node.name)
            for node in ast.walk(module.tree)
            if isinstance(node, Function | ast.ClassDef)
        ]
    found = [
        f"{where} {name}"
        for where, name in names
        if BANNED_WORDS & set(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().split("_"))
    ]
    assert found == []


def test_the_error_tree_as_drawn_is_the_tree_as_built() -> None:
    drawn: list[tuple[str, str]] = []
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^((?:[│ ]   )*(?:[├└]── )?)([A-Z]\w+)(?:\s|$)", line)
        if match and (match[2] == "UsanceError" or match[1]):
            depth = len(match[1]) // 4
            path[depth:] = [match[2]]
            drawn.append((match[2], path[depth - 1] if depth else "Exception"))
    built = {
        (name, one.__bases__[0].__name__)
        for name, one in inspect.getmembers(errors, inspect.isclass)
        if issubclass(one, errors.UsanceError)
    }
    assert set(drawn) == built


def test_each_test_module_stands_on_the_floor_of_its_subject() -> None:
    known = {m.name for m in sources()}
    strays = []
    for module in suites():
        path = Path(module.name)
        floor = path.parent.as_posix()
        if not path.name.startswith("test_") or floor == "." or floor in EXAMPLES:
            continue
        if not any(name.startswith(f"{floor}/") for name in known):
            strays.append(module.name)
    assert strays == []


def test_modules_of_tests_have_names_of_their_own() -> None:
    # Test folders are no packages: pytest imports each module by its bare name.
    names = Counter(Path(m.name).name for m in suites())
    del names["conftest.py"]
    assert [name for name, n in names.items() if n > 1] == []


def test_test_names_are_sentences_and_each_stands_once() -> None:
    found = []
    for module in suites():
        seen: set[str] = set()
        for node in module.tree.body:
            if isinstance(node, Function) and node.name.startswith("test_"):
                words = [w for w in node.name.removeprefix("test_").split("_") if w]
                if len(words) < TEST_NAME_WORDS_MIN or node.name in seen:
                    found.append(f"{module.name}:{node.lineno} {node.name}")
                seen.add(node.name)
    assert found == []


def _tracked() -> list[Path]:
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, check=True, text=True,
        ).stdout  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        # Unpacked from an archive: there is nothing here that was not meant to be.
        skipped = {".venv", "__pycache__", ".hypothesis", "data"}
        return [p for p in ROOT.rglob("*") if p.is_file() and not skipped & set(p.parts)]
    return [ROOT / name for name in listed.split("\0") if name]


def test_the_tree_names_no_machine_and_no_package_host() -> None:
    # Spelt in pieces, so that this file does not find itself.
    slash, dot = "/", "."
    patterns = [
        rf"(?<![\w.]){slash}(?:home|Users|root|work){slash}\w",
        rf"pypi{re.escape(dot)}(?:org|io)\b|files{re.escape(dot)}pythonhosted|pythonhosted{re.escape(dot)}",
        rf"--(?:extra-)?index-url[= ]|--find{'-'}links",
        rf"registry{re.escape(dot)}npmjs|proxy{re.escape(dot)}golang",
    ]
    banned = re.compile("|".join(patterns))
    found = []
    for path in _tracked():
        if not path.is_file() or path.suffix in {".gz", ".bin", ".png"}:
            continue
        text = path.read_bytes().decode("utf-8", "replace")
        found += [
            f"{path.relative_to(ROOT)}:{number} {match[0]}"
            for number, line in enumerate(text.splitlines(), 1)
            if (match := banned.search(line))
        ]
    assert found == []


def test_lock_files_pin_and_hash_every_requirement() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text()
        blocks = re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", text, flags=re.M).strip())
        assert len(blocks) > 10, name
        for block in blocks:
            assert re.match(r"^[a-z0-9.-]+==\S+", block), block[:80]
            assert "--hash=sha256:" in block, block[:80]
            assert "://" not in block, block[:80]


def test_the_tools_are_tested_on_the_versions_that_people_run() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^[a-z0-9.-]+==[^\s;]+", (ROOT / name).read_text(), flags=re.M))

    assert pins("requirements.lock") <= pins("requirements-dev.lock")


# The rules above are only as good as what they look with.


def test_the_float_rule_sees_each_way_to_make_one() -> None:
    assert len([*floats(ast.parse("a: float = 1.5 / 2\nb /= 2\nc = 3 // 2"))]) == 4


def test_the_port_rule_sees_aliases_and_spares_the_harmless() -> None:
    text = (
        "import datetime as dt\ndt.datetime.now()\nfrom time import time\nimport random\n"
        "random.Random(1)\nself.random.choice()\nclock.now()\nclock.monotonic()\n"
    )
    uses = [*banned_calls(Module("x.py", text, ast.parse(text)))]
    assert {u.split(" ", 1)[1] for u in uses} == {
        "datetime.now",
        "from time import time",
        "random.Random",
    }
