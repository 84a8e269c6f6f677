"""The bounds that docs/containers.md states are those of the code; tests of each package try them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hashscan.hashing import avif_items, containers
from hashscan.hashing.archives import openers, warc
from hashscan.hashing.documents import compound, fonts, mail, metafiles, pdf, rtf, text_probe, texts
from hashscan.hashing.embedded import directories, ends, metadata
from hashscan.hashing.media.picture_opening import Limits
from hashscan.hashing.recognition import archive_probe, text_proof
from hashscan.model import MemberLimits

PAGE = " ".join((Path(__file__).parents[2] / "docs" / "containers.md").read_text().split())
MIB = 1 << 20


def stated() -> dict[str, int]:
    """The number of each bound, by a text with `{}` for it, in which `{:,}` has commas."""
    defaults = MemberLimits()
    return {
        "| `--container-members` | {:,} members or frames |": defaults.members,
        "| `--container-size` | {} GB unpacked |": defaults.bytes >> 30,
        "| `--member-size` | {} MB |": defaults.member_bytes // MIB,
        "| `--container-ratio` | {} unpacked bytes for each of the file": defaults.ratio,
        "| `--container-depth` | {} |": defaults.depth,
        "| `--container-time` | {:.0f} s of processor time;": int(defaults.seconds),
        "the end of ZIP within the last {:,} bytes": containers.TAIL_SIZE,
        "{} places of one kind that may be an archive, without a checksum": archive_probe.DOUBTFUL_MAX,
        "{:,} with the same signature and no archive behind it": archive_probe.FAILED_MAX,
        "{:,} of two bytes": archive_probe.FAILED_SHORT_MAX,
        "| WARC | {} KiB of headers; 64 MiB in chunks": warc._HEAD_MAX >> 10,
        "texts, contacts, uuencoded files, mails | {} MiB;": openers.READ_MAX // MIB,
        "runs of at least {} digits": text_proof.RUN_LEAST,
        "{} references within each other": texts._REFERENCES_DEEP,
        "{:,} values of a binary property list": texts._VALUES_MAX,
        "| mails | {} MiB of one header": text_probe._HEADERS_MAX // MIB,
        "{} parts within each other": mail.DEPTH_MAX,
        "| pictures | {:,} frames or pages;": Limits().frames,
        "{} pictures in metadata;": metadata._MOST,
        "{} files, or 256 unknown boxes, behind it": ends._STARTS_MAX,
        "or {} unknown boxes, behind it": ends._UNKNOWN_MAX,
        "{:,} blocks of a GIF": ends._PARTS_MAX,
        "{} MiB or 4,096 segments of metadata": metadata._METADATA_MAX // MIB,
        "or {:,} segments of metadata": metadata._SEGMENTS_MAX,
        "{:,} chunks of a PNG": ends._PARTS_MAX,
        "{} pictures in the index of a JPEG or in an ICNS": directories._MAX_INDEXED,
        "in an ICNS; {} further pictures": avif_items._OTHERS_MAX,
        "or {:,} boxes, of an AVIF or HEIF": avif_items._BOXES_MAX,
        "{} pictures below the pages of a TIFF": directories._MAX_PICTURES,
        "{:,} directories, and": directories._MAX_DIRECTORIES,
        "{:,} tags in all of them": directories._MAX_TAGS,
        "{} pixels; a drawing": fonts.SIDE_LEAST,
        "of fewer than {} elements": fonts.ELEMENTS_LEAST,
        "a letter below {} pixels": pdf._LETTER_SIDE,
        "{} JPEGs directly behind another": ends._JPEGS_MAX,
        "| PDF | {:,} pages;": pdf.PAGES_MAX,
        "{:,} objects of a page with those of groups": pdf.OBJECTS_MAX,
        "{} groups within each other": pdf.FORMS_MAX,
        "{:,} annotations of a page, or attachments": pdf.ANNOTATIONS_MAX,
        "{:,} regions of a page that are drawn alone": pdf.REGIONS_MAX,
        "{:,} patterns": pdf.PATTERNS_MAX,
        "{} million pixels of an embedded picture": pdf.PIXELS_MAX // MIB,
        "| compound files | {} MiB;": 4 * compound.READ_MAX // MIB,
        "{:,} streams |": compound._STREAMS_MAX,
        "| RTF | 64 MiB; {} million parts": rtf._TOKENS_MAX // 1_000_000,
        "{:,} points and rectangles": metafiles._POINTS_MAX,
    }


@pytest.mark.parametrize(("text", "number"), stated().items(), ids=stated())
def test_a_bound_is_documented(text: str, number: int) -> None:
    assert text.format(number) in PAGE


def test_bounds_of_videos_are_documented() -> None:
    pytest.importorskip("av")
    from hashscan.hashing.video import covers, frames, opening, streams

    for text, number in {
        "| videos | {} video streams;": frames.VideoLimits().streams,
        "{:,} boxes of an MP4": opening._BOXES_MAX,
        "{} MiB of an MP4's index": covers.INDEX_MAX // MIB,
        "{} MiB of an APE tag": covers.TAG_MAX // MIB,
        "{:,} times of key frames": streams._TIMES_MAX,
        "{} packets among which those of later frames": streams._REORDERED,
        "{} KiB at the end, in which the footer": covers._TAIL >> 10,
        "from one of the {} before it": opening._COMPARED,
    }.items():
        assert text.format(number) in PAGE


def test_a_million_records_of_a_metafile() -> None:
    assert metafiles._RECORDS_MAX == 1_000_000
    assert "a million records" in PAGE
