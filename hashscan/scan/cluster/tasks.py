"""Functions run by the workers of a cluster, each by the one that is named."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from distributed import Client, Future
from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker


class Tasks:
    """What was sent, and who waits for it; for one event loop."""

    def __init__(self, client: Client, name: str, broken: Callable[[BaseException], None]) -> None:
        """Begin.

        Args:
            client: connected.
            name: how the names of tasks begin; no other sweep's do so.
            broken: told when something that was started ends with an error.
        """
        self._client = client
        self._name = name
        self._broken = broken
        self._number = 0
        self._again = asyncio.Lock()
        self._running: set[asyncio.Task[None]] = set()

    def send(self, address: str, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Have a function run by one worker, and nowhere else."""
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
        """What a function returned.

        Nothing that waits here is ever cancelled: Dask asks for several answers at once, and all would be. To
        release the future ends the wait as well.

        Raises:
            FutureCancelledError: it was released, or the scheduler is gone.
            KilledWorker: the worker died.
            Exception: the function raised it, or what it returned can't be read.
        """
        try:
            return await future.result()
        except (KilledWorker, FutureCancelledError):
            raise
        except Exception:
            # One answer that can't be read spoils those that were asked for with it, once.
            async with self._again:
                return await future.result()
        finally:
            future.release()

    def start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Go on with something in the background."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._broken(error)


def first_line(error: BaseException) -> str:
    """What kind of error it is, and the beginning of what it says."""
    return f"{type(error).__name__}: {error}".splitlines()[0]
