"""The first boot of an appliance VM, in a clean Debian: its consoles are pseudo-terminals, and the programs that would change this machine
are stand-ins."""

import os
import pty
import re
import select
import subprocess
import time

from chroot import ROOT

STAND_INS = {
    "findmnt": "echo /dev/none",
    "lsblk": "exit 1",
    "sfdisk": "exit 1",
    "blkid": "exit 2",
    "hostname": "exit 0",
    "systemctl": "exit 0",
    "causeway": 'echo "causeway $*"',
    "passwd": 'read -r first && [ "$first" = secret ] && echo "changed"',
}
DONE = "var/lib/causeway-setup/first-boot-done"
NETWORK = "etc/systemd/network/50-wan.network"


class Console:
    """One end of a pseudo-terminal; `path` is the other."""

    def __init__(self):
        self.handle, self.other = pty.openpty()
        self.path, self.text = os.ttyname(self.other), ""

    def wait(self, text, timeout=60.0):
        deadline = time.monotonic() + timeout
        while text not in self.text:
            assert time.monotonic() < deadline, f"{text!r} is not in {self.text!r}"
            if select.select([self.handle], [], [], 0.2)[0]:
                self.text += os.read(self.handle, 4096).decode()

    def answer(self, question, line):
        self.wait(question)
        self.text = self.text[self.text.index(question) + len(question):]
        os.write(self.handle, line.encode() + b"\n")

    def close(self):
        for handle in (self.handle, self.other):
            os.close(handle)


def start(chroot, consoles):
    """Starts it in the chroot as the unit does: nothing on standard input."""
    chroot.copy(ROOT / "package/vm/firstboot", "usr/sbin/causeway-firstboot")
    for name, text in STAND_INS.items():
        path = chroot.path(f"usr/local/bin/{name}")
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    chroot.path("etc/systemd/network").mkdir(parents=True, exist_ok=True)
    script = 'mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" sh /usr/sbin/causeway-firstboot'
    return subprocess.Popen(["unshare", "--mount", "--pid", "--fork", "sh", "-c", script, chroot.place], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            env={"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "CAUSEWAY_CONSOLES": " ".join(consoles)})


def test_the_console_that_answers_first_is_asked(chroot):
    screen, serial = Console(), Console()
    running = start(chroot, [screen.path, "/dev/no-such-console", serial.path])
    try:
        screen.wait("press Enter")
        serial.answer("press Enter to set this appliance up here", "")
        serial.answer("first boot of this appliance", "wrong")
        os.write(serial.handle, b"secret\n")
        serial.answer("Host name", "branch")
        serial.answer("Interface for management", "enp0s17")
        serial.answer("Its address", "192.0.2.2/24")
        serial.answer("default router", "192.0.2.1")
        serial.answer("name servers", "192.0.2.53, 2001:db8::53")
        serial.answer("Write this?", "y")
        serial.wait("causeway setup --uplink enp0s17 --write")
        serial.wait("causeway setup --apply")
        assert running.wait(60) == 0, running.stdout.read()
        screen.wait(f"It is set up on {serial.path}")
    finally:
        running.kill()
        screen.close()
        serial.close()
    assert chroot.path("etc/hostname").read_text() == "branch\n"
    lines = chroot.path(NETWORK).read_text().splitlines()
    for line in ("Name=enp0s17", "Address=192.0.2.2/24", "Gateway=192.0.2.1", "DNS=192.0.2.53", "DNS=2001:db8::53"):
        assert line in lines, lines
    assert chroot.path(DONE).exists()


def test_without_anybody_to_ask_the_machine_boots_on(chroot):
    running = start(chroot, ["/dev/no-such-console", "/dev/null"])
    said, _ = running.communicate(timeout=60)
    assert running.returncode == 1 and "the next boot asks again" in said, said
    assert not chroot.path(DONE).exists()


def test_a_console_that_goes_away_ends_the_questions(chroot):
    serial = Console()
    running = start(chroot, [serial.path])
    serial.answer("press Enter to set this appliance up here", "")
    serial.wait("first boot of this appliance")
    serial.close()
    said, _ = running.communicate(timeout=60)
    assert running.returncode == 1, said
    assert not chroot.path(DONE).exists()


def test_the_mark_is_where_only_root_writes():
    unit = (ROOT / "package/vm/causeway-firstboot.service").read_text()
    assert re.search(r"^ConditionPathExists=!/(.*)$", unit, re.M).group(1) == DONE
