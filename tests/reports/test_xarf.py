"""XARF by its own JSON schemas, as the reference implementation reads them."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from xarf import parse

from hashscan.cases.notices.xarf import XarfNotices
from hashscan.errors import UsageError
from hashscan.reports.records import path_bytes
from hashscan.reports.report import BARE, Report, ReportContext
from hashscan.reports.xarf import Xarf
from tests.reports.documents import CONTEXT, DIGESTS, HOSTILE, finding, match, written


def documents(path: Path, context: ReportContext = CONTEXT) -> list[dict[str, Any]]:
    stream = io.BytesIO()
    Xarf().write(Report(path, context), stream)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def seen(record: Any) -> str:
    return f"https://shop.example/{path_bytes(record).hex()}"


@pytest.mark.parametrize("context", [CONTEXT, replace(CONTEXT, url_of=seen)], ids=["path", "url"])
def test_each_document_is_valid(tmp_path: Path, context: ReportContext) -> None:
    records = [finding(name, customer=f"customer {name!r}" * 40, picture={"format": "JPEG", "width": 1,
               "height": 1}) for name in (*HOSTILE, b"s3://bucket/a b\xff//c")]  # fmt: skip
    found = documents(written(tmp_path / "r.jsonl", records), context)
    assert len(found) == len(records)
    for document in found:
        result = parse(document, strict=False)
        assert not result.errors
        assert not result.warnings, "no field that the schema doesn't know"
        assert result.report is not None
        assert document["classification"] == "A1"
        assert document["detection_method"] == "hash_match"
        assert document["hash_values"] == DIGESTS
        assert "evidence" not in document
        assert document["url"].isascii()
        assert UUID(document["report_id"]).version == 4
        assert len(document["description"]) <= 1000


def test_what_a_document_says(tmp_path: Path) -> None:
    records = [
        finding(b"/srv/a.jpg"),
        finding(b"/srv/b.jpg", quarantine={"outcome": "done"}, action="quarantine"),
        finding(b"/srv/c.jpg", quarantine={"outcome": "done", "other_names": 1}),
        finding(b"s3://bucket/100% d.jpg", customer="Shop"),
        finding(b"https://other.example/x%20y"),
    ]
    a, b, c, d, e = documents(
        written(tmp_path / "r.jsonl", records),
        replace(
            CONTEXT,
            url_of=lambda r: "" if r["path"].endswith("a.jpg") else f"https://shop.example{r['size']}",
        ),
    )
    assert (a["source_identifier"], a["url"]) == ("web1", "file://web1/srv/a.jpg")
    assert "domain" not in a
    assert a["timestamp"] == "2026-11-26T01:00:00Z"
    assert a["reporter"] == a["sender"]
    assert a["reporter"] == {
        "org": "A hoster & sons",
        "contact": "abuse@hoster.example",
        "domain": "hoster.example",
    }
    assert "content_removed" not in a
    assert b["content_removed"] is True
    assert "content_removed" not in c, "it is there under its other name"
    assert d["description"].endswith("It is a customer's: Shop")
    assert (e["url"], e["domain"]) == ("https://other.example/x%20y", "other.example")


def test_an_object_has_its_bucket_as_source(tmp_path: Path) -> None:
    (document,) = documents(written(tmp_path / "r.jsonl", [finding(b"s3://bucket/100% d\xff.jpg")]))
    assert document["source_identifier"] == "bucket"
    assert document["url"] == "s3://bucket/100%25%20d%FF.jpg"


def test_the_same_finding_keeps_its_number(tmp_path: Path) -> None:
    records = [finding(b"/srv/a.jpg"), finding(b"/srv/b.jpg"), finding(b"/srv/a.jpg", version="2")]
    path = written(tmp_path / "r.jsonl", records)
    first = [document["report_id"] for document in documents(path)]
    assert len(set(first)) == 3
    assert [document["report_id"] for document in documents(path)] == first
    other = replace(CONTEXT, digests=lambda record: {"sha256": "00" * 32})
    assert not set(first) & {document["report_id"] for document in documents(path, other)}


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    records = [
        finding(b"/srv/told", matches=match(category="baseline") + match(category="other")),
        finding(b"/srv/held", "held"),
        finding(b"/srv/review", "review", matches=match(algorithm="pdq", distance=33, threshold=31)),
        finding(b"/srv/test", matches=match(category="test")),
        finding(b"/srv/other", matches=match(category="other")),
        finding(b"/srv/excepted", matches=match(excepted={"reason": "x", "until": "y"})),
        finding(b"/srv/weak", matches=match(algorithm="phash", distance=1, threshold=4)),
        {"type": "standing", "schema": 1, "path": "/srv/standing", "was": "match", "because": "x",
         "first": "x", "last": "x"},
    ]  # fmt: skip
    form, stream = Xarf(), io.BytesIO()
    form.write(Report(written(tmp_path / "r.jsonl", records), CONTEXT), stream)
    (document,) = map(json.loads, stream.getvalue().splitlines())
    assert document["url"] == "file://web1/srv/told"
    assert document["classification"] == "baseline"
    assert form.left_out == {
        "findings that are held": 1,
        "findings for review": 1,
        "findings by test entries": 1,
        "findings of categories that authorities don't name": 3,
        "earlier findings that this scan did not reach": 1,
    }


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (BARE, "no reporter is named"),
        (replace(CONTEXT, digests=lambda record: {}), "1 of 1 findings have no digests"),
        (replace(CONTEXT, digests=lambda record: {"sha256": "short"}), "1 of 1 findings have no digests"),
    ],
)
def test_what_is_missing_is_reported_before_anything_is_written(
    tmp_path: Path, context: ReportContext, message: str
) -> None:
    stream = io.BytesIO()
    with pytest.raises(UsageError, match=message) as caught:
        Xarf().write(Report(written(tmp_path / "r.jsonl", [finding(b"/srv/a")]), context), stream)
    assert not stream.getvalue()
    assert "[reporter]" in caught.value.remedy or "--with-digests" in caught.value.remedy


def test_our_own_reports_can_be_taken_as_notices(tmp_path: Path) -> None:
    path = written(tmp_path / "r.jsonl", [finding(name) for name in HOSTILE])
    stream = io.BytesIO()
    Xarf().write(Report(path, CONTEXT), stream)
    stream.seek(0)
    notices = list(XarfNotices().notices(stream, "file"))
    assert len(notices) == len(HOSTILE)
    assert {notice.sender for notice in notices} == {"abuse@hoster.example"}
