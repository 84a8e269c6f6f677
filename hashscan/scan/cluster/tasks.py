"""Run functions on the workers of a cluster, each on the one that is named."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from distributed import Client, Future
from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker


class Tasks:
    """The tasks that were sent, and those that wait for their answers; for one event loop."""

    def __init__(self, client: Client, name: str, broken: Callable[[BaseException], None]) -> None:
        """Prepare to send tasks.

        Args:
            client: the connected client.
            name: the prefix of the tasks' names, which no other scan uses.
            broken: called with the error if a background task fails.
        """
        self._client = client
        self._name = name
        self._broken = broken
        self._number = 0
        self._again = asyncio.Lock()
        self._running: set[asyncio.Task[None]] = set()

    def send(self, address: str, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Run a function on one worker, and nowhere else."""
        self._number += 1
        return self._client.submit(
            function,
            *arguments,
            key=f"{self._name}-{self._number}",
            workers=[address],
            allow_other_workers=False,
            retries=0,
            pure=False,
        )

    async def answer(self, future: Future[Any]) -> Any:
        """Return the result of a function.

        A wait here is never cancelled: Dask requests several answers at once, and all would be cancelled.
        Releasing the future ends the wait as well.

        Raises:
            FutureCancelledError: the future was released, or the scheduler is lost.
            KilledWorker: the worker died.
            Exception: the function raised it, or its result can't be read.
        """
        try:
            return await future.result()
        except (KilledWorker, FutureCancelledError):
            raise
        except Exception:
            # An answer that can't be read makes the other answers of the same request fail, once.
            async with self._again:
                return await future.result()
        finally:
            future.release()

    def start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine in the background."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._broken(error)


def first_line(error: BaseException) -> str:
    """Return the type of an error and the first line of its message."""
    return f"{type(error).__name__}: {error}".splitlines()[0]
