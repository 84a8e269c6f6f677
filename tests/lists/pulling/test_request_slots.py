from __future__ import annotations

import threading
import time

import pytest
from tuf.api.exceptions import DownloadError

from hashscan.lists.pulling.transfer_limits import RequestSlots


def most_at_once(turns: RequestSlots, threads: int, expected: int = 1) -> int:
    """Return the largest number of threads that had a turn at the same time; so many wait for each other."""
    now, most, lock = [0], [0], threading.Lock()
    together = threading.Barrier(expected, timeout=60)

    def run() -> None:
        with turns.taken():
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            together.wait()
            # Time for one too many.
            time.sleep(0.02)
            with lock:
                now[0] -= 1

    every = [threading.Thread(target=run) for _ in range(threads)]
    for each in every:
        each.start()
    for each in every:
        each.join()
    return most[0]


def test_one_at_a_time_once_a_server_was_busy() -> None:
    turns = RequestSlots(3)
    assert most_at_once(turns, 6, 3) == 3
    turns.put_off(0)
    assert most_at_once(turns, 4) == 1


def test_all_wait() -> None:
    turns = RequestSlots(3)
    started = time.monotonic()
    turns.put_off(0.2)
    with turns.taken():
        assert time.monotonic() - started >= 0.2


def test_time_that_is_waited_together_counts_once() -> None:
    turns = RequestSlots(3)
    assert turns.put_off(1000) == pytest.approx(1000)
    assert turns.put_off(1000) == pytest.approx(1000, abs=100)
    assert turns.put_off(500) == pytest.approx(1000, abs=100)
    assert turns.put_off(3000) == pytest.approx(3000, abs=100)


def test_resting_leaves_the_turn_to_others() -> None:
    turns = RequestSlots(1)
    with turns.taken():
        turns.rest()
        assert most_at_once(turns, 2) == 1
        turns.resume()
    assert most_at_once(turns, 2) == 1


def test_giving_up_wakes_all() -> None:
    turns = RequestSlots(1)
    failed = []
    put_off = threading.Event()

    def wait(rested: bool) -> None:
        try:
            with turns.taken():
                if rested:
                    turns.put_off(3600)
                    put_off.set()
                    turns.rest()
                    turns.resume()
        except DownloadError:
            failed.append(rested)

    threads = [threading.Thread(target=wait, args=(rested,)) for rested in (True, False, False)]
    for thread in threads:
        thread.start()
        assert put_off.wait(60)
    # Time to begin to wait.
    time.sleep(0.05)
    turns.give_up()
    for thread in threads:
        thread.join()
    assert sorted(failed) == [False, False, True]
