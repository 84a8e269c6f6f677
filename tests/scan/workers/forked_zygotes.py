"""Imported by the fork server that workers of tests are forked from."""

from tests.forked_zygote import fork_zygotes, preload

preload()
fork_zygotes()
