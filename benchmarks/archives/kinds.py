"""Compare what hashscan and clamscan find in containers of all kinds, with the same digests, and their time.

    python -m benchmarks.archives.kinds [--runs N] [--work DIR]

Each container has a drawn picture of its own, whose sha256 is listed, so that a file that is found shows
that its picture was. There is one container of each kind, and each in a ZIP archive in a tar.gz. Both
programs scan the whole tree, in turn; hashscan with `--mail`, clamscan with limits that skip nothing here.
It needs bsdtar, which writes most kinds, clamscan, and the source tree with its tests. The exit code is 1 if
clamscan finds something that hashscan does not.
"""

from __future__ import annotations

import argparse
import base64
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from pathlib import Path

from benchmarks.archives.speed import CLAMSCAN, import_digests, picture, scan_command, write_signatures
from benchmarks.lib import measure
from benchmarks.lib.build import announce_build
from tests.hashing.documents.compound_files import compound
from tests.hashing.documents.drawn import page_of, stream, zipped

SIZE = 320, 240
ATTACHED = "__attach_version1.0_#00000000/__substg1.0_37010102"


def archived(*options: str) -> Callable[[bytes], bytes]:
    """Return a function that puts a picture into an archive by bsdtar."""

    def write(content: bytes) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "dir").mkdir()
            (Path(folder) / "dir" / "picture.jpg").write_bytes(content)
            made = Path(folder) / "made"
            # Not to a pipe: it would pad what it compresses.
            subprocess.run(["bsdtar", "-cf", str(made), *options, "-C", folder, "dir"], check=True)
            return made.read_bytes()

    return write


def compressed(program: str) -> Callable[[bytes], bytes]:
    """Return a function that compresses a picture."""
    return lambda content: (
        subprocess.run([program, "-c"], input=content, check=True, capture_output=True).stdout
    )


def document(content: bytes) -> bytes:
    """Return a PDF document that shows a picture."""
    entries = b"/Type/XObject/Subtype/Image/Width %d/Height %d/ColorSpace/DeviceRGB/BitsPerComponent 8" % SIZE
    image = stream(entries + b"/Filter/DCTDecode", content)
    return page_of(b"q 320 0 0 240 100 300 cm /I1 Do Q", [image])


def mail(content: bytes) -> bytes:
    """Return a mail with a picture."""
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "a@example.org", "b@example.org", "picture"
    made.set_content("See the picture.")
    made.add_attachment(content, maintype="image", subtype="jpeg", filename="picture.jpg")
    return bytes(made)


def page(content: bytes) -> bytes:
    """Return a web page with a picture in it."""
    return (
        b'<!DOCTYPE html><html><body><img src="data:image/jpeg;base64,%b"></body></html>'
        % base64.b64encode(content)
    )


KINDS: Mapping[str, Callable[[bytes], bytes]] = {
    "zip": archived("--format", "zip"),
    "tar": archived("--format", "ustar"),
    "tar.gz": archived("--format", "ustar", "--gzip"),
    "tar.bz2": archived("--format", "ustar", "--bzip2"),
    "tar.xz": archived("--format", "ustar", "--xz"),
    "tar.zst": archived("--format", "ustar", "--zstd"),
    "7z": archived("--format", "7zip"),
    "cpio": archived("--format", "newc"),
    "iso": archived("--format", "iso9660"),
    "ar": lambda content: (
        b"!<arch>\n%-16b%-12d%-6d%-6d%-8b%-10d`\n" % (b"picture.jpg/", 0, 0, 0, b"100644", len(content))
        + content
        + b"\n" * (len(content) % 2)
    ),
    "jpg.gz": compressed("gzip"),
    "jpg.xz": compressed("xz"),
    "docx": lambda content: zipped({"[Content_Types].xml": b"<Types/>", "word/media/image1.jpeg": content}),
    "odt": lambda content: zipped(
        {"mimetype": b"application/vnd.oasis.opendocument.text", "Pictures/1.jpg": content}
    ),
    "pdf": document,
    "eml": mail,
    "mbox": lambda content: b"From a@example.org Thu Jan  1 00:00:00 2026\n" + mail(content) + b"\n",
    "msg": lambda content: compound({"__properties_version1.0": b"", ATTACHED: content}),
    "html": page,
    "svg": lambda content: (
        b'<svg xmlns="http://www.w3.org/2000/svg"><image href="data:image/jpeg;base64,%b"/></svg>'
        % base64.b64encode(content)
    ),
    "exe": lambda content: b"MZ" + bytes(8190) + zipped({"picture.jpg": content}),
    "jpg with zip": lambda content: picture(10_000, *SIZE) + zipped({"picture.jpg": content}),
}


def lay_out(folder: Path) -> list[bytes]:
    """Write the tree, and return the listed pictures."""
    listed = []
    for depth, place in enumerate(("direct", "nested")):
        (folder / place).mkdir(parents=True)
        for number, (kind, write) in enumerate(KINDS.items()):
            content = picture(100 * depth + number, *SIZE)
            listed.append(content)
            made = write(content)
            if depth:
                with tempfile.TemporaryDirectory() as inner:
                    (Path(inner) / "inner.zip").write_bytes(zipped({f"dir/file.{kind}": made}))
                    command = ["bsdtar", "-czf", "-", "-C", inner, "inner.zip"]
                    made = subprocess.run(command, check=True, capture_output=True).stdout
            (folder / place / f"{number:02} {kind}").write_bytes(made)
    return listed


def found_by_hashscan(report: Path) -> set[str]:
    """Return the paths of the files with a match."""
    with report.open("rb") as lines:
        return {line["path"] for line in map(json.loads, lines) if line.get("verdict") == "match"}


def found_by_clamscan(output: str) -> set[str]:
    """Return the paths of the files that it found."""
    return {line.rpartition(": ")[0] for line in output.splitlines() if line.endswith(" FOUND")}


def main() -> int:
    """Make the tree, print a table and the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    measure.adopt_orphans()
    with tempfile.TemporaryDirectory(dir=options.work) as scratch:
        work = Path(scratch).resolve()
        tree, state, signatures = work / "tree", work / "state", work / "listed.hsb"
        listed = lay_out(tree)
        import_digests(listed, work, state)
        write_signatures(signatures, listed)
        ways = {
            "hashscan": [*scan_command(tree, work, state), "--mail"],
            "clamscan": [*CLAMSCAN, "--no-summary", f"--database={signatures}", str(tree)],
        }
        times: dict[str, list[measure.Sample]] = {way: [] for way in ways}
        for _ in range(options.runs):
            for way, command in ways.items():
                times[way].append(measure.run(way, command, work, {}, 1))
        ours, theirs = (
            found_by_hashscan(work / "report.jsonl"),
            found_by_clamscan(times["clamscan"][-1].output),
        )
        for path in sorted(tree.rglob("*")):
            if path.is_file():
                by = [" found" if str(path) in found else "missed" for found in (ours, theirs)]
                print(f"{path.relative_to(tree)!s:24} hashscan {by[0]}  clamscan {by[1]}")
        print(f"of {len(listed)}: hashscan {len(ours)}, clamscan {len(theirs)}")
        for way, samples in times.items():
            wall, cpu = (
                statistics.median(part) for part in zip(*((s.wall, s.cpu) for s in samples), strict=True)
            )
            print(f"{way}: {wall:.2f} s, {cpu:.2f} s of processor time")
        return int(bool(theirs - ours))


if __name__ == "__main__":
    announce_build()
    sys.exit(main())
