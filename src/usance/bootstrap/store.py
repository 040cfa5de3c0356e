"""The log of a data folder with its codecs and read models: what readers and the owner share."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

from msgspec.structs import replace

from usance.adapters.sqlite_views import SqliteViews
from usance.aml.activation import ListDecider
from usance.aml.case import CaseDecider
from usance.aml.decision import ScreeningDecider
from usance.bootstrap.backend import open_log
from usance.bootstrap.lists import ListBook
from usance.bootstrap.registries import open_registry
from usance.bootstrap.vaults import demand_profile, found_secret, open_vault
from usance.config import Settings
from usance.crypto.card_policy import CardPolicy
from usance.crypto.secret import Secret
from usance.crypto.tokens import KEY_LABEL, CardTokens
from usance.crypto.vault import Vault
from usance.domain.deciders import DECIDERS
from usance.domain.glass import GlassDecider
from usance.engine import genesis as birth
from usance.engine.history import History
from usance.engine.owner import schemas
from usance.engine.owner.accesses import AccessDecider
from usance.engine.owner.owner import OWNER_GROUP
from usance.engine.projections.projector import Projector
from usance.engine.projections.reading import Views
from usance.engine.reactors.reactor import Commands
from usance.engine.reactors.saga import SagaDecider
from usance.engine.secrecy.key_turns import TurnDecider
from usance.engine.secrecy.keys import KeyDecider
from usance.engine.secrecy.subjects import SubjectDecider
from usance.engine.topics import Topics
from usance.kernel.authority import Authorised
from usance.kernel.clock import BookClock, Clock, SystemClock
from usance.kernel.decider import Actor, Context, Decider, Refusal, key_parts
from usance.kernel.errors import Refused, Unavailable, UsanceError
from usance.kernel.ids import Ids, RandomIds
from usance.log.contract import Log, TopicPartition
from usance.messages.catalogue import Catalogue, default
from usance.messages.envelope import BODY_KEY_CLEAR, Decoder, Encoder
from usance.messages.registry import RegistryState
from usance.messages.sealed import Raw, Sealer
from usance.messages.upcasting import UPCASTERS
from usance.sagas.advice import ADVICE
from usance.sagas.amendment import AMENDMENT
from usance.sagas.issuance import ISSUANCE
from usance.sagas.settlement import SETTLEMENT
from usance.views import PROJECTIONS
from usance.views.queries import Queries


def command_classes() -> dict[str, type]:
    """Return the class of every command by its name."""
    return {e.cls.__name__: e.cls for e in default().types() if e.kind == "command"}


SECRECY = (
    GlassDecider(cache(command_classes)),
    KeyDecider(),
    TurnDecider(),
    SubjectDecider(),
    AccessDecider(),
)
DEFINITIONS = (ISSUANCE, ADVICE, AMENDMENT, SETTLEMENT)
PEOPLE_FILE = Path(__file__).parent.parent / "data" / "people.json"


class Preview(NamedTuple):
    """What a command would do now: nothing of it is recorded."""

    refusal: Refusal | None
    events: tuple[Any, ...]
    sends: tuple[Any, ...]
    revision: int


class Folder(NamedTuple):
    """Where things are in a data folder."""

    root: Path

    @property
    def log(self) -> Path:
        """The log's database."""
        return self.root / "log.sqlite"

    @property
    def views(self) -> Path:
        """The read models' database."""
        return self.root / "views.sqlite"

    @property
    def gateway(self) -> Path:
        """The FIN gateway's folder, with `in`, `out` and `archive`."""
        return self.root / "gateway"

    @property
    def cache(self) -> Path:
        """What can be made again: compiled screening indexes."""
        return self.root / "cache"

    @property
    def people(self) -> Path:
        """The directory of people."""
        return self.root / "people.json"


class NoKeys:
    """Stands where the data keys of a process would that is to have none."""

    def active(self, _tenant: str, _retention: str) -> dict[str, Any]:
        """Return no key."""
        return {}

    def seals(self, *_: str) -> Any:
        """Raise Refused: nothing is written in clear instead."""
        raise Refused("NO_KEYS_HERE", "this process holds no data keys, and seals nothing")

    def save(self) -> None:
        """Nothing was minted."""


class Store:
    """The log of a folder with its codecs: what readers and the owner have in common.

    A `keyless` one opens no keys: it reads sealed blocks as `Denied`, and what it would have to seal it refuses.
    """

    def __init__(
        self,
        folder: Folder,
        settings: Settings,
        clock: Clock,
        *,
        owner: bool,
        keyless: bool = False,
        writes: bool = False,
    ) -> None:
        self.folder = folder
        self.keyless = keyless
        self.settings = settings
        self.clock = clock
        self.catalogue: Catalogue = default()
        self.log: Log = open_log(folder.log, settings, clock, owner=owner, writes=writes)
        try:
            self._read()
        except BaseException:
            self.log.close()
            raise

    def _read(self) -> None:
        UPCASTERS.check(self.catalogue.by_name)
        patience = SystemClock() if self.settings.bootstrap_servers else None
        self.genesis = birth.check(self.log, self.settings.namespace, patience)
        known = Topics(self.genesis.namespace, self.genesis.partitions)
        self.topics = known.there(self.log.topics())
        self.ids = open_registry(self.settings.registry)
        self.registry = schemas.current(self.log, self.topics, self.catalogue, self.ids)
        demand_profile(self.settings, self.genesis)
        self.closed = Decoder(
            catalogue=self.catalogue,
            registry=self.registry,
            clear_blocks=self.genesis.clear_blocks,
        )
        """Opens no sealed block: for whoever shows records to people."""
        self.deciders = all_deciders()

    @cached_property
    def vault(self) -> Vault | None:
        """The data keys of a log that seals private blocks; opened by whoever first needs them."""
        if self.genesis.clear_blocks or self.keyless:
            return None
        return open_vault(self.settings, self.folder.root, self.log, self.genesis)

    @cached_property
    def cards(self) -> CardPolicy:
        """What becomes of card numbers; raises Refused where tokens are asked for and no key is there."""
        action = self.settings.cards.action
        if action != "tokenise":
            return CardPolicy(action)
        if self.vault is None:
            raise Refused(
                "TOKENS_NEED_KEYS",
                "cards.action is tokenise, and this log has no key of its own",
                hint="Found the log with --profile secure, or refuse card numbers.",
            )
        return CardPolicy(action, CardTokens(Secret(self.vault.derived(KEY_LABEL))))

    @cached_property
    def raw(self) -> Raw | None:
        """Seals and opens bytes as received, in logs that seal."""
        vault = self.vault
        return None if vault is None else Raw(vault, self.settings.bank.tenant)

    @cached_property
    def decoder(self) -> Decoder:
        """Opens sealed blocks: for what decides, reacts and keeps views."""
        vault = self.vault
        return self.closed if vault is None else self.closed.opened(vault)

    @cached_property
    def history(self) -> History:
        """Streams as reactions see them, their private blocks open."""
        return History(self.log, self.topics, self.decoder)

    def lists(self) -> ListBook:
        """Return the stream of list versions; it needs no keys, as nothing that decides is private."""
        return ListBook(self.log, self.topics, self.closed, self.settings.bank.tenant)

    def encoder(self) -> Encoder:
        """Return an encoder; each thread needs its own."""
        made = make_encoder(self.genesis.log_id, self.catalogue, self.registry, self.vault)
        if self.keyless and not self.genesis.clear_blocks:
            made.sealer = Sealer(cast("Vault", NoKeys()))
        return made

    def close(self) -> None:
        """Close log and key store."""
        vault = self.__dict__.get("vault")
        self.log.close()
        if vault is not None:
            if vault.instance:
                with suppress(Unavailable):
                    vault.store.leave(vault.instance)
            vault.store.close()
            vault.service.close()

    def commands(self, reply: int | None = None) -> Commands:
        """Return what appends commands; each thread needs its own.

        `reply` is the partition of the replies topic where the caller waits for outcomes.
        """
        book = self.genesis.clock == "book"
        return Commands(self.log, self.topics, self.encoder(), book_clock=book, reply=reply)

    def preview(self, key: str, command: Any, actor: Actor, revision: int | None = None) -> Preview:
        """Decide a command against the recorded stream without recording anything."""
        parts = key_parts(key)
        decider = self.deciders.get(parts.category)
        if decider is None:
            return Preview(Refusal("UNKNOWN_AGGREGATE", "Nothing decides this key."), (), (), 0)
        try:
            past = self.history.stream(key, revision)
        except UsanceError:
            past = []
        state = decider.initial(key)
        for event in past:
            state = decider.evolve(state, event.message)
        now = self.clock.now()
        digests = b"" if self.vault is None else self.vault.digest_key(parts.tenant)
        context = Context(key, len(past), now, parts.tenant, actor, "preview", "", "", digests)
        answer = decider.decide(state, command, context)
        if isinstance(answer, Refusal):
            return Preview(answer, (), (), len(past))
        return Preview(None, answer.events, answer.sends, len(past))


def make_encoder(
    log_id: str, catalogue: Catalogue, registry: RegistryState, vault: Vault | None
) -> Encoder:
    """Return an encoder of a log; it seals where there is a vault."""
    return Encoder(
        log_id=log_id,
        catalogue=catalogue,
        registry=registry,
        body_key=BODY_KEY_CLEAR if vault is None else vault.derived("body"),
        sealer=None if vault is None else Sealer(vault),
    )


def all_deciders() -> Mapping[str, Decider[Any]]:
    """Return every decider of the program by category."""
    found = (
        *DECIDERS,
        CaseDecider(),
        ScreeningDecider(),
        ListDecider(),
        SagaDecider(DEFINITIONS),
        *SECRECY,
    )
    return {d.category: Authorised(d) for d in found}


def open_views(folder: Folder, settings: Settings) -> Views:
    """Return the read models' store: in the data folder, or on the PostgreSQL server that is set."""
    if settings.views == "sqlite":
        return SqliteViews(folder.views)
    from usance.adapters.postgres_views import PostgresViews  # dear to import, and seldom needed

    return PostgresViews(settings.views)


def make_projector(store: Store, views: Views, *, follow: bool = True) -> Projector:
    """Return a projector of all views; without `follow` it only rebuilds."""
    return Projector(
        store.log,
        store.topics,
        store.decoder,
        views,
        PROJECTIONS,
        log_id=store.genesis.log_id,
        follow=follow,
    )


def make_queries(store: Store, views: Views) -> Queries:
    """Return the read side over a store and its views."""
    return Queries(
        views,
        store.log,
        store.closed,
        store.topics,
        store.deciders,
        definitions={d.name: d for d in DEFINITIONS},
        tenant=store.settings.bank.tenant,
    )


def prepare_folder(folder: Folder) -> None:
    """Make a data folder and the files that it needs beside a log. Raises Unavailable where it cannot."""
    try:
        # Views hold what the log seals: the folder is its owner's alone. One made by hand keeps its mode.
        folder.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not folder.people.exists():
            folder.people.write_bytes(PEOPLE_FILE.read_bytes())
    except OSError as error:
        raise Unavailable(
            f"the data folder {folder.root} cannot be written: {error.strerror}",
            hint="Check its permissions, or choose another folder with --data.",
        ) from error


def found_log(folder: Folder, settings: Settings, clock: Clock, ids: Ids | None = None) -> None:
    """Make an empty data folder or cluster into a log; complete what a crash left of one unfinished.

    Raises Tampered where records stand without the genesis that they belong to.
    """
    settings = replace(settings, data=str(folder.root))
    log = open_log(folder.log, settings, clock)  # makes the folder, or says why it cannot
    try:
        if birth.read(log, settings.namespace) is None:
            prepare_folder(folder)
        complete_log(log, settings, clock, ids)
    finally:
        log.close()


def open_beside(folder: Folder, settings: Settings) -> Log:
    """Open a log to read it and append to it, beside whoever owns it; raises Unavailable without one."""
    if not settings.bootstrap_servers and not folder.log.exists():
        raise Unavailable(f"there is no log in {folder.root}", hint="--data names another folder.")
    return open_log(folder.log, settings, owner=False)


def reactor_topics(topics: Topics) -> dict[str, list[str]]:
    """Return what each reactor follows; its consumer group is `usance-<name>`."""
    trade = topics.name("trade", "events")
    return {
        "intake": [topics.name("trade", "intake")],
        "sagas": [trade, topics.name("trade", "outcomes")],
        "reactions": [trade, topics.name("compliance", "events")],
        "screening": [trade],
        "fin-out": [trade],
    }


def complete_log(log: Log, settings: Settings, clock: Clock, ids: Ids | None = None) -> bool:
    """Write what an open log lacks: genesis, topic records, first positions; tells whether it is new."""
    fresh = birth.read(log, settings.namespace) is None
    if fresh:
        root = Path(settings.data)
        topics = Topics(settings.namespace, settings.partitions)
        secure = settings.profile == "secure"
        birth.found(
            log,
            make_secret=(lambda: found_secret(settings, root, log, topics)) if secure else None,
            namespace=settings.namespace,
            partitions=settings.partitions,
            clock="book" if isinstance(clock, BookClock) else "log",
            ids=ids or RandomIds(),
            now=clock.now(),
        )
    genesis = birth.check(log, settings.namespace)
    birth.complete(log, genesis)
    _first_positions(log, Topics(genesis.namespace, genesis.partitions))
    return fresh


def _first_positions(log: Log, topics: Topics) -> None:
    """Begin at the first record of each partition that a group has never read (rule 4)."""
    numbers = topics.places()
    decided = log.ends([topics.at(context, "outcomes", n) for context, n in numbers])
    known = log.positions(OWNER_GROUP, [topics.at(c, "commands", n) for c, n in numbers])
    first: dict[TopicPartition, int] = {}
    for context, number in numbers:
        commands = topics.at(context, "commands", number)
        if not decided[topics.at(context, "outcomes", number)] and commands not in known:
            first[commands] = 0
    if first:
        log.set_positions(OWNER_GROUP, first)
    for name, followed in reactor_topics(topics).items():
        group = f"usance-{name}"
        places = [
            TopicPartition(t, n)
            for t in followed
            for n in range(topics.count(topics.context_of(t)))
        ]
        known = log.positions(group, places)
        if missing := [p for p in places if p not in known]:
            log.set_positions(group, log.begins(missing))
