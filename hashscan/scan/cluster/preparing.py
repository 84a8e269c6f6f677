"""Have the workers of a cluster prepare for a scan, and remember those that can't."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from distributed import Future
from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker

from hashscan.scan.cluster import node
from hashscan.scan.cluster.messages import AnswerError, Busy, Ready, Refused, unpack_greeting
from hashscan.scan.cluster.tasks import Tasks, first_line

PREPARE_SECONDS = 600.0
"""The time limit for a worker to prepare, including its tasks for other scans."""
BUSY_SECONDS = 5.0
"""The time until a worker is asked again that has as many scans as it can."""
DEATHS_MAX = 3
"""The number of times that workers of one machine may die while preparing, before no more of them are
asked."""


class WorkerPreparation:
    """The workers that are asked to prepare; for one event loop."""

    def __init__(
        self,
        tasks: Tasks,
        token: str,
        job: bytes,
        ready: Callable[[str, Ready], None],
        say: Callable[[str], None],
    ) -> None:
        """Start without workers.

        Args:
            tasks: the scan's tasks.
            token: the scan's name on the cluster.
            job: the message that each worker gets first.
            ready: called with a worker's address and its answer, when it is ready.
            say: called with messages for the operator.
        """
        self.refused: dict[tuple[str, str], int] = {}
        """Host and reason of workers that can't take part, and the number of such workers."""
        self.busy: dict[str, str] = {}
        """The hosts of workers that have no room for this scan now, by address."""
        self.dying: set[str] = set()
        """The machines whose workers are not asked any more, because workers died while preparing."""
        self._tasks = tasks
        self._token = token
        self._job = job
        self._ready = ready
        self._say = say
        self._running: dict[str, asyncio.Task[None]] = {}
        self._asked: dict[str, Future[Any]] = {}
        """The workers that are asked to prepare, and Dask's future of each answer."""
        self._present: frozenset[str] = frozenset()
        self._settled: set[str] = set()
        """The present workers that need not be asked: they are ready, refused or busy."""
        self._deaths: dict[str, int] = {}
        """By machine: the number of checks that found workers dead while preparing, since one was ready."""
        self._died: set[str] = set()
        """The machines with such deaths since the last check."""

    def __bool__(self) -> bool:
        return bool(self._running)

    @property
    def unsettled(self) -> bool:
        """True if a present worker is still to answer, or to be asked again."""
        return bool(self._unanswered())

    def refresh(self, present: frozenset[str]) -> None:
        """Ask all new workers to prepare.

        Args:
            present: the addresses of all workers of the scheduler.
        """
        for address in self._asked.keys() - present:
            self._died.add(machine_of(address))
            self._asked[address].release()
        for machine in self._died:
            # Counted once, however many died at a time, for example when the machine fails.
            self._count_death(machine)
        self._died.clear()
        self._present = present
        self._settled &= present
        self.busy = {address: host for address, host in self.busy.items() if address in present}
        for address in present - self._settled - self._running.keys():
            if machine_of(address) not in self.dying:
                self._running[address] = self._tasks.start(self._prepare(address))

    def retry(self, address: str) -> None:
        """Ask a worker once more at the next check."""
        self._settled.discard(address)

    def forget_all(self) -> None:
        """Forget all workers after the loss of the scheduler; workers that are present afterwards are new."""
        self._settled.clear()
        self.busy.clear()

    async def wait_for_answers(self, seconds: float) -> None:
        """Wait until the workers that were asked have answered."""
        if self._running:
            await asyncio.wait(set(self._running.values()), timeout=seconds)

    def refuse(self, refused: Refused) -> None:
        """Record that a worker can't take part, and report each reason once."""
        key = refused.host, refused.why
        self.refused[key] = self.refused.get(key, 0) + 1
        if self.refused[key] == 1:
            self._say(f"node {refused.host} takes no part: {refused.why}")

    def troubles(self) -> str:
        """Return the reasons why there are not more workers, for people."""
        reasons = [f"{host}: {why}" for host, why in self.refused]
        reasons += [f"{host}: busy with other scans" for host in sorted(set(self.busy.values()))]
        reasons += [f"{machine}: a worker did not answer" for machine in sorted(self._unanswered())]
        reasons += [
            f"{machine}: a worker was lost as it prepared"
            for machine in sorted(self._deaths.keys() - self.dying)
        ]
        return "; ".join(reasons)

    def _unanswered(self) -> set[str]:
        """Return the machines of workers that are present and have not answered."""
        return {machine_of(address) for address in self._present - self._settled} - self.dying

    async def _prepare(self, address: str) -> None:
        loop = asyncio.get_running_loop()
        future = self._tasks.send(address, node.prepare, self._token, self._job)
        self._asked[address] = future
        late = loop.call_later(PREPARE_SECONDS, future.release)
        until = late.when()
        try:
            answer = unpack_greeting(await self._tasks.answer(future))
        except AnswerError as error:
            answer = Refused(address, f"its answer makes no sense: {error}")
        except (KilledWorker, FutureCancelledError) as error:
            if isinstance(error, KilledWorker):
                self._died.add(machine_of(address))
            if loop.time() < until:
                # The worker or the scheduler was lost. If the worker is still present, it is asked again.
                return
            answer = Refused(address, f"it did not get ready within {PREPARE_SECONDS:.0f} s")
        except Exception as error:
            answer = Refused(address, f"it can't run hashscan's tasks: {first_line(error)}")
        finally:
            late.cancel()
            del self._running[address], self._asked[address]
        if address not in self._present:
            return
        self._settled.add(address)
        self.busy.pop(address, None)
        match answer:
            case Refused():
                self.refuse(answer)
            case Busy(host):
                self._wait(address, host)
            case Ready():
                self._deaths.pop(machine_of(address), None)
                self._ready(address, answer)

    def _wait(self, address: str, host: str) -> None:
        if host not in self.busy.values():
            self._say(f"node {host} has as many other scans as it can; it is asked again")
        self.busy[address] = host
        asyncio.get_running_loop().call_later(BUSY_SECONDS, self.retry, address)

    def _count_death(self, machine: str) -> None:
        self._deaths[machine] = self._deaths.get(machine, 0) + 1
        if self._deaths[machine] == DEATHS_MAX:
            self.dying.add(machine)
            self.refuse(Refused(machine, f"its workers died {DEATHS_MAX} times as they prepared"))


def machine_of(address: str) -> str:
    """Return the host of a worker's address; it is equal for all workers of a node."""
    return urlsplit(address).hostname or address
