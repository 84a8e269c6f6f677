from __future__ import annotations

from pathlib import Path

import pytest

from hashscan.errors import UsageError
from hashscan.settings.resources import ClusterSettings

FILES = (Path("ca"), Path("cert"), Path("key"))


def test_tls_needs_all_three_files() -> None:
    assert ClusterSettings("tls://scheduler:8786", *FILES).encrypted
    with pytest.raises(UsageError, match="needs --cluster-ca, --cluster-cert, --cluster-key"):
        ClusterSettings("tls://scheduler:8786")
    with pytest.raises(UsageError, match=r"needs --cluster-key$"):
        ClusterSettings("tls://scheduler:8786", *FILES[:2])


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "[::1]", "localhost"])
def test_tcp_is_for_this_machine(host: str) -> None:
    assert not ClusterSettings(f"tcp://{host}:8786").encrypted
    with pytest.raises(UsageError, match="no use of certificates"):
        ClusterSettings(f"tcp://{host}:8786", *FILES)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "[::]", "[2001:db8::1]", "nowhere.invalid"])
def test_tcp_is_for_no_other(host: str) -> None:
    with pytest.raises(UsageError, match="run any program on its workers"):
        ClusterSettings(f"tcp://{host}:8786")


@pytest.mark.parametrize(
    "address",
    [
        "scheduler:8786",
        "tls://scheduler",
        "tls://:8786",
        "ucx://a:1",
        "tls://a:b",
        "tls://u@a:1",
        "tls://a:1/x",
    ],
)
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(UsageError, match="is no scheduler's address"):
        ClusterSettings(address, *FILES)
