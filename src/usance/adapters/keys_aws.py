"""The key service over AWS KMS: keys never leave it.

A KEK version is a customer managed key of its own, found by the alias `alias/<prefix>/<tenant>/<version>`:
KMS's own rotation hides versions and destroys none. The context goes as EncryptionContext, in words that
CloudTrail shows: tenant, pseudonym of the subject, retention class, key id.

- KMS has no batches: a call for each key, over one kept connection.
- Destroying is scheduled: KMS waits 7 days, in which it can be called off; `KekVersion.final` tells when
  it is over. From the request on the version is gone for us: each batch asks for the state of the
  keys it needs, because stand-ins of KMS (moto, LocalStack) go on decrypting.
- Whether AccessDenied speaks of us or of a ciphertext is found out by opening a key just wrapped.

Rights needed: kms:CreateKey, CreateAlias, ListAliases, DescribeKey, Encrypt, Decrypt; ScheduleKeyDeletion for
whoever destroys. Credentials are boto3's own (role, environment, profile). Needs the extra `usance[aws]`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from usance.crypto.keyring import demand_destroyable, no_kek
from usance.crypto.keyservice import (
    KekId,
    KekVersion,
    KeyContext,
    KeyGone,
    KeyServiceDenied,
    KeyState,
    KeyTampered,
    Rewrapped,
    ServiceReport,
    Unwrapped,
    Wrapped,
)
from usance.crypto.secret import KEY_BYTES, Secret
from usance.kernel.errors import Unavailable

try:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # pragma: no cover  the extra is not installed
    boto3 = None

TECHNOLOGY = "aws"
WAITING_DAYS = 7
"""The shortest that KMS allows."""
BLOB_BYTES_MAX = 6_144
"""KMS's own bound of a ciphertext."""
CONNECT_S = 3
READ_S = 5
ATTEMPTS = 2
_DENIED = frozenset(
    {
        "AccessDeniedException", "UnrecognizedClientException", "InvalidClientTokenId",
        "ExpiredTokenException", "InvalidSignatureException", "DisabledException",
        "OptInRequired", "MissingAuthenticationTokenException",
    }
)  # fmt: skip
_TAMPERED = frozenset(
    {"InvalidCiphertextException", "IncorrectKeyException", "ValidationException"}
)


class AwsSettings(NamedTuple):
    """Region, prefix of the aliases, and another endpoint than AWS's (empty: AWS's)."""

    region: str
    prefix: str = "usance"
    endpoint: str = ""


class _Key(NamedTuple):
    """What KMS tells of a key: state by its own words, times in ms UTC."""

    state: str
    created: int
    deleted: int

    @property
    def gone(self) -> bool:
        return self.state in ("PendingDeletion", "PendingReplicaDeletion")


class AwsKeyService:
    """The KeyService over KMS."""

    def __init__(self, settings: AwsSettings, client: Any = None) -> None:
        """Make a client of boto3, unless one is given; asks nothing yet."""
        if boto3 is None:
            raise Unavailable(
                "boto3 is not installed", hint="Install it with `pip install usance[aws]`."
            )
        self._settings = settings
        self._own = client is None
        self._newest: dict[str, int] = {}
        limits = Config(
            connect_timeout=CONNECT_S,
            read_timeout=READ_S,
            retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
        )
        with _spoken():
            self._client = client or boto3.client(
                "kms",
                region_name=settings.region,
                endpoint_url=settings.endpoint or None,
                config=limits,
            )

    def create(self, tenant: str) -> KekVersion:
        """Make version 1, or return the active version."""
        known = self.versions(tenant)
        return known[-1] if known else self._grown(tenant, 1)

    def versions(self, tenant: str) -> list[KekVersion]:
        """Return all versions of a tenant, oldest first; one without an alias was destroyed."""
        prefix = self._alias(KekId(tenant, 0))[:-1]
        found: dict[int, _Key] = {}
        with _spoken():
            for page in self._client.get_paginator("list_aliases").paginate():
                for alias in page["Aliases"]:
                    name = str(alias["AliasName"])
                    number = name.removeprefix(prefix)
                    if name.startswith(prefix) and number.isdecimal() and "TargetKeyId" in alias:
                        found[int(number)] = self._described(alias["TargetKeyId"])
        newest = max(found, default=0)
        return [_told(KekId(tenant, n), found.get(n), newest) for n in range(1, newest + 1)]

    def rotate(self, tenant: str) -> KekVersion:
        """Make a new version, the active one from now on."""
        known = self.versions(tenant)
        if not known:
            raise no_kek(tenant)
        return self._grown(tenant, known[-1].id.version + 1)

    def wrap(self, tenant: str, keys: Sequence[tuple[KeyContext, Secret]]) -> list[Wrapped]:
        """Wrap under the active version, a call for each."""
        kek = self._active(tenant)
        return [
            Wrapped(kek, context, self._sealed(kek, secret, _context(context, kek)))
            for context, secret in keys
        ]

    def unwrap(self, items: Sequence[Wrapped]) -> list[Unwrapped]:
        """Open wrapped keys, a call for each and one for each KEK."""
        keys = {item.kek: self._find(item.kek) for item in items}
        return [self._opened(item, keys[item.kek]) for item in items]

    def rewrap(self, items: Sequence[Wrapped]) -> list[Rewrapped]:
        """Move wrapped keys to the active version; the plaintext passes through this process."""
        answers: list[Rewrapped] = []
        active: dict[str, KekId] = {}
        for item, opened in zip(items, self.unwrap(items), strict=True):
            if not isinstance(opened, Secret):
                answers.append(opened)
                continue
            tenant = item.kek.tenant
            if tenant not in active:
                active[tenant] = self._active(tenant)
            kek = active[tenant]
            if item.kek == kek:
                answers.append(item)
            else:
                blob = self._sealed(kek, opened, _context(item.context, kek))
                answers.append(Wrapped(kek, item.context, blob))
        return answers

    def destroy(self, kek: KekId) -> KekVersion:
        """Schedule a version's deletion: the oldest that lives, never the active one."""
        known = self.versions(kek.tenant)
        demand_destroyable(known, kek)
        if known[kek.version - 1].state is not KeyState.DESTROYED:
            found = self._look(self._alias(kek))
            assert found is not None
            with _spoken():
                self._client.schedule_key_deletion(
                    KeyId=found["KeyId"], PendingWindowInDays=WAITING_DAYS
                )
        return self.versions(kek.tenant)[kek.version - 1]

    def check(self) -> ServiceReport:
        """Return who answers: our credentials count, and the region is right."""
        with _spoken():
            self._client.list_aliases(Limit=1)
        place = self._settings.endpoint or f"AWS KMS in {self._settings.region}"
        return ServiceReport(TECHNOLOGY, f"boto3 {boto3.__version__}", place)

    def close(self) -> None:
        """Close the connections, where they are ours."""
        if self._own:
            self._client.close()

    def _alias(self, kek: KekId) -> str:
        return f"alias/{self._settings.prefix}/{kek.tenant}/{kek.version}"

    def _grown(self, tenant: str, version: int) -> KekVersion:
        kek = KekId(tenant, version)
        with _spoken():
            made = self._client.create_key(
                KeySpec="SYMMETRIC_DEFAULT",
                KeyUsage="ENCRYPT_DECRYPT",
                Description=f"usance KEK {kek}",
                Tags=[
                    {"TagKey": "usance-tenant", "TagValue": tenant},
                    {"TagKey": "usance-version", "TagValue": str(version)},
                ],
            )["KeyMetadata"]
            self._client.create_alias(AliasName=self._alias(kek), TargetKeyId=made["KeyId"])
        return _told(kek, _key(made), version)

    def _active(self, tenant: str) -> KekId:
        """Return the newest version: the one remembered, unless its successor is there by now."""
        newest = self._newest.get(tenant, 0)
        if newest == 0:
            known = self.versions(tenant)
            if not known:
                raise no_kek(tenant)
            newest = known[-1].id.version
        while self._look(self._alias(KekId(tenant, newest + 1))) is not None:
            newest += 1
        self._newest[tenant] = newest
        return KekId(tenant, newest)

    def _look(self, key: str) -> dict[str, Any] | None:
        try:
            with _spoken():
                found: dict[str, Any] = self._client.describe_key(KeyId=key)["KeyMetadata"]
                return found
        except _Answered as answered:
            if answered.code == "NotFoundException":
                return None
            raise

    def _described(self, key: str) -> _Key:
        found = self._look(key)
        return _key(found) if found else _Key("PendingDeletion", 0, 0)

    def _find(self, kek: KekId) -> _Key | None:
        """Return a version's key; one that is gone stands for a version destroyed long ago."""
        if kek.version < 1:
            return None
        found = self._look(self._alias(kek))
        if found is not None:
            return _key(found)
        newest = self.versions(kek.tenant)
        return _Key("PendingDeletion", 0, 0) if len(newest) > kek.version else None

    def _sealed(self, kek: KekId, secret: Secret, context: dict[str, str]) -> bytes:
        with _spoken():
            answer = self._client.encrypt(
                KeyId=self._alias(kek), Plaintext=secret.reveal(), EncryptionContext=context
            )
        return bytes(answer["CiphertextBlob"])

    def _unsealed(self, kek: KekId, blob: bytes, context: dict[str, str]) -> bytes:
        with _spoken():
            answer = self._client.decrypt(
                KeyId=self._alias(kek), CiphertextBlob=blob, EncryptionContext=context
            )
        return bytes(answer["Plaintext"])

    def _opened(self, item: Wrapped, key: _Key | None) -> Unwrapped:
        kek, context, blob = item
        if kek.tenant != context.tenant:
            return KeyTampered(kek, context.key_id, "wrapped for another tenant")
        if key is None:
            return KeyTampered(kek, context.key_id, "its KEK version never was")
        if key.gone:
            return KeyGone(kek, context.key_id)
        if not 0 < len(blob) <= BLOB_BYTES_MAX:
            return KeyTampered(kek, context.key_id, "not in the form of a wrapped key")
        bound = _context(context, kek)
        try:
            return Secret(self._unsealed(kek, blob, bound))
        except _Answered as answered:
            if answered.code not in _TAMPERED:
                raise
        except KeyServiceDenied:
            probe = self._sealed(kek, Secret(b"\x01" * KEY_BYTES), bound)
            self._unsealed(kek, probe, bound)  # raises where it is we who are denied
        return KeyTampered(kek, context.key_id, "does not open under its context")


class _Answered(Unavailable):
    """KMS answered with an error that is neither a denial nor a passing state of it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"AWS KMS answered {code}: {message}")
        self.code = code


@contextlib.contextmanager
def _spoken() -> Iterator[None]:
    """Turn boto3's errors into ours."""
    try:
        yield
    except ClientError as error:
        code = str(error.response["Error"].get("Code", "unknown"))
        message = str(error.response["Error"].get("Message", ""))
        if code in _DENIED:
            raise KeyServiceDenied(
                f"AWS KMS refuses {error.operation_name}: {code} {message}".rstrip(),
                hint="Check the credentials' role, the key's policy and that the key is enabled.",
            ) from error
        raise _Answered(code, message) from error
    except BotoCoreError as error:
        raise Unavailable(
            f"AWS KMS does not answer: {error}",
            hint="Check region, endpoint, network and credentials.",
        ) from error


def _context(context: KeyContext, kek: KekId) -> dict[str, str]:
    """Return a context in KMS's form: words, the empty ones left out (absent is unlike any value)."""
    words = {
        "tenant": context.tenant,
        "kek": str(kek.version),
        "subject": context.subject,
        "retention": context.retention,
        "key-id": context.key_id.hex(),
        "key-version": str(context.version),
        "purpose": context.purpose.value,
    }
    return {f"usance-{name}": word for name, word in words.items() if word}


def _key(metadata: dict[str, Any]) -> _Key:
    deleted = metadata.get("DeletionDate")
    return _Key(
        state=str(metadata["KeyState"]),
        created=int(metadata["CreationDate"].timestamp() * 1000),
        deleted=int(deleted.timestamp() * 1000) if deleted else 0,
    )


def _told(kek: KekId, key: _Key | None, newest: int) -> KekVersion:
    if key is None or key.gone:
        created, final = (key.created, key.deleted) if key else (0, 0)
        return KekVersion(kek, KeyState.DESTROYED, created, final)
    state = KeyState.ACTIVE if kek.version == newest else KeyState.DEACTIVATED
    return KekVersion(kek, state, key.created)
