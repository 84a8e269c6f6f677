"""Names and MIME types that claim a kind which viewers open.

Viewers choose by a file's name, and by the type that a mail or a bucket states, how to open it, and some show
files in which no signature is found: Targa has none, nor have Brotli and most raw streams of video. A file
with such a name or type in which nothing is recognised is not clean.
"""

from __future__ import annotations

import re

_PICTURES = (
    "apng|avif|bmp|cr[23]|crw|cur|dcm|dcx|dds|dib"
    "|djvu?|dng|emf|emz|eps|erf|exr|fits|gif|hei[cf]s?"
    "|icb|icns|ico|ilbm|j2[ck]|jfif|jng|jp[2cfx]"
    "|jpe?g?|jpm|jxl|jxr|kdc|mng|mrw|nef|nrw|orf|pam"
    "|pbm|pcd|pcx|pef|pfm|pgm|pgx|pict|pjpe?g|png|pnm"
    "|ppm|psb|psd|qoi|raf|rgba?|rw2|sgi|sr[2fw]|svgz?"
    "|tga|tiff?|vda|vst|wbmp|wdp|webp|wmf|wmz|x3f|xbm"
    "|xcf|xpm|xwd"
)
_VIDEOS = (
    "26[345]|3g[2p]|3gpp|asf|av1|avi|avs2|cavs|divx"
    "|drc|dv|f4v|flc|fli|flv|gxf|h26[1345]|hevc|ivf"
    "|m1v|m2p|m2ts?|m2v|m4v|m[jk]2|mjpe?g|mjpg|mk3d"
    "|mkv|mov|mp4|mp4v|mpe?g|mpg[24v]?|mpv2?|mts|mxf"
    "|nsv|nut|obu|og[mv]|qt|rmvb?|roq|swf|ts|vob|vro"
    "|webm|wmv|wtv|xvid|y4m|yuv"
)
_DOCUMENTS = (
    "azw3?|cb[7rtz]|do[ct][mx]?|eml|emlx|epub|f[bo]2"
    "|fod[gpst]|html?|ipynb|mbox|mht|mhtml|mobi"
    "|od[gpst]|one|ot[gpst]|oxps|pdf|pp[st][mx]?"
    "|pot[mx]?|pub|rtf|shtml?|vcf|vsdx?|webarchive"
    "|xhtml?|xht|xl[st][bmx]?|xps"
)
_ARCHIVES = (
    "7z|ace|alz|apk|appx|arj|bro?|bz2?|cab|cpio|deb"
    "|dmg|egg|gz|ipa|iso|jar|lha|lz[4h]?|lzma|lzo|nrg"
    "|rar|rpm|sitx?|sqfs|squashfs|t[abglx]z|tar|tbz2"
    "|tlz|txz|tzst|udf|vhdx?|vmdk|war|whl|wim|xar|xpi"
    "|xz|zipx?|zst"
)
_CLAIMS = re.compile(
    rf"\.(?:{_PICTURES}|{_VIDEOS}|{_DOCUMENTS}|{_ARCHIVES})\s*\Z".encode(), re.IGNORECASE | re.ASCII
)
_TEXTS_TOO = re.compile(rb"\.(?:br|rgba?|tga|icb|vda|vst|yuv|xbm)\s*\Z", re.IGNORECASE)
"""Endings by which viewers may show a text of printable characters as a picture, or decompress it."""


_OF_PICTURES = re.compile(_PICTURES, re.ASCII)
_OF_OTHERS = re.compile(rf"{_PICTURES}|{_VIDEOS}|{_DOCUMENTS}|{_ARCHIVES}", re.ASCII)
_WORDS = {
    "icon": "ico",
    "photoshop": "psd",
    "pixmap": "ppm",
    "anymap": "pnm",
    "bitmap": "pbm",
    "graymap": "pgm",
    "xbitmap": "xbm",
    "xpixmap": "xpm",
    "targa": "tga",
    "vcard": "vcf",
    "directory": "vcf",
    "mp2t": "ts",
    "rfc822": "eml",
    "msword": "doc",
    "excel": "xls",
    "powerpoint": "ppt",
    "openxmlformats": "docx",
    "opendocument": "odt",
    "gzip": "gz",
    "bzip2": "bz2",
    "brotli": "br",
}
"""Words of MIME types, and endings with the same meaning."""


def ending_of_type(media_type: str) -> bytes:
    """Return a name's ending that claims the same as a MIME type, with its dot; empty if that claims nothing.

    Words of the type are compared, since many types have several forms (`image/x-ms-bmp`, `image/bmp`). Any
    type of video claims one; not any of pictures, among which are drawings of single programs.
    """
    main, _, rest = media_type.partition(";")[0].strip().lower().partition("/")
    words = [_WORDS.get(word, word) for word in re.split(r"[^a-z0-9]+", rest)]
    known = _OF_PICTURES if main == "image" else _OF_OTHERS
    if main in {"image", "video", "text", "application", "message"}:
        for word in words:
            if known.fullmatch(word) is not None:
                return f".{word}".encode()
    return b".avi" if main == "video" else b""


BEGIN_SIZE = 512
_SOURCES = re.compile(rb"\.(?:s?html?|xhtml?|xht|svg|ts|mts|rtf|vcf|ipynb)\s*\Z", re.IGNORECASE)
"""Endings of texts, which were searched for pictures as texts."""
_NO_TEXT = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def claims_to_be_shown(name: bytes, none_by: str = "", begin: bytes = b"") -> bool:
    """Return True if viewers open a file with this name, and might show something that was not recognised.

    A name is compared in any case, and as systems read it that ignore white space at its end.

    Args:
        name: of the file; or the place of a member, which ends with its name.
        none_by: the row of `none_kinds` that proves the file to be none; empty if none does. A text is what
            the endings of many source files say (`.ts`), and is not shown by any other name but few.
        begin: the first `BEGIN_SIZE` bytes: a text that is not proven to be none, and was asked about, is
            no video of packets.
    """
    if begin and _SOURCES.search(name) is not None and _NO_TEXT.search(begin[:BEGIN_SIZE]) is None:
        return False
    return (_TEXTS_TOO if none_by == "text" else _CLAIMS).search(name) is not None
