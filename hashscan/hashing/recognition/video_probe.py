"""Ask libavformat what it takes a file for, as FFmpeg and the players that are made of it do.

PyAV has no call for it: the function is called in the library that PyAV has loaded. Where it can't be found,
the file is opened by PyAV, which takes longer.

Source of the numbers: libavformat/format.c and avformat.h of FFmpeg, versions 4 to 8.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from typing import Any

import av

from hashscan.hashing.formats import FORMATS
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.recognition.demuxers import kind_of
from hashscan.hashing.recognition.none_kinds import may_be_played
from hashscan.hashing.recognition.recogniser import Probe, Probed

_SIZE_MIN, _SIZE_MAX, _PADDING = 2048, 1 << 20, 64
"""PROBE_BUF_MIN, PROBE_BUF_MAX and AVPROBE_PADDING_SIZE with room: FFmpeg asks again with twice the bytes
until a score is above `DOUBTFUL`, or it has as many as it asks for at all."""
DOUBTFUL = 25
"""AVPROBE_SCORE_RETRY. FFmpeg opens a file with such a score, and says that it may be something else."""

_BEGIN_SIZE = 32 << 10
"""Bytes of which it is asked where no stream can begin behind them: signatures lie in these."""

Score = Callable[[bytes], tuple[str, int]]
"""Returns the demuxer that takes bytes for its own, and its score; an empty name and 0 if none does. The name
is empty and the score is not if several have the same."""

_KEY, _KEYS_MIN = b"\x06\x0e\x2b\x34", 2
"""Begin of the label of an element of MXF."""

_MUSIC = "music with a picture"
_BY_NAME = {known.name: known for known in FORMATS}


class _ProbeData(ctypes.Structure):
    """AVProbeData."""

    _fields_ = (
        ("filename", ctypes.c_char_p),
        ("buf", ctypes.c_void_p),
        ("buf_size", ctypes.c_int),
        ("mime_type", ctypes.c_char_p),
    )


class _InputFormat(ctypes.Structure):
    """The begin of AVInputFormat."""

    _fields_ = (("name", ctypes.c_char_p),)


def load() -> Probe:
    """Return the probe, before the sandbox is closed.

    Raises:
        ImportError, OSError: PyAV can't be loaded.
    """
    return VideoProbe(score_function())


class VideoProbe:
    """The probe of videos, of music that may have a cover, and of pictures that FFmpeg decodes."""

    def __init__(self, score: Score | None, *, everywhere: bool = False) -> None:
        """Take what asks the library.

        Args:
            everywhere: True to ask of all bytes, where nothing can be found behind their begin, too.
        """
        self._score, self._everywhere = score, everywhere
        self.by_library = score is not None
        """False if files are opened to see what they are."""

    def __call__(self, file: PreadFile, /) -> Iterator[Probed]:
        """Yield what FFmpeg takes the file for; what it would take it for if it were longer, too."""
        for demuxer, score in dict.fromkeys(self._scores(file)):
            kind = kind_of(demuxer)
            if kind is not None and not (demuxer == "mxf" and self._names_keys_only(file)):
                # Players show no cover of a broken music file; a broken cover is found when it is decoded.
                certain = score > DOUBTFUL and kind != _MUSIC
                yield Probed(_BY_NAME[kind], certain, by=f"libavformat: {demuxer}", score=score)

    @staticmethod
    def _names_keys_only(file: PreadFile) -> bool:
        """Return True for a file that has the key of a header of MXF, as one about formats, and no other key.

        Each element of MXF has one (SMPTE 377-1, 9.3), and FFmpeg opens none without an element of essence.
        """
        file.seek(0)
        return file.size <= _SIZE_MAX and file.read().count(_KEY) < _KEYS_MIN

    def _scores(self, file: PreadFile) -> Iterator[tuple[str, int]]:
        if self._score is None:
            yield from _opened(file)
            return
        begin = file.read(_SIZE_MAX)
        is_searched = self._everywhere or may_be_played(begin)
        name, score = self._score(begin if is_searched else begin[:_BEGIN_SIZE])
        if name:
            yield name, score
        # Bytes behind a begin can lower the score of the whole below that of its begin; a JPEG has a low one.
        is_asked = score or self._everywhere or (is_searched and may_be_played(begin, jpegs=False))
        size = _SIZE_MIN
        while is_asked and size < len(begin):
            name, score = self._score(begin[:size])
            if name and score > DOUBTFUL:
                # Here FFmpeg would stop.
                yield name, score
                return
            size *= 2


def score_function() -> Score | None:
    """Return the function that asks the library; None if it can't be called."""
    function = _symbol("av_probe_input_format3")
    if function is None:
        return None
    function.restype = ctypes.POINTER(_InputFormat)
    function.argtypes = (ctypes.POINTER(_ProbeData), ctypes.c_int, ctypes.POINTER(ctypes.c_int))

    def score(begin: bytes) -> tuple[str, int]:
        room = ctypes.create_string_buffer(begin, len(begin) + _PADDING)
        data = _ProbeData(b"", ctypes.addressof(room), len(begin), None)
        found = ctypes.c_int()
        known = function(ctypes.byref(data), 1, ctypes.byref(found))
        return (known.contents.name.decode() if known else "", found.value)

    # Loads all that the demuxers need, and shows that the structures are as they are here.
    return score if score(_SAMPLE) == ("flv", 100) else None


_SAMPLE = b"FLV\1\5\0\0\0\x09" + bytes(500)


def _symbol(name: str) -> Any:
    """Return a function of libavformat as PyAV has loaded it; None if it can't be found."""
    try:
        with open("/proc/self/maps", "rb") as maps:
            mapped = dict.fromkeys(line.split(maxsplit=5)[5] for line in maps if b"libavformat" in line)
        for path in mapped:
            # It is loaded already, so that this returns the same.
            if (function := getattr(ctypes.CDLL(path.strip().decode()), name, None)) is not None:
                return function
    except (OSError, ValueError, IndexError):
        pass
    return None


def _opened(file: PreadFile) -> Iterator[tuple[str, int]]:
    """Yield the demuxer by which PyAV opens a file; which score it had is not known."""
    try:
        with av.open(
            file,
            "r",
            container_options={"protocol_whitelist": "none"},
            metadata_errors="replace",
            io_open=_refuse,
        ) as container:
            yield container.format.name, 1
    except (av.FFmpegError, PermissionError):
        pass


def _refuse(url: str, flags: int, options: object) -> None:
    raise PermissionError("a probed file opens no other file")
