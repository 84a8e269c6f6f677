"""The errors of web servers in our own words."""

from __future__ import annotations

import ssl

import urllib3

from hashscan.sources.base import FileError
from hashscan.sources.objects.store import RetryableError
from hashscan.sources.objects.web.client import trouble_of


def test_errors_in_terms_of_our_own() -> None:
    secret = "sig=SECRET"
    errors: list[Exception] = [
        urllib3.exceptions.SSLError(ssl.SSLCertVerificationError(secret)),
        ssl.SSLError(secret),
        urllib3.exceptions.ProtocolError(secret),
        urllib3.exceptions.ConnectTimeoutError(secret),
        TimeoutError(secret),
        OSError(secret),
        urllib3.exceptions.MaxRetryError(None, secret, OSError(secret)),  # type: ignore[arg-type]
    ]
    found = [trouble_of(error) for error in errors]
    assert isinstance(found[0], FileError)
    assert all(isinstance(trouble, RetryableError) for trouble in found[1:])
    assert not any("SECRET" in f"{trouble} {trouble.detail}" for trouble in found)
