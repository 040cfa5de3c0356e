"""Opening the data folder for one command: settings, desk, and who looks or acts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from usance.bootstrap.desk import Desk, act, folder_of, look
from usance.bootstrap.people import Directory
from usance.bootstrap.store import Folder
from usance.cli.options import say, session
from usance.config import FROM_FLAG, Effective, Settings, load
from usance.kernel.decider import Actor
from usance.kernel.errors import Refused, Unreadable
from usance.views.queries import Queries

NOBODY = Actor("", "command-line", "")
"""Who looks when nobody is named: sees what every role may see."""


def effective(**flags: str | int | None) -> Effective:
    """Return the effective settings; flags are dotted names with `__` for the dot.

    A flag that says nothing is wrong usage, not a file that cannot be read.
    """
    said = {**session().flags, **{k.replace("__", "."): v for k, v in flags.items()}}
    try:
        data = load(None, said).settings.data
        return load(Path(data), said)
    except Unreadable as error:
        if FROM_FLAG not in error.message:
            raise
        raise click.UsageError(f"{error.message}. {error.hint}") from error


def settings(**flags: str | int | None) -> Settings:
    """Return the settings of this command."""
    return effective(**flags).settings


def folder() -> Folder:
    """Return the data folder of this command."""
    return folder_of(settings())


class Looking:
    """A desk opened to read, and the one who looks."""

    def __init__(self, desk: Desk, viewer: Actor) -> None:
        self.desk = desk
        self.viewer = viewer
        self.tenant = desk.settings.bank.tenant

    @property
    def queries(self) -> Queries:
        """The read side."""
        return self.desk.queries

    def key(self, category: str, reference: str) -> str:
        """Return the aggregate key that a reference means."""
        return self.queries.key(category, reference, self.tenant)


_OPEN = "usance.looking"


def now_open() -> Looking | None:
    """Return what this command has open to read, if anything."""
    context = click.get_current_context(silent=True)
    return None if context is None else context.meta.get(_OPEN)


@contextmanager
def looking() -> Iterator[Looking]:
    """Open the folder to read; says on stderr how far the views are behind, if they are."""
    found = settings()
    context = click.get_current_context(silent=True)
    desk = look(folder_of(found), found)
    try:
        viewer = actor(desk.directory) if session().person else NOBODY
        if desk.lag:
            say(f"The views are {desk.lag} records behind the log: process {desk.owner} is busy.")
        seen = Looking(desk, viewer)
        if context is not None:
            context.meta[_OPEN] = seen
        yield seen
    finally:
        if context is not None:
            context.meta.pop(_OPEN, None)
        desk.close()


@contextmanager
def acting() -> Iterator[tuple[Desk, Actor]]:
    """Open the folder to act; raises Refused where nobody is named who acts."""
    found = settings()
    place = folder_of(found)
    fresh = not found.bootstrap_servers and not place.log.exists()
    desk = act(place, found)
    try:
        if fresh:
            say(f"Began a new book in {place.root}.")
        yield desk, actor(desk.directory)
    finally:
        desk.close()


def actor(directory: Directory) -> Actor:
    """Return who acts; raises Refused when nobody is named, NotFound for an unknown person."""
    person, _, role = session().person.partition(":")
    if not person:
        known = ", ".join(sorted(directory.people))
        raise Refused(
            "ACTING_AS_MISSING",
            "nobody is named who acts",
            hint=f"Name a person with --as or USANCE_AS: {known}.",
        )
    return directory.actor(person, role)
