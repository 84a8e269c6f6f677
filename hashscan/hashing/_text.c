/* Search for pictures within a text: data URLs (RFC 2397) in pages, drawings and style sheets; what else
 * announces a picture; Base64. Search for bytes in others.
 *
 * Every scanned text is searched, so the search goes from colon to colon by memchr, which takes a twentieth of
 * a microsecond for 2 kB of prose. formats.py has the same rules in Python.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define SCHEME 4 /* Length of "data". */

static int is_space(char byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

static int is_quote(char byte)
{
    return byte == '"' || byte == '\'';
}

static int is_name(char byte)
{
    char lower = byte | 32;
    return (lower >= 'a' && lower <= 'z') || (byte >= '0' && byte <= '9') || (byte && strchr("+-._", byte));
}

/* Compare with lower-case letters, in any case; no other byte becomes one of these letters. */
static int equals(const char *text, const char *letters, Py_ssize_t length)
{
    Py_ssize_t at;
    for (at = 0; at < length; at++)
        if ((text[at] | 32) != letters[at])
            return 0;
    return 1;
}

/* The start of the spaces before a place. */
static Py_ssize_t before_spaces(const char *text, Py_ssize_t place)
{
    while (place > 0 && is_space(text[place - 1]))
        place--;
    return place;
}

static int is_url(const char *text, Py_ssize_t length, Py_ssize_t place, int markup)
{
    Py_ssize_t before = before_spaces(text, place), after = place + SCHEME + 1, first = after;
    if (!markup) {
        if (before > 0 && is_quote(text[before - 1]))
            before = before_spaces(text, before - 1);
        return before >= 4 && text[before - 1] == '(' && equals(text + before - 4, "url", 3);
    }
    if (before > 0 && (is_quote(text[before - 1]) || text[before - 1] == '=' || text[before - 1] == '('))
        return 1;
    while (after < length && is_name(text[after]))
        after++;
    if (after == length)
        return 0;
    return after > first ? text[after] == '/' : text[after] == ';' || text[after] == ',';
}

static PyObject *has_data_url(PyObject *module, PyObject *arguments)
{
    Py_buffer seen;
    const char *text, *colon;
    Py_ssize_t length, place = 0;
    int markup, found = 0;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*p", &seen, &markup))
        return NULL;
    text = seen.buf;
    length = seen.len;
    while (!found && place < length && (colon = memchr(text + place, ':', (size_t)(length - place)))) {
        Py_ssize_t at = colon - text;
        if (at >= SCHEME && equals(colon - SCHEME, "data", SCHEME))
            found = is_url(text, length, at - SCHEME, markup);
        place = at + 1;
    }
    PyBuffer_Release(&seen);
    return PyBool_FromLong(found);
}

/* Compare the first and the last byte of what is sought at 16 places at once: pictures are searched at the speed
 * of memory, three times as fast as by memmem. */
static int is_in(const char *data, size_t length, const char *sought, size_t size)
{
    size_t at = 0;
#ifdef __SSE2__
    if (size > 1) {
        const __m128i first = _mm_set1_epi8(sought[0]), last = _mm_set1_epi8(sought[size - 1]);
        for (; at + size - 1 + 16 <= length; at += 16) {
            const __m128i begins = _mm_cmpeq_epi8(first, _mm_loadu_si128((const __m128i *)(data + at)));
            const __m128i ends = _mm_cmpeq_epi8(last, _mm_loadu_si128((const __m128i *)(data + at + size - 1)));
            unsigned places = (unsigned)_mm_movemask_epi8(_mm_and_si128(begins, ends));
            for (; places; places &= places - 1)
                if (!memcmp(data + at + __builtin_ctz(places), sought, size))
                    return 1;
        }
    }
#endif
    return memmem(data + at, length - at, sought, size) != NULL;
}

static PyObject *contains(PyObject *module, PyObject *arguments)
{
    Py_buffer seen, sought;
    int found;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*y*", &seen, &sought))
        return NULL;
    found = is_in(seen.buf, (size_t)seen.len, sought.buf, (size_t)sought.len);
    PyBuffer_Release(&seen);
    PyBuffer_Release(&sought);
    return PyBool_FromLong(found);
}

/* What plain_text returns; text_proof.py has the same numbers, and the same rules in Python. */
enum { PLAIN, NOT_TEXT, TRACE, ESCAPED };

#define TYPE_MAX 512 /* Bytes of the type of an URL, up to the comma behind it. */
#define DEFINE_MAX 256 /* Bytes of a line of C that name a bitmap. */

static unsigned char noted[256], digits[256], begins_line[256];

#define IS_DIGIT(byte) digits[(unsigned char)(byte)]

static void note_bytes(void)
{
    const char *each = "\n\r:&\\%!";
    int byte;
    for (byte = 1; byte < 128; byte++)
        digits[byte] = is_name((char)byte) ? byte != '.' : byte == '/' || byte == '\\';
    for (byte = 0; byte < 256; byte++)
        noted[byte] = byte >= 0x7f || (byte < ' ' && !(byte >= '\t' && byte <= '\r'));
    for (; *each; each++)
        noted[(unsigned char)*each] = 1;
    for (each = "bB=(-/#cC"; *each; each++)
        begins_line[(unsigned char)*each] = 1;
}

/* The next place of one of these bytes, or of a byte that is `noted`; the length if there is none. */
static Py_ssize_t next_noted(const char *text, Py_ssize_t at, Py_ssize_t length)
{
#ifdef __SSE2__
    const __m128i space = _mm_set1_epi8(' '), tab = _mm_set1_epi8('\t'), rubout = _mm_set1_epi8(0x7f);
    const __m128i colon = _mm_set1_epi8(':'), reference = _mm_set1_epi8('&'), backslash = _mm_set1_epi8('\\');
    const __m128i percent = _mm_set1_epi8('%'), mark = _mm_set1_epi8('!');
    for (; at + 16 <= length; at += 16) {
        const __m128i bytes = _mm_loadu_si128((const __m128i *)(text + at));
        /* Signed: a byte from 0x80 on is less than a space, too. */
        __m128i found = _mm_andnot_si128(_mm_cmpeq_epi8(bytes, tab), _mm_cmplt_epi8(bytes, space));
        unsigned places;
        found = _mm_or_si128(found, _mm_or_si128(_mm_cmpeq_epi8(bytes, rubout), _mm_cmpeq_epi8(bytes, colon)));
        found = _mm_or_si128(found, _mm_or_si128(_mm_cmpeq_epi8(bytes, reference), _mm_cmpeq_epi8(bytes, backslash)));
        found = _mm_or_si128(found, _mm_or_si128(_mm_cmpeq_epi8(bytes, percent), _mm_cmpeq_epi8(bytes, mark)));
        places = (unsigned)_mm_movemask_epi8(found);
        if (places)
            return at + __builtin_ctz(places);
    }
#endif
    while (at < length && !noted[(unsigned char)text[at]])
        at++;
    return at;
}

/* The length of a character of UTF-8 with more than one byte; 0 if it is none. One that is cut off is whole. */
static Py_ssize_t character(const unsigned char *text, Py_ssize_t left)
{
    Py_ssize_t length, at;
    unsigned char first = text[0];
    length = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    for (at = 1; at < length && at < left; at++)
        if ((text[at] & 0xc0) != 0x80)
            return 0;
    if (left > 1 && ((first == 0xe0 && text[1] < 0xa0) || (first == 0xed && text[1] > 0x9f) ||
                     (first == 0xf0 && text[1] < 0x90) || (first == 0xf4 && text[1] > 0x8f)))
        return 0;
    return length < left ? length : length ? left : 0;
}

static int is_passed(char byte)
{
    return byte == '\t' || byte == '\n' || byte == '\r' || byte == '\\';
}

static int begins(const char *text, Py_ssize_t left, const char *letters)
{
    Py_ssize_t length = (Py_ssize_t)strlen(letters);
    return left >= length && memcmp(text, letters, (size_t)length) == 0;
}

static int begins_in_any_case(const char *text, Py_ssize_t left, const char *letters)
{
    Py_ssize_t length = (Py_ssize_t)strlen(letters);
    return left >= length && equals(text, letters, length);
}

/* The value of a digit; 16 or more if it is none. */
static unsigned digit(char byte)
{
    unsigned lower = (unsigned)(byte | 32);
    return byte >= '0' && byte <= '9' ? (unsigned)(byte - '0') : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : 16;
}

/* True if the colon at a place is that of a data URL; browsers pass over the ends of lines in it. */
static int has_scheme(const char *text, Py_ssize_t length, Py_ssize_t colon)
{
    const char *comma;
    Py_ssize_t at = colon, before, end = colon + 1;
    int letter, is_long;
    for (letter = SCHEME - 1; letter >= 0; letter--) {
        while (at > 0 && is_passed(text[at - 1]))
            at--;
        if (at == 0 || (text[at - 1] | 32) != "data"[letter])
            return 0;
        at--;
    }
    comma = memchr(text + end, ',', (size_t)(length - end < TYPE_MAX ? length - end : TYPE_MAX));
    is_long = !comma;
    if (is_long) {
        /* A longer type is asked about. */
        if (length - end <= TYPE_MAX)
            return 0;
        comma = text + end + TYPE_MAX;
    }
    before = before_spaces(text, at);
    if (before > 0 && (is_quote(text[before - 1]) || text[before - 1] == '`' || text[before - 1] == '='))
        return 1;
    /* "url(" or "src(" of CSS, perhaps with an escape for the last letter. */
    if (before > 1 && text[before - 1] == '(' &&
        strchr("lc", text[before - 2] | 32))
        return 1;
    if (before > 1 && text[before - 1] == '(' && (is_space(text[before - 2]) || digit(text[before - 2]) < 10))
        return 1;
    for (at = end; is_space(text[at]) || text[at] == '\\'; at++)
        ;
    if (text[at] == ',' || text[at] == ';')
        return 1;
    before = before_spaces(text, comma - text);
    if (!is_long && before - at >= 6 && equals(text + before - 6, "base64", 6))
        return 1;
    while (text + at < comma && (is_name(text[at]) || is_space(text[at]) || text[at] == '\\'))
        at++;
    return text + at < comma && text[at] == '/';
}

/* True if a line begins like one in which mails and other texts announce what is no text. */
static int announces(const char *line, Py_ssize_t left)
{
    Py_ssize_t at;
    int encoding;
    switch (line[0]) {
    case 'b':
        at = begins(line, left, "begin-base64 ") ? 13 : begins(line, left, "begin ") ? 6 : left;
        return at + 3 < left && line[at] >= '0' && line[at] <= '7' && line[at + 1] >= '0' &&
               line[at + 1] <= '7' && line[at + 2] >= '0' && line[at + 2] <= '7';
    case 'B':
    case '=':
    case '(':
    case '-':
    case '/':
        return begins_in_any_case(line, left, "begin:vcard") || begins(line, left, "=ybegin ") ||
               begins(line, left, "(This file must be converted with BinHex") ||
               begins(line, left, "-----BEGIN PGP MESSAGE") || begins(line, left, "/* XPM");
    case '#': {
        const char *end;
        if (!begins(line, left, "#define"))
            return 0;
        left = left < DEFINE_MAX ? left : LINE_MAX;
        end = memchr(line, '\n', (size_t)left);
        return memmem(line, (size_t)(end ? end - line : left), "_width", 6) != NULL;
    }
    case 'c':
    case 'C':
        encoding = begins_in_any_case(line, left, "content-transfer-encoding");
        if (!encoding && !begins_in_any_case(line, left, "content-type"))
            return 0;
        at = encoding ? 25 : 12;
        while (at < left && (line[at] == ' ' || line[at] == '\t'))
            at++;
        if (at == left || line[at++] != ':')
            return 0;
        while (at < left && (is_space(line[at]) || line[at] == '"'))
            at++;
        line += at;
        left -= at;
        if (left == 0)
            return 0;
        if (encoding)
            return !(begins(line, left, "7bit") || begins(line, left, "7-bit") || begins(line, left, "8bit") ||
                     begins(line, left, "8-bit") || begins_in_any_case(line, left, "binary") ||
                     begins(line, left, "7BIT") || begins(line, left, "8BIT"));
        return !begins_in_any_case(line, left, "text/");
    }
    return 0;
}

/* Read a number up to 255 of at most so many digits and zeros before them; -1 if there is none. */
static int coded(const char **text, const char *end, unsigned base, int most)
{
    const char *at = *text, *last;
    unsigned code = 0;
    last = most && end - at > most ? at + most : end;
    for (; at < last && digit(*at) < base && code < 256; at++)
        code = code * base + digit(*at);
    if (at == *text)
        return -1;
    *text = at;
    return code < 256 ? (int)code : 0;
}

/* The character at a place that a reference (HTML) or an escape (CSS, JavaScript) may stand for; goes behind it. */
static int next_character(const char **text, const char *end)
{
    const char *at = *text;
    int code = -1;
    if (*at == '&') {
        static const struct { const char *name; int code; } named[] = {
            {"colon;", ':'}, {"Tab;", 9}, {"NewLine;", 10}, {"bsol;", '\\'}, {"amp;", '&'}, {"amp", '&'},
        };
        /* A page in an attribute of another one is written with references to the signs of references. */
        do {
            size_t each;
            at++;
            code = -1;
            if (end - at > 1 && at[0] == '#') {
                int hex = (at[1] | 32) == 'x';
                at += 1 + hex;
                code = coded(&at, end, hex ? 16 : 10, 0);
                if (at < end && *at == ';')
                    at++;
            }
            for (each = 0; each < 6 && code < 0; each++)
                if (begins(at, end - at, named[each].name)) {
                    at += strlen(named[each].name);
                    code = named[each].code;
                }
            at--;
        } while (code == '&');
        at++;
    } else if (*at == '\\' && end - at > 1) {
        int braced = begins(at, end - at, "\\u{"), most = at[1] == 'x' ? 2 : braced ? 0 : at[1] == 'u' ? 4 : 6;
        at += braced ? 3 : most == 6 ? 1 : 2;
        code = coded(&at, end, 16, most);
        if (code >= 0 && at < end && (braced ? *at == '}' : most == 6 && is_space(*at)))
            at++;
        else if (code < 0 && (**text == '\\' && is_space((*text)[1])))
            code = '\n';
    }
    if (code < 0) {
        code = (unsigned char)**text;
        at = *text + 1;
    }
    *text = at;
    return code;
}

/* The next place where a scheme may begin: its first letter, a reference or an escape. */
static const char *next_of_scheme(const char *text, const char *end)
{
#ifdef __SSE2__
    const __m128i letter = _mm_set1_epi8('d'), small = _mm_set1_epi8(32);
    const __m128i reference = _mm_set1_epi8('&'), backslash = _mm_set1_epi8('\\');
    for (; end - text >= 16; text += 16) {
        const __m128i bytes = _mm_loadu_si128((const __m128i *)text);
        const __m128i letters = _mm_cmpeq_epi8(_mm_or_si128(bytes, small), letter);
        const __m128i others = _mm_or_si128(_mm_cmpeq_epi8(bytes, reference), _mm_cmpeq_epi8(bytes, backslash));
        unsigned places = (unsigned)_mm_movemask_epi8(_mm_or_si128(letters, others));
        if (places)
            return text + __builtin_ctz(places);
    }
#endif
    while (text < end && (*text | 32) != 'd' && *text != '&' && *text != '\\')
        text++;
    return text;
}

static PyObject *has_scheme_written(PyObject *module, PyObject *arguments)
{
    static const char scheme[] = "data:";
    Py_buffer seen;
    const char *text, *end;
    int wanted, matched = 0, escaped = 0;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*p", &seen, &wanted))
        return NULL;
    text = seen.buf;
    end = text + seen.len;
    while (matched || (text = next_of_scheme(text, end)) < end) {
        int is_coded, code;
        if (text >= end)
            break;
        is_coded = *text == '&' || *text == '\\';
        code = is_coded ? next_character(&text, end) : (unsigned char)*text++;
        if (code == 9 || code == 10 || code == 13) {
            escaped |= is_coded;
            continue;
        }
        if (code == scheme[matched] || (matched < SCHEME && (code | 32) == scheme[matched])) {
            escaped = matched++ ? escaped | is_coded : is_coded;
        } else {
            matched = (code | 32) == 'd';
            escaped = is_coded;
        }
        if (matched == SCHEME + 1) {
            if (escaped || !wanted)
                break;
            matched = 0;
        }
    }
    PyBuffer_Release(&seen);
    return PyBool_FromLong(matched == SCHEME + 1);
}

/* 1 for a reference or an escape to a letter of the scheme of a data URL, or to what is passed over in it; 2 for
 * a reference to a backslash, which may begin an escape. */
static int is_escape(const char *text, const char *end)
{
    int code = next_character(&text, end);
    if (code == '\\' && text[-1] != '\\')
        return 2;
    return code == 9 || code == 10 || code == 13 || code == ':' || (code > 0 && strchr("datDAT", code));
}

static int plain(const char *text, Py_ssize_t length)
{
    Py_ssize_t at = 0, size;
    int escaped = 0;
    if (length && announces(text, length))
        return TRACE;
    for (;; at++) {
        at = next_noted(text, at, length);
        if (at >= length)
            return escaped ? ESCAPED : PLAIN;
        switch (text[at]) {
        case '\v':
        case '\f':
            break;
        case '\r':
        case '\n':
            if (at + 1 < length && begins_line[(unsigned char)text[at + 1]] &&
                announces(text + at + 1, length - at - 1))
                return TRACE;
            break;
        case ':':
            if (has_scheme(text, length, at))
                return TRACE;
            break;
        case '&':
        case '\\':
            size = is_escape(text + at, text + length);
            if (size == 2)
                return TRACE;
            escaped |= (int)size;
            if (at && text[at - 1] == '{' && begins(text + at, length - at, "\\rt"))
                return TRACE;
            break;
        case '%':
            if (begins(text + at, length - at, "%PDF") || begins(text + at, length - at, "%!PS"))
                return TRACE;
            break;
        case '!':
            if (at && text[at - 1] == '<' && begins(text + at, length - at, "!ENTITY"))
                return TRACE;
            break;
        default:
            /* Letters of other scripts come in rows. */
            do {
                size = character((const unsigned char *)text + at, length - at);
                if (!size)
                    return NOT_TEXT;
                at += size;
            } while (at < length && (unsigned char)text[at] >= 0x80);
            at--;
        }
    }
}

static PyObject *plain_text(PyObject *module, PyObject *argument)
{
    Py_buffer seen;
    int found;
    (void)module;
    if (PyObject_GetBuffer(argument, &seen, PyBUF_SIMPLE))
        return NULL;
    found = plain(seen.buf, seen.len);
    PyBuffer_Release(&seen);
    return PyLong_FromLong(found);
}

enum { GROUPS_DIGITS = 16 };

/* False if no file begins with the Base64 digits at a place. `groups` has for each of the first digits, and each
 * byte there, one bit for each group of files that may have it. */
static int may_begin(const char *text, Py_ssize_t left, const char *groups)
{
    uint64_t open = ~(uint64_t)0;
    int digit;
    /* What is written as escapes is looked at with a pattern. */
    if (*text == '\\')
        return 1;
    for (digit = 0; digit < GROUPS_DIGITS && left > 0; digit++, text++, left--) {
        uint64_t allowed;
        if (*text == '\\' && left > 1) {
            text++;
            left--;
        }
        memcpy(&allowed, groups + 8 * (256 * digit + (unsigned char)*text), sizeof allowed);
        open &= allowed;
        if (!open)
            return 0;
    }
    return 1;
}

/* True if the bytes may be those of a run of at least so many digits, with one at a place that their number divides:
 * half of it is on one side of that. */
static int may_be_run(const char *text, Py_ssize_t length, Py_ssize_t at, Py_ssize_t least)
{
    Py_ssize_t half = least / 2, step = half / 4;
    if (!step || at < half || at + half >= length)
        return 1;
    return (IS_DIGIT(text[at - step]) && IS_DIGIT(text[at - 2 * step]) && IS_DIGIT(text[at - 3 * step]) &&
            IS_DIGIT(text[at - half])) ||
           (IS_DIGIT(text[at + step]) && IS_DIGIT(text[at + 2 * step]) && IS_DIGIT(text[at + 3 * step]) &&
            IS_DIGIT(text[at + half - 1]));
}

/* Each run of so many digits includes a place that their number divides, so that only these are looked at. */
static PyObject *base64_runs(PyObject *module, PyObject *arguments)
{
    Py_buffer seen, groups = {0};
    const char *text;
    Py_ssize_t least, at, begin, end = 0;
    PyObject *found = NULL;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*n|y*", &seen, &least, &groups))
        return NULL;
    if (groups.buf && groups.len != GROUPS_DIGITS * 256 * 8)
        PyErr_SetString(PyExc_ValueError, "the groups have another size");
    else
        found = PyList_New(0);
    text = seen.buf;
    for (at = least - 1; found && least > 0 && at < seen.len; at += least) {
        if (at < end || !IS_DIGIT(text[at]) || !may_be_run(text, seen.len, at, least))
            continue;
        begin = at;
        while (begin > end && IS_DIGIT(text[begin - 1]))
            begin--;
        for (end = at + 1; end < seen.len && IS_DIGIT(text[end]); end++)
            ;
        if (end - begin >= least && (!groups.buf || may_begin(text + begin, seen.len - begin, groups.buf))) {
            PyObject *place = PyLong_FromSsize_t(begin);
            if (!place || PyList_Append(found, place))
                Py_CLEAR(found);
            Py_XDECREF(place);
        }
    }
    if (groups.buf)
        PyBuffer_Release(&groups);
    PyBuffer_Release(&seen);
    return found;
}

static PyMethodDef methods[] = {
    {"base64_runs", base64_runs, METH_VARARGS, "The begins of all runs of so many base64 digits."},
    {"has_scheme", has_scheme_written, METH_VARARGS, "True if a text has \"data:\" in it, however written."},
    {"plain_text", plain_text, METH_O, "Whether bytes are text without a trace of a picture."},
    {"contains", contains, METH_VARARGS, "True if bytes have other bytes in them."},
    {"has_data_url", has_data_url, METH_VARARGS, "True if a text contains a data URL."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_text", "Search for pictures within a text.", 0, methods, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__text(void)
{
    note_bytes();
    return PyModuleDef_Init(&definition);
}
