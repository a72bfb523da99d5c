"""Two appliances at one site, one of which is enough: the loop guard lets one of them forward, and the other takes over."""

import re
import time

import pytest
from scapy.all import Ether, Raw

from lab import Appliance, Lab
from netns import veth, vlan_interface
from tools import Capture, inject, seconds_until_ping, timing, wait_until


class PairLab(Lab):
    """Site B has a second appliance, C, on the same VLAN, and a host on it: `lab["b20"]`, 10.10.0.3."""

    def build(self):
        super().build()
        wan, lan, host, other = self["wan"], self.namespace("b-lan"), self.namespace("b20"), self.namespace("c")
        veth(other, "eth0", wan, "c")
        other.address("eth0", "192.0.2.3/24")
        wan.ip("link", "set", "dev", "c", "master", "br0", "up")
        veth(self["b"], "lan2", lan, "left")
        veth(other, "lan2", lan, "right")
        veth(host, "eth0", lan, "host")
        for name in ("b", "c"):
            self[name].no_ipv6("lan2")
        self.interface = vlan_interface(host, "eth0", 10, self.directory)
        host.address(self.interface, "10.10.0.3/24")
        lan.bridge("br0", "left", "right", "host")
        self.c = Appliance(self, "c")
        self.a.peers = 2
        self.appliances.append(self.c)
        self.another_site("branch-2")
        for appliance, user in ((self.b, "branch"), (self.c, "branch-2")):
            self.vlan_client(appliance, user)
            appliance.config.write_text(appliance.config.read_text().replace("kernel:lan0", "kernel:lan2"))


@pytest.fixture(scope="module")
def pair():
    with PairLab() as lab:
        lab.start(60)
        yield lab


def blocked(appliance):
    return appliance.running() and appliance.show("loops")["blocked"] == 1


def one_blocks(lab):
    return [blocked(lab.b), blocked(lab.c)].count(True) == 1 and not blocked(lab.a)


def no_duplicates(lab):
    assert seconds_until_ping(lab["a10"], "10.10.0.3") < 30
    output = lab["a10"].run("ping", "-n", "-c", 20, "-i", "0.05", "-W", "2", "10.10.0.3", check=False)
    assert "DUP" not in output and int(re.search(r"(\d+) received", output)[1]) >= 15, output


def test_one_of_two_blocks_and_nothing_arrives_twice(pair, tmp_path):
    wait_until(lambda: one_blocks(pair), "one of the two blocks", 60)
    assert blocked(pair.c), "the one whose name comes later"
    no_duplicates(pair)
    frame = Ether(src=pair["b20"].mac("eth0"), dst="ff:ff:ff:ff:ff:ff") / Raw(b"arrives once" * 4)
    with Capture(pair["a10"], "eth0", tmp_path / "once.pcap") as capture:
        inject(pair["b20"], pair.interface, [frame] * 5)
        time.sleep(1)
    assert len(capture.having(b"arrives once")) == 5


def test_the_other_takes_over_and_nothing_is_doubled_when_the_first_is_back(pair):
    wait_until(lambda: one_blocks(pair), "one of the two blocks", 60)
    with timing(pair["b20"], "10.10.0.1") as takeover:
        time.sleep(1)
        pair.b.kill()
        wait_until(lambda: not blocked(pair.c), "the other forwards", 30)
        seconds_until_ping(pair["b20"], "10.10.0.1", 30)
        time.sleep(1)
    print(f"takeover: no answer for {takeover['gap']:.1f} s")
    assert takeover["gap"] < 15
    assert seconds_until_ping(pair["a10"], "10.10.0.3") < 30
    with timing(pair["b20"], "10.10.0.1") as back:
        pair.b.start()
        pair.wait_up(60)
        wait_until(lambda: one_blocks(pair), "one of the two blocks again", 60)
        time.sleep(1)
    print(f"back: no answer for {back['gap']:.1f} s")
    no_duplicates(pair)


def test_an_orderly_end_is_taken_over_too(pair):
    wait_until(lambda: one_blocks(pair), "one of the two blocks", 60)
    forwards = pair.c if blocked(pair.b) else pair.b
    with timing(pair["b20"], "10.10.0.1") as takeover:
        time.sleep(1)
        forwards.stop()
        seconds_until_ping(pair["b20"], "10.10.0.1", 60)
        time.sleep(1)
    print(f"orderly: no answer for {takeover['gap']:.1f} s")
    # The guard waits twice as long each time the way comes back: this is the third.
    assert takeover["gap"] < 45
    forwards.start()
    pair.wait_up(60)
    wait_until(lambda: one_blocks(pair), "one of the two blocks again", 60)
    no_duplicates(pair)
