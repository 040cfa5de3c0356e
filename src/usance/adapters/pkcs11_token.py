"""A session with a token by PKCS#11 (OASIS, 2.40 and later), kept open and opened anew.

- One session does everything under a lock: sessions hold state, and a call takes some 20 microseconds.
- What a fork inherits is not used: the child opens the module anew.
Needs the extra `usance[pkcs11]`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from usance.crypto.keyservice import KeyServiceDenied
from usance.crypto.secret import Secret
from usance.kernel.errors import Unavailable

try:
    import pkcs11
    from pkcs11 import exceptions as failures
except ImportError:  # pragma: no cover  the extra is not installed
    pkcs11 = None  # type: ignore[assignment]

TRIES = 2
"""A call is done again once, in a new session: tokens end sessions when they are taken out or reset."""

Result = TypeVar("Result")


class TokenSettings(NamedTuple):
    """Which token: path of the module's library, label of the token."""

    module: str
    token: str


class TokenSession:
    """What every user of a token stands on; `pin` is asked when a session is opened."""

    def __init__(self, settings: TokenSettings, pin: Callable[[], Secret]) -> None:
        if pkcs11 is None:
            raise Unavailable(
                "python-pkcs11 is not installed",
                hint="Install it with `pip install usance[pkcs11]`.",
            )
        self._settings = settings
        self._pin = pin
        self._lock = threading.RLock()
        self._session: Any = None
        self._process = os.getpid()

    def close(self) -> None:
        """Close the session."""
        with self._lock:
            self._hang_up()

    def _forget(self) -> None:
        """Forget the handles of a session that is over."""

    def _done(self, work: Callable[[], Result]) -> Result:
        """Do work in a session; raises Unavailable or KeyServiceDenied for what a token says."""
        with self._lock:
            for attempt in range(1, TRIES + 1):
                try:
                    self._attend()
                    return work()
                except ENDED as error:
                    self._hang_up()
                    if attempt == TRIES:
                        raise _unavailable(error) from error
                except DENIED as error:
                    self._hang_up()
                    raise KeyServiceDenied(
                        f"the token {self._settings.token} refuses us: {_name(error)}",
                        hint="Check the PIN; a token locks itself after a few wrong ones.",
                    ) from error
                except failures.PKCS11Error as error:
                    self._hang_up()
                    raise _unavailable(error) from error
        raise AssertionError("the last attempt returned or raised")

    def _attend(self) -> None:
        if self._process != os.getpid():
            # Handles of the parent are not ours; neither is its lock on the token's objects.
            self._session, self._process = None, os.getpid()
            self._forget()
            pkcs11.lib(self._settings.module).reinitialize()
        if self._session is not None:
            return
        try:
            token = pkcs11.lib(self._settings.module).get_token(token_label=self._settings.token)
        except RuntimeError as error:
            raise Unavailable(
                f"the module {self._settings.module} cannot be loaded: {error}",
                hint="Check its path, and what its own configuration needs.",
            ) from error
        try:
            self._session = token.open(rw=True, user_pin=self._pin().reveal().decode())
        except failures.UserAlreadyLoggedIn:
            # Another session of this process has done it: the login is the process's.
            self._session = token.open(rw=True)

    def _hang_up(self) -> None:
        self._forget()
        session, self._session = self._session, None
        if session is not None and self._process == os.getpid():
            try:
                session.close()
            except failures.PKCS11Error:
                return  # it had ended before us


def _name(error: Exception) -> str:
    return str(error) or type(error).__name__


def _unavailable(error: Exception) -> Unavailable:
    return Unavailable(
        f"the token does not answer: {_name(error)}",
        hint="Check that it is plugged in and its module configured (SoftHSM: SOFTHSM2_CONF).",
    )


if pkcs11 is not None:
    ENDED: tuple[type[Exception], ...] = (
        failures.SessionHandleInvalid, failures.SessionClosed, failures.UserNotLoggedIn,
        failures.DeviceRemoved, failures.TokenNotPresent, failures.KeyHandleInvalid,
        failures.ObjectHandleInvalid,
    )  # fmt: skip
    HANDLES: tuple[type[Exception], ...] = (
        failures.KeyHandleInvalid,
        failures.ObjectHandleInvalid,
    )
    DENIED: tuple[type[Exception], ...] = (
        failures.PinIncorrect, failures.PinLocked, failures.PinExpired, failures.PinInvalid,
        failures.PinLenRange, failures.UserPinNotInitialized, failures.AttributeSensitive,
    )  # fmt: skip
    REFUSED: tuple[type[Exception], ...] = (
        failures.EncryptedDataInvalid,
        failures.EncryptedDataLenRange,
    )
else:  # pragma: no cover  nobody gets as far as catching these
    ENDED = HANDLES = DENIED = REFUSED = ()
