"""Export items with their log records as an encrypted tar file (age) for an authority."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from hashscan.errors import OutputError, UsageError
from hashscan.hash_chain import Line
from hashscan.quarantine import system
from hashscan.quarantine.captured_file import Outcome, QuarantineSkipped
from hashscan.quarantine.items import KEPT, Item
from hashscan.quarantine.store import Quarantine
from hashscan.sources.filesystem.safe_open import closing_descriptor


def export(quarantine: Quarantine, items: Sequence[Item], recipients: Sequence[str], target: Path) -> str:
    """Write items and all their log lines into a tar file that only the recipients can decrypt.

    Args:
        items: the items; they stay in quarantine.
        recipients: public age keys, `age1...`.
        target: the new file, which must not exist yet.

    Returns:
        The sha256 of the written file, in hex.

    Raises:
        UsageError: the extra is not installed, a key is invalid, or the file exists already.
        QuarantineSkipped: an item is missing or was altered; nothing was written.
        OutputError: the file or the log can't be written.
    """
    keys = recipient_keys(recipients)
    lines = _lines_of(quarantine, items)
    try:
        with closing_descriptor(
            os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        ) as folder:
            digest = _write(quarantine, items, keys, folder, os.fsencode(target.name), lines)
    except FileExistsError as error:
        raise UsageError(f"{target} exists already", advice="Name a new file.") from error
    except OSError as error:
        raise OutputError(f"can't write {target}: {error.strerror or error}") from error
    for item in items:
        quarantine.log_event("exported", item.id, recipients=list(recipients), sha256=digest)
    quarantine.sync()
    return digest


def _lines_of(quarantine: Quarantine, items: Sequence[Item]) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = {item.id: [] for item in items}
    for line in quarantine.lines():
        if line.get("item") in found:
            found[line["item"]].append(line)
    return found


def _write(
    quarantine: Quarantine,
    items: Sequence[Item],
    keys: Sequence[Any],
    folder: int,
    name: bytes,
    lines: Mapping[str, Sequence[Line]],
) -> str:
    descriptor = system.create(folder, name, 0o600)
    try:
        with os.fdopen(descriptor, "r+b") as output:
            _encrypt(quarantine, items, keys, output, lines)
            output.flush()
            system.sync(output.fileno())
            output.seek(0)
            digest = hashlib.file_digest(output, "sha256").hexdigest()
        system.sync(folder)
    except BaseException:
        # A partial file is of no use.
        system.unlink(folder, name)
        raise
    return digest


def _encrypt(
    quarantine: Quarantine,
    items: Sequence[Item],
    keys: Sequence[Any],
    output: BinaryIO,
    lines: Mapping[str, Sequence[Line]],
) -> None:
    """Encrypt the tar file while it is made, since plain content must not be written to a disk."""
    reader, writer = os.pipe()
    trouble: list[BaseException] = []

    def encrypt() -> None:
        try:
            with os.fdopen(reader, "rb") as clear:
                encrypt_to(keys, clear, output)
        except BaseException as error:  # passed to the thread that started this one
            trouble.append(error)

    thread = threading.Thread(target=encrypt)
    thread.start()
    try:
        with (
            os.fdopen(writer, "wb") as clear,
            tarfile.open(fileobj=cast("Any", clear), mode="w|", format=tarfile.PAX_FORMAT) as archive,
        ):
            for item in items:
                if item.state not in KEPT or item.of_another:
                    raise QuarantineSkipped(
                        Outcome.REFUSED, f"item {item.id} is not kept, or was moved by mistake"
                    )
                _add(archive, item, quarantine, lines[item.id])
    finally:
        thread.join()
        if trouble:
            raise OutputError(f"can't encrypt: {trouble[0]}") from trouble[0]


def _add(archive: tarfile.TarFile, item: Item, quarantine: Quarantine, lines: Sequence[Line]) -> None:
    record = "".join(json.dumps(line) + "\n" for line in lines).encode()
    described = tarfile.TarInfo(f"{item.id}/record.jsonl")
    described.size = len(record)
    archive.addfile(described, io.BytesIO(record))
    with quarantine.storage.opened(item) as descriptor, os.fdopen(os.dup(descriptor), "rb") as content:
        content.seek(0)
        kept = tarfile.TarInfo(f"{item.id}/content")
        kept.size = os.fstat(content.fileno()).st_size
        archive.addfile(kept, content)


def encrypt_to(keys: Sequence[Any], clear: BinaryIO, output: BinaryIO) -> None:
    """Encrypt a stream to keys of `recipient_keys`."""
    import pyrage

    pyrage.encrypt_io(clear, output, list(keys))


def recipient_keys(recipients: Sequence[str]) -> list[Any]:
    """Return the public keys of age.

    Raises:
        UsageError: the extra is not installed, or a key is invalid.
    """
    try:
        import pyrage
    except ImportError as error:
        raise UsageError(
            "encryption needs the extra `export`", advice="Install it: pip install 'hashscan[export]'."
        ) from error
    keys = []
    for text in recipients:
        try:
            keys.append(pyrage.x25519.Recipient.from_str(text))
        except pyrage.RecipientError as error:
            raise UsageError(
                f"{text[:100]!r} is not a public key of age", advice="Give the authority's key: age1..."
            ) from error
    return keys
