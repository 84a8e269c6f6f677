"""Contract of every notice format, by the table and the examples of each."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.cases.notices.notice import Notice
from hashscan.cases.notices.reader import NOTICE_FORMATS, NoticeError, Notices
from hashscan.model import CATEGORIES
from tests.cases.notices.examples import EXAMPLES
from tests.examples import examples

GOOD = [(name, data, notices) for name, examples in EXAMPLES.items() for data, notices in examples.good]
BAD = [(name, data, message) for name, examples in EXAMPLES.items() for data, message in examples.bad]


def read(name: str, data: bytes) -> list[Notice]:
    return list(NOTICE_FORMATS[name]().notices(io.BytesIO(data), "file"))


def outcome(name: str, data: bytes) -> tuple[list[Notice], str]:
    try:
        return read(name, data), ""
    except NoticeError as error:
        return [], f"{error} {error.remedy}"


def test_every_format_has_examples() -> None:
    assert set(EXAMPLES) == set(NOTICE_FORMATS)


@pytest.mark.parametrize(("name", "data", "notices"), GOOD)
def test_good_documents(name: str, data: bytes, notices: list[Notice]) -> None:
    assert read(name, data) == notices


@pytest.mark.parametrize(("name", "data", "notices"), GOOD)
def test_the_form_is_recognised_by_how_a_file_begins(
    tmp_path: Path, name: str, data: bytes, notices: list[Notice]
) -> None:
    path = tmp_path / "notice"
    path.write_bytes(data)
    found = Notices(path)
    assert list(found) == notices
    assert found.form == name


@pytest.mark.parametrize(("name", "data", "message"), BAD)
def test_what_is_wrong_is_reported(name: str, data: bytes, message: str) -> None:
    with pytest.raises(NoticeError) as caught:
        read(name, data)
    assert str(caught.value).startswith("file")
    assert message in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize("name", NOTICE_FORMATS)
@given(data=st.data())
@settings(deadline=None, max_examples=examples(60))
def test_any_bytes_give_notices_or_the_one_kind_of_error(name: str, data: st.DataObject) -> None:
    good = data.draw(st.sampled_from([document for document, _ in EXAMPLES[name].good]))
    junk = data.draw(st.binary(max_size=80) | st.text(max_size=80).map(lambda text: text.encode("utf-8")))
    at = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(at, min(len(good), at + 200)))
    found, error = outcome(name, good[:at] + junk + good[end:])
    assert error.isprintable()
    for notice in found:
        assert notice.url or notice.path or notice.digests
        assert f"{notice.reference}{notice.sender}{notice.url}".isprintable()
        assert notice.category in {"", *CATEGORIES}
        for moment in (notice.received, notice.deadline):
            assert moment is None or moment.tzinfo is not None
        assert len(notice.key) == 32


@pytest.mark.parametrize(("name", "data", "notices"), GOOD)
def test_a_document_cut_anywhere_says_nothing_else(name: str, data: bytes, notices: list[Notice]) -> None:
    for end in range(0, len(data), 7):
        assert len(outcome(name, data[:end])[0]) <= len(notices)
