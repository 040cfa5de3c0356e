"""What is measured: the owner on the embedded log in a folder of its own, fed with seeded commands.

Everything is as in the program: the same log, codecs, deciders and settings; nothing is switched off. After
each measurement the log is verified from its records, and the fold of its events held against memory.
"""

from __future__ import annotations

import gc
import random
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from usance.adapters.log_keys import LogKeys
from usance.adapters.sqlite_keys import SqliteKeys
from usance.adapters.sqlite_log import SqliteLog
from usance.adapters.sqlite_views import SqliteViews
from usance.bootstrap.store import all_deciders, make_encoder, make_projector
from usance.crypto.keyring import Keyring
from usance.crypto.secret import KEY_BYTES, Secret
from usance.crypto.vault import Vault
from usance.engine import collector
from usance.engine import genesis as birth
from usance.engine.owner.owner import OWNER_GROUP, Owner
from usance.engine.reactors.reactor import Commands, Outgoing
from usance.engine.topics import Topics
from usance.kernel.clock import SystemClock
from usance.kernel.errors import Tampered
from usance.kernel.ids import RandomIds, system_entropy
from usance.log.contract import Log, Output
from usance.messages.catalogue import default
from usance.messages.envelope import Decoder, Encoder
from usance.messages.outcome import DECIDING, Outcome
from usance.messages.registry import registered
from usance.testing.verify import Verdict, verify_log
from usance.testing.workload import Workload, batches

Profile = Literal["default", "secure"]
PARTITIONS = 4
PRELOAD = 500
WARM_UP = 2_000
SUBJECTS = 40
"""Data subjects of what is measured: after the warm-up their keys are in memory, as those of a bank are."""


class Mismatch(Tampered):
    """What was measured does not add up: there are no numbers."""


class Saturation(NamedTuple):
    """A backlog worked off: commands per second overall and in the second half."""

    commands: int
    seconds: float
    per_s: float
    second_half_per_s: float
    owner_cpu_us: float


class Latency(NamedTuple):
    """Open-loop arrivals: milliseconds from the intended start to the durable outcome."""

    rate: float
    commands: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    late_p99_ms: float


class Rig:
    """A log in a folder with an owner on it."""

    def __init__(
        self, folder: Path, *, profile: Profile = "default", log: Log | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.clock = SystemClock()
        self.log: Log = log or SqliteLog.open(folder / "log.sqlite", clock=self.clock)
        self.genesis = birth.found(
            self.log,
            namespace="usance",
            partitions=PARTITIONS,
            clock="log",
            ids=RandomIds(),
            now=self.clock.now(),
            make_secret=(lambda: "00") if profile == "secure" else None,
        )
        self.topics = Topics("usance", PARTITIONS)
        self.vault = self._vault(log is not None) if profile == "secure" else None
        self.log.set_positions(OWNER_GROUP, dict.fromkeys(self.topics.all_at("commands"), 0))
        self.catalogue, self.registry = default(), registered(default())
        self.decoder = Decoder(
            catalogue=self.catalogue,
            registry=self.registry,
            clear_blocks=self.vault is None,
            vault=self.vault,
        )
        self.commands = Commands(self.log, self.topics, self.encoder(), book_clock=False)
        self.deciders = all_deciders()
        self.distant = log is not None
        """Records come some time after they were committed: an empty read is no end."""
        self.answered: dict[str, float] = {}
        self.sent = 0
        self.trouble: Exception | None = None
        """What ended the owner's thread."""
        self.owner = self.new_owner()

    def _vault(self, in_log: bool) -> Vault:
        """Return a vault as the secure profile has it, over a key service in memory."""
        place = self.topics.at("system", "keys", 0)
        store = LogKeys(self.log, place) if in_log else SqliteKeys(self.folder / "keys.sqlite")
        secret = Secret(system_entropy(KEY_BYTES))
        return Vault(Keyring(self.clock), store, self.clock, secret, partitions=PARTITIONS)

    def encoder(self) -> Encoder:
        """Return an encoder; each thread needs its own."""
        return make_encoder(self.genesis.log_id, self.catalogue, self.registry, self.vault)

    def new_owner(self, on_outcomes: Callable[..., None] | None = None) -> Owner:
        """Return an owner, opened."""
        owner = Owner(
            self.log,
            self.topics,
            self.encoder(),
            self.decoder,
            self.deciders.values(),
            log_id=self.genesis.log_id,
            book_clock=False,
            clock=self.clock,
            on_outcomes=on_outcomes or self._answered,
        )
        owner.open()
        return owner

    def _answered(self, answers: list[tuple[str, Outcome]]) -> None:
        now = self.clock.monotonic()
        self.answered.update(dict.fromkeys((i for i, o in answers if o.answer in DECIDING), now))

    # -- feeding

    def preload(self, commands: Sequence[Outgoing]) -> None:
        """Append commands to the log, as gateways do."""
        for part in batches(list(commands), PRELOAD):
            self.commands.append(part, self.clock.now())
        self.sent += len(commands)

    def outputs(self, commands: Sequence[Outgoing]) -> list[Output]:
        """Return commands as records, for a feeder that must keep its times."""
        self.sent += len(commands)
        now = self.clock.now()
        return [self.commands.output(c, now) for c in commands]

    # -- measuring

    def work_off(self, backlog: int | None = None) -> Saturation:
        """Decide everything that waits; the clock runs from the first unit to the last commit."""
        collector.relax()
        owner, first = self.owner, self.owner.decided
        half: tuple[int, float] | None = None
        if backlog is None:
            backlog = self.sent - len(self.answered)
        start, cpu = self.clock.monotonic(), thread_seconds()
        while owner.step(0.2 if self.distant and owner.decided - first < backlog else 0.0) or (
            self.distant and owner.decided - first < backlog
        ):
            done = owner.decided - first
            if half is None and done * 2 >= backlog:
                half = (done, self.clock.monotonic())
        owner.settle()
        end, used = self.clock.monotonic(), thread_seconds() - cpu
        done = owner.decided - first
        at, when = half or (0, start)
        return Saturation(
            done,
            end - start,
            done / (end - start),
            (done - at) / (end - when),
            used / done * 1e6,
        )

    def open_loop(self, commands: Sequence[Outgoing], rate: float, seed: int) -> Latency:
        """Let commands arrive at seeded random times, `rate` per second, while the owner works."""
        outputs = self.outputs(commands)
        dice = random.Random(seed)  # noqa: S311  arrival times
        intended, at = [], 0.0
        for _ in outputs:
            at += dice.expovariate(rate)
            intended.append(at)
        stop = threading.Event()
        owner = threading.Thread(target=self._serve, args=(stop,))
        collector.relax()
        owner.start()
        start = self.clock.monotonic() + 0.05
        lateness = self._feed(outputs, [start + t for t in intended])
        deadline = self.clock.monotonic() + 30.0
        last = commands[-1].id
        while last not in self.answered and self.clock.monotonic() < deadline:
            if not owner.is_alive():
                break
            self.clock.sleep(0.01)
        stop.set()
        owner.join()
        if self.trouble is not None:
            raise self.trouble
        late = [
            (self.answered[c.id] - start - t) * 1e3
            for c, t in zip(commands, intended, strict=True)
            if c.id in self.answered
        ]
        if len(late) != len(commands):
            raise Mismatch(f"{len(late)} of {len(commands)} commands were answered", hint="Again.")
        late.sort()
        lateness.sort()
        return Latency(
            rate, len(late), at_share(late, 0.5), at_share(late, 0.99), late[-1],
            at_share(lateness, 0.99) * 1e3,
        )  # fmt: skip

    def _serve(self, stop: threading.Event) -> None:
        try:
            while not stop.is_set():
                self.owner.step(0.05)
            self.owner.settle()
        except Exception as trouble:  # noqa: BLE001  told by the thread that waits, which would tell nothing
            self.trouble = trouble

    def _feed(self, outputs: list[Output], times: list[float]) -> list[float]:
        """Append records at their times, those that are due together; returns how late, in seconds."""
        lateness, at = [], 0
        while at < len(outputs):
            now = self.clock.monotonic()
            if times[at] > now:
                self.clock.sleep(times[at] - now)
                continue
            stop = at
            while stop < len(outputs) and times[stop] <= now and stop - at < PRELOAD:
                lateness.append(now - times[stop])
                stop += 1
            self.log.append(outputs[at:stop])
            at = stop
        return lateness

    def verify(self) -> Verdict:
        """Read everything back: chains, revisions, one answer each, and memory equal to the fold."""
        verdict = verify_log(
            self.log, self.topics, self.decoder, self.deciders, self.genesis.log_id
        )
        if verdict.violations:
            raise Mismatch(verdict.words[0], hint="The numbers are not printed.")
        if len(verdict.decided) != self.sent:
            raise Mismatch(
                f"{len(verdict.decided)} of {self.sent} commands were decided",
                hint="The numbers are not printed.",
            )
        encode = msgspec.msgpack.encode
        for state in self.owner.states.values():
            for key, entry in state.entries.items():
                if encode(entry.state) != encode(verdict.states[key]):
                    raise Mismatch("memory and log differ", hint="The numbers are not printed.")
        return verdict

    def restore(self, *, snapshots: bool) -> tuple[int, float]:
        """Take everything over as a new process would; returns events covered and seconds."""
        events = sum(self.owner.states[p].tails["events"].next for p in self.owner.states)
        self.owner.close(clean=snapshots)
        if not snapshots:
            for place in list(self.owner.states):
                tp = self.topics.at(place.context, "snapshots", place.partition)
                self.log.expire(tp, self.log.end(tp))
        gc.collect()
        start = self.clock.monotonic()
        self.owner = self.new_owner()
        return events, self.clock.monotonic() - start

    def project(self) -> tuple[int, float]:
        """Build every view from the first record; returns events taken in and seconds."""
        views = SqliteViews(self.folder / "views.sqlite")
        projector = make_projector(self, views)  # type: ignore[arg-type]
        start = self.clock.monotonic()
        projector.open()
        while projector.step(0.0):
            pass
        seconds = self.clock.monotonic() - start
        projector.close()
        views.close()
        return sum(s.tails["events"].next for s in self.owner.states.values()), seconds

    def close(self) -> None:
        """Leave the folder."""
        self.owner.close(clean=False)
        self.log.close()
        if self.vault is not None:
            self.vault.store.close()


def thread_seconds() -> float:
    """Return the processor seconds of this thread."""
    import time

    return time.thread_time()


def at_share(ordered: Sequence[float], share: float) -> float:
    """Return the value below which a share of an ordered list lies."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def warmed(
    folder: Path, seed: int, *, profile: Profile = "default", log: Log | None = None
) -> tuple[Rig, Workload]:
    """Return a rig that has worked for a while, and the workload that goes on."""
    rig, work = Rig(folder, profile=profile, log=log), Workload(seed, SUBJECTS)
    rig.preload(work.take(WARM_UP))
    rig.work_off()
    return rig, work
