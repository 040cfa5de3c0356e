"""The key that signs heads, wherever the settings say that it is: a file of the data folder, or a token."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, unquote

from usance.adapters.proof_files import make_key, read_key
from usance.audit.ports import Signer
from usance.bootstrap.keys import Ask, ask_nobody, secret_source
from usance.config import Settings
from usance.kernel.errors import Unreadable

EXAMPLE = "pkcs11:token=usance;object=notary?module-path=/usr/lib/softhsm/libsofthsm2.so"


def open_signer(
    path: Path, settings: Settings, *, make: bool = False, ask: Ask = ask_nobody
) -> Signer:
    """Return the key that signs heads; `path` is its file, where it is one. `make`: now, where there is none.

    Raises Unavailable where it cannot be had, Tampered where it is no key, Unreadable for an address that
    cannot be meant.
    """
    said = settings.proof
    if not said.signer:
        return make_key(path) if make else read_key(path)
    from usance.adapters.pkcs11_token import TokenSettings
    from usance.adapters.signer_pkcs11 import Pkcs11Signer

    where, _, query = said.signer.removeprefix("pkcs11:").partition("?")
    named = dict(part.partition("=")[::2] for part in where.split(";"))
    module = (parse_qs(query).get("module-path") or [""])[0]
    if set(named) != {"token", "object"} or not all(named.values()) or not module:
        raise Unreadable(
            "settings", f"proof.signer, {said.signer}, names no key", hint=f"Such as {EXAMPLE}"
        )
    pin = secret_source(said.signer_secret_file, "PIN", ask)
    token = TokenSettings(module, unquote(named["token"]))
    return Pkcs11Signer(token, pin, unquote(named["object"]), make=make)


def has_key(path: Path, settings: Settings) -> bool:
    """Tell whether there is a key to ask: a token's is asked for when it is used."""
    return bool(settings.proof.signer) or path.exists()
