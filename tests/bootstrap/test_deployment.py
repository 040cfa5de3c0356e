"""The files in `deploy/`: they parse, name every role once, and say nothing that the program would refuse."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from usance.adapters import kafka_doctor
from usance.bootstrap.roles import ROLES, roles_of
from usance.cli.main import usance
from usance.config import Settings, load, variable
from usance.kernel.clock import SystemClock

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
IMAGE = f"usance:{VERSION}"


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


@pytest.fixture(scope="module")
def documents():
    """All Kubernetes documents by kind and name."""
    found = {}
    for file in KUBERNETES:
        for document in yaml.safe_load_all(file.read_text()):
            assert document.keys() >= {"apiVersion", "kind", "metadata"}, file.name
            key = (document["kind"], document["metadata"]["name"])
            assert key not in found, f"{file.name} says {key} again"
            found[key] = document
    return found


def check_command(words):
    """Parse a command as the program does; returns what it was told."""
    noun = usance.get_command(usance.make_context("usance", [], resilient_parsing=True), words[0])
    if words[0] != "start":
        verbs = noun.make_context(words[0], [], resilient_parsing=True)
        assert words[1] in noun.list_commands(verbs)
        return {}
    return noun.make_context(words[0], [*words[1:]]).params


def ours(compose):
    return {n: s for n, s in compose["services"].items() if s["image"] == IMAGE}


def pods(documents):
    return {n: d for (kind, n), d in documents.items() if kind == "StatefulSet"}


def test_every_role_has_its_service_and_its_pods(compose, documents):
    told = [check_command(s["command"]).get("role") for s in ours(compose).values()]
    assert {role for role in told if role} == set(ROLES)
    said = {}
    for name, document in pods(documents).items():
        (container,) = document["spec"]["template"]["spec"]["containers"]
        assert container["image"] == IMAGE
        said[name] = check_command(container["args"])["role"]
        assert roles_of(said[name]) == {said[name]}
    assert said == {f"usance-{role}": role for role in ROLES}


def test_the_trial_on_one_machine_is_set_as_the_program_understands_it(
    compose, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    slots = []
    for name, service in ours(compose).items():
        settings = load(None, None, service["environment"]).settings
        assert settings.bootstrap_servers.count(",") == 2, name
        assert settings.views.startswith("postgresql://"), name
        slots.append(settings.kafka.slot)
        known = {*compose["services"]}
        assert set(service["depends_on"]) <= known, name
    assert len(set(slots)) == len(slots), "two processes would fence each other"


def test_the_brokers_of_the_trial_pass_the_doctor(compose):
    ward = kafka_doctor.Ward(None, {}, (), SystemClock())
    rules = (*kafka_doctor._RULES, *kafka_doctor._SEVERAL, *kafka_doctor._timing(ward))
    brokers = [s for s in compose["services"].values() if s["image"].startswith("apache/kafka:")]
    assert len(brokers) == 3
    pinned = re.search(
        r"<artifactId>kafka_2\.13</artifactId>\s*<version>(.*?)<",
        (ROOT / "tools/kafka/pom.xml").read_text(),
    )
    assert {s["image"].partition(":")[2] for s in brokers} == {pinned[1]}
    for broker in brokers:
        told = {
            name.removeprefix("KAFKA_").replace("_", ".").lower(): value
            for name, value in broker["environment"].items()
        }
        wrong = {r.name: told[r.name] for r in rules if r.name in told and not r.well(told[r.name])}
        assert wrong == {}
        # What comes along is not good enough for these, so that they have to be said.
        assert told.keys() >= {
            "auto.create.topics.enable", "min.insync.replicas", "group.consumer.session.timeout.ms",
            "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        }  # fmt: skip
        assert told["node.id"] in told["advertised.listeners"]
    volumes = {
        v.partition(":")[0] for s in compose["services"].values() for v in s.get("volumes", ())
    }
    assert volumes == set(compose["volumes"])


def test_no_port_of_the_trial_leaves_the_machine(compose):
    assert [n for n, s in compose["services"].items() if "ports" in s or "network_mode" in s] == []


def test_pods_select_themselves_mount_what_they_have_and_run_as_nobody(documents):
    for name, document in pods(documents).items():
        spec = document["spec"]
        inner = spec["template"]["spec"]
        (container,) = inner["containers"]
        assert (
            spec["selector"]["matchLabels"].items()
            <= spec["template"]["metadata"]["labels"].items()
        )
        assert ("Service", spec["serviceName"]) in documents, name
        volumes = {v["name"] for v in inner["volumes"]}
        volumes |= {c["metadata"]["name"] for c in spec["volumeClaimTemplates"]}
        assert {m["name"] for m in container["volumeMounts"]} == volumes, name
        assert inner["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        for probe in ("livenessProbe", "readinessProbe"):
            line = container[probe]["exec"]["command"][-1]
            assert f"127.0.0.1:{Settings().web.port}/health/" in line, name
            compile(line, "probe", "exec")


def test_what_pods_are_told_is_what_the_program_understands(documents, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shared = documents["ConfigMap", "usance"]["data"]
    names = {variable(n) for n in ("kafka.slot", "kafka.username", "kafka.password", "views")}
    for name, document in pods(documents).items():
        (container,) = document["spec"]["template"]["spec"]["containers"]
        own = {e["name"]: e.get("value", "") for e in container["env"]}
        assert own.keys() == names
        secret = {"USANCE_KAFKA_PASSWORD": "x", "USANCE_VIEWS": "postgresql://h/d"}
        settings = load(
            None, None, {**shared, **own, **secret, "USANCE_KAFKA_SLOT": f"{name}-0"}
        ).settings
        assert settings.kafka.security == "scram"
        assert settings.kafka.username == name, "the user that `kafka setup` makes for the role"
        assert settings.kafka.i_accept_loss is False
        refs = [
            e["valueFrom"]["secretKeyRef"]
            for e in container["env"]
            if "secretKeyRef" in e.get("valueFrom", {})
        ]
        assert {"name": "usance-passwords", "key": name.removeprefix("usance-")} in refs
    assert not any(kind == "Secret" for kind, _ in documents), "secrets are kept elsewhere"


def test_the_image_installs_by_hash_and_runs_as_somebody_without_rights():
    lines = (DEPLOY / "Dockerfile").read_text()
    assert "--require-hashes -r requirements.lock" in lines
    assert re.search(r"^USER (?!0\b|root\b)\d+$", lines, re.M)
    assert 'ENTRYPOINT ["usance"]' in lines
