"""Which addresses are public, and what errors are called."""

from __future__ import annotations

import ssl

import pytest
import urllib3

from hashscan.sources.base import FileError
from hashscan.sources.objects.store import RetryableError
from hashscan.sources.objects.web.client import is_public, trouble_of


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f::1", True),
        ("127.0.0.1", False),
        ("10.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) == public


def test_errors_in_terms_of_our_own() -> None:
    secret = "sig=SECRET"
    errors: list[Exception] = [
        urllib3.exceptions.SSLError(f"CERTIFICATE_VERIFY_FAILED {secret}"),
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
