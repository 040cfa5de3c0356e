"""Java, and the jars of Apache Kafka as Maven resolves them from `tools/kafka/pom.xml`.

The class path is kept in the user's cache under the digest of that file, so that Maven runs once.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

from usance.kernel.errors import Unavailable

POM = Path(__file__).parents[3] / "tools" / "kafka" / "pom.xml"
JAVA_MIN = 17
MAVEN_S = 900.0
GET = "on Debian and Ubuntu: apt-get install openjdk-17-jre-headless maven"


@cache
def missing() -> str | None:
    """Return what the machine lacks for running a broker, or None."""
    if _java() is None:
        return f"Java {JAVA_MIN} or newer"
    if not _cached() and shutil.which("mvn") is None:
        return "Maven"
    return None


def java() -> str:
    """Return the path of Java; raises Unavailable saying what to install."""
    found = _java()
    if found is None:
        raise Unavailable(f"Java {JAVA_MIN} or newer is missing", hint=GET)
    return found


def class_path() -> str:
    """Return the class path of the broker; Maven fetches what this machine has not got yet."""
    if not POM.exists():
        raise Unavailable(
            f"{POM} is missing", hint="The broker for tests runs from a checkout of the sources."
        )
    if _cached():
        return _cache_file().read_text(encoding="utf-8").strip()
    if shutil.which("mvn") is None:
        raise Unavailable("Maven is missing", hint=GET)
    _cache_file().parent.mkdir(parents=True, exist_ok=True)
    said = ""
    for reach in (["--offline"], []):
        ran = subprocess.run(  # noqa: S603  arguments are ours
            ["mvn", *reach, "--batch-mode", "--quiet", "--file", str(POM),  # noqa: S607
             "dependency:build-classpath", f"-Dmdep.outputFile={_part()}"],
            capture_output=True, text=True, timeout=MAVEN_S, check=False,
        )  # fmt: skip
        if ran.returncode == 0 and _part().exists():
            _part().replace(_cache_file())
            return _cache_file().read_text(encoding="utf-8").strip()
        said = (ran.stdout + ran.stderr).strip()
    raise Unavailable(
        f"Maven cannot get the jars of Kafka: {said[-1500:]}",
        hint="Check the network and Maven's settings.xml; once fetched, they are used offline.",
    )


def archive() -> Path:
    """Return where the classes that a broker loads are kept as this Java maps them (`.jsa`)."""
    said = _words(java())
    return _cache_file().with_suffix(f".{hashlib.sha256(said.encode()).hexdigest()[:8]}.jsa")


def _cache_file() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    digest = hashlib.sha256(POM.read_bytes()).hexdigest()[:12] if POM.exists() else "none"
    return Path(base) / "usance" / f"kafka-{digest}.classpath"


def _part() -> Path:
    # Two runs at once each write their own, and the last rename wins with the same text.
    return _cache_file().with_suffix(f".{os.getpid()}")


def _cached() -> bool:
    file = _cache_file()
    if not file.exists():
        return False
    jars = file.read_text(encoding="utf-8").strip().split(os.pathsep)
    return all(Path(jar).exists() for jar in jars)


@cache
def _java() -> str | None:
    home = os.environ.get("JAVA_HOME")
    for found in (home and str(Path(home) / "bin" / "java"), shutil.which("java")):
        if not found or not Path(found).exists():
            continue
        match = re.search(r'version "(\d+)', _words(found))
        if match and int(match[1]) >= JAVA_MIN:
            return found
    return None


@cache
def _words(program: str) -> str:
    return subprocess.run(  # noqa: S603  a question to Java itself
        [program, "-version"], capture_output=True, text=True, check=False
    ).stderr
