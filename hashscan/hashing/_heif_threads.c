/* Keeps libheif from starting a thread, which the sandbox forbids.

   libheif asks its HEVC library for one worker thread, whatever it is told, and gives up where there is none. A
   function of the same name that is loaded before, for all to see, is found in place of the library's own; without
   threads the library decodes in the caller's. */

#include <Python.h>

/* de265.h of libde265, since 0.7; 0 is DE265_OK. */
__attribute__((visibility("default"))) int de265_start_worker_threads(void *context, int threads)
{
    (void)context;
    (void)threads;
    return 0;
}

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    "_heif_threads",
    "Keeps libheif from starting a thread, once it was imported with RTLD_GLOBAL.",
    0,
    NULL,
    NULL,
    NULL,
    NULL,
    NULL,
};

PyMODINIT_FUNC PyInit__heif_threads(void)
{
    return PyModule_Create(&module);
}
