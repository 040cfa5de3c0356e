"""Every role as a process of its own, under its own user, over TLS: the table of rights is enough for the work.

The log seals, so that rights to the keys are among what is used: minting, opening, saying what was let go of.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from usance.bootstrap.keys import COST_OF_RANDOM, found_by_passphrase
from usance.bootstrap.roles import ROLES
from usance.crypto.secret import Secret
from usance.testing.kafka_realm import ADMIN, Realm

BOOK = Path(__file__).parents[2] / "examples" / "book"
USANCE = (sys.executable, "-m", "usance", "--output", "json")
FILES = 14
WAIT_S = 300.0


@pytest.mark.slow
def test_the_roles_work_apart_each_with_the_rights_of_its_own_user(cluster_of, tmp_path):
    realm = Realm(tmp_path / "realm")
    cluster = cluster_of(realm=realm)
    words = tmp_path / "words"
    words.write_text("a passphrase that is long enough for a keyring")
    words.chmod(0o600)
    passphrase = Secret(words.read_bytes())
    found_by_passphrase(tmp_path / "keys.sealed", passphrase, cost=COST_OF_RANDOM)

    def environment(name: str, user: str, password: str) -> dict[str, str]:
        return {
            **os.environ,
            "USANCE_LOG": f"kafka://{cluster.bootstrap}",
            "USANCE_DATA": str(tmp_path / name),
            "USANCE_PARTITIONS": "2",
            "USANCE_KAFKA_REPLICATION": "1",
            "USANCE_KAFKA_SECURITY": "scram",
            "USANCE_KAFKA_CA_FILE": str(realm.authority.ca_file),
            "USANCE_KAFKA_USERNAME": user,
            "USANCE_KAFKA_PASSWORD": password,
            "USANCE_KAFKA_SLOT": name,
            "USANCE_PROFILE": "secure",
            "USANCE_KEYS_SERVICE": f"file:{tmp_path / 'keys.sealed'}",
            "USANCE_KEYS_SECRET_FILE": str(words),
        }

    def run(environ: dict[str, str], *words: str):
        done = subprocess.run(
            [*USANCE, *words], env=environ, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    admin = environment("admin", ADMIN, realm.passwords[ADMIN])
    run(admin, "kafka", "setup", "--passwords", str(tmp_path / "roles.toml"))
    passwords = tomllib.loads((tmp_path / "roles.toml").read_text())
    inbox = tmp_path / "intake" / "gateway" / "in"
    inbox.mkdir(parents=True)
    (tmp_path / "web").mkdir()
    for file in sorted(f for f in BOOK.rglob("*") if f.is_file())[:FILES]:
        shutil.copy(file, inbox)
    processes = {}
    try:
        for role in ROLES:
            with (tmp_path / f"{role}.log").open("w") as log:
                processes[role] = subprocess.Popen(
                    [*USANCE, "start", "--role", role, "--port", "0"],
                    env=environment(role, f"usance-{role}", passwords[role]),
                    stdout=log, stderr=log,
                )  # fmt: skip
        looker = environment("web", "usance-web", passwords["web"])
        looker["USANCE_KAFKA_SLOT"] = "looker"
        found, until = {}, time.monotonic() + WAIT_S
        while time.monotonic() < until and not found.get("StepSucceeded"):
            assert {r: p.poll() for r, p in processes.items()} == dict.fromkeys(ROLES)
            time.sleep(1.0)
            if not (tmp_path / "web" / "people.json").exists():
                continue  # who looks reads the folder that the web role makes
            found = run(looker, "status")["events_by_type"]
        # Intake took files, the owner decided, and the saga router went on from there.
        assert found.get("CreditApplied") and found.get("StepSucceeded"), found
        keys = run(looker, "key", "list")
        assert keys and {k["state"] for k in keys} == {"active"}
    finally:
        for process in processes.values():
            process.terminate()
        codes = {role: process.wait(30) for role, process in processes.items()}
    assert codes == dict.fromkeys(ROLES, 0)
    said = "".join((tmp_path / f"{role}.log").read_text() for role in ROLES)
    assert "AUTHORIZATION" not in said.upper()
