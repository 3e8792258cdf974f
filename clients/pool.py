"""Items go to workers until all are made; a worker that fails is rested and its item goes elsewhere.

An engine starts workers and runs one task on each at a time: threads of this process here, Ray's actors in
`on_ray`. What can go wrong with a task comes back as its Outcome.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any, Protocol

from clients.comfyui import Unreachable

TRIES = 3  # workers that may fail at an item before it is taken for the reason
FIRST_REST, LONGEST_REST = 2.0, 60.0  # seconds
ITEM, WORKER, EITHER = "item", "worker", "either"  # what a problem is to be put down to


@dataclass(frozen=True)
class Task:
    """One item as a worker gets it, on whatever machine: the photo comes along."""

    id: str
    photo: bytes = field(repr=False)
    photo_name: str
    settings: dict[str, Any]
    seed: int | None
    run: str  # a new name for each try


@dataclass(frozen=True)
class Outcome:
    """Files by name, or what the problem was and whose."""

    files: dict[str, bytes] = field(default_factory=dict)
    seconds: float = 0.0
    problem: str = ""
    whose: str = ""


class Maker(Protocol):
    """What opens a worker, on the machine that it works on."""

    def open(self) -> Callable[[Task], dict[str, bytes]]: ...


class Engine(Protocol):
    """Runs workers. A future gives an Outcome; the one of `start` comes when the worker is ready."""

    def start(self, maker: Maker) -> tuple[Any, Any]: ...
    def submit(self, handle: Any, task: Task) -> Any: ...
    def wait(self, waiting: Sequence[Any], seconds: float) -> list[Any]: ...
    def outcome(self, future: Any) -> Outcome: ...
    def stop(self, handle: Any) -> None: ...


def attempt(call: Callable[[], dict[str, bytes] | None]) -> Outcome:
    """The outcome of work, whatever happens in it."""
    start = time.monotonic()
    try:
        files = call() or {}
        return Outcome(files, time.monotonic() - start)
    except Unreachable as error:
        return Outcome(problem=str(error), whose=WORKER)
    except ValueError as error:
        return Outcome(problem=str(error), whose=getattr(error, "whose", ITEM))
    except Exception as error:  # out of memory, a device that is lost: another worker may manage
        return Outcome(problem=f"{type(error).__name__}: {error}".splitlines()[0][:300], whose=EITHER)


class Threads:
    """Workers in this process: one thread for each."""

    def start(self, maker: Maker) -> tuple[Any, Any]:
        handle: dict[str, Any] = {"thread": futures.ThreadPoolExecutor(1)}

        def open_it() -> None:
            handle["worker"] = maker.open()

        return handle, handle["thread"].submit(attempt, open_it)

    def submit(self, handle: Any, task: Task) -> Any:
        return handle["thread"].submit(attempt, lambda: handle["worker"](task))

    def wait(self, waiting: Sequence[Any], seconds: float) -> list[Any]:
        return list(futures.wait(waiting, seconds, futures.FIRST_COMPLETED).done)

    def outcome(self, future: Any) -> Outcome:
        return future.result()

    def stop(self, handle: Any) -> None:
        if stop := getattr(handle.get("worker"), "stop", None):
            stop()
        handle["thread"].shutdown(wait=False, cancel_futures=True)


@dataclass
class Place:
    """One worker's place: the worker may die and be started anew."""

    maker: Maker
    handle: Any = None
    ready: bool = False
    rests_until: float = 0.0
    failures: int = 0  # in a row


class Pool:
    """Places for workers, and what is being made there; `on_rest(maker, seconds, problem)` hears of rests."""

    def __init__(
        self,
        engine: Engine,
        makers: Sequence[Maker],
        *,
        patience: float = 300.0,
        on_rest: Callable[[Maker, float, str], None] = lambda maker, seconds, problem: None,
    ):
        self.engine, self.patience, self.on_rest = engine, patience, on_rest
        self.places = [Place(maker) for maker in makers]
        self.running: dict[Any, tuple[Place, Any, Task | None]] = {}  # future: (place, item, its task)
        self.tries: dict[str, int] = {}
        self.last_problem = ""
        self.moved = time.monotonic()  # when last something went well

    def run(
        self,
        items: Sequence[Any],
        task_of: Callable[[Any], Task | None],
        on_done: Callable[[Any, Outcome], None],
        on_wait: Callable[[], None] = lambda: None,
    ) -> None:
        """Make all items; task_of(item) is None for one that need not be made after all.

        `on_done(item, outcome)` is called in this thread for every item made or given up.

        ValueError: no worker can be opened, or none has worked for `patience` seconds.
        """
        waiting, ended = deque(items), list[tuple[Any, Outcome]]()
        try:
            while waiting or ended or self.working():
                self._start()
                self._give(waiting, task_of, on_done)
                for item, outcome in ended:  # while their workers are at the next ones
                    on_done(item, outcome)
                on_wait()
                self._check_patience(bool(waiting))
                at_work = waiting or self.working()
                ready = self._next() if at_work else []
                ended = [end for future in ready if (end := self._take(future, waiting))]
        finally:
            self.stop()

    def working(self) -> list[Task]:
        """The tasks that are being worked on"""
        return [task for _, _, task in self.running.values() if task]

    def _start(self) -> None:
        for place in self.places:
            if place.handle is None and place.rests_until <= time.monotonic():
                place.handle, future = self.engine.start(place.maker)
                self.running[future] = place, None, None

    def _give(self, waiting: deque, task_of: Callable, on_done: Callable) -> None:
        busy = {id(place) for place, _, _ in self.running.values()}
        now = time.monotonic()
        for place in self.places:
            if id(place) in busy or not place.ready or place.rests_until > now:
                continue
            task = None
            while waiting and task is None:
                item = waiting.popleft()
                try:
                    task = task_of(item)
                except ValueError as error:
                    on_done(item, Outcome(problem=str(error), whose=ITEM))
            if task:
                self.running[self.engine.submit(place.handle, task)] = place, item, task

    def _next(self) -> list[Any]:
        if self.running:
            return self.engine.wait(list(self.running), 0.5)
        time.sleep(0.1)
        return []

    def _take(self, future: Any, waiting: deque) -> tuple[Any, Outcome] | None:
        """The item that came to an end with a future, made or given up."""
        place, item, task = self.running.pop(future)
        outcome = self.engine.outcome(future)
        if task is None:
            self._opened(place, outcome)
            return None
        if not outcome.whose or outcome.whose == ITEM:
            place.failures, self.moved = 0, time.monotonic()
            return item, outcome
        self._rest(place, outcome)
        self.tries[task.id] = self.tries.get(task.id, 0) + (outcome.whose == EITHER)
        if self.tries[task.id] >= TRIES:
            return item, outcome
        waiting.appendleft(item)
        return None

    def _opened(self, place: Place, outcome: Outcome) -> None:
        if outcome.whose == ITEM:  # what cannot be opened will not be opened the next time either
            raise ValueError(outcome.problem)
        place.ready = not outcome.whose
        if outcome.whose:
            self._rest(place, outcome)
        else:
            self.moved = time.monotonic()

    def _rest(self, place: Place, outcome: Outcome) -> None:
        """Let a worker that failed be started anew after a while, twice as long each time."""
        self.engine.stop(place.handle)
        place.handle, place.ready = None, False
        seconds = min(LONGEST_REST, FIRST_REST * 2**place.failures)
        place.rests_until = time.monotonic() + seconds
        place.failures += 1
        self.last_problem = outcome.problem
        self.on_rest(place.maker, seconds, outcome.problem)

    def _check_patience(self, waiting: bool) -> None:
        if self.working():
            return
        if waiting and time.monotonic() - self.moved > self.patience:
            why = self.last_problem or "none has become ready"
            raise ValueError(
                f"no worker could be had for {self.patience:.0f} s ({why}); check the workers and start again"
            )

    def stop(self) -> None:
        for place in self.places:
            if place.handle is not None:
                self.engine.stop(place.handle)
                place.handle, place.ready = None, False
        for place, _, task in self.running.values():
            if task and (cancel := getattr(place.maker, "cancel", None)):
                cancel(task)
        self.running.clear()
