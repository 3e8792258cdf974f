"""Servers that have not run anything yet, and one that has."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import host_path
from tests.contract.graphs import CHECKPOINTS, Running, graph


@pytest.fixture(scope="session")
def start(start_server, tmp_path_factory):
    """`with start() as running`: a server of its own."""

    @contextlib.contextmanager
    def run():
        with start_server(host_path()) as server:
            yield Running(server, tmp_path_factory.mktemp("made"))

    return run


@pytest.fixture(scope="session")
def alone(start):
    """What each model's graph gives as the first one on a server of its own;
    the servers start side by side.
    """

    def first(model):
        with start() as running:
            return running.make(graph(model))

    with ThreadPoolExecutor() as pool:
        return dict(zip(CHECKPOINTS, pool.map(first, CHECKPOINTS)))


@pytest.fixture(scope="session")
def running(start):
    """A server of the contract's tests, whose first graph was `nano`'s."""
    with start() as running:
        running.first = running.make(graph())
        yield running
