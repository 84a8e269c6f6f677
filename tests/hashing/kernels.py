"""The loops that hash pictures, as far as they were built on this machine."""

from __future__ import annotations

from hashscan.hashing.kernel import CKernel, Kernel, NumpyKernel, best_kernel

KERNELS: tuple[Kernel, ...] = (
    (NumpyKernel(), CKernel()) if isinstance(best_kernel(), CKernel) else (NumpyKernel(),)
)
