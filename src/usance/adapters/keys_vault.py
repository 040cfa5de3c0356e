"""The key service over the transit engine of HashiCorp Vault or OpenBao: keys never leave the server.

A tenant's KEK is the transit key `usance-<tenant>` (aes256-gcm96), its versions are transit's. What was
seen of OpenBao 2.7.2 and is built on:

- Context goes as `associated_data`, which `rewrap` ignores: rewrapping is decrypt and encrypt, in batches.
- `encrypt` makes a key that is missing; so the key is asked for first, and `disable_upsert` is set
  where the token may. Each call names its version: a batch is under one, whatever rotates meanwhile.
- `vault:v0:` is read as the oldest version, so the prefix is not stored but made of the KEK's version.
- A batch in which any item fails is answered with status 400 and all results.
- A request may hold 1,000 JSON strings (`max_request_json_strings` of the listener), four an item: batches
  shrink from 500 to 240 when the server says so, and stay small until the next start.
- Destroying is `min_decryption_version` and then `trim`, which deletes all below: hence oldest first.

Needs on the server: `transit` mounted, and a policy with create, read and update on `transit/keys/usance-*`,
update on `transit/keys/usance-*/*`, `transit/encrypt/usance-*` and `transit/decrypt/usance-*`. Whoever may
not destroy keys gets no right on `/config` and `/trim`.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from usance.crypto.keyring import demand_destroyable, no_kek
from usance.crypto.keyservice import (
    BATCH_MAX,
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

TECHNOLOGY = "vault"
KEY_TYPE = "aes256-gcm96"
TIMEOUT_S = 5.0
BATCHES = (BATCH_MAX, 240, 120, 60)
"""Items in a call: the next size is taken for good where the server finds a request too complex."""
ANSWER_BYTES_MAX = 16 * 1024 * 1024
BLOB_BYTES = 12 + KEY_BYTES + 16
_HUNG_UP = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)
_OK = frozenset({200, 204})


class VaultSettings(NamedTuple):
    """Where the server is: `address` (http://127.0.0.1:8200), `mount`, CA file, Vault's namespace."""

    address: str
    mount: str = "transit"
    ca_file: str = ""
    namespace: str = ""


class _Answer(NamedTuple):
    status: int
    body: dict[str, Any]

    @property
    def errors(self) -> str:
        found = self.body.get("errors")
        return "; ".join(map(str, found)) if isinstance(found, list) else ""


class _Known(NamedTuple):
    newest: int
    oldest: int
    allowed: int
    created: dict[int, int]


class VaultKeyService:
    """The KeyService over transit. `token` is asked for each call, because agents renew token files."""

    def __init__(self, settings: VaultSettings, token: Callable[[], Secret]) -> None:
        self._settings = settings
        self._token = token
        self._url = urlsplit(settings.address)
        self._tls = ssl.create_default_context(cafile=settings.ca_file or None)
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()
        self._size = 0

    def create(self, tenant: str) -> KekVersion:
        """Make version 1, or return the active version."""
        known = self.versions(tenant)
        if known:
            return known[-1]
        # Where the token may not set it, the look before each encrypt remains.
        self._call("POST", "config/keys", {"disable_upsert": True}, also=frozenset({403, 404}))
        self._call("POST", _keys(tenant), {"type": KEY_TYPE})
        return self.versions(tenant)[-1]

    def versions(self, tenant: str) -> list[KekVersion]:
        """Return all versions of a tenant, oldest first."""
        known = self._known(tenant)
        if known is None:
            return []
        return [_told(tenant, number, known) for number in range(1, known.newest + 1)]

    def rotate(self, tenant: str) -> KekVersion:
        """Make a new version, the active one from now on."""
        if self._known(tenant) is None:
            raise no_kek(tenant)
        self._call("POST", f"{_keys(tenant)}/rotate", {})
        return self.versions(tenant)[-1]

    def wrap(self, tenant: str, keys: Sequence[tuple[KeyContext, Secret]]) -> list[Wrapped]:
        """Wrap under the active version, in batches."""
        known = self._known(tenant)
        if known is None:
            raise no_kek(tenant)
        kek = KekId(tenant, known.newest)
        inputs = [
            {"plaintext": _b64(secret.reveal()), "associated_data": _b64(context.aad(kek))}
            for context, secret in keys
        ]
        results = self._batched(f"encrypt/{_name(tenant)}", inputs, {"key_version": kek.version})
        return [
            Wrapped(kek, context, _blob(result, kek))
            for (context, _), result in zip(keys, results, strict=True)
        ]

    def unwrap(self, items: Sequence[Wrapped]) -> list[Unwrapped]:
        """Open wrapped keys, one call for each tenant and batch."""
        answers: dict[int, Unwrapped] = {}
        of_tenant: dict[str, list[tuple[int, Wrapped]]] = defaultdict(list)
        for place, item in enumerate(items):
            wrong = _misfit(item)
            if wrong is not None:
                answers[place] = wrong
            else:
                of_tenant[item.kek.tenant].append((place, item))
        for tenant, rows in of_tenant.items():
            opened = self._opened(tenant, [item for _, item in rows])
            answers.update(zip((place for place, _ in rows), opened, strict=True))
        return [answers[place] for place in range(len(items))]

    def rewrap(self, items: Sequence[Wrapped]) -> list[Rewrapped]:
        """Move wrapped keys to the active version; the plaintext passes through this process."""
        answers: list[Rewrapped] = []
        of_tenant: dict[str, list[tuple[int, KeyContext, Secret]]] = defaultdict(list)
        newest: dict[str, int] = {}
        for place, (item, opened) in enumerate(zip(items, self.unwrap(items), strict=True)):
            if not isinstance(opened, Secret):
                answers.append(opened)
                continue
            answers.append(item)
            tenant = item.kek.tenant
            if tenant not in newest:
                newest[tenant] = self.versions(tenant)[-1].id.version
            if item.kek.version != newest[tenant]:
                of_tenant[tenant].append((place, item.context, opened))
        for tenant, rows in of_tenant.items():
            moved = self.wrap(tenant, [(context, secret) for _, context, secret in rows])
            for (place, _, _), wrapped in zip(rows, moved, strict=True):
                answers[place] = wrapped
        return answers

    def destroy(self, kek: KekId) -> KekVersion:
        """Destroy a version: the oldest that lives, never the active one."""
        demand_destroyable(self.versions(kek.tenant), kek)
        bound = kek.version + 1
        known = self._known(kek.tenant)
        assert known is not None
        if known.oldest < bound:
            limits = {"min_decryption_version": bound, "min_encryption_version": bound}
            self._call("POST", f"{_keys(kek.tenant)}/config", limits)
            self._call("POST", f"{_keys(kek.tenant)}/trim", {"min_available_version": bound})
        return self.versions(kek.tenant)[kek.version - 1]

    def check(self) -> ServiceReport:
        """Return who answers: unsealed, our token valid, the mount of the right kind."""
        health = self._call("GET", "/v1/sys/health")
        version = str(health.body.get("version", "unknown"))
        self._call("GET", "/v1/auth/token/lookup-self")
        self._call("GET", f"{_keys('check')}", also=frozenset({404}))
        place = f"{self._settings.address}/{self._settings.mount}"
        return ServiceReport(TECHNOLOGY, version, place)

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            for connection in self._idle:
                connection.close()
            self._idle.clear()

    def _known(self, tenant: str) -> _Known | None:
        answer = self._call("GET", _keys(tenant), also=frozenset({404}))
        if answer.status == 404:
            return None
        data = answer.body["data"]
        created = {int(number): int(seconds) * 1000 for number, seconds in data["keys"].items()}
        return _Known(
            newest=data["latest_version"],
            oldest=max(1, data["min_available_version"]),
            allowed=data["min_decryption_version"],
            created=created,
        )

    def _opened(self, tenant: str, items: list[Wrapped]) -> list[Unwrapped]:
        inputs = [
            {
                "ciphertext": f"vault:v{item.kek.version}:{_b64(item.blob)}",
                "associated_data": _b64(item.context.aad(item.kek)),
            }
            for item in items
        ]
        results = self._batched(f"decrypt/{_name(tenant)}", inputs, {})
        too_old = any("too old" in r.get("error", "") for r in results)
        known = self._known(tenant) if too_old else None
        return [_verdict(item, r, known) for item, r in zip(items, results, strict=True)]

    def _batched(
        self, path: str, inputs: Sequence[dict[str, str]], more: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """Return the result of each input; an unknown key fails each of them."""
        results: list[dict[str, Any]] = []
        while len(results) < len(inputs):
            size = BATCHES[self._size]
            batch = inputs[len(results) : len(results) + size]
            body = {"batch_input": batch, **more}
            answer = self._call("POST", path, body, also=frozenset({400, 413}))
            found = (answer.body.get("data") or {}).get("batch_results")
            if found is not None and len(found) == len(batch):
                results.extend(found)
            elif "key not found" in answer.errors:
                results.extend([{"error": "key not found"}] * len(batch))
            elif _too_large(answer) and self._size + 1 < len(BATCHES):
                self._size += 1
            else:
                reason = answer.errors or f"status {answer.status}"
                raise Unavailable(f"the key server did not do a batch: {reason}")
        return results

    def _call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        also: frozenset[int] = frozenset(),
    ) -> _Answer:
        """Return the answer to one request; raises unless its status is 2xx or one of `also`."""
        absolute = path if path.startswith("/") else f"/v1/{self._settings.mount}/{path}"
        try:
            answer = self._asked(method, absolute, body)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unavailable(
                f"the key server {self._settings.address} does not answer: {error}",
                hint="What is cached goes on; new keys wait until it is back.",
            ) from error
        if answer.status in _OK or answer.status in also:
            return answer
        if answer.status in (401, 403):
            raise KeyServiceDenied(
                f"the key server refuses {method} {absolute}: {answer.errors or 'denied'}",
                hint="Check that the token is valid and its policy allows this (see keys_vault).",
            )
        reason = answer.errors or ("sealed or not active" if answer.status >= 500 else "")
        raise Unavailable(
            f"the key server answered {answer.status} to {method} {absolute}: {reason}",
            hint="Unseal it, mount transit, or look into its log.",
        )

    def _asked(self, method: str, path: str, body: dict[str, Any] | None) -> _Answer:
        headers = {"X-Vault-Token": self._token().reveal().decode(), "X-Vault-Request": "true"}
        if self._settings.namespace:
            headers["X-Vault-Namespace"] = self._settings.namespace
        data = None if body is None else json.dumps(body).encode()
        idle = self._taken()
        if idle is not None:
            try:
                return self._exchanged(idle, method, path, data, headers)
            except _HUNG_UP:
                # The server closed it while it was idle; only what changes nothing is asked again.
                if path.endswith(("/rotate", "/trim")):
                    raise
        return self._exchanged(self._connection(), method, path, data, headers)

    def _exchanged(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        data: bytes | None,
        headers: dict[str, str],
    ) -> _Answer:
        """Return the answer over a connection, which becomes idle, or is closed when it failed."""
        try:
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            raw = response.read(ANSWER_BYTES_MAX)
        except BaseException:
            connection.close()
            raise
        with self._lock:
            self._idle.append(connection)
        return _Answer(response.status, json.loads(raw) if raw else {})

    def _taken(self) -> http.client.HTTPConnection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port or 8200
        if self._url.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=self._tls)
        return http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)


def _name(tenant: str) -> str:
    return f"usance-{tenant}"


def _keys(tenant: str) -> str:
    return f"keys/{_name(tenant)}"


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _blob(result: dict[str, Any], kek: KekId) -> bytes:
    prefix = f"vault:v{kek.version}:"
    text = str(result.get("ciphertext", ""))
    if not text.startswith(prefix):
        raise Unavailable(f"the key server did not wrap: {result.get('error') or text[:12]}")
    blob = base64.b64decode(text[len(prefix) :], validate=True)
    assert len(blob) == BLOB_BYTES
    return blob


def _misfit(item: Wrapped) -> KeyTampered | None:
    """Return the verdict on what is not worth asking, None for what is."""
    if item.kek.tenant != item.context.tenant:
        return KeyTampered(item.kek, item.context.key_id, "wrapped for another tenant")
    if item.kek.version < 1:
        return KeyTampered(item.kek, item.context.key_id, "its KEK version never was")
    if len(item.blob) != BLOB_BYTES:
        return KeyTampered(item.kek, item.context.key_id, "not in the form of a wrapped key")
    return None


def _verdict(item: Wrapped, result: dict[str, Any], known: _Known | None) -> Unwrapped:
    kek, key_id = item.kek, item.context.key_id
    error = str(result.get("error") or "")
    if not error:
        return Secret(base64.b64decode(result["plaintext"]))
    if "too old" in error:
        if known is not None and kek.version < known.oldest:
            return KeyGone(kek, key_id)
        raise KeyServiceDenied(
            f"the key server's min_decryption_version forbids KEK {kek}, which is not destroyed",
            hint="Lower it again, or destroy the version through this program.",
        )
    if "too new" in error or "key not found" in error:
        return KeyTampered(kek, key_id, "its KEK version never was")
    if "authentication failed" in error or "invalid ciphertext" in error:
        return KeyTampered(kek, key_id, "does not open under its context")
    raise Unavailable(f"the key server could not open a key: {error}")


def _too_large(answer: _Answer) -> bool:
    return answer.status == 413 or "complexity" in answer.errors or "too large" in answer.errors


def _told(tenant: str, number: int, known: _Known) -> KekVersion:
    state = (
        KeyState.DESTROYED
        if number < known.oldest
        else KeyState.ACTIVE
        if number == known.newest
        else KeyState.DEACTIVATED
    )
    return KekVersion(KekId(tenant, number), state, known.created.get(number, 0))
