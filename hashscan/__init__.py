"""Find known child-abuse material by hash on disks and in buckets, without looking at a picture."""

__version__ = "0.1.0"
