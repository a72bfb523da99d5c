"""The WAN's MTU is lowered and raised under load."""

import threading

import pytest

from lab import Lab
from tools import Capture, ping_times, iperf, is_ip_fragment, timing, wait_until


class ImpatientLab(Lab):
    """Larger records are tried again after 3 s."""

    def write_configs(self, *arguments, **options):
        super().write_configs(*arguments, **options)
        for appliance in (self.a, self.b):
            text = appliance.config.read_text().replace("[system]\n", "[system]\npath_mtu_raise_s = 3\n")
            appliance.config.write_text(text)


def path_mtus(lab):
    return [appliance.show("service", "l2vpn")["sites"][0]["path_mtu"] for appliance in (lab.a, lab.b)]


@pytest.mark.alone
@pytest.mark.parametrize("family", ("ipv4", "ipv6"))
def test_the_mtu_is_lowered_and_raised_under_load(family):
    with ImpatientLab(wan=family) as lab:
        lab.wan_like_a_wire()
        lab.start()
        wait_until(lambda: path_mtus(lab) == [1500, 1500], "the whole MTU is used")
        ends = []
        load = threading.Thread(target=lambda: ends.append(iperf(lab["a11"], lab["b11"], "10.11.0.1", "-P", 2, seconds=30)))
        with Capture(lab["wan"], "b", lab.directory / "wan.pcap", "ip or ip6") as capture:
            load.start()
            # Frames that fit in a record as long as the MTU is 1500, and in none when it is not.
            with timing(lab["a10"], "10.10.0.2", size=1400) as pings, timing(lab["b10"], "10.10.0.1", size=1400) as back:
                wait_until(lambda: len(ping_times(lab["a10"], "10.10.0.2", count=2)) == 2, "frames cross")
                lab["wan"].ip("link", "set", "dev", "b", "mtu", 1300)
                # A veth takes 4 octets more than its MTU, for a VLAN tag.
                wait_until(lambda: all(1280 <= mtu <= 1304 for mtu in path_mtus(lab)), "the smaller MTU is found")
                large = lambda: ping_times(lab["a10"], "10.10.0.2", size=1472, count=3, dont_fragment=True)  # noqa: E731
                wait_until(lambda: len(large()) == 3, "large frames cross")
                lab["wan"].ip("link", "set", "dev", "b", "mtu", 1500)
                wait_until(lambda: path_mtus(lab) == [1500, 1500], "the larger MTU is found again")
            load.join()
        # Half a second until the size is confirmed, three probes; the rest is this machine's.
        assert max(pings["gap"], back["gap"]) < 3.0, (pings, back)
        assert ends and ends[0]["sum_received"]["bytes"] > 5_000_000
        assert not any(is_ip_fragment(frame) for frame in capture.frames)
        # Not a fragment, and no permission to make one.
        flags = [frame[20] & 0x40 for frame in capture.frames if frame[12:14] == b"\x08\x00" and frame[23] == 17]
        assert all(flags) and (flags or family == "ipv6")


def test_the_uplinks_own_mtu_is_followed():
    with Lab() as lab:
        lab.start()
        wait_until(lambda: path_mtus(lab) == [1500, 1500], "the whole MTU is used")
        lab["b"].ip("link", "set", "dev", "eth0", "mtu", 1400)
        wait_until(lambda: path_mtus(lab)[1] == 1400, "the client knows its own interface")
        lab["b"].ip("link", "set", "dev", "eth0", "mtu", 1500)
        wait_until(lambda: path_mtus(lab) == [1500, 1500], "and follows it")
        assert lab.b.drops()["tx_queue_full"] == 0
