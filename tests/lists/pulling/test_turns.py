from __future__ import annotations

import threading
import time

import pytest
from tuf.api.exceptions import DownloadError

from hashscan.lists.pulling.turns import Turns


def most_at_once(turns: Turns, threads: int) -> int:
    """How many of several threads had a turn at the same time."""
    now, most, lock = [0], [0], threading.Lock()

    def run() -> None:
        with turns.taken():
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
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
    turns = Turns(3)
    assert most_at_once(turns, 6) == 3
    turns.put_off(0)
    assert most_at_once(turns, 4) == 1


def test_all_wait() -> None:
    turns = Turns(3)
    started = time.monotonic()
    turns.put_off(0.2)
    with turns.taken():
        assert time.monotonic() - started >= 0.2


def test_time_that_is_waited_together_counts_once() -> None:
    turns = Turns(3)
    assert turns.put_off(10) == pytest.approx(10)
    assert turns.put_off(10) == pytest.approx(10, abs=1)
    assert turns.put_off(5) == pytest.approx(10, abs=1)
    assert turns.put_off(30) == pytest.approx(30, abs=1)


def test_resting_leaves_the_turn_to_others() -> None:
    turns = Turns(1)
    with turns.taken():
        turns.rest()
        assert most_at_once(turns, 2) == 1
        turns.resume()
    assert most_at_once(turns, 2) == 1


def test_giving_up_wakes_all() -> None:
    turns = Turns(1)
    failed = []

    def wait(rested: bool) -> None:
        try:
            with turns.taken():
                if rested:
                    turns.put_off(60)
                    turns.rest()
                    turns.resume()
        except DownloadError:
            failed.append(rested)

    threads = [threading.Thread(target=wait, args=(rested,)) for rested in (True, False, False)]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    turns.give_up()
    for thread in threads:
        thread.join(5)
    assert sorted(failed) == [False, False, True]
