"""The one job that every peer of the Kafka bench does: a JSON command in, an event out, state kept.

Nothing but the standard library is needed, so that peers in an environment of their own run the very same
decision. Commands come from a seed; their texts differ, as those of real credits do.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

KEYS = 2_000
ACTIONS = ("apply", "amend", "present", "examine", "accept", "pay")
WORDS = (
    "FULL SET CLEAN ON BOARD BILLS OF LADING TO ORDER BLANK ENDORSED MARKED FREIGHT PREPAID NOTIFY"
    " APPLICANT INVOICE SIGNED PACKING LIST CERTIFICATE ORIGIN CHAMBER INSURANCE COVERING ALL RISKS"
).split()


class Standing(NamedTuple):
    """What is known of one credit."""

    version: int = 0
    status: str = "new"
    amount: int = 0
    drawn: int = 0
    applicant: str = ""
    beneficiary: str = ""
    expiry: str = ""
    last: str = ""


NEW = Standing()


def command(number: int, dice: random.Random) -> dict[str, Any]:
    """Return command `number`: the actions follow each other on every key."""
    turn, key = divmod(number, KEYS)
    return {
        "id": f"command-{number:012d}",
        "credit": f"albion/credit/LC{key:08d}",
        "action": ACTIONS[turn % len(ACTIONS)],
        "tenant": "albion",
        "amount": 1_000_000 + dice.randrange(1_000_000),
        "currency": "USD",
        "tolerance": 5,
        "expiry": "2027-05-28",
        "place": "FELIXSTOWE",
        "applicant": {
            "name": f"ALBION FURNITURE {key}",
            "address": f"{dice.randrange(400)} QUAY, FELIXSTOWE",
        },
        "beneficiary": {
            "name": f"STRAITS TIMBER {key}",
            "address": f"{dice.randrange(400)} ROAD, SINGAPORE",
        },
        "documents": ["invoice", "bill_of_lading", "packing_list", "insurance"],
        "terms": " ".join(dice.choices(WORDS, k=52)),
        "maker": "p-maker",
        "checker": "p-checker",
    }


def commands(count: int, seed: int, first: int = 0) -> Iterator[dict[str, Any]]:
    """Yield seeded commands, those of the next numbers."""
    dice = random.Random(seed)  # noqa: S311  examples, not secrets
    return (command(number, dice) for number in range(first, first + count))


def partition_of(number: int, partitions: int) -> int:
    """Return where a command goes: all of a key to one partition."""
    return number % KEYS % partitions


def expected(count: int) -> Counter[str]:
    """Return how many events each key must have after so many commands."""
    full, rest = divmod(count, KEYS)
    found = {f"albion/credit/LC{key:08d}": full + (key < rest) for key in range(KEYS)}
    return Counter({key: times for key, times in found.items() if times})


def decide(before: Standing, said: dict[str, Any]) -> tuple[Standing, dict[str, Any]]:
    """Return what a credit is after a command, and the one event: what happened, or the refusal."""
    action, amount = said["action"], said["amount"]
    refused, after = "", before
    if len(said["currency"]) != 3 or amount <= 0 or not said["documents"]:
        refused = "INVALID"
    elif said["maker"] == said["checker"]:
        refused = "FOUR_EYES"
    elif action == "apply":
        if before.status in ("new", "paid"):
            after = Standing(
                0, "issued", amount, 0, said["applicant"]["name"], said["beneficiary"]["name"],
                said["expiry"],
            )  # fmt: skip
        else:
            refused = "CREDIT_EXISTS"
    elif before.status == "new":
        refused = "CREDIT_UNKNOWN"
    elif action == "amend":
        after = before._replace(amount=amount)
    elif action == "present":
        drawn = before.drawn + amount
        if drawn * 100 > before.amount * (100 + said["tolerance"]):
            refused = "OVERDRAWN"
        else:
            after = before._replace(status="presented", drawn=drawn)
    else:
        after = before._replace(
            status={"examine": "examined", "accept": "accepted"}.get(action, "paid")
        )
    after = after._replace(version=before.version + 1, last=said["id"])
    return after, {
        "command": said["id"],
        "credit": said["credit"],
        "version": after.version,
        "type": "refused" if refused else action,
        "refused": refused,
        "tenant": said["tenant"],
        "status": after.status,
        "amount": after.amount,
        "drawn": after.drawn,
        "currency": said["currency"],
        "applicant": after.applicant,
        "beneficiary": after.beneficiary,
        "expiry": after.expiry,
        "maker": said["maker"],
        "checker": said["checker"],
        "documents": said["documents"],
        "terms": said["terms"],
    }
