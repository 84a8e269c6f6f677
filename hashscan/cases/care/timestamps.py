"""Time-stamps of an authority (TSA) by RFC 3161, over HTTP."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from hashscan.errors import UnreachableError, UsageError
from hashscan.lists.services.settings import ServiceSettings
from hashscan.web_address import parse
from hashscan.web_connection import WEB

_HEADERS = {"Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply"}


class TimestampError(Exception):
    """A time-stamp that is not valid for some bytes."""


def _library() -> Any:
    try:
        import rfc3161_client
    except ImportError as error:
        raise UsageError(
            "time-stamps need the package 'rfc3161-client'", advice="Run: pip install 'hashscan[cases]'"
        ) from error
    return rfc3161_client


def request_timestamp(data: bytes, url: str, ca_file: Path | None) -> bytes:
    """Have an authority stamp bytes, of which it gets the SHA-512 alone; return its answer in DER.

    Args:
        ca_file: the certificates of the authority's roots (PEM), by which the answer is verified at once;
            None verifies only that it is about these bytes.

    Raises:
        UsageError: the address or the certificates can't be used, or the library is missing.
        UnreachableError: there is no answer that can be used.
    """
    library = _library()
    if not url.startswith(WEB):
        raise UsageError(f"{url!r} is no address of a TSA", advice="Give its http or https address.")
    parse(url.encode())
    from hashscan import service_client

    query = library.TimestampRequestBuilder().data(data).build()
    client = service_client.ServiceClient(ServiceSettings(url, "tsa"), {})
    try:
        answer = client("POST", "", query.as_bytes(), _HEADERS)
        _check(answer, data, ca_file, query.nonce)
    except (service_client.ServiceBusyError, service_client.ServiceRefusedError, TimestampError) as error:
        raise UnreachableError(
            f"the TSA {url} gives no time-stamp: it {error}",
            advice="Run the command again later, or without --tsa.",
        ) from error
    finally:
        client.close()
    return answer


def verify_timestamp(answer: bytes, data: bytes, ca_file: Path | None) -> datetime:
    """Return the time of a time-stamp.

    Args:
        ca_file: as in `request_timestamp`; with None, anybody can have made it.

    Raises:
        TimestampError: it is not valid for these bytes.
        UsageError: the certificates can't be used, or the library is missing.
    """
    return _check(answer, data, ca_file, None)


def _check(answer: bytes, data: bytes, ca_file: Path | None, nonce: int | None) -> datetime:
    library = _library()
    try:
        found = library.decode_timestamp_response(answer)
        if nonce is not None and found.tst_info.nonce != nonce:
            raise TimestampError("answers another question")
        imprint = found.tst_info.message_imprint
        if imprint.message != _digest(imprint.hash_algorithm.dotted_string, data):
            raise TimestampError("has stamped other bytes")
        if ca_file is not None:
            builder = library.VerifierBuilder()
            for root in _roots(ca_file):
                builder = builder.add_root_certificate(root)
            builder.build().verify_message(found, data)
    except (ValueError, library.VerificationError) as error:
        raise TimestampError(f"has no valid signature: {error}") from error
    time: datetime = found.tst_info.gen_time
    return time


def _digest(algorithm: str, data: bytes) -> bytes:
    import hashlib

    names = {
        "2.16.840.1.101.3.4.2.1": "sha256",
        "2.16.840.1.101.3.4.2.2": "sha384",
        "2.16.840.1.101.3.4.2.3": "sha512",
    }
    return hashlib.new(names[algorithm], data).digest() if algorithm in names else b""


def _roots(ca_file: Path) -> list[Any]:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(ca_file.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{ca_file} holds no certificates that can be used: {error}",
            advice="Name a PEM file with the root certificates of the TSA.",
        ) from error
