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
#include <limits.h>
#include <string.h>
#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define WITH_AVX2 __attribute__((target("avx2")))
#endif

typedef const unsigned char *Bytes;

enum { PROBED_FIRST = 2048 }; /* Bytes that libavformat looks at first; then twice as many, and so on. */
enum { PACKETS = 5, NEAR = 1024 }; /* Packets in a row that begin near the begin of a file, for VLC. */
enum { WEAK_MAX = 256 }; /* Headers in a piece of which the sum or the name is checked, of those that two bytes announce. */
enum { PROBED_LAST = 1 << 20 }; /* Bytes that FFmpeg looks at, at most; here a low score counts, too. */
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
    TRACE("APETAGEX"), TRACE("\xef\xbe\xad\xdeNull"), TRACE("WARC/"), TRACE("\x89LZO\0\r\n\x1a\n"), TRACE("\x04\x22\x4d\x18"),
    TRACE("ustar\0"), TRACE("ustar "), TRACE("StuffIt"), TRACE("BEA01"), TRACE("ITSF\3"), TRACE("ITOLITLS"), TRACE("SZDD\x88\xf0\x27"), TRACE("shsq"),
    TRACE("qshs"), TRACE("FAT1"), TRACE("FAT32   "), TRACE("NTFS    "), TRACE("EFI PART"), TRACE("KDMV"),
    TRACE("QFI\xfb"), TRACE("vhdxfile"), TRACE("conectix"), TRACE("koly\0\0\0\4\0\0\2\0"), TRACE("\x7f\x10\xda\xbe\1\0\1\0"),
    TRACE("Compressed ROMFS"), TRACE("H+\0\4"), TRACE("HX\0\5"),
};

/* In the first bytes, as far as libavformat and mpv probe. */
static const Trace at_first[] = {
    TRACE("RIFF"), TRACE("RIFX"), TRACE("RF64"), TRACE("FLV\1"),
    TRACE("\x30\x26\xb2\x75\x8e\x66"), TRACE("OggS"), TRACE("\x1a\x45\xdf\xa3"), TRACE("\x06\x0e\x2b\x34"),
    TRACE("NM\x7aV"), TRACE("nut/multimedia"), TRACE("NSVf"), TRACE("NSVs"), TRACE("\xf5\x46\x7a\xbd"),
    TRACE("Interplay MVE"), TRACE("DICM"), TRACE(".RMF"), TRACE("PCD_"), TRACE("ID3\2"),
    TRACE("ID3\3"), TRACE("ID3\4"), TRACE("\x1f\x07\0\x3f"), TRACE("\x1f\x07\0\xbf"), TRACE("BBCD"), TRACE("XobX"),
    TRACE("xobX"), TRACE("YUV4MPEG"), TRACE("#EXTM3U"), TRACE("fLaC"),
};

/* There, too, unless the bytes are those of a picture, which has others in its metadata. */
static const Trace jpeg[] = {TRACE("\xff\xd8")};

/* What is searched for: archives; videos, by the rules for the first bytes of a file; JPEGs, too, of which a picture
 * has some in its metadata. WHOLE if nothing follows the bytes. */
enum { ARCHIVES = 1, STREAMS = 2, JPEGS = 4, WHOLE = 8 };

enum { ANYWHERE = 1, AT_FIRST = 2, SPECIAL = 4, WEAK = 8, JPEG = 16 };

static unsigned char classes[256], pairs[1 << 16]; /* By the first byte, and by the first two, of a trace. */

/* Of the first bytes of a trace, which low and high halves they may have, by a bit of each of eight groups. */
enum { COMPARED = 4 };
typedef unsigned char Halves[2 * COMPARED][16];
static Halves of_archives, of_all;

static long long share(Halves halves, int group, Halves added)
{
    long long product = 1;
    int each, value;
    for (each = 0; each < 2 * COMPARED; each++) {
        long long number = 0;
        for (value = 0; value < 16; value++)
            number += (halves[each][value] >> group & 1) | (added && added[each][value]);
        product *= number;
    }
    return product;
}

/* Add a trace to the group that it makes the least larger. */
static void group(Halves halves, const char *bytes, size_t length)
{
    Halves added = {{0}};
    long long least = LLONG_MAX;
    int each, value, best = 0;
    for (each = 0; each < COMPARED; each++)
        if ((size_t)each < length) {
            added[2 * each][(unsigned char)bytes[each] & 15] = 1;
            added[2 * each + 1][(unsigned char)bytes[each] >> 4] = 1;
        } else {
            memset(added[2 * each], 1, 16);
            memset(added[2 * each + 1], 1, 16);
        }
    for (each = 0; each < 8; each++) {
        long long more = share(halves, each, added) - share(halves, each, NULL);
        if (more < least) {
            least = more;
            best = each;
        }
    }
    for (each = 0; each < 2 * COMPARED; each++)
        for (value = 0; value < 16; value++)
            halves[each][value] |= (unsigned char)(added[each][value] << best);
}

static void mark_pair(const char *bytes, unsigned char bit)
{
    classes[(unsigned char)bytes[0]] |= bit;
    pairs[(unsigned char)bytes[0] << 8 | (unsigned char)bytes[1]] |= bit;
}

static void mark(const Trace *traces, size_t number, unsigned char bit)
{
    size_t each;
    for (each = 0; each < number; each++) {
        mark_pair(traces[each].bytes, bit);
        group(of_all, traces[each].bytes, traces[each].length);
        if (bit == ANYWHERE)
            group(of_archives, traces[each].bytes, traces[each].length);
    }
}

static int begins(const Trace *traces, size_t number, Bytes at, size_t left)
{
    size_t each;
    for (each = 0; each < number; each++)
        if (traces[each].length <= left && memcmp(at, traces[each].bytes, traces[each].length) == 0)
            return 1;
    return 0;
}

static unsigned long crc_table[256];

static void prepare_crc(void)
{
    unsigned long each, value;
    int bit;
    for (each = 0; each < 256; each++) {
        for (value = each, bit = 0; bit < 8; bit++)
            value = value & 1 ? value >> 1 ^ 0xedb88320UL : value >> 1;
        crc_table[each] = value;
    }
}

static unsigned long crc32(Bytes at, size_t length)
{
    unsigned long value = 0xffffffffUL;
    while (length--)
        value = value >> 8 ^ crc_table[(value ^ *at++) & 0xff];
    return value ^ 0xffffffffUL;
}

static unsigned long number(Bytes at, int size, int big)
{
    unsigned long value = 0;
    int each;
    for (each = 0; each < size; each++)
        value = value << 8 | at[big ? each : size - 1 - each];
    return value;
}

/* A volume of ext2 to ext4 by its superblock, of which `at` is the signature; as `is_ext` of containers.py. */
static int is_ext(Bytes start, Bytes at)
{
    Bytes block = at - 56;
    unsigned long unit = 8UL << 10, log_size;
    if (at - start < 56)
        return 0;
    log_size = number(block + 24, 4, 0);
    if (log_size > 6 || number(block + 20, 4, 0) > 1 || !number(block + 4, 4, 0))
        return 0;
    unit <<= log_size;
    return number(block + 32, 4, 0) - 1 < unit && number(block + 40, 4, 0) - 1 < unit;
}

/* A header of ARJ: its size, and the checksum over it. */
static int is_arj(Bytes at, size_t left, int *looked_at, int cut)
{
    size_t size = at[2] | (size_t)at[3] << 8;
    Bytes sum;
    if (size < 30 || size > 2600)
        return 0;
    if (left < size + 8)
        return cut;
    if (++*looked_at > WEAK_MAX)
        return 1;
    sum = at + 4 + size;
    return crc32(at + 4, size) == ((unsigned long)sum[3] << 24 | (unsigned long)sum[2] << 16 | sum[1] << 8 | sum[0]);
}

/* A header of LHA with "-lh" or "-lz" at its third byte: its size, and the sum of its bytes, where it has one. */
static int is_lha(Bytes at, size_t left, int *looked_at, int cut)
{
    size_t each, size = at[0];
    unsigned sum = 0;
    if (at[6] != '-')
        return 0;
    if (at[20] > 1)
        return at[20] <= 3 && (at[0] | at[1] << 8) >= 21;
    if (size < 21)
        return 0;
    if (left < size + 2)
        return cut;
    if (++*looked_at > WEAK_MAX)
        return 1;
    for (each = 2; each < size + 2; each++)
        sum += at[each];
    return (sum & 0xff) == at[1];
}

/* A header of binary cpio: a type of file, and a name without control characters, which ends in a zero. */
static int is_binary_cpio(Bytes at, size_t left, int *looked_at, int cut)
{
    int little = at[0] == 0xc7;
    unsigned mode = at[little ? 7 : 6];
    size_t each, size = (size_t)at[little ? 21 : 20] << 8 | at[little ? 20 : 21];
    if (at[0] + at[1] != 0xc7 + 0x71 || !((0x1556 >> (mode >> 4)) & 1) || size < 2 || size > 4096)
        return 0;
    if (left < 26 + size)
        return cut;
    if (at[25 + size])
        return 0;
    if (++*looked_at > WEAK_MAX)
        return 1;
    for (each = 26; each < 25 + size; each++)
        if (at[each] < ' ')
            return 0;
    return 1;
}

/* A header that is known by two bytes, and by all that `archive_probe` checks: of LHA, ARJ, binary cpio; a volume
 * of ext. So is the next after `WEAK_MAX`. `cut` is returned of one that the bytes end in. */
static int is_weak_header(Bytes start, Bytes at, size_t left, int *looked_at, int cut)
{
    if (left < 30)
        return cut && left >= 22;
    switch (at[0]) {
    case '-':
        if (at - start < 2 || at[1] != 'l' || (at[2] != 'h' && at[2] != 'z') || at[4] != '-')
            return 0;
        return is_lha(at - 2, left + 2, looked_at, cut);
    case 0x60:
        return at[1] == 0xea && is_arj(at, left, looked_at, cut);
    case 0x53:
        return at[1] == 0xef && is_ext(start, at);
    default:
        if (at[1] != 0xc7 + 0x71 - at[0])
            return 0;
        return is_binary_cpio(at, left, looked_at, cut);
    }
}

/* A header of a tar archive with a checksum that agrees. */
static int is_checked_tar(Bytes block)
{
    long stated = 0, sum = 8 * ' ', sum_signed = 8 * ' ';
    int at, digits = 0;
    for (at = 148; at < 156; at++) {
        if (block[at] >= '0' && block[at] <= '7') {
            stated = stated * 8 + (block[at] - '0');
            digits++;
        } else if (digits)
            break;
        else if (block[at] != ' ' && block[at] != 0 && !(block[at] >= '\t' && block[at] <= '\r'))
            return 0;
    }
    /* As `is_old_tar` of containers.py. */
    if (digits < 3 || (at < 156 && block[at] != ' ' && block[at]))
        return 0;
    for (at = 0; at < 512; at++)
        if (at < 148 || at >= 156) {
            sum += block[at];
            sum_signed += (signed char)block[at];
        }
    return stated == sum || stated == sum_signed;
}

/* A header of a tar archive: of POSIX, or one with a checksum that agrees. */
static int is_tar_header(Bytes block)
{
    return memcmp(block + 257, "ustar", 5) == 0 || is_checked_tar(block);
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
    int vc1, cavs, packets, vvc; /* Bits of VVC: sequence, parameters of a picture, picture, invalid. */
    long h261_valid, h261_invalid, h261_next, h261_format;
    long h263_valid, h263_invalid, h263_format, h263_changes, h263_group;
} Streams;

/* vvc_probe() is sure of all three, and content with one if no header in all bytes is invalid. */
enum { VVC_WHOLE = 7, VVC_INVALID = 8 };

static void take_start_code(Streams *found, Bytes at, Bytes end)
{
    unsigned char code = at[0];
    if (found->seen[code] < 255)
        found->seen[code]++;
    if (code == 0x0f)
        found->vc1 |= end - at < 2 || ((at[1] & 0xc6) == 0xc2 && (at[1] >> 3 & 7) < 5);
    if (found->vvc < VVC_WHOLE) {
        unsigned type = end - at > 1 ? at[1] >> 3 : 0;
        if (end - at > 1 && (code & 0x80 || !(at[1] & 7)))
            found->vvc |= VVC_INVALID;
        else
            found->vvc |= type == 15 ? 1 : type == 16 ? 2 : type >= 7 && type <= 10 ? 4 : 0;
    }
    found->cavs |= code == 0xb0 && (end - at < 2 || at[1] == 0x20);
    if (((code >= 0xc0 && code <= 0xef) || code == 0xfd) && is_packet(at, end))
        found->packets++;
}

/* Rule of mpegps_probe() for a score, or for a high one. Later versions count no packet within one of a video.
 * The number of packets that makes a score a high one is the least of all versions. */
static int is_program_stream(Bytes start, size_t length, int whole, int within)
{
    Bytes end = start + length, at, behind = start;
    long system = 0, packs = 0, private = 0, video = 0, audio = 0, invalid = 0;
    for (at = start; end - at > 4; at++) {
        Bytes code;
        int packet;
        if (!(at = memchr(at, 1, (size_t)(end - at - 1))))
            break;
        if (at - start < 2 || at[-1] || at[-2])
            continue;
        code = at + 1;
        packet = (within || behind <= code) && is_packet(code, end);
        if (*code == 0xbb)
            system++;
        else if (*code == 0xba)
            packs += end - code < 2 || (code[1] & 0xc0) == 0x40 || (code[1] & 0xf0) == 0x20;
        else if (*code >= 0xe0 && *code <= 0xef) {
            if (packet && end - code > 2)
                behind = code + (code[1] << 8 | code[2]);
            video += packet;
            invalid += !packet;
        } else if ((*code & 0xe0) == 0xc0 || *code == 0xbd) {
            size_t skipped = packet && end - code > 2 ? (size_t)(code[1] << 8 | code[2]) : 0;
            audio += packet && *code != 0xbd;
            private += packet && *code == 0xbd;
            invalid += !packet;
            if (skipped + 3 >= (size_t)(end - code))
                break;
            /* No start code begins in what is skipped, nor in its last byte. */
            at += skipped ? skipped + 3 : 0;
        } else
            video += *code == 0xfd && packet;
    }
    if ((system > invalid && system * 9 <= packs * 10) || (packs > invalid && packs > (whole ? 0 : 2) && (private + video + audio) * 10 >= packs * 9))
        return 1;
    if (!whole && video < 4 && audio < 13)
        return 0;
    return video + audio > invalid && (video > 1 || audio > 4 || video + audio > invalid + 1);
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

/* Rule of mpegvideo_probe(), of what all versions count alike. */
static int is_mpeg_video(Bytes start, size_t length)
{
    long counts[256] = {0}, slices = 0, audio = 0, code;
    Bytes at, end = start + length;
    for (at = start + 2; end - at > 1 && (at = memchr(at, 1, (size_t)(end - at) - 1)); at++)
        if (!at[-1] && !at[-2])
            counts[at[1]]++;
    for (code = 0; code < 256; code++) {
        slices += code >= 1 && code < 0xb0 ? counts[code] : 0;
        audio += (code & 0xe0) == 0xc0 ? counts[code] : 0;
    }
    return counts[0] * 9 <= slices * 10 && !counts[0xba] && !audio;
}

/* Rule of mpeg4video_probe(), of the newest version, which takes more for a video. */
static int is_mpeg4_video(Bytes start, size_t length)
{
    long volumes = 0, objects = 0, pictures = 0, visual = 0;
    Bytes at, end = start + length;
    for (at = start + 2; end - at > 1 && (at = memchr(at, 1, (size_t)(end - at) - 1)); at++)
        if (!at[-1] && !at[-2]) {
            volumes += at[1] >= 0x20 && at[1] < 0x30;
            objects += at[1] < 0x20;
            pictures += at[1] == 0xb6;
            visual += at[1] == 0xb5;
        }
    return pictures >= visual && pictures >= volumes && objects >= volumes && volumes > 0;
}

static int is_stream(const Streams *found, Bytes start, size_t length, int whole)
{
    const unsigned char *seen = found->seen;
    int at, sps = 0, pps = 0, pictures = 0, slices = 0, volumes = 0, forbidden = 0;
    for (at = 0; at < 256; at++) {
        sps |= seen[at] && (at & 0x9f) == 7;
        pps |= seen[at] && (at & 0x9f) == 8;
        pictures |= seen[at] && ((at & 0x9f) == 5 || (at & 0x9f) == 1);
        slices |= seen[at] && at >= 1 && at < 0xb0;
        volumes |= seen[at] && at >= 0x20 && at < 0x30;
        forbidden |= seen[at] && at >= 0x80;
    }
    /* libavformat takes a low score only of all bytes that it looks at, and a high one of fewer, too. */
    return (seen[0xb3] && seen[0] && slices && is_mpeg_video(start, length)) || (sps && pps && pictures && !forbidden)
           || (seen[0x40] && seen[0x42] && seen[0x44]) || found->vvc == VVC_WHOLE || (whole && found->vvc && found->vvc < VVC_WHOLE)
           || (volumes && seen[0xb6] && is_mpeg4_video(start, length)) || (found->vc1 && seen[0x0e] && (seen[0x0b] || seen[0x0c] || seen[0x0d]))
           || (found->cavs && (seen[0xb3] || seen[0xb6])) || found->h261_valid > 2 * found->h261_invalid + (whole ? 2 : 6)
           || found->h263_valid > 2 * found->h263_invalid + (whole ? 0 : 2 * found->h263_changes + 2)
           || ((seen[0xba] || found->packets > 1)
               && (is_program_stream(start, length, whole, 0) || is_program_stream(start, length, whole, 1)));
}

typedef struct {
    Bytes start, end;
    unsigned char wanted;
    int first, weak;
    int cut; /* Nonzero if the bytes may go on. */
    Bytes no_jpeg; /* Before it, no JPEG begins. */
    Streams found;
} Search;

/* The header of a gzip file as 7-Zip takes it for one behind other bytes: no reserved flags, a known level of
 * compression, and the header of a block that there is (RFC 1951, 3.2). */
static int is_gzip(Bytes at, size_t left)
{
    if (left < 11)
        return left >= 10;
    if (at[3] & 0xe0 || (at[8] != 0 && at[8] != 2 && at[8] != 4))
        return 0;
    if (at[3] || left < 16)
        return 1;
    switch (at[10] >> 1 & 3) {
    case 0:
        return (at[11] ^ at[13]) == 0xff && (at[12] ^ at[14]) == 0xff;
    case 2:
        return at[10] >> 3 <= 29 && (at[11] & 31) <= 29;
    default:
        return (at[10] & 6) != 6;
    }
}

static int is_power_of_two(unsigned long value)
{
    return value && !(value & (value - 1));
}

static int is_squashfs(Bytes at)
{
    int big = at[0] != 'h';
    unsigned long version = number(at + 28, 2, big), bits = number(at + 22, 2, big), old_bits = number(at + 34, 2, big);
    if (version == 4)
        return bits < 32 && number(at + 12, 4, big) == 1UL << bits && number(at + 30, 2, big) == 0;
    return version >= 1 && version < 4 && old_bits >= 12 && old_bits <= 20;
}

static int is_zip(Bytes at, size_t left)
{
    size_t each, size;
    unsigned long method;
    if (left < 30)
        return 1;
    size = number(at + 26, 2, 0);
    method = number(at + 8, 2, 0);
    if (at[4] > 63 || !(method <= 20 || (method >= 90 && method < 100)) || size < 1 || size > 4096)
        return 0;
    for (each = 30; each < 30 + size && each < left; each++)
        if (at[each] < ' ')
            return 0;
    return 1;
}

static int is_zstandard(Bytes at, size_t left)
{
    static const unsigned char ids[] = {0, 1, 2, 4}, sizes[] = {0, 2, 4, 8};
    int single = at[4] >> 5 & 1, form = at[4] >> 6;
    size_t first = 5 + (size_t)!single + ids[at[4] & 3] + (form ? sizes[form] : (size_t)single);
    unsigned long header;
    if (at[4] & 8)
        return 0;
    if (left < first + 3)
        return 1;
    header = number(at + first, 3, 0);
    return (header >> 1 & 3) != 3 && header >> 3 <= 128 << 10;
}

static int are_digits(Bytes at, int number, int octal)
{
    for (; number && ((*at >= '0' && *at <= (octal ? '7' : '9')) || (!octal && (*at | 32) >= 'a' && (*at | 32) <= 'f')); at++)
        number--;
    return !number;
}

/* Check what follows a signature of four bytes, which photographs have by chance: the fields that `archive_probe`
 * checks. */
static int is_whole(Bytes start, Bytes at, size_t left)
{
    Bytes end = at + left, mode;
    unsigned long version;
    switch (number(at, left < 4 ? 0 : 4, 1)) {
    case 0x68737173: /* hsqs */
    case 0x73717368: /* sqsh */
    case 0x73687371: /* shsq */
    case 0x71736873: /* qshs */
        return left < 36 || is_squashfs(at);
    case 0x504b0304:
        return is_zip(at, left);
    case 0xfd377a58: /* xz: its flags, and the checksum over them */
        return left < 12 || (at[6] == 0 && number(at + 8, 4, 0) == crc32(at + 6, 2));
    case 0x30373037: /* cpio: digits alone */
        return left < 110 || are_digits(at + 6, at[5] == '7' ? 70 : 104, at[5] == '7');
    case 0x75737461: /* ustar */
        return at - start >= 257 && (left < 255 || is_checked_tar(at - 257));
    case 0x213c6172: /* !<arch> */
        return left < 68 || (at[66] == '`' && at[67] == '\n');
    case 0x0a626567: /* A line "begin", with the mode of a file */
        mode = at + (at[6] == '-' ? 14 : 7);
        for (at = mode; at < end && at < mode + 3; at++)
            if (*at < '0' || *at > '7')
                return 0;
        return 1;
    case 0x28b52ffd:
        return left < 5 || is_zstandard(at, left);
    case 0x78617221: /* xar! */
        return left < 8 || number(at + 4, 4, 1) == 0x1c0001;
    case 0xedabeedb: /* RPM */
        return left < 80 || (at[4] == 3 && at[5] <= 1 && at[6] == 0 && at[7] <= 1 && number(at + 78, 2, 1) == 5);
    case 0x04224d18: /* LZ4: the version, and the bits that are reserved */
        return left < 6 || ((at[4] & 0xc2) == 0x40 && !(at[5] & 0x8f));
    case 0x46415431: /* FAT1 */
        return left < 458 || at - start < 54
               || (at[456] == 0x55 && at[457] == 0xaa && is_power_of_two(number(at - 43, 2, 0)));
    case 0x4b444d56: /* KDMV */
        version = left < 8 ? 1 : number(at + 4, 4, 0);
        return version >= 1 && version <= 3;
    case 0x514649fb: /* QFI */
        version = left < 8 ? 1 : number(at + 4, 4, 1);
        return version >= 1 && version <= 3;
    case 0x482b0004: /* HFS+ */
    case 0x48580005:
        return left < 44 || (number(at + 40, 4, 1) >= 512 && is_power_of_two(number(at + 40, 4, 1)));
    default:
        return 1;
    }
}

/* A JPEG from its begin to its end: mjpeg_probe() of libavformat, which passes over any bytes between markers, but
 * not over some markers. One that the bytes end in counts, too. */
static int is_jpeg(Search *search, Bytes at)
{
    enum { START, FRAME, SCAN } state = START;
    Bytes end = search->end;
    if (at < search->no_jpeg)
        return 0;
    for (at++; end - at > 2 && (at = memchr(at, 0xff, (size_t)(end - at) - 1)); at++) {
        unsigned char marker = at[1];
        if (marker == 0xd8)
            state = START;
        else if (marker == 0xf7 || (marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc))
            state = state == START ? FRAME : state;
        else if (marker == 0xda)
            state = state == FRAME ? SCAN : state;
        else if (marker == 0xd9 && state == SCAN)
            return 1;
        else if ((marker >= 2 && marker <= 0xbf) || marker == 0xc8) {
            search->no_jpeg = at;
            return 0;
        }
    }
    return 1;
}

/* Boxes of which one is of a video: mov_probe() of libavformat, which steps from the first byte on. */
static int is_in_boxes(Bytes start, size_t length)
{
    static const char types[] = "moovmdatpnotudtaftypediwwideednwfreejunkpictskipuuidprfl\x82\x82\x7f\x7d";
    size_t at = 0, each;
    while (at + 8 <= length) {
        unsigned long long size = number(start + at, 4, 1), least = 8;
        if (size == 1 && at + 16 <= length) {
            size = (unsigned long long)number(start + at + 8, 4, 1) << 32 | number(start + at + 12, 4, 1);
            least = 16;
        }
        for (each = 0; each < sizeof types - 1; each += 4)
            if (memcmp(start + at + 4, types + each, 4) == 0)
                return 1;
        if (size >= length - at && size)
            return 0;
        at += size < least ? 4 : (size_t)size;
    }
    return 0;
}

/* Look at one place; return 1 if it is a trace by itself. */
static int visit(Search *search, Bytes at)
{
    Bytes start = search->start, end = search->end;
    unsigned char class = classes[*at] & search->wanted;
    size_t left = (size_t)(end - at);
    if (search->first && *at && at > start && at[-1] == 0)
        take_h261(&search->found, start, at, end);
    if (!class)
        return 0;
    if (class & ~SPECIAL)
        class &= SPECIAL | (left > 1 ? pairs[at[0] << 8 | at[1]] : 0);
    if (class & ANYWHERE && begins(anywhere, sizeof anywhere / sizeof *anywhere, at, left)
        && (*at != 0x1f ? is_whole(start, at, left) : is_gzip(at, left)))
        return 1;
    if (class & WEAK && is_weak_header(start, at, left, &search->weak, search->cut))
        return 1;
    if (class & AT_FIRST && begins(at_first, sizeof at_first / sizeof *at_first, at, left))
        return 1;
    if (class & JPEG && left > 1 && at[1] == 0xd8 && is_jpeg(search, at))
        return 1;
    if (!(class & SPECIAL))
        return 0;
    if (*at == 'G')
        return at - start < NEAR && is_transport_stream(at, left);
    if (at - start >= 2 && at[-1] == 0 && at[-2] == 0) {
        if (*at == 1) {
            if (left > 1)
                take_start_code(&search->found, at + 1, end);
        } else
            take_h263(&search->found, at, end);
    }
    return 0;
}

#ifdef WITH_AVX2
/* Look at the places up to `last` at which `visit` may do anything, 32 at once; set `at` to the first that was not
 * looked at. The first bytes of a trace are those of one of eight groups: the bits of all halves of these bytes
 * have one in common. */
WITH_AVX2 static int visit_avx2(Search *search, Bytes *place, Bytes last)
{
    const __m256i low = _mm256_set1_epi8(15), half = _mm256_set1_epi8(0x7f), one = _mm256_set1_epi8(1);
    const __m256i none = _mm256_setzero_si256(), all = _mm256_cmpeq_epi8(low, low);
    __m256i groups[2 * COMPARED];
    Bytes at = *place;
    int each, streams = search->first;
    for (each = 0; each < 2 * COMPARED; each++)
        groups[each] = _mm256_broadcastsi128_si256(
            _mm_loadu_si128((const __m128i *)(streams ? of_all : of_archives)[each]));
    for (; last - at >= 32 && search->end - at >= 32 + COMPARED - 1; at += 32) {
        __m256i found = all, bytes[COMPARED];
        unsigned visited;
        for (each = 0; each < COMPARED; each++) {
            bytes[each] = _mm256_loadu_si256((const __m256i *)(at + each));
            found = _mm256_and_si256(found, _mm256_shuffle_epi8(groups[2 * each], _mm256_and_si256(bytes[each], low)));
            found = _mm256_and_si256(
                found, _mm256_shuffle_epi8(
                           groups[2 * each + 1], _mm256_and_si256(_mm256_srli_epi16(bytes[each], 4), low)));
        }
        visited = ~(unsigned)_mm256_movemask_epi8(_mm256_cmpeq_epi8(found, none));
        if (streams) {
            const __m256i before = _mm256_loadu_si256((const __m256i *)(at - 2));
            const __m256i zero = _mm256_cmpeq_epi8(_mm256_loadu_si256((const __m256i *)(at - 1)), none);
            const __m256i zeros = _mm256_and_si256(zero, _mm256_cmpeq_epi8(before, none));
            const __m256i code = _mm256_or_si256(bytes[0], _mm256_cmpeq_epi8(bytes[0], one));
            /* Of H.261: the last bit of the byte before the zero is above all of the byte behind. */
            const __m256i bit = _mm256_and_si256(before, _mm256_sub_epi8(none, before));
            const __m256i rest = _mm256_and_si256(_mm256_srli_epi16(bytes[0], 1), half);
            const __m256i above = _mm256_cmpeq_epi8(_mm256_subs_epu8(bit, rest), none);
            unsigned is_zero = (unsigned)_mm256_movemask_epi8(zero), are_zeros = (unsigned)_mm256_movemask_epi8(zeros);
            unsigned is_none = (unsigned)_mm256_movemask_epi8(_mm256_cmpeq_epi8(bytes[0], none));
            visited |= are_zeros & (unsigned)_mm256_movemask_epi8(code);
            visited |= is_zero & ~is_none & (are_zeros | ~(unsigned)_mm256_movemask_epi8(above));
        }
        for (; visited; visited &= visited - 1)
            if (visit(search, at + __builtin_ctz(visited)))
                return 1;
    }
    *place = at;
    return 0;
}
#endif

/* Look at all places up to `last`. */
static int visit_all(Search *search, Bytes at, Bytes last)
{
    /* Near the begin, packets are looked for at each place. */
    for (; at < last && at - search->start < NEAR; at++)
        if (visit(search, at))
            return 1;
#ifdef WITH_AVX2
    if (__builtin_cpu_supports("avx2") && visit_avx2(search, &at, last))
        return 1;
#endif
    for (; at < last; at++)
        if (visit(search, at))
            return 1;
    return 0;
}

/* Of a piece of a file, or of all of it. Tar headers begin at each 512th byte of it. */
static int search(Bytes start, size_t length, int kinds)
{
    Bytes end = start + length, at;
    size_t probed = PROBED_FIRST;
    int first = kinds & STREAMS;
    Search state = {start, end, kinds & ARCHIVES ? ANYWHERE | WEAK : 0, first, 0, !(kinds & WHOLE), start, {{0}}};
    state.wanted |= (first ? AT_FIRST | SPECIAL : 0) | (kinds & JPEGS ? JPEG : 0);
    if (!first)
        /* So that as many are checked in each MiB. */
        state.weak = -WEAK_MAX * (int)(length >> 20);
    for (at = start; kinds & ARCHIVES && end - at >= 512; at += 512)
        if (is_tar_header(at))
            return 1;
    if (first && is_in_boxes(start, length))
        return 1;
    at = start;
    for (; first && probed < length; probed *= 2) {
        if (visit_all(&state, at, start + probed))
            return 1;
        at = start + probed;
        if (is_stream(&state.found, start, probed, probed >= PROBED_LAST) || is_in_packets(start, probed))
            return 1;
    }
    if (visit_all(&state, at, end))
        return 1;
    return first && (is_stream(&state.found, start, length, 1) || is_in_packets(start, length));
}

static PyObject *has_traces(PyObject *module, PyObject *arguments)
{
    Py_buffer seen;
    int kinds, found;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*i", &seen, &kinds))
        return NULL;
    found = search(seen.buf, (size_t)seen.len, kinds);
    PyBuffer_Release(&seen);
    return PyBool_FromLong(found);
}

static PyMethodDef methods[] = {
    {"has_traces", has_traces, METH_VARARGS, "True if programs may find a video or an archive in bytes."},
    {NULL, NULL, 0, NULL},
};

static int prepare(PyObject *module)
{
    static const char weak[] = "-l\x60\xea\x53\xef\xc7\x71\x71\xc7";
    int byte;
    (void)module;
    memset(of_archives, 0, sizeof of_archives);
    memset(of_all, 0, sizeof of_all);
    prepare_crc();
    /* The shortest first, which would make the group of any other one larger. */
    for (byte = 0; byte < 5; byte++) {
        mark_pair(&weak[2 * byte], WEAK);
        group(of_archives, &weak[2 * byte], 2);
        group(of_all, &weak[2 * byte], 2);
    }
    mark(anywhere, sizeof anywhere / sizeof *anywhere, ANYWHERE);
    mark(at_first, sizeof at_first / sizeof *at_first, AT_FIRST);
    mark(jpeg, 1, JPEG);
    for (byte = 0x80; byte < 0x100; byte++)
        classes[byte] |= SPECIAL;
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
