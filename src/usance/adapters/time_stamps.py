"""Trusted time by RFC 3161 over HTTP."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

from usance.audit.codes import Detected
from usance.kernel.errors import Unavailable

TIMEOUT_S = 5.0
ANSWER_BYTES_MAX = 64 * 1024
CONTENT_TYPE = "application/timestamp-query"


class HttpTimeAuthority:
    """A time-stamping service; every answer is verified against the root that was given."""

    def __init__(self, url: str, ca_file: Path) -> None:
        self.url = url
        self.ca_file = ca_file

    def stamp(self, data: bytes) -> bytes:
        """Return a time-stamp response (DER) over data, asked for with a nonce."""
        from cryptography import x509
        from rfc3161_client import (
            HashAlgorithm,
            TimestampRequestBuilder,
            VerificationError,
            VerifierBuilder,
            decode_timestamp_response,
        )

        request = (
            TimestampRequestBuilder()
            .data(data)
            .hash_algorithm(HashAlgorithm.SHA256)
            .nonce(nonce=True)
            .cert_request(cert_request=True)
            .build()
        )
        answer = self._post(request.as_bytes())
        try:
            root = x509.load_pem_x509_certificate(self.ca_file.read_bytes())
            verifier = VerifierBuilder.from_request(request).add_root_certificate(root).build()
            verifier.verify_message(decode_timestamp_response(answer), data)
        except (OSError, ValueError, VerificationError) as error:
            raise Detected(
                "ANCHOR_MISMATCH", f"the time stamp of {self.url} does not hold: {error}"
            ) from error
        return answer

    def _post(self, body: bytes) -> bytes:
        asked = urllib.request.Request(self.url, body, {"Content-Type": CONTENT_TYPE})  # noqa: S310
        try:
            with urllib.request.urlopen(asked, timeout=TIMEOUT_S) as answer:  # noqa: S310
                found: bytes = answer.read(ANSWER_BYTES_MAX)
                return found
        except (OSError, urllib.error.URLError) as error:
            raise Unavailable(
                f"the time authority {self.url} cannot be reached: {error}",
                hint="Heads are signed without it meanwhile; it is asked again.",
            ) from error
