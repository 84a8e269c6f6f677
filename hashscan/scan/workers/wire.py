"""The message format of batches and results between processes of a pool: tuples of bytes and numbers.

Pickling dataclasses would cost as much as reading a small file. Most files are clean, and their results
contain nothing else; for these only this fact is sent, and the receiver adds the data of the listing again.
"""

from __future__ import annotations

from operator import attrgetter

from hashscan.model import (
    Batch,
    BatchResult,
    CtimeTrust,
    FileResult,
    FileStat,
    Item,
    SandboxLevel,
    StoredContentData,
    Verdict,
)

_MORE = attrgetter(
    *(name for name in FileResult.__struct_fields__ if name not in {"name", "stat", "verdict"})
)

_CTIME_TRUST = tuple(CtimeTrust)

PackedBatch = tuple[
    str,
    bytes,
    bytes,
    int,
    int,
    list[bytes],
    list[tuple[int, ...]],
    list[tuple[str, str, str, str]] | None,
    bool,
    int | None,
    tuple[int, ...],
]
PackedKept = tuple[tuple[bytes, ...], int, tuple[bytes, bytes, bytes] | None, bool, int, bool, bytes | None]
PackedResults = tuple[
    list[FileResult | None],
    int,
    SandboxLevel | None,
    list[PackedKept | None],
    tuple[tuple[int, int], ...],
    int,
    int,
    int,
    dict[str, int],
    dict[int, int],
]


def pack_batch(batch: Batch) -> PackedBatch:
    names = [item.name for item in batch.items]
    stats = [tuple(item.stat) for item in batch.items]
    # Files have none of these; sending nothing for them costs nothing.
    tags = [(item.etag, item.version, item.checksum, item.hidden) for item in batch.items]
    some = tags if any(map(any, tags)) else None
    head = batch.source, batch.target, batch.folder, batch.device, batch.inode
    return *head, names, stats, some, batch.defer, batch.max_sparse, batch.slow


def unpack_batch(packed: PackedBatch) -> Batch:
    """Return the batch that was sent."""
    source, target, folder, device, inode, names, stats, tags, defer, max_sparse, slow = packed
    if tags is None:
        items = tuple(Item(name, FileStat._make(stat)) for name, stat in zip(names, stats, strict=True))
    else:
        items = tuple(
            Item(name, FileStat._make(stat), *tag) for name, stat, tag in zip(names, stats, tags, strict=True)
        )
    return Batch(source, target, folder, device, inode, items, defer, max_sparse, slow)


def pack_results(batch: Batch, answer: BatchResult) -> PackedResults:
    results = [
        None if _is_clean_as_listed(item, result) else result
        for item, result in zip(batch.items, answer.results, strict=True)
    ]
    kept = [
        None
        if k is None
        else (
            *(k.exact, k.kind, None if k.packed is None else (*k.packed,), k.confirmed),
            *(int(k.ctime), k.other_than_listed, k.members),
        )
        for k in answer.kept
    ]
    numbers = answer.hole_bytes, answer.compared, answer.not_compared, answer.recognition, answer.excess
    return results, answer.bytes_read, answer.sandbox, kept, answer.deferred, *numbers


def _is_clean_as_listed(item: Item, result: FileResult) -> bool:
    """Return True if a result contains only that the file is as it was listed, and clean."""
    return (
        result.verdict is Verdict.CLEAN
        and result.name == item.name
        and result.stat == item.stat
        and not any(_MORE(result))
    )


def unpack_results(batch: Batch, packed: PackedResults) -> BatchResult:
    results, bytes_read, sandbox, kept, deferred = packed[:5]
    return BatchResult(
        tuple(
            FileResult(item.name, item.stat, Verdict.CLEAN) if result is None else result
            for item, result in zip(batch.items, results, strict=True)
        ),
        bytes_read,
        sandbox,
        tuple(None if k is None else StoredContentData(*k[:4], _CTIME_TRUST[k[4]], *k[5:]) for k in kept),
        deferred,
        *packed[5:],
    )
