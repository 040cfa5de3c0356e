"""The program on a bad day: read-only folders, full disks, damaged files, two owners. A clear word, nothing lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from usance.bootstrap.store import Folder, Store
from usance.config import load
from usance.kernel.clock import SystemClock
from usance.testing.chaos import Program
from usance.testing.verify import Verdict, verify_log

NO_FOLLOWING_WORD = "Traceback"


def usance(
    data: Path, *words: str, limit: int = 0, inside: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a command on a data folder; `limit` bounds the size of files it may write, in bytes."""
    code = "from usance.cli.main import main; main()"
    if limit:
        code = (
            f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}));{code}"
        )
        code = f"import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);{code}"
    return subprocess.run(
        [*inside, sys.executable, "-c", code, "--data", str(data), *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def facility(folder: Path, number: int) -> str:
    """Write one document to hand in; returns its path."""
    file = folder / f"facility-{number}.json"
    document = {
        "type": "SetFacility",
        "id": f"fac-{number}",
        "as": "dev.raghavan",
        "role": "senior_checker",
        "facility": f"FAC{number}",
        "customer": "c-1",
        "currency": "USD",
        "limit": 100_000,
        "expiry": "2031-12-31",
    }
    file.write_text(json.dumps(document))
    return str(file)


def verified(data: Path) -> Verdict:
    settings = load(None, {"data": str(data)}, {}).settings
    store = Store(Folder(data), settings, SystemClock(), owner=False)
    try:
        found = verify_log(
            store.log, store.topics, store.decoder, store.deciders, store.genesis.log_id
        )
    finally:
        store.log.close()
    assert found.violations == 0, found.words
    return found


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with one decided command in it."""
    folder = tmp_path / "data"
    done = usance(folder, "intake", facility(tmp_path, 1))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def program(data: Path) -> Iterator[Program]:
    """The program, running on the folder."""
    program = Program(data)
    program.start()
    program.ready()
    yield program
    if program.child is not None and program.child.poll() is None:
        program.stop()


def clear(done: subprocess.CompletedProcess[Any], code: int, *words: str) -> None:
    """Check an exit code, that each word is said, and that no trace of the program is shown."""
    assert done.returncode == code, (done.returncode, done.stderr)
    assert NO_FOLLOWING_WORD not in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


def test_a_second_owner_exits_with_four_and_names_the_first(data: Path, program: Program) -> None:
    assert program.child is not None
    clear(usance(data, "start", "--port", "0"), 4, str(program.child.pid))
    assert program.stop() == 0
    assert verified(data).answers["accepted"] >= 1


def test_beside_a_running_owner_a_command_is_decided_by_it(
    data: Path, program: Program, tmp_path: Path
) -> None:
    done = usance(data, "intake", facility(tmp_path, 2))
    assert done.returncode == 0, done.stderr
    assert program.stop() == 0
    assert {"albion/facility/FAC1", "albion/facility/FAC2"} <= verified(data).states.keys()


@pytest.mark.parametrize("where", ["beginning", "middle"])
def test_a_damaged_log_stops_with_five_and_says_what_to_do(data: Path, where: str) -> None:
    log = data / "log.sqlite"
    for extra in ("log.sqlite-wal", "log.sqlite-shm"):
        (data / extra).unlink(missing_ok=True)
    raw = bytearray(log.read_bytes())
    at = 0 if where == "beginning" else 8_192 * 2
    raw[at : at + 4_096] = bytes(b ^ 0x5A for b in raw[at : at + 4_096])
    log.write_bytes(bytes(raw))
    clear(usance(data, "start", "--port", "0"), 5, "backup")
    assert log.read_bytes() == bytes(raw), "evidence is left as it is"


def test_a_data_folder_that_is_a_file_exits_with_four(tmp_path: Path) -> None:
    folder = tmp_path / "in-the-way"
    folder.write_text("a file")
    clear(usance(folder, "start", "--port", "0"), 4, "data folder")
    assert folder.read_text() == "a file"


@pytest.mark.parametrize("fresh", [True, False])
def test_a_read_only_folder_exits_with_four_and_can_still_be_read(
    data: Path, tmp_path: Path, fresh: bool
) -> None:
    folder = tmp_path / "fresh" if fresh else data
    folder.mkdir(exist_ok=True)
    with read_only(folder) as inside:
        done = usance(folder, "start", "--port", "0", inside=inside)
    clear(done, 4, "cannot be written" if fresh else "read-only")
    if not fresh:
        assert verified(data).answers["accepted"] >= 1


@contextmanager
def read_only(folder: Path) -> Iterator[tuple[str, ...]]:
    """Make a folder read-only: by its mode, or by a mount of the command's own where root runs the tests."""
    if os.geteuid() != 0:
        folder.chmod(0o555)
        try:
            yield ()
        finally:
            folder.chmod(0o755)
        return
    mount = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    command = ("unshare", "--mount", "sh", "-c", mount, str(folder))
    tried = subprocess.run([*command, "true"], capture_output=True, check=False)
    if tried.returncode != 0:
        pytest.skip("root may write everywhere, and this system lets nobody mount")
    yield command


def test_a_disk_that_fills_up_loses_nothing_that_was_answered(data: Path, tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands for the disk: the write-ahead log meets it in the middle of a book."""
    size = max(f.stat().st_size for f in data.glob("*.sqlite*"))
    answered = []
    for number in range(2, 60):
        done = usance(data, "intake", facility(tmp_path, number), limit=size + 300_000)
        if done.returncode != 0:
            clear(done, 4)
            break
        answered.append(f"albion/facility/FAC{number}")
        if number > 6:
            break
    tight = usance(data, "intake", facility(tmp_path, 99), limit=40_000)
    clear(tight, 4)
    assert tight.stderr.strip(), "it says something"
    states = verified(data).states
    assert all(key in states for key in answered)
    after = usance(data, "intake", facility(tmp_path, 99))
    assert after.returncode == 0, after.stderr
    assert "albion/facility/FAC99" in verified(data).states


def test_sigterm_finishes_what_was_taken_in(data: Path, program: Program, tmp_path: Path) -> None:
    inbox = data / "gateway" / "in"
    inbox.mkdir(parents=True, exist_ok=True)
    for number in range(10, 30):
        (inbox / f"{number}.json").write_text(Path(facility(tmp_path, number)).read_text())
    SystemClock().sleep(0.5)
    assert program.stop() == 0
    assert verified(data).violations == 0
    done = usance(data, "status", "--output", "json")
    assert done.returncode == 0, done.stderr
