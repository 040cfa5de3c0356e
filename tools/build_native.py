"""Compiles the optional extension `usance._native` from the folder `native` into the package.

`make setup` runs this. Without a C compiler or Python's headers it says so in one line and goes on: usance
then runs its generated Python codec, which gives the same bytes. In CI (CI=true) that is a failure.
`--sanitize` builds with the address and undefined-behaviour sanitizers instead; then

    LD_PRELOAD="$(cc -print-file-name=libasan.so):$(cc -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 \
        PYTHONMALLOC=malloc .venv/bin/pytest tests/messages/test_codec.py tests/messages/test_frames.py \
            tests/messages/test_avro_codegen.py tests/messages/test_decided.py \
            tests/messages/test_sealed.py tests/crypto/test_cipher.py tests/kernel/test_digests.py \
            tests/adapters/test_sqlite_rows.py tests/adapters/test_proof_files.py \
            tests/engine/test_tree_native.py tests/log/test_kafka_fast.py

runs the tests of the codec under them, and `make setup` puts the plain one back.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "native"
PACKAGE = ROOT / "src" / "usance"
STAMPS = ROOT / "build"
FLAGS = ("-std=c11", "-O2", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-unused-parameter")
SANITIZERS = (
    "-g",
    "-fno-omit-frame-pointer",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover",
)


class CannotBuild(Exception):
    """Why there will be no extension, in a few words."""


def file_name() -> str:
    """Return the extension's file name for the running Python."""
    return f"_native{sysconfig.get_config_var('EXT_SUFFIX')}"


def command(target: Path, flags: tuple[str, ...]) -> list[str]:
    """Return the compiler's command; raises CannotBuild when something it needs is missing."""
    linker = shlex.split(os.environ.get("LDSHARED") or sysconfig.get_config_var("LDSHARED") or "")
    compiler = shlex.split(os.environ.get("CC", ""))
    if compiler and linker:
        linker[:1] = compiler
    if not linker or shutil.which(linker[0]) is None:
        if not linker or shutil.which("cc") is None:
            raise CannotBuild("there is no C compiler")
        linker[0] = "cc"
    headers = Path(sysconfig.get_paths()["include"])
    if not (headers / "Python.h").exists():
        raise CannotBuild("Python's headers are not installed (python3-dev on Debian and Ubuntu)")
    shared = shlex.split(sysconfig.get_config_var("CCSHARED") or "-fPIC")
    sources = sorted(str(path) for path in SOURCES.glob("*.c"))
    return [*linker, *shared, *flags, f"-I{headers}", *sources, "-o", str(target)]


def compile_to(folder: Path, flags: tuple[str, ...] = FLAGS) -> Path:
    """Compile into a folder and return the file; raises CannotBuild."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / file_name()
    unfinished = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        done = subprocess.run(
            command(unfinished, flags), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise CannotBuild(f"the C compiler failed:\n{done.stderr.strip()}")
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return target


def fingerprint(flags: tuple[str, ...]) -> str:
    """Return what a build is made of: sources, flags, and the Python it is for."""
    found = hashlib.sha256(repr((sys.version, sys.prefix, flags)).encode())
    for path in sorted(SOURCES.glob("*.[ch]")):
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()


def loads() -> bool:
    """Tell whether a Python of its own can load what was built."""
    tried = [sys.executable, "-c", "import usance._native"]
    return subprocess.run(tried, capture_output=True, check=False, timeout=60).returncode == 0


def main(arguments: list[str]) -> int:
    """Build what is out of date; returns the exit code."""
    sanitize = "--sanitize" in arguments
    flags = (*FLAGS, *SANITIZERS) if sanitize else FLAGS
    target, stamp = PACKAGE / file_name(), STAMPS / f"{file_name()}.stamp"
    now = fingerprint(flags)
    if target.exists() and stamp.exists() and stamp.read_text(encoding="ascii") == now:
        return 0
    try:
        compile_to(PACKAGE, flags)
        if not sanitize and not loads():
            raise CannotBuild("this Python does not load what the C compiler made")
    except (CannotBuild, OSError) as error:
        target.unlink(missing_ok=True)
        if os.environ.get("CI", "").lower() in ("true", "1", "yes"):
            print(f"The extension cannot be built: {error}", file=sys.stderr)
            return 1
        print(
            f"No compiled codec ({str(error).splitlines()[0]}): usance goes on in Python, slower."
        )
        return 0
    stamp.parent.mkdir(exist_ok=True)
    stamp.write_text(now, encoding="ascii")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
