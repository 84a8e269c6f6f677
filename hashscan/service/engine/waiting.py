"""Keep the requests that wait for a worker, and say which is next.

Clients take turns, and so do the parties of each client, so that many connections, or many uploads on one,
delay those of others by no more than a turn.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Set
from dataclasses import dataclass

from hashscan.service.engine.messages import Reply
from hashscan.service.engine.uploads import Turn


@dataclass(slots=True, eq=False)
class Task:
    """A request and its future, which gets the reply and the descriptor that came with it."""

    turn: Turn
    owner: int
    """Number of the owner by whom its decoder is chosen."""
    message: bytes
    descriptor: int
    future: asyncio.Future[tuple[Reply, int]]
    deaths: int = 0
    timer: asyncio.TimerHandle | None = None
    """Ends the waiting, or the running once the client has left."""


class WaitingTasks:
    """The requests that wait."""

    def __init__(self) -> None:
        self._clients: OrderedDict[str, OrderedDict[str, OrderedDict[Task, None]]] = OrderedDict()
        """By client and party; whose turn it is comes first."""
        self._owners: dict[int, OrderedDict[Task, None]] = {}
        self._number = 0

    def __len__(self) -> int:
        return self._number

    def __contains__(self, task: Task) -> bool:
        return task in self._owners.get(task.owner, ())

    def add(self, task: Task, *, first: bool = False) -> None:
        """Append a request to those of its party; with `first`, have it be the next of all."""
        client, party = task.turn
        parties = self._clients.setdefault(client, OrderedDict())
        of_party = parties.setdefault(party, OrderedDict())
        of_owner = self._owners.setdefault(task.owner, OrderedDict())
        of_party[task] = of_owner[task] = None
        self._number += 1
        if first:
            self._clients.move_to_end(client, last=False)
            parties.move_to_end(party, last=False)
            for tasks in (of_party, of_owner):
                tasks.move_to_end(task, last=False)

    def remove(self, task: Task) -> None:
        """Take a request out, if it waits."""
        if task not in self:
            return
        client, party = task.turn
        parties = self._clients[client]
        del parties[party][task], self._owners[task.owner][task]
        self._number -= 1
        if not self._owners[task.owner]:
            del self._owners[task.owner]
        if not parties[party]:
            del parties[party]
        if not parties:
            del self._clients[client]

    def take(self, task: Task) -> None:
        """Take a request out because a worker gets it; the next turns are those of others."""
        client, party = task.turn
        self.remove(task)
        if client in self._clients:
            self._clients.move_to_end(client)
            if party in self._clients[client]:
                self._clients[client].move_to_end(party)

    def next(self, without: Set[Turn | str]) -> Task | None:
        """Return the request whose turn it is; without those of some parties and clients."""
        for client, parties in self._clients.items():
            if client not in without:
                for party, tasks in parties.items():
                    if (client, party) not in without:
                        return next(iter(tasks))
        return None

    def of_owner(self, owner: int | None) -> Task | None:
        """Return an owner's first request."""
        tasks = self._owners.get(owner) if owner is not None else None
        return next(iter(tasks)) if tasks else None

    def too_many(self, client: str) -> Task | None:
        """Return the request that leaves a full queue to one of this client.

        It is the last one of those who have the most; None if no other client has more than this one would.
        """

        def number(of: str) -> int:
            return sum(map(len, self._clients[of].values())) if of in self._clients else 0

        most = max(self._clients, key=number, default=client)
        if number(most) <= number(client) + 1:
            return None
        *_, tasks = sorted(self._clients[most].values(), key=len)
        return next(reversed(tasks))

    def clear(self) -> list[Task]:
        tasks = [task for of_owner in self._owners.values() for task in of_owner]
        self._clients.clear()
        self._owners.clear()
        self._number = 0
        return tasks
