from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.errors import UsageError
from hashscan.settings import (
    ClusterSettings,
    DecodingLimits,
    ReportTarget,
    SweepSettings,
    parse_size,
    parse_until,
    read_file,
)


def settings(**changes: object) -> SweepSettings:
    values: dict[str, object] = {
        "targets": (b"/srv",),
        "lists": None,
        "reports": (),
        "state": None,
        "workers": 1,
        "decoding": DecodingLimits(),
    }
    return SweepSettings(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"targets": ()},
        {"workers": 0},
        {"workers": -1},
        {"max_file_size": 0},
        {"reports": (ReportTarget("jsonl", None), ReportTarget("jsonl", None))},
        {"reports": (ReportTarget("jsonl", Path("a")), ReportTarget("jsonl", Path("./a")))},
    ],
)
def test_what_can_not_be_meant_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        settings(**changes)


@pytest.mark.parametrize("limit", [{"memory_bytes": 0}, {"seconds": 0}, {"max_pixels": -1}])
def test_limits_are_positive(limit: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        DecodingLimits(**limit)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "number"), [("7", 7), ("2K", 2048), ("3m", 3 << 20), ("1G", 1 << 30), ("1T", 1 << 40)]
)
def test_sizes(text: str, number: int) -> None:
    assert parse_size(text) == number


@given(st.text(max_size=8).filter(lambda t: not t.strip()[:-1].isdigit() and not t.strip().isdigit()))
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_size(text)


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no settings file"):
        read_file(tmp_path / "none.toml", {})


def test_the_variable_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "h.toml"
    file.write_text("workers = 3\n")
    assert read_file(None, {"HASHSCAN_CONFIG": str(file)}) == (file, {"workers": 3})


@pytest.mark.parametrize("content", [b"workers = ", b"\xff\xfe"])
def test_no_toml_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "h.toml"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=r"h\.toml"):
        read_file(file, {})


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("2027-01-31", datetime(2027, 2, 1, tzinfo=UTC)),
        ("2028-02-29", datetime(2028, 3, 1, tzinfo=UTC)),
        ("2027-01-31T18:00:00Z", datetime(2027, 1, 31, 18, tzinfo=UTC)),
        ("2027-01-31t18:00:00z", datetime(2027, 1, 31, 18, tzinfo=UTC)),
        ("2027-01-31 18:00:00.25-02:30", datetime(2027, 1, 31, 20, 30, 0, 250_000, tzinfo=UTC)),
    ],
)
def test_an_end_is_a_day_or_a_time(text: str, end: datetime) -> None:
    assert parse_until(text) == end


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tomorrow",
        "2027-02-29",
        "2027-13-01",
        "20270131",
        "2027-W05-7",
        "27-01-31",
        "2027-01-31T18:00:00",
        "2027-01-31T25:00:00Z",
        "2027-01-31T18:00:00+99:00",
        "9999-12-31",
        "9999-12-31T23:59:59-01:00",
        "0001-01-01T00:00:00+01:00",
        "\N{FULLWIDTH DIGIT TWO}027-01-31",
        "2027-01-31\n",
    ],
)
def test_what_is_no_end(text: str) -> None:
    with pytest.raises(UsageError, match="no day and no time"):
        parse_until(text)


@given(st.text())
def test_any_text_is_an_end_or_refused(text: str) -> None:
    with suppress(UsageError):
        assert parse_until(text).tzinfo is not None


class TestCluster:
    FILES = (Path("ca"), Path("cert"), Path("key"))

    def test_tls_needs_all_three_files(self) -> None:
        assert ClusterSettings("tls://scheduler:8786", *self.FILES).encrypted
        with pytest.raises(UsageError, match="needs --cluster-ca, --cluster-cert, --cluster-key"):
            ClusterSettings("tls://scheduler:8786")
        with pytest.raises(UsageError, match=r"needs --cluster-key$"):
            ClusterSettings("tls://scheduler:8786", *self.FILES[:2])

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "[::1]", "localhost"])
    def test_tcp_is_for_this_machine(self, host: str) -> None:
        assert not ClusterSettings(f"tcp://{host}:8786").encrypted
        with pytest.raises(UsageError, match="no use of certificates"):
            ClusterSettings(f"tcp://{host}:8786", *self.FILES)

    @pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "[::]", "[2001:db8::1]", "nowhere.invalid"])
    def test_and_for_no_other(self, host: str) -> None:
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
    def test_addresses_that_are_none(self, address: str) -> None:
        with pytest.raises(UsageError, match="is no scheduler's address"):
            ClusterSettings(address, *self.FILES)
