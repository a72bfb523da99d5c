"""What the package's service can do: the appliance as its user, with the capabilities of its unit and no others, in a directory like
/etc/causeway, in which root wrote what it has to read."""

import pathlib
import re
import shutil
import subprocess

import pytest

from lab import Appliance
from netns import sh
from test_join import Plain, token_of
from tools import ping_times, seconds_until_ping

UNIT = (pathlib.Path(__file__).resolve().parents[2] / "appliance-config/systemd/causeway.service").read_text()
USER, GROUP = "nobody", "nogroup"


def as_the_service():
    """Words before the program that make it what the unit makes it."""
    names = re.search(r"^AmbientCapabilities=(.*)$", UNIT, re.M).group(1).lower().replace("cap_", "").split()
    caps = ",".join(["-all", *(f"+{name}" for name in names)])
    return ["setpriv", "--reuid", USER, "--regid", GROUP, "--clear-groups", "--no-new-privs",
            "--inh-caps", caps, "--ambient-caps", caps, "--bounding-set", caps]


class Service(Appliance):
    """An appliance that the service manager started."""

    def __init__(self, lab, name):
        super().__init__(lab, name)
        self.etc, self.run = (lab.directory / place for place in ("etc", "run"))
        self.config, self.socket = self.etc / "causeway.toml", self.run / "causeway.sock"
        for directory, owner, mode in ((self.etc, f"root:{GROUP}", 0o2770), (self.run, f"{USER}:{GROUP}", 0o755)):
            directory.mkdir()
            shutil.chown(directory, *owner.split(":"))
            directory.chmod(mode)
        # Where the program is built another user need not get to.
        self.binary = shutil.copy(lab.binary, self.run / "causeway")
        lab.directory.chmod(0o711)

    def start(self):
        with self.log_path.open("ab") as log:
            self.process = self.namespace.popen(*as_the_service(), self.binary, "run", "-c", self.config, start_new_session=True,
                                                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.lab.write_state()


@pytest.fixture(scope="module")
def lab():
    with Plain() as lab:
        lab.b = lab.appliances[1] = Service(lab, "b")
        lab.a.start()
        lab.until(lambda: lab.a.socket.exists(), told=lab.a.log)
        yield lab


def test_what_join_wrote_as_root_can_be_read(lab):
    lab.join(token_of(lab.site("add", "branch", "--segments", "servers,voice")))
    for file in (lab.b.config, lab.b.etc / "branch.password"):
        found = file.stat()
        assert (found.st_mode & 0o777, file.group()) == (0o640, GROUP), file
    lab.b.start()
    lab.until(lambda: lab.b.up() or not lab.b.running(), 60, lab.b.log)
    assert lab.b.up(), lab.b.log()
    assert seconds_until_ping(lab["b11"], "10.11.0.1") < 10
    assert len(ping_times(lab["b11"], "10.11.0.1", count=3)) == 3
    # And read once more, while it runs.
    lab.causeway(lab.b, "reload", "--socket", lab.b.socket)


def test_keys_that_cert_made_can_be_read(lab):
    sh(lab.binary, "cert", "self-sign", "--cn", "branch.lab", "--out", lab.b.etc / "branch")
    for name, mode in (("branch.key", 0o640), ("branch.crt", 0o644)):
        file = lab.b.etc / name
        assert (file.stat().st_mode & 0o777, file.group()) == (mode, GROUP), name
        sh(*as_the_service(), "cat", file)
