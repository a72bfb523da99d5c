"""One lab for a test module: building it takes longer than most tests."""

import pytest

from lab import Lab


@pytest.fixture(scope="module")
def lab():
    with Lab() as running:
        running.start()
        yield running
