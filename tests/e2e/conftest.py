"""One lab for a test module: building it takes longer than most tests."""

import pytest

from lab import Lab


def pytest_configure(config):
    config.addinivalue_line("markers", "alone: loads the whole machine or measures, so that nothing else may run beside it")


@pytest.fixture(scope="module")
def lab():
    with Lab() as running:
        running.start()
        yield running
