/* Search for traces of what programs find in the middle of a file: videos and archives.
 *
 * Of a file whose first bytes are those of a format without pictures, libavformat still shows a raw stream or a
 * transport stream that lies anywhere in the first bytes, and unzip, 7z, tar and cpio search farther. The rules
 * are those by which libavformat's probes count (libavformat/mpegvideodec.c, h264dec.c, hevcdec.c, vvcdec.c,
 * m4vdec.c, vc1dec.c, cavsvideodec.c, h261dec.c, h263dec.c, mpeg.c, mpegts.c, dv.c, mxfdec.c, nutdec.c), or
 * stricter ones: a trace is no proof of a video, its absence is one that there is none. Each byte is visited
 * once; nothing is kept of it but counts.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>

typedef const unsigned char *Bytes;

enum { PROBED_FIRST = 2048 }; /* Bytes that libavformat looks at first; then twice as many, and so on. */
enum { PACKETS = 5, NEAR = 1024 }; /* Packets in a row that begin near the begin of a file, for VLC. */
enum { BLOCK = 100 }; /* Packets that libavformat counts together. */

typedef struct {
    const char *bytes;
    unsigned char length;
} Trace;

#define TRACE(text) {text, sizeof(text) - 1}

/* Anywhere. */
static const Trace anywhere[] = {
    TRACE("7z\xbc\xaf\x27\x1c"), TRACE("Rar!\x1a\x07"), TRACE("MSCF\0\0\0\0"), TRACE("PK\3\4"), TRACE("PK\1\2"),
    TRACE("PK\5\6"), TRACE("\x1f\x8b\x08"), TRACE("\xfd" "7zXZ\0"), TRACE("1AY&SY"), TRACE("\x28\xb5\x2f\xfd"),
    TRACE("070701"), TRACE("070702"), TRACE("070707"), TRACE("LZIP\1"), TRACE("hsqs"), TRACE("sqsh"), TRACE("xar!"),
    TRACE("CD001"), TRACE("%PDF"), TRACE("\nbegin "), TRACE("\nbegin-base64 "), TRACE("\n=ybegin "),
    TRACE("MSWIM\0\0\0"), TRACE("\xed\xab\xee\xdb"), TRACE("!<arch>\n"), TRACE("**ACE**"),
    TRACE("APETAGEX"), TRACE("\xef\xbe\xad\xdeNull"), TRACE("WARC/"), TRACE("\x89LZO"), TRACE("\x04\x22\x4d\x18"),
    TRACE("ustar\0"), TRACE("ustar "), TRACE("StuffIt"), TRACE("BEA01"), TRACE("ITSF\3"), TRACE("ITOLITLS"), TRACE("SZDD\x88\xf0\x27"), TRACE("shsq"),
    TRACE("qshs"), TRACE("FAT1"), TRACE("FAT32   "), TRACE("NTFS    "), TRACE("EFI PART"), TRACE("KDMV"),
    TRACE("QFI\xfb"), TRACE("vhdxfile"), TRACE("conectix"), TRACE("koly"), TRACE("\x7f\x10\xda\xbe"),
    TRACE("Compressed ROMFS"), TRACE("H+\0\4"), TRACE("HX\0\5"),
};

/* In the first bytes, as far as libavformat and mpv probe. */
static const Trace at_first[] = {
    TRACE("RIFF"), TRACE("RIFX"), TRACE("RF64"), TRACE("ftyp"), TRACE("moov"), TRACE("FLV\1"),
    TRACE("\x30\x26\xb2\x75\x8e\x66"), TRACE("OggS"), TRACE("\x1a\x45\xdf\xa3"), TRACE("\x06\x0e\x2b\x34"),
    TRACE("NM\x7aV"), TRACE("nut/multimedia"), TRACE("NSVf"), TRACE("NSVs"), TRACE("\xf5\x46\x7a\xbd"),
    TRACE("Interplay MVE"), TRACE("DICM"), TRACE(".RMF"), TRACE("PCD_"), TRACE("\xff\xd8\xff"), TRACE("ID3\2"),
    TRACE("ID3\3"), TRACE("ID3\4"), TRACE("\x1f\x07\0\x3f"), TRACE("\x1f\x07\0\xbf"), TRACE("BBCD"), TRACE("XobX"),
    TRACE("xobX"), TRACE("YUV4MPEG"), TRACE("#EXTM3U"), TRACE("\x89PNG\r\n"), TRACE("GIF8"), TRACE("fLaC"),
};

enum { ANYWHERE = 1, AT_FIRST = 2, SPECIAL = 4, WEAK = 8 };

static unsigned char classes[256];

static void mark(const Trace *traces, size_t number, unsigned char bit)
{
    size_t each;
    for (each = 0; each < number; each++)
        classes[(unsigned char)traces[each].bytes[0]] |= bit;
}

static int begins(const Trace *traces, size_t number, Bytes at, size_t left)
{
    size_t each;
    for (each = 0; each < number; each++)
        if (traces[each].length <= left && memcmp(at, traces[each].bytes, traces[each].length) == 0)
            return 1;
    return 0;
}

/* A header that is known by two bytes and plausible fields: of LHA, ARJ, binary cpio, a volume of ext. */
static int is_weak_header(Bytes at, size_t left)
{
    unsigned mode, name;
    if (left < 22)
        return 0;
    switch (at[0]) {
    case '-':
        return at[1] == 'l' && (at[2] == 'h' || at[2] == 'z') && at[4] == '-';
    case 0x60:
        return at[1] == 0xea && at[3] < 0x0b && (at[3] || at[2] >= 20);
    case 0x53:
        return at[1] == 0xef && at[3] == 0 && at[5] == 0 && at[4] >= 1 && at[4] <= 3;
    default:
        if (at[0] + at[1] != 0xc7 + 0x71 || (at[0] != 0xc7 && at[0] != 0x71))
            return 0;
        mode = at[0] == 0xc7 ? at[7] : at[6];
        name = at[0] == 0xc7 ? at[21] : at[20];
        return ((0x1556 >> (mode >> 4)) & 1) && name <= 16;
    }
}

/* A header of a tar archive: of POSIX, or one with a checksum that agrees. */
static int is_tar_header(Bytes block)
{
    long stated = 0, sum = 8 * ' ', sum_signed = 8 * ' ';
    int at, digits = 0;
    if (memcmp(block + 257, "ustar", 5) == 0)
        return 1;
    for (at = 148; at < 156; at++) {
        if (block[at] >= '0' && block[at] <= '7') {
            stated = stated * 8 + (block[at] - '0');
            digits++;
        } else if (digits)
            break;
        else if (block[at] != ' ' && block[at] != 0 && !(block[at] >= '\t' && block[at] <= '\r'))
            return 0;
    }
    if (!digits)
        return 0;
    for (at = 0; at < 512; at++)
        if (at < 148 || at >= 156) {
            sum += block[at];
            sum_signed += (signed char)block[at];
        }
    return stated == sum || stated == sum_signed;
}

static int is_transport_stream(Bytes at, size_t left)
{
    static const size_t steps[] = {188, 192, 204};
    size_t step, packet;
    for (step = 0; step < 3; step++) {
        if (left <= (PACKETS - 1) * steps[step])
            continue;
        for (packet = 1; packet < PACKETS && at[packet * steps[step]] == 'G'; packet++)
            ;
        if (packet == PACKETS)
            return 1;
    }
    return 0;
}

/* The most packets of a block that begin at the same place, counted as analyze() of libavformat/mpegts.c does. */
static long in_step(Bytes block, size_t length, size_t packet)
{
    unsigned char counts[204] = {0}, best = 0;
    Bytes at = block, end = block + length;
    while (end - at > 3 && (at = memchr(at, 'G', (size_t)(end - at) - 3))) {
        size_t place = (size_t)(at - block) % packet;
        if (++counts[place] > best)
            best = counts[place];
        at++;
    }
    return best;
}

/* Rule by which libavformat takes bytes for a transport stream: mpegts_probe(), without what lowers a score. */
static int is_in_packets(Bytes start, size_t length)
{
    static const size_t sizes[] = {188, 192, 204};
    size_t packets = length / 204, block, each;
    long sum = 0;
    for (block = 0; block < packets; block += BLOCK) {
        size_t left = packets - block < BLOCK ? packets - block : BLOCK;
        long most = 0, found;
        for (each = 0; each < 3; each++) {
            found = in_step(start + sizes[each] * block, sizes[each] * left, sizes[each]);
            if (found > most)
                most = found;
        }
        if (most > 60)
            return 1;
        sum += most;
    }
    return packets && sum * 10 > 6 * (long)packets;
}

/* A packet of an elementary stream: check_pes() of libavformat/mpeg.c, with `at` at the byte that names the
 * stream. */
static int is_packet(Bytes at, Bytes end)
{
    Bytes p = at + 3;
    if (end - at < 8)
        return 1;
    if ((p[0] & 0xc0) == 0x80 && (p[1] & 0xc0) != 0x40
        && ((p[1] & 0xc0) == 0 || (p[1] & 0xc0) >> 2 == (p[3] & 0xf0)))
        return 1;
    while (p < end && *p == 0xff)
        p++;
    if (p < end && (*p & 0xc0) == 0x40)
        p += 2;
    if (end - p < 10)
        return 1;
    if ((*p & 0xf0) == 0x20)
        return p[0] & p[2] & p[4] & 1;
    if ((*p & 0xf0) == 0x30)
        return p[0] & p[2] & p[4] & p[5] & p[7] & p[9] & 1;
    return *p == 0x0f;
}

typedef struct {
    unsigned char seen[256]; /* By the byte behind a start code. */
    int hevc, vvc_sps, vvc_pps, packets;
    long h261_valid, h261_invalid, h261_next, h261_format;
    long h263_valid, h263_invalid, h263_format, h263_changes, h263_group;
} Streams;

static void take_start_code(Streams *found, Bytes at, Bytes end)
{
    unsigned char code = at[0];
    if (found->seen[code] < 255)
        found->seen[code]++;
    if (code == 0x42 && end - at > 1 && at[1] < 8)
        found->hevc = 1;
    if (code == 0 && end - at > 1) {
        found->vvc_sps |= at[1] >> 3 == 15;
        found->vvc_pps |= at[1] >> 3 == 16;
    }
    if (code >= 0xe0 && code <= 0xef && is_packet(at, end))
        found->packets++;
}

/* libavformat/h263dec.c; `at` is behind two zeros. */
static void take_h263(Streams *found, Bytes at, Bytes end)
{
    unsigned long rest;
    long format, group;
    if (end - at < 3)
        return;
    rest = (unsigned long)at[1] << 8 | at[2];
    if (at[0] < 0x84) {
        format = (rest >> 2) & 7;
        if (format != found->h263_format && found->h263_format > 0 && found->h263_format < 6 && format < 6)
            found->h263_changes++;
        if ((rest & 0x300) == 0x200 && format) {
            found->h263_valid++;
            found->h263_group = 0;
        } else
            found->h263_invalid++;
        found->h263_format = format;
    } else {
        group = (at[0] >> 2) & 0x1f;
        if (group < found->h263_group)
            found->h263_invalid++;
        else
            found->h263_group = group;
    }
}

/* libavformat/h261dec.c: fifteen zero bits and a one; `at` is behind a zero byte, and no zero. */
static void take_h261(Streams *found, Bytes start, Bytes at, Bytes end)
{
    int zeros = 0, before = 8;
    unsigned long next;
    long group;
    while (!(at[0] & (0x80 >> zeros)))
        zeros++;
    if (at - start < 2)
        return;
    if (at[-2])
        while (!(at[-2] & (1 << (before - 8))))
            before++;
    else
        before = 16;
    if (before + zeros < 15 || end - at < 3)
        return;
    next = ((unsigned long)at[0] << 16 | (unsigned long)at[1] << 8 | at[2]) >> (7 - zeros);
    group = next >> 12 & 15;
    if (!group)
        found->h261_format = next & 8;
    if (group != found->h261_next)
        found->h261_invalid++;
    else
        found->h261_valid++;
    found->h261_next = found->h261_format ? (group + 1) % 13 : (group + 1 + !!group) % 7;
}

static int is_stream(const Streams *found, int whole)
{
    const unsigned char *seen = found->seen;
    int at, sps = 0, pps = 0, volumes = 0;
    for (at = 0; at < 256; at++) {
        sps |= seen[at] && (at & 0x9f) == 7;
        pps |= seen[at] && (at & 0x9f) == 8;
        volumes |= seen[at] && at >= 0x20 && at < 0x30;
    }
    /* libavformat takes a low score only of all bytes that it looks at, and a high one of fewer, too. */
    return seen[0xba] || seen[0xb3] || found->packets > 1 || (sps && pps) || found->hevc
           || (found->vvc_sps && found->vvc_pps) || (volumes && seen[0xb6]) || (seen[0x0f] && (seen[0x0d] || seen[0x0e]))
           || (seen[0xb0] && seen[0xb6]) || found->h261_valid > 2 * found->h261_invalid + (whole ? 2 : 6)
           || found->h263_valid > 2 * found->h263_invalid + (whole ? 0 : 2 * found->h263_changes + 2);
}

/* Of a piece of a file. Tar headers begin at each 512th byte of it. */
static int search(Bytes start, size_t length, int first)
{
    Bytes end = start + length, at;
    unsigned char wanted = ANYWHERE | WEAK | (first ? AT_FIRST | SPECIAL : 0);
    Py_ssize_t probed = PROBED_FIRST;
    Streams found;
    memset(&found, 0, sizeof found);
    for (at = start; end - at >= 512; at += 512)
        if (is_tar_header(at))
            return 1;
    for (at = start; at < end; at++) {
        unsigned char class = classes[*at] & wanted;
        size_t left = (size_t)(end - at);
        if (first && at - start == probed) {
            if (is_stream(&found, 0) || is_in_packets(start, (size_t)probed))
                return 1;
            probed *= 2;
        }
        if (first && *at && at > start && at[-1] == 0)
            take_h261(&found, start, at, end);
        if (!class)
            continue;
        if (class & ANYWHERE && begins(anywhere, sizeof anywhere / sizeof *anywhere, at, left))
            return 1;
        if (class & WEAK && is_weak_header(at, left))
            return 1;
        if (class & AT_FIRST && begins(at_first, sizeof at_first / sizeof *at_first, at, left))
            return 1;
        if (!(class & SPECIAL))
            continue;
        if (*at == 'G') {
            if (at - start < NEAR && is_transport_stream(at, left))
                return 1;
        } else if (at - start >= 2 && at[-1] == 0 && at[-2] == 0) {
            if (*at == 1) {
                if (left > 1)
                    take_start_code(&found, at + 1, end);
            } else
                take_h263(&found, at, end);
        }
    }
    return first && (is_stream(&found, 1) || is_in_packets(start, length));
}

static PyObject *has_traces(PyObject *module, PyObject *arguments)
{
    Py_buffer seen;
    int first, found;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*p", &seen, &first))
        return NULL;
    found = search(seen.buf, (size_t)seen.len, first);
    PyBuffer_Release(&seen);
    return PyBool_FromLong(found);
}

static PyMethodDef methods[] = {
    {"has_traces", has_traces, METH_VARARGS, "True if programs may find a video or an archive in bytes."},
    {NULL, NULL, 0, NULL},
};

static int prepare(PyObject *module)
{
    int byte;
    (void)module;
    mark(anywhere, sizeof anywhere / sizeof *anywhere, ANYWHERE);
    mark(at_first, sizeof at_first / sizeof *at_first, AT_FIRST);
    for (byte = 0x80; byte < 0x100; byte++)
        classes[byte] |= SPECIAL;
    for (byte = 0; byte < 5; byte++)
        classes[(unsigned char)"-\x60\x53\xc7\x71"[byte]] |= WEAK;
    classes[1] |= SPECIAL;
    classes['G'] |= SPECIAL;
    return 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, prepare}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    "_traces",
    "Search for traces of videos and archives.",
    0,
    methods,
    slots,
    NULL,
    NULL,
    NULL,
};

PyMODINIT_FUNC PyInit__traces(void)
{
    return PyModuleDef_Init(&definition);
}
