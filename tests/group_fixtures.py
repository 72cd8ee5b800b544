"""Fixture for tests of several processes: name this in ``pytest_plugins``."""

import itertools

import pytest
from group_processes import Processes


@pytest.fixture
def start(tmp_path):
    numbers = itertools.count()

    def start(n, function):
        return Processes(n, function, tmp_path / f"group-{next(numbers)}")

    return start
