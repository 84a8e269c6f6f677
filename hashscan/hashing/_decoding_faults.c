/* Counts the faults in pictures for which libjpeg and libtiff make up data.

   libjpeg then calls a function that `jpeg_std_error` has set, which only counts for whoever knows the decoder's
   struct; Pillow and libtiff don't pass the number on. libtiff prints a message, and often goes on. Functions of
   the same name that are loaded before, for all to see, are found in place of the libraries' own: one sets a
   function that counts for the whole process, the others only count. The structs begin alike in all versions of
   libjpeg (jpeglib.h, 6b to 9f and libjpeg-turbo).

   libjpeg also tells that function of each marker that it has read, the last of which ends the picture: so it is
   known how many bytes are behind it without searching for the marker. */

#include <Python.h>
#include <stdlib.h>
#include <string.h>

struct jpeg_error_mgr;

struct source {
    const unsigned char *next;
    size_t left;
};

struct common {
    struct jpeg_error_mgr *err;
    void *memory, *progress, *data;
    int is_decompressor, state;
    struct source *source;
};

struct jpeg_error_mgr {
    void (*error_exit)(struct common *);
    void (*emit_message)(struct common *, int);
    void (*output_message)(struct common *);
    void (*format_message)(struct common *, char *);
    void (*reset_error_mgr)(struct common *);
    int msg_code;
    union {
        int i[8];
        char s[80];
    } msg_parm;
    int trace_level;
    long num_warnings;
    const char *const *jpeg_message_table;
    int last_jpeg_message;
    const char *const *addon_message_table;
    int first_addon_message;
    int last_addon_message;
};

enum { HARMLESS_MAX = 4, OF_MARKER = 1, FIRST_RESTART = 0xD0, LAST_RESTART = 0xD7, NUMBER_OF_LINES = 0xDC };

static unsigned long long faults;
static size_t left_behind;
static int last_code, harmless[HARMLESS_MAX], known;
static int skipped = -1;
static const char *const no_messages[] = {"", NULL};

static int is_harmless(const struct jpeg_error_mgr *err)
{
    if (err->msg_code == skipped) {
        /* Its parameters are the number of bytes and the marker behind them. In front of a restart, the decoder
           was out of step; in front of the number of lines, pixels may follow that it does not show. */
        int marker = err->msg_parm.i[1];
        return !(marker >= FIRST_RESTART && marker <= LAST_RESTART) && marker != NUMBER_OF_LINES;
    }
    for (int place = 0; place < known; place++) {
        if (err->msg_code == harmless[place]) {
            return 1;
        }
    }
    return 0;
}

static void emit(struct common *codec, int level)
{
    struct jpeg_error_mgr *err = codec->err;
    if (level >= 0) {
        if (level == OF_MARKER && codec->is_decompressor && codec->source != NULL) {
            left_behind = codec->source->left;
        }
        return;
    }
    err->num_warnings++;
    last_code = err->msg_code;
    if (!is_harmless(err)) {
        faults++;
    }
}

static void reset(struct common *codec)
{
    codec->err->num_warnings = 0;
    codec->err->msg_code = 0;
}

static void format(struct common *codec, char *buffer)
{
    /* Callers have 200 bytes for it. */
    PyOS_snprintf(buffer, 200, "libjpeg's message %d", codec->err->msg_code);
}

static void output(struct common *codec)
{
    (void)codec;
}

static void leave(struct common *codec)
{
    /* As in libjpeg. Callers set a function of their own. */
    (void)codec;
    exit(EXIT_FAILURE);
}

__attribute__((visibility("default"))) struct jpeg_error_mgr *jpeg_std_error(struct jpeg_error_mgr *err)
{
    *err = (struct jpeg_error_mgr){
        .error_exit = leave,
        .emit_message = emit,
        .output_message = output,
        .format_message = format,
        .reset_error_mgr = reset,
        .jpeg_message_table = no_messages,
    };
    return err;
}

/* tiffio.h, since 4.5 and before; variable arguments follow. */

__attribute__((visibility("default"))) void TIFFErrorExtR(void *tiff, const char *place, const char *text, ...)
{
    (void)tiff, (void)place, (void)text;
    faults++;
}

__attribute__((visibility("default"))) void TIFFErrorExt(void *handle, const char *place, const char *text, ...)
{
    (void)handle, (void)place, (void)text;
    faults++;
}

__attribute__((visibility("default"))) void TIFFWarningExtR(void *tiff, const char *place, const char *text, ...)
{
    (void)tiff, (void)text;
    /* A row of a fax that is too short or too long is filled or cut. Other warnings are about tags. */
    faults += place != NULL && strncmp(place, "Fax", 3) == 0;
}

__attribute__((visibility("default"))) void TIFFWarningExt(void *handle, const char *place, const char *text, ...)
{
    TIFFWarningExtR(handle, place, text);
}

static PyObject *count(PyObject *self, PyObject *none)
{
    (void)self, (void)none;
    return PyLong_FromUnsignedLongLong(faults);
}

static PyObject *code(PyObject *self, PyObject *none)
{
    (void)self, (void)none;
    return PyLong_FromLong(last_code);
}

static PyObject *behind(PyObject *self, PyObject *none)
{
    (void)self, (void)none;
    return PyLong_FromSize_t(left_behind);
}

static PyObject *pass_over(PyObject *self, PyObject *arguments)
{
    int code_passed, skips;
    (void)self;
    if (!PyArg_ParseTuple(arguments, "ip", &code_passed, &skips)) {
        return NULL;
    }
    if (skips) {
        skipped = code_passed;
    } else if (known < HARMLESS_MAX) {
        harmless[known++] = code_passed;
    }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"count", count, METH_NOARGS, "Return the number of faults so far in this process."},
    {"last_code", code, METH_NOARGS, "Return libjpeg's number of the last warning; 0 if there was none."},
    {"behind", behind, METH_NOARGS, "Return the number of bytes that were left behind the last marker of a JPEG."},
    {"pass_over", pass_over, METH_VARARGS,
     "Don't count warnings of this number; if the second argument is true, they are those of skipped bytes."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_decoding_faults",
    "Counts faults in pictures, if it was imported with RTLD_GLOBAL before Pillow.",
    -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__decoding_faults(void)
{
    return PyModule_Create(&module);
}
