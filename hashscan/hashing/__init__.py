"""Exact and perceptual hash algorithms, and the decoders of what is hashed.

A module in C that replaces a function of a library is loaded before the library, or it has no effect. So the
one for libjpeg and libtiff is loaded here: nothing outside of this package loads Pillow.
"""

from hashscan.c_parts import BUILT, load_globally

if BUILT:
    load_globally("hashscan.hashing._decoding_faults")
