"""The texts of XML as a parser reads them, within bounds."""

from __future__ import annotations

import base64
from contextlib import nullcontext

import pytest

from hashscan.hashing.documents import text_probe, texts, xml_text
from hashscan.hashing.documents.text_probe import texts_with_pictures
from hashscan.hashing.documents.texts import TextOpener
from hashscan.hashing.documents.xml_text import xml_texts
from hashscan.hashing.formats import TEXT
from hashscan.hashing.member_records import ContainerError
from hashscan.hashing.pread import PreadFile
from hashscan.model import Reason
from tests.hashing.documents.drawn import JPEG

NESTED = b"<!DOCTYPE a [<!ENTITY x0 'ha'>%b]><a>&x9;</a>" % b"".join(
    b"<!ENTITY x%d '%b'>" % (level, b"&x%d;" % (level - 1) * 10) for level in range(1, 10)
)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"<a b='1'>2<c>3</c>4</a>", b'"1"\n"3"\n"24"'),
        (b"<a>1<![CDATA[<2>]]><!-- x -->3</a>", b'"1<2>3"'),
        (b"<w:pkg xmlns:w='x'><w:binData n='>'>AA</w:binData></w:pkg>", b'"x"\n">"\n<binary>AA</binary>'),
        (b"<!DOCTYPE a [<!ENTITY x 'y'>]><a b='&x;'>&x;</a>", b'"y"\n"y"'),
        (b"<!DOCTYPE a [<!ENTITY x SYSTEM '/etc/passwd'>]><a>1&x;2</a>", b'"12"'),
        ("<?xml version='1.0'?><a>é</a>".encode("utf-16-be"), '"é"'.encode()),
        (b"<?xml version='1.0' encoding='windows-1251'?><a>\xe9</a>", '"й"'.encode()),
        (b"<a><b>1</b><c>2", b'"1"\n"2"'),
        (b"no XML", b""),
    ],
)
def test_texts_and_attributes(content: bytes, expected: bytes) -> None:
    assert xml_texts(content) == expected


def test_entities_end_at_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xml_text, "READ_MAX", 1000)
    assert xml_texts(b"<a>%b</a>" % (b"x" * 1000)) == b'"%b"' % (b"x" * 1000)
    for content in (NESTED, b"<a>%b</a>" % (b"x" * 1001)):
        with pytest.raises(ContainerError) as caught:
            xml_texts(content)
        assert caught.value.reason is Reason.CONTAINER_BYTES


PAGE = b"<img src='data:image/jpeg;base64,%b'>" % base64.b64encode(JPEG)


@pytest.mark.parametrize("before", [0, 900, 30_000])
def test_a_page_is_searched_to_the_bound_and_told_beyond(
    monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    size = len(PAGE) + 1000
    for module, name, value in (
        (texts, "READ_MAX", size),
        (text_probe, "READ_MAX", size),
        (text_probe, "_OVERLAP", len(PAGE)),
    ):
        monkeypatch.setattr(module, name, value)
    file = PreadFile(b"x" * before + PAGE + b"y" * 101)
    assert [probed.kind for probed in texts_with_pictures(file)] == [TEXT]
    file.seek(0)
    found: list[bytes] = []
    beyond = pytest.raises(ContainerError) if file.size > size else nullcontext()
    with beyond as caught:
        found.extend(b"".join(member.pieces) for member in TextOpener().members(file))
    assert caught is None or caught.value.reason is Reason.CONTAINER_BYTES
    assert (JPEG in found) == (before <= 1000)
