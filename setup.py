"""Builds the parts in C where there is a compiler.

Without one, numpy's loops hash pictures, search the index and unpack kept digests, Python reads folders and
probes files, only texts are proven to be none of what viewers show, HEIF can't be decoded, and JPEGs and
compressed TIFFs count as undecoded.
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "hashscan.lists.index._probe",
            ["hashscan/lists/index/_probe.c"],
            depends=["hashscan/lists/index/_hits.h"],
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            extra_compile_args=["-O3"],
            py_limited_api=True,
            optional=True,
        ),
        Extension(
            "hashscan.lists.index._euclid",
            ["hashscan/lists/index/_euclid.c"],
            depends=["hashscan/lists/index/_hits.h"],
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            extra_compile_args=["-O3"],
            py_limited_api=True,
            optional=True,
        ),
        Extension(
            "hashscan.state.store._unpack",
            ["hashscan/state/store/_unpack.c"],
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            extra_compile_args=["-O3"],
            py_limited_api=True,
            optional=True,
        ),
        Extension(
            "hashscan.hashing._pdq",
            ["hashscan/hashing/_pdq.c"],
            depends=["hashscan/hashing/_pdq_loops.h", "hashscan/hashing/_pdq_weights.h"],
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            # Elsewhere than on x86-64, gcc would fuse what the reference rounds twice.
            extra_compile_args=["-O3", "-ffp-contract=off"],
            py_limited_api=True,
            optional=True,
        ),
        Extension(
            "hashscan.hashing._text",
            ["hashscan/hashing/_text.c"],
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            extra_compile_args=["-O2"],
            py_limited_api=True,
            optional=True,
        ),
        Extension(
            "hashscan.hashing.recognition._traces",
            ["hashscan/hashing/recognition/_traces.c"],
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            extra_compile_args=["-O2"],
            py_limited_api=True,
            optional=True,
        ),
        Extension(
            "hashscan.sources._folder_listing",
            ["hashscan/sources/_folder_listing.c"],
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            extra_compile_args=["-O2"],
            py_limited_api=True,
            optional=True,
        ),
        Extension(
            "hashscan.sources._kernel_calls",
            ["hashscan/sources/_kernel_calls.c"],
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            extra_compile_args=["-O2"],
            py_limited_api=True,
            optional=True,
        ),
        Extension(
            "hashscan.hashing._decoding_faults",
            ["hashscan/hashing/_decoding_faults.c"],
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            extra_compile_args=["-O2"],
            py_limited_api=True,
            optional=True,
        ),
        Extension(
            "hashscan.hashing._heif_threads",
            ["hashscan/hashing/_heif_threads.c"],
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            py_limited_api=True,
            optional=True,
        ),
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
