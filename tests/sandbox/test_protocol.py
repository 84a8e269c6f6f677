from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.sandbox.protocol import ConfinementResult, ZygoteConfig

FILE_NAMES = st.binary(max_size=30).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
ERRNOS = st.integers(0, 200)


@given(st.lists(FILE_NAMES).map(tuple), st.lists(FILE_NAMES).map(tuple))
def test_config_survives_a_command_line(path: tuple[str, ...], arguments: tuple[str, ...]) -> None:
    config = ZygoteConfig(path, "a.b:c", arguments, 8, "auto", 1 << 40, 5120, "libseccomp.so.2")
    assert config.encode().isascii()
    assert "\0" not in config.encode()
    assert ZygoteConfig.decode(config.encode()) == config


@given(st.builds(ConfinementResult, ERRNOS, ERRNOS, ERRNOS, ERRNOS, ERRNOS, ERRNOS))
def test_hello_survives(hello: ConfinementResult) -> None:
    assert ConfinementResult.unpack(hello.pack()) == hello
    level = hello.level("auto")
    assert level.full == (hello.lacking() == "" and hello.landlock_version > 0)
    assert (level.landlock > 0) == (hello.landlock == 0 and hello.landlock_version > 0)


@given(st.binary(max_size=40))
def test_anything_else_is_no_hello(message: bytes) -> None:
    with pytest.raises(ValueError, match="not a decoder's hello"):
        ConfinementResult.unpack(message)


def test_lacking_gives_the_system_s_reasons() -> None:
    assert (
        ConfinementResult(0, errno.ENOSYS, 0, errno.EPERM, 0, 0).lacking()
        == "Landlock (Function not implemented)"
    )
