"""Builds the C loops of the index where there is a compiler; without one, numpy's do the work."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "hashscan.lists.index._probe",
            ["hashscan/lists/index/_probe.c"],
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            extra_compile_args=["-O3"],
            py_limited_api=True,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
