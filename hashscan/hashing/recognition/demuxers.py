"""Name the demuxers of libavformat whose files show no pictures, and the formats of all others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hashscan.hashing.container_kinds import OTHER_VIDEO, VIDEOS


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SOUND = _names(
    # Music that may have a cover is in `container_kinds.VIDEOS`.
    "3dostr aax ac3 ac4 ace acm act adp ads adx aea afc aix alaw alp alsa amr amrnb amrwb apac apc apm"
    " aptx aptx_hd argo_asf argo_cvg ast au avr binka bfstm bit boa bonk brstm caf codec2 codec2raw daud"
    " dcstr derf dfpwm dss dts dtshd eac3 ea_cdata epaf f32be f32le f64be f64le fsb fwse g722 g723_1"
    " g726 g726le g728 g729 genh gsm hca hcom iamf ilbc ircam kvag laf lc3 libgme libmodplug libopenmpt"
    " loas mca mlp mmf msf mtaf mulaw musx nistsphere nsp osq oss pp_bnk pvf qcp qoa redspark rka rso"
    " rsd s16be s16le s24be s24le s32be s32le s337m s8 sbc sdns sds sdx shn sln sol sox spdif svag svs"
    " truehd txw u16be u16le u24be u24le u32be u32le u8 vag vidc voc vpk vqf w64 wady wavarc wsaud wsd"
    " wve xa xvag xwma"
)
_TEXT = _names(
    # Subtitles, and art that is made of letters.
    "adf aqtitle ass bin dvbtxt ffmetadata idf jacosub lrc mcc microdvd mpl2 mpsub pjs rcwt realtext"
    " sami sbg scc srt stl subviewer subviewer1 tedcaptions tty vplayer webvtt xbin"
)
_REFERRING = _names(
    # Playlists, devices, and whatever else is about other files or starts programs.
    "avisynth concat dash dshow fbdev gdigrab hls image2 image2pipe imf iec61883 jack kmsgrab lavfi"
    " libcdio libdc1394 libopencv msnwctcp mtree openal pulse rtp rtsp sap sdp sndio svg_pipe"
    " vapoursynth video4linux2,v4l2 vobsub webm_dash_manifest x11grab xcbgrab"
)
_RAW = frozenset({"bitpacked", "data", "mpegtsraw", "raw", "rawvideo", "v210", "v210x"})
EXCLUDED = _SOUND | _TEXT | _REFERRING | _RAW
"""Demuxers whose files show nothing by themselves. One that is not here is taken for a video."""

PICTURES: Mapping[str, str] = {
    **{f"{name.lower()}_pipe": name for name in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "PSD", "SGI", "PCX")},
    **{f"{name.lower()}_pipe": name for name in ("QOI", "DDS", "XPM", "WebP")},
    **dict.fromkeys(("pbm_pipe", "pgm_pipe", "ppm_pipe", "pfm_pipe"), "PNM"),
    **dict.fromkeys(("jpegxl_pipe", "jpegxl_anim"), "JPEG XL"),
    "j2k_pipe": "JPEG 2000",
    "sunrast_pipe": "Sun raster",
    "gif": "GIF",
    "apng": "PNG",
    "ico": "ICO",
    "flic": "FLIC",
}
"""Names of the formats of pictures that are decoded without libavformat, by its demuxer."""

_KINDS = {name: kind for kind, names in VIDEOS.items() for name in names}


def kind_of(demuxer: str) -> str | None:
    """Return the name of the format that a demuxer reads; None if its files show nothing."""
    if demuxer in EXCLUDED:
        return None
    return PICTURES.get(demuxer) or _KINDS.get(demuxer, OTHER_VIDEO)


def whitelist(kind: str, available: Iterable[str]) -> tuple[str, ...]:
    """Return the demuxers that may open a video of this format.

    Args:
        kind: a name of `container_kinds.VIDEOS`.
        available: all that libavformat has.
    """
    if kind != OTHER_VIDEO:
        return VIDEOS[kind]
    names = set(available)
    # Each part of such a name would let the demuxer open a file, too.
    parts = {part for name in names if "," in name for part in name.split(",")}
    return tuple(sorted(name for name in names - parts if kind_of(name) == OTHER_VIDEO))
