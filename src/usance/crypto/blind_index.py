"""Finding a sealed value without opening it: blind index, and deterministic encryption where declared.

A **blind index** is HMAC-SHA256 over a normalised value under a key of one tenant and one field, cut to
16 bytes. It answers "which rows have exactly this value" and nothing else; it cannot be opened. It is personal
data all the same, because whoever has the key can test a guess: rows of an erased subject lose it, and it
never stands in the event log.

**Deterministic encryption** (AES-SIV, RFC 5297) gives the same block for the same value, so that sealed values
can be joined and later opened. It shows who equals whom and how often: only for fields declared in `JOINS`
with the reason, and never for one with few values (country, currency, sex), whose frequencies give it away.

Keys come from the tenant's index key (`Purpose.INDEX`) or join key (`Purpose.JOIN`) by HKDF, one per field.
Sources: PCI DSS 4.0.1 3.5.1.1 (keyed hashes of at least 128 bits), RFC 5869 (HKDF), RFC 5297 (AES-SIV).
"""

from __future__ import annotations

import hmac
import re
import unicodedata
from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from usance.crypto.keyservice import length_prefixed
from usance.crypto.secret import KEY_BYTES, Secret
from usance.kernel.errors import Refused, Tampered

INDEX_BYTES = 16
SIV_KEY_BYTES = 64
CACHED_MAX = 10_000
_INDEX_LABEL = b"usance/index/v1"
_JOIN_LABEL = b"usance/join/v1"
_SPACES = re.compile(r"\s+")
_NOT_ALNUM = re.compile(r"[^0-9A-Z]")
_NOT_DIGIT = re.compile(r"[^0-9]")


class Form(StrEnum):
    """How values of a field are normalised before they are compared."""

    NAME = "name"
    """NFKC, case folded, spaces joined; punctuation of legal forms dropped."""
    CODE = "code"
    """IBAN, LEI, BIC, passport and register numbers: letters and digits in upper case."""
    DIGITS = "digits"
    """Card and telephone numbers: digits alone."""
    MAIL = "mail"
    """Mail addresses: NFKC and case folded, nothing dropped."""


def _folded(text: str) -> str:
    for _ in range(2):  # folding can undo the normal form: once more, and it stays
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return text


def _name(text: str) -> str:
    folded = _folded(text)
    return _SPACES.sub(" ", re.sub(r"[.,;:'\"()]", " ", folded)).strip()


def _code(text: str) -> str:
    return _NOT_ALNUM.sub("", unicodedata.normalize("NFKC", text).upper())


def _digits(text: str) -> str:
    return _NOT_DIGIT.sub("", unicodedata.normalize("NFKC", text))


def _mail(text: str) -> str:
    return _folded(text).strip()


_FORMS: Final[dict[Form, Callable[[str], str]]] = {
    Form.NAME: _name,
    Form.CODE: _code,
    Form.DIGITS: _digits,
    Form.MAIL: _mail,
}

JOINS: Final[dict[str, str]] = {
    "party.lei": "the same company across tenants' books of one group; public, millions of values",
}
"""Fields that stay joinable after sealing, and why. A field that is not here is refused."""


def normalised(form: Form, value: str) -> str:
    """Return what is compared of a value; raises Refused where nothing is left of it."""
    found = _FORMS[form](value)
    if not found:
        raise Refused("INDEX_EMPTY", f"nothing is left of the value as a {form}")
    return found


class BlindIndex:
    """Index values of one tenant. Repeated values cost a dictionary's look (1.5 microseconds else)."""

    def __init__(self, tenant: str, key: Secret) -> None:
        assert len(key) == KEY_BYTES
        self._tenant = tenant
        self._key = key
        self._fields: dict[str, bytes] = {}
        self._cached = lru_cache(CACHED_MAX)(self._computed)

    def of(self, field: str, form: Form, value: str) -> bytes:
        """Return the 16 bytes under which a value of a field is found; raises Refused for an empty one."""
        return self._cached(field, form, value)

    def forget(self) -> None:
        """Drop what was remembered: a subject was erased."""
        self._cached.cache_clear()

    def __repr__(self) -> str:
        """Show the tenant alone."""
        return f"BlindIndex({self._tenant})"

    def _computed(self, field: str, form: Form, value: str) -> bytes:
        key = self._fields.get(field)
        if key is None:
            key = self._fields[field] = _field_key(self._key, _INDEX_LABEL, self._tenant, field)
        text = length_prefixed(form.encode(), normalised(form, value).encode())
        return hmac.digest(key, text, "sha256")[:INDEX_BYTES]


class Joins:
    """Deterministic encryption of the declared fields of one tenant."""

    def __init__(self, tenant: str, key: Secret, declared: dict[str, str] | None = None) -> None:
        assert len(key) == KEY_BYTES
        self._tenant = tenant
        self._key = key
        self._declared = JOINS if declared is None else declared
        self._ciphers: dict[str, AESSIV] = {}

    def seal(self, field: str, value: bytes) -> bytes:
        """Return the block of a value, always the same one; raises Refused for a field not declared."""
        if not value:
            raise Refused("JOIN_EMPTY", f"an empty value of {field} joins everything with nothing")
        return self._cipher(field).encrypt(value, self._bound(field))

    def open(self, field: str, block: bytes) -> bytes:
        """Return the value of a block; raises Tampered for one of another field, tenant or key."""
        try:
            return self._cipher(field).decrypt(block, self._bound(field))
        except (InvalidTag, ValueError):
            raise Tampered(f"a join value of {field} does not open") from None

    def __repr__(self) -> str:
        """Show the tenant alone."""
        return f"Joins({self._tenant})"

    def _bound(self, field: str) -> list[bytes | bytearray | memoryview]:
        return [_JOIN_LABEL, self._tenant.encode(), field.encode()]

    def _cipher(self, field: str) -> AESSIV:
        if field not in self._declared:
            raise Refused(
                "JOIN_NOT_DECLARED",
                f"{field} is not declared as a field that is joined after sealing",
                hint="Use the blind index; or declare it in JOINS with the reason, knowing what it shows.",
            )
        found = self._ciphers.get(field)
        if found is None:
            key = _field_key(self._key, _JOIN_LABEL, self._tenant, field, SIV_KEY_BYTES)
            found = self._ciphers[field] = AESSIV(key)
        return found


def _field_key(
    key: Secret, label: bytes, tenant: str, field: str, length: int = KEY_BYTES
) -> bytes:
    info = length_prefixed(label, tenant.encode(), field.encode())
    return HKDF(SHA256(), length, salt=None, info=info).derive(key.reveal())
