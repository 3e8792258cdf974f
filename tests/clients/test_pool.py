"""Items and workers: nothing lost, nothing made twice, whatever the workers do."""

import random
import threading
import time
from dataclasses import dataclass, field

import pytest

from clients import pool
from clients.comfyui import Unreachable
from clients.pool import EITHER, ITEM, Pool, Task, Threads


@dataclass
class Scripted:
    """A worker that does what `act(task, n)` says for its n-th task; it cannot be opened `closed` times."""

    act: object = lambda task, n: {"x": task.id.encode()}
    closed: int = 0
    done: list = field(default_factory=list)

    def open(self):
        if self.closed:
            self.closed -= 1
            raise Unreachable("it does not answer")
        return self

    def __call__(self, task):
        self.done.append(task.id)
        return self.act(task, len(self.done))


def task_of(item):
    return Task(item, b"", item, {}, None, item)


def made(makers, items, **options):
    """What run() reports, in order."""
    found = []
    Pool(Threads(), makers, **options).run(
        items, task_of, lambda item, outcome: found.append((item, outcome))
    )
    return found


@pytest.fixture(autouse=True)
def _short_rests(monkeypatch):
    monkeypatch.setattr(pool, "FIRST_REST", 0.01)
    monkeypatch.setattr(pool, "LONGEST_REST", 0.02)


ITEMS = [f"item {i}" for i in range(40)]


def test_one_worker_makes_items_in_order():
    assert [item for item, _ in made([Scripted()], ITEMS)] == ITEMS


def test_worker_is_at_its_next_item_while_one_is_published():
    worker, seen = Scripted(), []

    def published(item, outcome):
        end = time.monotonic() + 5
        while len(worker.done) < min(len(seen) + 2, 3) and time.monotonic() < end:
            time.sleep(0.001)
        seen.append(len(worker.done))

    Pool(Threads(), [worker]).run(ITEMS[:3], task_of, published)
    assert seen == [2, 3, 3]


def test_every_item_is_made_once_by_many_workers():
    workers = [Scripted() for _ in range(5)]
    found = made(workers, ITEMS)
    assert sorted(item for item, _ in found) == sorted(ITEMS)
    assert all(outcome.files == {"x": item.encode()} for item, outcome in found)
    assert sorted(id for worker in workers for id in worker.done) == sorted(ITEMS)


def test_items_of_workers_that_fail_now_and_then_go_elsewhere():
    draw = random.Random(0)

    def moody(task, n):
        if draw.random() < 0.3:
            raise Unreachable("it does not answer")
        return {"x": task.id.encode()}

    found = made([Scripted(moody), Scripted(moody), Scripted(moody)], ITEMS)
    assert sorted(item for item, _ in found) == sorted(ITEMS)
    assert not any(outcome.whose for _, outcome in found)


def test_worker_that_cannot_be_opened_rests_while_the_others_work():
    absent, rests = Scripted(closed=10**6), []
    found = made([absent, Scripted()], ITEMS, on_rest=lambda *what: rests.append(what))
    assert len(found) == 40
    assert absent.done == []
    assert {(maker is absent, problem) for maker, _, problem in rests} == {(True, "it does not answer")}


def test_worker_that_comes_back_works_again():
    late = Scripted(closed=2)
    assert len(made([late], ITEMS)) == 40


def test_item_that_fells_worker_after_worker_is_given_up():
    def poisoned(task, n):
        if task.id == "item 7":
            raise RuntimeError("out of memory")
        return {}

    workers = [Scripted(poisoned), Scripted(poisoned)]
    found = dict(made(workers, ITEMS))
    assert len(found) == 40
    assert [item for item, outcome in found.items() if outcome.whose] == ["item 7"]
    assert (found["item 7"].whose, found["item 7"].problem) == (EITHER, "RuntimeError: out of memory")
    assert sum(worker.done.count("item 7") for worker in workers) == pool.TRIES


def test_item_that_is_wrong_itself_costs_one_try_and_no_rest():
    def picky(task, n):
        if task.id == "item 7":
            raise ValueError("it is not a picture")
        return {}

    rests, worker = [], Scripted(picky)
    found = dict(made([worker], ITEMS, on_rest=lambda *what: rests.append(what)))
    assert found["item 7"].whose == ITEM
    assert worker.done == ITEMS
    assert rests == []


def test_item_that_another_run_has_made_is_passed_over():
    worker, found = Scripted(), []
    here = Pool(Threads(), [worker])
    here.run(
        ITEMS,
        lambda item: task_of(item) if int(item[5:]) % 2 else None,
        lambda item, outcome: found.append(item),
    )
    assert worker.done == found == ITEMS[1::2]


def test_without_a_worker_the_run_ends_in_a_sentence():
    with pytest.raises(ValueError, match=r"no worker could be had for 0 s \(it does not answer\); check"):
        made([Scripted(closed=10**6)], ITEMS, patience=0.2)


def test_worker_that_can_never_be_opened_ends_the_run():
    class Wrong:
        def open(self):
            raise ValueError("the checkpoint is not one; choose another")

    with pytest.raises(ValueError, match="choose another"):
        made([Wrong()], ITEMS)


def test_stopping_stops_workers_and_cancels_what_runs():
    cancelled, begun = [], threading.Event()

    class Slow(Scripted):
        stopped = False

        def cancel(self, task):
            cancelled.append(task.id)

        def stop(self):
            self.stopped = True

    def slow(task, n):
        begun.set()
        while not worker.stopped:
            time.sleep(0.01)
        return {}

    def interrupt():
        if begun.is_set():
            raise KeyboardInterrupt

    worker = Slow(slow)
    with pytest.raises(KeyboardInterrupt):
        Pool(Threads(), [worker]).run(ITEMS, task_of, lambda *_: None, interrupt)
    assert worker.stopped
    assert cancelled == ["item 0"]
