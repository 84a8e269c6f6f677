from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from hashscan.errors import ListTrustError, UnreachableError
from hashscan.lists.pulling import assembly as concurrency
from hashscan.lists.pulling.assembly import AT_ONCE, each_done
from tests.waiting import until


def nothing() -> None:
    pass


def test_all_is_done_several_at_a_time() -> None:
    together = threading.Barrier(AT_ONCE, timeout=60)
    done = list(each_done(lambda _: [together.wait(), None][1], range(3 * AT_ONCE), pytest.fail))
    assert sorted(done) == list(range(3 * AT_ONCE))
    assert list(each_done(pytest.fail, [], pytest.fail)) == []


def test_what_waits_to_be_taken_counts_too() -> None:
    begun: list[int] = []
    done = each_done(begun.append, range(100), nothing)
    for taken in range(1, 50):
        next(done)
        time.sleep(0.001)
        assert len(begun) < taken + AT_ONCE
    done.close()


def test_a_failure_ends_what_is_under_way() -> None:
    given_up, ended = threading.Event(), []

    def do(item: int) -> None:
        if item == 1:
            raise UnreachableError("first")
        assert given_up.wait(60)
        ended.append(item)
        raise UnreachableError("given up")

    with pytest.raises(UnreachableError, match="first"):
        list(each_done(do, range(100), given_up.set))
    assert sorted(ended) == [item for item in range(AT_ONCE) if item != 1]


@pytest.mark.parametrize("forged", [None, 1, AT_ONCE - 1])
def test_of_several_failures_a_forgery_goes_first_then_the_earliest(forged: int | None) -> None:
    threads, fail = threading.active_count(), threading.Event()

    def do(item: int) -> None:
        if item > 0:
            assert fail.wait(60)
            raise (ListTrustError if item == forged else UnreachableError)(str(item))

    done = each_done(do, range(AT_ONCE), nothing)
    assert next(done) == 0
    # All the others fail before anybody looks.
    fail.set()
    while threading.active_count() > threads:
        time.sleep(0.001)
    with pytest.raises(ListTrustError if forged else UnreachableError, match=str(forged or 1)):
        next(done)


def test_what_succeeded_beside_a_failure_is_taken() -> None:
    taken: list[int] = []

    def do(item: int) -> None:
        if item == 0:
            until(lambda: taken)
            raise UnreachableError("0")

    with pytest.raises(UnreachableError):
        taken.extend(each_done(do, [0, 1], nothing))  # extends as they come
    assert taken == [1]


def test_whoever_leaves_early_gives_up() -> None:
    given_up = threading.Event()
    done = each_done(lambda item: None if item == 0 else [given_up.wait(60), None][1], range(9), given_up.set)
    assert next(done) == 0
    done.close()
    assert given_up.is_set()


def test_nobody_waits_for_what_cant_be_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrency, "GRACE", 0.05)
    end = threading.Event()

    def do(item: int) -> None:
        if item == 0:
            raise UnreachableError("0")
        end.wait()

    with pytest.raises(UnreachableError):
        list(each_done(do, range(9), nothing))
    end.set()


def test_the_interpreter_ends_without_it() -> None:
    code = (
        "import time; from hashscan.lists.pulling.assembly import each_done\n"
        "done = each_done(lambda item: time.sleep(item), [0, 3600, 3600], lambda: None)\n"
        "assert next(done) == 0; done.close()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
