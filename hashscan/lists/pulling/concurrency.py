"""Runs a function on several items concurrently, and cancels the running calls at the first failure.

The threads do not belong to an executor, for which the interpreter would wait at exit: a thread that looks up
a host name can't be woken.
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
"""Largest number of items in progress, including finished ones that were not yet yielded."""
GRACE = 1.0
"""Seconds to wait for the end of cancelled calls."""


def each_done(do: Callable[[T], None], items: Iterable[T], give_up: Callable[[], None]) -> Generator[T]:
    """Call `do` for each item, and yield the items as they finish; close the generator to stop early.

    Args:
        do: called in a thread for each item.
        items: started in this order.
        give_up: makes all calls of `do` end soon; called if one failed, or if the generator is closed early.

    Raises:
        BaseException: the exception of `do`; of several failures a forgery, else that of the earliest item.
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
        except BaseException as error:  # raised again when the result is read
            future.set_exception(error)
        else:
            future.set_result(None)

    threading.Thread(target=run, daemon=True).start()
    return future
