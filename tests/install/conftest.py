"""The package under test: CAUSEWAY_DEB, or made of CAUSEWAY_BIN, or built."""

import os
import pathlib
import subprocess

import pytest

from chroot import ROOT, Chroot


@pytest.fixture(scope="session")
def package():
    if "CAUSEWAY_DEB" in os.environ:
        return pathlib.Path(os.environ["CAUSEWAY_DEB"]).resolve()
    words = ["package/build.sh"]
    if "CAUSEWAY_BIN" in os.environ:
        words += ["--binary", os.environ["CAUSEWAY_BIN"]]
    built = subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return pathlib.Path(built.stdout.split()[-1])


@pytest.fixture
def chroot():
    with Chroot() as place:
        yield place
