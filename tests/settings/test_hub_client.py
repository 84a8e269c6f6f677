"""The settings of a hub's clients."""

from __future__ import annotations

from pathlib import Path

import pytest

from hashscan.errors import UsageError
from hashscan.settings.hub_client import hub_client_settings

KEY = Path("/etc/hashscan/hub-key")


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("hub.example.org", KEY),
        ("file:///srv/hub", KEY),
        ("/srv/hub", KEY),
        ("https://user:password@hub.example.org/", KEY),
        ("http://hub.example.org/", KEY),
        ("https://hub.example.org/", None),
    ],
)
def test_settings_that_cannot_be_used_are_refused(url: str, key: Path | None) -> None:
    with pytest.raises(UsageError):
        hub_client_settings(url, key)


def test_the_address_gets_a_slash_and_this_machine_needs_no_encryption() -> None:
    assert hub_client_settings("https://hub.example.org/here", KEY).url == "https://hub.example.org/here/"
    assert hub_client_settings("http://127.0.0.1:8480", KEY).url == "http://127.0.0.1:8480/"


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("hsk_abc\n")
    file.chmod(0o600)
    settings = hub_client_settings("https://hub.example.org", file)
    assert settings.key_headers() == {"Authorization": "Bearer hsk_abc"}
    file.chmod(0o644)
    with pytest.raises(UsageError):
        settings.key_headers()
