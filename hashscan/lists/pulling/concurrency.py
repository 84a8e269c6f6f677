"""Does the same to several items side by side, and gives up what is under way at the first failure.

The threads are no executor's, for which the interpreter would wait at its end: nothing can wake one that
looks up a host's name.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from itertools import islice
from typing import TypeVar

from hashscan.errors import ListTrustError

T = TypeVar("T")

AT_ONCE = 4
"""Items under way at most, those included that are done and wait to be taken."""
GRACE = 1.0
"""Seconds to wait for the ends of what was given up."""


def each_done(do: Callable[[T], None], items: Iterable[T], give_up: Callable[[], None]) -> Generator[T]:
    """Do something to each item, and give the items as they are done; whoever leaves early closes this.

    Args:
        do: called in a thread for each item.
        items: what to do it to, begun in this order.
        give_up: has all calls of `do` end soon; called when one failed, or when this is closed early.

    Raises:
        BaseException: what `do` raised; of several failures a forgery, else that of the earliest item.
    """
    left = iter(items)
    under_way: dict[Future[None], T] = {}
    try:
        while True:
            for item in islice(left, AT_ONCE - len(under_way)):
                under_way[_begun(do, item)] = item
            if not under_way:
                return
            wait(under_way, return_when=FIRST_COMPLETED)
            for future in [each for each in under_way if each.done() and each.exception() is None]:
                yield under_way.pop(future)
            failures = [error for each in under_way if each.done() and (error := each.exception())]
            if failures:
                raise min(failures, key=lambda error: not isinstance(error, ListTrustError))
    finally:
        if under_way:
            give_up()
            wait(under_way, GRACE)


def _begun(do: Callable[[T], None], item: T) -> Future[None]:
    future: Future[None] = Future()

    def run() -> None:
        try:
            do(item)
        except BaseException as error:  # raised again by whoever asks for the result
            future.set_exception(error)
        else:
            future.set_result(None)

    threading.Thread(target=run, daemon=True).start()
    return future
