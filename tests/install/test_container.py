"""The stages of the Dockerfile, without an engine: what would be in the image, and that it starts as another user than root."""

import os
import subprocess

from chroot import ROOT


def test_the_runtime_stage_has_debian_and_the_package_and_starts(package, tmp_path):
    listing = tmp_path / "files"
    done = subprocess.run(["dpdk-build/stages.sh", "--package", package, "--list", listing], cwd=ROOT, capture_output=True, text=True,
                          timeout=600, env={**os.environ, "LC_ALL": "C.UTF-8"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "causeway " in done.stdout, "its version"
    assert "a server ran as causeway" in done.stdout, done.stdout
    files = listing.read_text().splitlines()
    assert "/usr/bin/causeway" in files
    assert not [file for file in files if "librte_" in file and "glue" not in file], "no DPDK but what is inside"
    assert not [file for file in files if file.startswith("/var/lib/apt/lists/") and file.count("/") > 4 and "partial" not in file]


def test_the_dockerfile_has_its_stages():
    text = (ROOT / "Dockerfile").read_text()
    for stage in ("AS builder", "AS test", "AS runtime", "USER causeway", "container.sh", "package/build.sh", "static.sh"):
        assert stage in text, stage
