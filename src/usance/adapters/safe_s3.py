"""A safe in an object store: S3 Object Lock in COMPLIANCE mode, which no administrator can lift.

Each object is put once (`If-None-Match: *`) with a retention of its own. An overwrite always "succeeds" in such a
store, as a newer version, and a delete as a marker: so what counts is the *oldest* version of a name, names are
taken from versions, and both are told as findings. The bucket must have been made with Object Lock.
Needs the extra `usance[aws]`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from usance.audit.codes import Detected
from usance.audit.ports import Kept, Probe
from usance.kernel.clock import MS_PER_SECOND, Clock
from usance.kernel.errors import Unavailable

try:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # pragma: no cover  the extra is not installed
    boto3 = None

COMPLIANCE, GOVERNANCE = "COMPLIANCE", "GOVERNANCE"
PROBE_S = 60
CONNECT_S, READ_S = 5, 30
TRIES = 3
_GONE = frozenset({"NoSuchKey", "404", "NoSuchVersion"})
_EXISTS = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict"})
_REFUSED = frozenset(
    {"AccessDenied", "InvalidRequest", "ObjectLocked", "MethodNotAllowed", "InvalidArgument", "403"}
)


class BucketSettings(NamedTuple):
    """Which bucket, the prefix of its names, how many days what is put there is kept."""

    bucket: str
    prefix: str
    region: str
    endpoint: str
    days: int


class S3Safe:
    """The WormStore of a bucket with Object Lock."""

    def __init__(self, settings: BucketSettings, clock: Clock, client: Any = None) -> None:
        if boto3 is None:
            raise Unavailable(
                "boto3 is not installed", hint="Install it with `pip install usance[aws]`."
            )
        self._said = settings
        self._clock = clock
        self._client = client or boto3.client(
            "s3",
            region_name=settings.region,
            endpoint_url=settings.endpoint or None,
            config=Config(
                connect_timeout=CONNECT_S,
                read_timeout=READ_S,
                retries={"max_attempts": TRIES, "mode": "standard"},
                s3={"addressing_style": "path"} if settings.endpoint else None,
            ),
        )

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return f"s3:{self._said.bucket}/{self._said.prefix}"

    # -- the port

    def put(self, name: str, data: bytes) -> None:
        """Keep data under a name; raises Detected where other data is kept under it, Unavailable."""
        try:
            self._put(name, data, self._until())
        except ClientError as error:
            if _code(error) not in _EXISTS:
                raise self._failed(error, f"{name} was not kept") from error
        except BotoCoreError as error:
            raise self._failed(error, f"{name} was not kept") from error
        else:
            return
        if self.read(name) != data:
            raise Detected("ANCHOR_MISMATCH", f"other data is kept under {name}", where=name)

    def names(self, prefix: str = "") -> list[str]:
        """Return all names that begin so, in order: also those that a marker hides."""
        return sorted({name for name, _ in self._versions(prefix)})

    def read(self, name: str) -> bytes:
        """Return what was kept first under a name; raises FileNotFoundError."""
        first = self._first(name)
        try:
            answer = self._client.get_object(
                Bucket=self._said.bucket, Key=self._key(name), VersionId=first["VersionId"]
            )
            return bytes(answer["Body"].read())
        except (BotoCoreError, ClientError) as error:
            raise self._failed(error, f"{name} cannot be read") from error

    # -- what is kept, and how

    def kept(self, prefix: str = "") -> Iterator[Kept]:
        """Give every name with what holds it: asks once for each object."""
        found: dict[str, list[dict[str, Any]]] = {}
        for name, version in self._versions(prefix):
            found.setdefault(name, []).append(version)
        hidden = {name for name, _ in self._versions(prefix, "DeleteMarkers")}
        for name, versions in sorted(found.items()):
            first = _oldest(versions)
            mode, until = self._retention(name, first["VersionId"])
            yield Kept(name, int(first["Size"]), mode, until, len(versions), name in hidden)

    def examine(self) -> str:
        """Return what the bucket says of itself; raises Unavailable where it locks nothing."""
        try:
            answer = self._client.get_object_lock_configuration(Bucket=self._said.bucket)
        except ClientError as error:
            if _code(error) in {"ObjectLockConfigurationNotFoundError", "404"}:
                raise self._unlocked() from error
            raise self._failed(error, "the bucket does not answer") from error
        except BotoCoreError as error:
            raise self._failed(error, "the bucket does not answer") from error
        if answer["ObjectLockConfiguration"].get("ObjectLockEnabled") != "Enabled":
            raise self._unlocked()
        return f"{self.place}, Object Lock, kept for {self._said.days:,} days"

    def probe(self) -> list[Probe]:
        """Attack an object of a minute's retention in five ways; tells which the store refused.

        An emulator passes what a safe refuses: that is what this finds out.
        """
        name = f"probe/{self._clock.now():015d}"
        until = self._now() + timedelta(seconds=PROBE_S)
        try:
            made = self._put(name, b"probe", until)
        except (BotoCoreError, ClientError) as error:
            raise self._failed(error, "no probe could be put") from error
        where = {"Bucket": self._said.bucket, "Key": self._key(name), "VersionId": made}
        sooner = {"Mode": COMPLIANCE, "RetainUntilDate": until - timedelta(seconds=PROBE_S // 2)}
        weaker = {"Mode": GOVERNANCE, "RetainUntilDate": until}
        one = {"Objects": [{"Key": where["Key"], "VersionId": made}]}
        client = self._client
        return [
            self._tried("delete the version", lambda: client.delete_object(**where)),
            self._tried(
                "delete it past governance",
                lambda: client.delete_object(**where, BypassGovernanceRetention=True),
            ),
            self._tried(
                "delete it in a batch",
                lambda: _batch(client.delete_objects(Bucket=self._said.bucket, Delete=one)),
            ),
            self._tried(
                "shorten the retention",
                lambda: client.put_object_retention(**where, Retention=sooner),
            ),
            self._tried(
                "weaken it to governance",
                lambda: client.put_object_retention(**where, Retention=weaker),
            ),
        ]

    def _tried(self, attack: str, act: Any) -> Probe:
        try:
            act()
        except ClientError as error:
            if _code(error) in _REFUSED:
                return Probe(attack, refused=True)
            raise self._failed(error, f"the store does not say whether one may {attack}") from error
        except BotoCoreError as error:
            raise self._failed(error, f"the store does not say whether one may {attack}") from error
        return Probe(attack, refused=False)

    # -- calls

    def _put(self, name: str, data: bytes, until: datetime) -> str:
        answer = self._client.put_object(
            Bucket=self._said.bucket,
            Key=self._key(name),
            Body=data,
            ChecksumAlgorithm="SHA256",
            IfNoneMatch="*",
            ObjectLockMode=COMPLIANCE,
            ObjectLockRetainUntilDate=until,
        )
        version: str = answer.get("VersionId", "")
        if not version:  # a bucket that keeps no versions locks nothing
            raise self._unlocked()
        return version

    def _versions(
        self, prefix: str, kind: str = "Versions"
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        pages = self._client.get_paginator("list_object_versions").paginate(
            Bucket=self._said.bucket, Prefix=self._key(prefix)
        )
        cut = len(self._key(""))
        try:
            for page in pages:
                for version in page.get(kind, ()):
                    yield version["Key"][cut:], version
        except (BotoCoreError, ClientError) as error:
            raise self._failed(error, "the safe cannot be listed") from error

    def _first(self, name: str) -> dict[str, Any]:
        found = [version for other, version in self._versions(name) if other == name]
        if not found:
            raise FileNotFoundError(name)
        return _oldest(found)

    def _retention(self, name: str, version: str) -> tuple[str, int]:
        """Return mode and end (ms UTC) of an object's retention; empty and 0 where it has none."""
        try:
            answer = self._client.head_object(
                Bucket=self._said.bucket, Key=self._key(name), VersionId=version
            )
        except (BotoCoreError, ClientError) as error:
            raise self._failed(error, f"the retention of {name} cannot be read") from error
        until: datetime | None = answer.get("ObjectLockRetainUntilDate")
        ends = int(until.timestamp() * MS_PER_SECOND) if until else 0
        return str(answer.get("ObjectLockMode", "")), ends

    def _key(self, name: str) -> str:
        return f"{self._said.prefix}/{name}" if self._said.prefix else name

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now() / MS_PER_SECOND, UTC)

    def _until(self) -> datetime:
        return self._now() + timedelta(days=self._said.days)

    def _failed(self, error: Exception, what: str) -> Unavailable:
        if isinstance(error, ClientError) and _code(error) in {"NoSuchBucket"}:
            return Unavailable(
                f"there is no bucket {self._said.bucket}",
                hint="Make it, with Object Lock: it is never made by this program.",
            )
        return Unavailable(
            f"{self.place}: {what}: {type(error).__name__} {_code(error)}".rstrip(),
            hint="Check the bucket, its region or endpoint, and our credentials for it.",
        )

    def _unlocked(self) -> Unavailable:
        return Unavailable(
            f"{self.place} has no Object Lock: what is put there can be removed",
            hint="Make a bucket with Object Lock; it cannot be added to every old one.",
        )


def _oldest(versions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the first version of a name: a listing gives the newest first, also within one second."""
    return min(reversed(versions), key=lambda version: version["LastModified"])


def _code(error: Exception) -> str:
    if not isinstance(error, ClientError):
        return ""
    return str(error.response.get("Error", {}).get("Code", ""))


def _batch(answer: dict[str, Any]) -> None:
    """Raise what a batch reports for its one object as its error."""
    for wrong in answer.get("Errors", ()):
        raise ClientError({"Error": wrong}, "DeleteObjects")
