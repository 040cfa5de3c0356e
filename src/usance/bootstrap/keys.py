"""Which key service the settings mean, and how it is founded and opened."""

from __future__ import annotations

import ipaddress
import itertools
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

from usance.adapters.keys_file import FileKeyService, found_keyring
from usance.config import KeySettings, Settings
from usance.crypto import sealed_ring
from usance.crypto.keyservice import KeyService
from usance.crypto.sealed_ring import Lock, PassphraseLock, SharesLock
from usance.crypto.secret import Secret
from usance.crypto.shamir import Share, combine, read_share, split
from usance.kernel.clock import Clock, SystemClock
from usance.kernel.errors import Refused, Tampered, Unreadable

if TYPE_CHECKING:
    from usance.adapters.keys_aws import AwsSettings
    from usance.adapters.keys_vault import VaultSettings
    from usance.adapters.pkcs11_token import TokenSettings

KEYRING = "keys.sealed"
SECRET_BYTES_MAX = 16_384
COST_OF_RANDOM = 10

Ask = Callable[[str], str]
"""Asks a person for a secret by a prompt, without showing what is typed."""


def ask_nobody(prompt: str) -> str:
    """Raise Refused: there is no person at this process."""
    raise Refused(
        "KEYS_SECRET_MISSING",
        f"nobody is there to be asked for the {prompt}",
        hint="Set keys.secret_file to a file that only this user can read, or start at a terminal.",
    )


def keyring_path(settings: Settings) -> Path | None:
    """Return where the sealed file is, None where another service keeps the keys."""
    scheme, _, rest = settings.keys.service.partition(":")
    if scheme != "file":
        return None
    return Path(unquote(rest)) if rest else Path(settings.data) / KEYRING


def open_keys(settings: Settings, ask: Ask = ask_nobody, clock: Clock | None = None) -> KeyService:
    """Open the key service that the settings name.

    `ask` is called for a passphrase, a PIN, a token or a share where no `secret_file` is set. Raises
    Unreadable for an address that cannot be meant, NotFound where there is no keyring yet, Unavailable or
    KeyServiceDenied by the service.
    """
    said = settings.keys
    scheme, _, rest = said.service.partition(":")
    secret = _Secrets(said, ask)
    clock = clock or SystemClock()
    match scheme:
        case "file":
            path = keyring_path(settings)
            assert path is not None
            return FileKeyService(path, lambda lock: _root(lock, secret), clock)
        case "pkcs11":
            from usance.adapters.keys_pkcs11 import Pkcs11KeyService

            return Pkcs11KeyService(_token(rest), secret.remembered("PIN"), clock)
        case "vault":
            from usance.adapters.keys_vault import VaultKeyService

            return VaultKeyService(_vault(rest, said), secret.remembered("token"))
        case _:
            from usance.adapters.keys_aws import AwsKeyService

            return AwsKeyService(_aws(rest))


def found_by_shares(
    path: Path, *, threshold: int, shares: int, hand_out: Callable[[list[Share]], list[Share]]
) -> list[Share]:
    """Make a root, hand out its shares, and write the keyring once they are seen to open it.

    `hand_out` gives the shares to their custodians and returns them as they can be read again; every
    combination of `threshold` of them must give the root. Raises Refused where there is a keyring, and
    Tampered (nothing is written) where a share came back wrong.
    """
    _demand_new(path)
    root = sealed_ring.new_root()
    made = split(root, threshold=threshold, shares=shares)
    returned = hand_out(made)
    if sorted(s.index for s in returned) != [s.index for s in made]:
        raise Tampered("not every share came back: no keyring was written")
    for some in itertools.combinations(returned, threshold):
        if combine(some) != root:
            raise Tampered("the shares do not give the root: no keyring was written")
    lock = sealed_ring.locked_by_shares(root, threshold=threshold, shares=shares)
    found_keyring(path, lock, root)
    root.wipe()
    return returned


def found_by_passphrase(
    path: Path, passphrase: Secret, *, cost: int = sealed_ring.SCRYPT_COST
) -> None:
    """Make a root and write the keyring under a passphrase; raises Refused for a short one.

    A passphrase that a machine drew from 256 bits needs no cost (`COST_OF_RANDOM`): nobody guesses it.
    """
    _demand_new(path)
    root = sealed_ring.new_root()
    found_keyring(path, sealed_ring.locked_by_passphrase(root, passphrase, cost=cost), root)
    root.wipe()


def demand_apart(share_folders: Sequence[Path], settings: Settings) -> None:
    """Raise Refused where a share would lie in the data folder or beside the keyring."""
    path = keyring_path(settings)
    forbidden = {Path(settings.data).resolve()} | ({path.resolve().parent} if path else set())
    for folder in share_folders:
        place = folder.resolve()
        if any(place == f or f in place.parents for f in forbidden):
            raise Refused(
                "SHARE_BESIDE_KEYRING",
                f"{folder} is where the keyring or the data is",
                hint="A share belongs to its custodian: name a medium of its own for each.",
            )


def secret_of(settings: KeySettings, prompt: str, ask: Ask) -> Secret:
    """Return the secret of the file that the settings name, or of whoever is asked."""
    return _Secrets(settings, ask).once(prompt)


def secret_source(file: str, prompt: str, ask: Ask) -> Callable[[], Secret]:
    """Return a function that reads a secret from a file each time, or asks a person once."""
    return _Secrets(KeySettings(secret_file=file), ask).remembered(prompt)


class _Secrets:
    """Where secrets come from: the file, read anew each time (agents renew it), or a person, once."""

    def __init__(self, said: KeySettings, ask: Ask) -> None:
        self._file = Path(said.secret_file) if said.secret_file else None
        self._ask = ask
        self._told: Secret | None = None

    @property
    def from_file(self) -> bool:
        return self._file is not None

    def once(self, prompt: str) -> Secret:
        text = _read_secret(self._file) if self._file else self._ask(prompt).strip()
        if not text:
            raise Unreadable("keys", f"the {prompt} is empty")
        return Secret(text.encode())

    def remembered(self, prompt: str) -> Callable[[], Secret]:
        """Return a function that asks a person at its first call, and reads a file at each."""

        def give() -> Secret:
            if self.from_file:
                return self.once(prompt)
            if self._told is None:
                self._told = self.once(prompt)
            return self._told

        return give

    def shares(self, threshold: int) -> Iterator[Share]:
        if self._file:
            for line in _read_secret(self._file).split():
                yield read_share(line)
            return
        for number in range(1, threshold + 1):
            yield read_share(self._ask(f"share {number} of {threshold}"))


def _root(lock: Lock, secrets: _Secrets) -> Secret:
    if isinstance(lock, PassphraseLock):
        return sealed_ring.opened_by_passphrase(lock, secrets.once("passphrase"))
    assert isinstance(lock, SharesLock)
    given = list(secrets.shares(lock.threshold))
    root = combine(given)
    sealed_ring.demand_root(lock, root)
    return root


def _read_secret(file: Path) -> str:
    try:
        mode = file.stat().st_mode
        if stat.S_IMODE(mode) & stat.S_IRWXO:
            raise Refused(
                "SECRET_FILE_OPEN",
                f"everybody on this machine can get at {file}",
                hint=f"chmod 600 {file}",
            )
        data = file.read_bytes()[: SECRET_BYTES_MAX + 1]
        if len(data) > SECRET_BYTES_MAX:
            raise Unreadable("keys", f"{file} is too long for a secret")
        return data.decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Unreadable(
            "keys", f"the secret in {file} cannot be read", hint="Check keys.secret_file."
        ) from error


def _demand_new(path: Path) -> None:
    if path.exists():
        raise Refused(
            "KEYRING_EXISTS",
            f"{path} is there already",
            hint="A new root would leave all that the old one sealed unreadable. Name another file.",
        )


def _token(rest: str) -> TokenSettings:
    from usance.adapters.pkcs11_token import TokenSettings

    path, _, query = rest.partition("?")
    said = dict(part.partition("=")[::2] for part in path.split(";"))
    asked = parse_qs(query)
    module = (asked.get("module-path") or [""])[0]
    if set(said) != {"token"} or not said["token"] or set(asked) != {"module-path"} or not module:
        raise _no_address(
            f"pkcs11:{rest}", "pkcs11:token=usance?module-path=/usr/lib/.../module.so"
        )
    return TokenSettings(module, unquote(said["token"]))


def _vault(rest: str, said: KeySettings) -> VaultSettings:
    from usance.adapters.keys_vault import VaultSettings

    url = urlsplit(rest)
    asked = parse_qs(url.query)
    clear = url.scheme == "http" and not _is_loopback(url.hostname or "")
    wrong = url.scheme not in ("http", "https") or not url.hostname or url.username
    if wrong or set(asked) - {"namespace"}:
        raise _no_address(f"vault:{rest}", "vault:https://vault.example:8200/transit")
    if clear:
        raise Refused(
            "KEYS_IN_CLEAR",
            f"data keys would travel in clear to {url.hostname}",
            hint="Use https; http is for this machine alone.",
        )
    return VaultSettings(
        f"{url.scheme}://{url.netloc}",
        url.path.strip("/") or "transit",
        said.ca_file,
        (asked.get("namespace") or [""])[0],
    )


def _aws(rest: str) -> AwsSettings:
    from usance.adapters.keys_aws import AwsSettings

    region, _, query = rest.partition("?")
    asked = {name: values[0] for name, values in parse_qs(query).items()}
    if not region or set(asked) - {"prefix", "endpoint"}:
        raise _no_address(f"aws:{rest}", "aws:eu-central-1")
    return AwsSettings(region, asked.get("prefix", "usance"), asked.get("endpoint", ""))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _no_address(found: str, example: str) -> Unreadable:
    return Unreadable(
        "settings", f"keys.service, {found}, names no key service", hint=f"Such as {example}"
    )
