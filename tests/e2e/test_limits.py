"""Storm control, limits of addresses, and priorities, between kernel hosts."""

import re
import time

import pytest
from scapy.all import Dot1Q, Ether, Raw

from asking import segment_test
from lab import Lab
from test_gateway import in_segment, interfaces
from tools import Capture, inject, ping_times, seconds_until_ping

BROADCAST = "ff:ff:ff:ff:ff:ff"
RATE = {"broadcast": 40, "multicast": 20, "unknown_unicast": 10}
DESTINATIONS = {"broadcast": BROADCAST, "multicast": "01:00:5e:01:02:03", "unknown_unicast": "02:00:00:00:0b:ad"}
SEGMENT_MACS, PORT_MACS, SITE_MACS = 4, 8, 6


@pytest.fixture(scope="module")
def limited():
    """All limits are those of site A."""
    with Lab() as lab:
        storm = "".join(f"{kind} = {rate}\n" for kind, rate in RATE.items())
        in_segment(lab.a, "servers", f"[segment.storm_control]\n{storm}")
        in_segment(lab.a, "voice", f"max_macs = {SEGMENT_MACS}\n")
        text = lab.a.config.read_text()
        text = text.replace('device = "kernel:lan0"\n', f'device = "kernel:lan0"\nmax_macs = {PORT_MACS}\n')
        lab.a.config.write_text(text.replace('user = "branch"\n', f'user = "branch"\nmax_macs = {SITE_MACS}\n'))
        lab.start()
        assert seconds_until_ping(lab["a10"], "10.10.0.2") < 10
        assert seconds_until_ping(lab["a11"], "10.11.0.2") < 10
        yield lab


def of(lab, host, network="10.10."):
    """The interface of a host that is in a segment."""
    listed = lab[host].run("ip", "-o", "-4", "address")
    return re.search(rf"^\d+: (\S+)\s+inet {re.escape(network)}", listed, re.MULTILINE).group(1)


@pytest.mark.parametrize("kind", RATE)
@pytest.mark.parametrize("sender, receiver", [("a10", "b10"), ("b10", "a10")])
def test_storms_are_limited_and_conversations_are_not(limited, kind, sender, receiver, tmp_path):
    """From the local network and from a site: one second's worth passes at once, and what is known goes on."""
    time.sleep(1.1)  # the budget of the test before is full again
    before = limited.a.drops()["storm_limited"]
    frame = Ether(src=limited[sender].mac("eth0"), dst=DESTINATIONS[kind]) / Raw(b"storm of frames!" * 4)
    with Capture(limited[receiver], "eth0", tmp_path / "storm.pcap") as capture:
        inject(limited[sender], of(limited, sender), [frame] * 400)
        assert len(ping_times(limited["a10"], "10.10.0.2", count=5)) == 5
    passed = len(capture.having(b"storm of frames!"))
    assert RATE[kind] - 8 <= passed <= 3 * RATE[kind], f"{passed} of {kind}"
    assert limited.a.drops()["storm_limited"] - before >= 400 - 3 * RATE[kind] - 8


def floods(lab, host, network, first, count=20):
    """Frames from so many addresses that nobody has seen."""
    frames = [Ether(src=f"02:00:00:01:{first:02x}:{n:02x}", dst=BROADCAST) / Raw(b"another address!" * 4) for n in range(count)]
    inject(lab[host], of(lab, host, network), frames)


def learned(lab, segment=None, place=""):
    return [mac for (of, mac), where in lab.a.macs().items() if (segment in (None, of)) and place in where]


def test_a_segment_that_is_full_forwards_and_evicts_nobody(limited, tmp_path):
    before = set(learned(limited, "voice"))
    assert limited["b11"].mac("eth0") in before
    with Capture(limited["b11"], "eth0", tmp_path / "full.pcap") as capture:
        floods(limited, "a11", "10.11.", 1)
        time.sleep(0.3)
    assert len(capture.having(b"another address!")) == 20, "all of them are forwarded"
    after = set(learned(limited, "voice"))
    assert len(after) == SEGMENT_MACS and before <= after
    assert limited.a.drops()["mac_limit"] > 0
    (told,) = [found for found in segment_test(limited.a, "voice")["findings"] if found["code"] == "mac_not_learned"]
    assert f"segment voice has {SEGMENT_MACS} addresses, as many as max_macs of the segment allows" in told["text"], told
    assert len(ping_times(limited["a11"], "10.11.0.2", count=3)) == 3


def test_a_port_that_is_full_takes_nothing_from_a_site(limited):
    before = set(learned(limited, place="trunk0"))
    floods(limited, "a10", "10.10.", 2)
    time.sleep(0.3)
    after = set(learned(limited, place="trunk0"))
    assert len(after) == PORT_MACS and before <= after
    floods(limited, "b10", "10.10.", 3)
    time.sleep(0.3)
    assert len(learned(limited, place="site branch")) == SITE_MACS
    (told,) = [found for found in segment_test(limited.b, "servers")["findings"] if found["code"] == "mac_not_learned"]
    assert f"port trunk0 has {PORT_MACS} addresses" in told["text"] and f"site branch has {SITE_MACS}" in told["text"], told
    assert set(learned(limited, place="trunk0")) == after
    assert len(ping_times(limited["a10"], "10.10.0.2", count=3)) == 3


def test_priorities_cross(limited, tmp_path):
    """What has a priority in its tag at A has it in another tag at B."""
    frame = Ether(src=limited["a11"].mac("eth0"), dst=BROADCAST) / Dot1Q(vlan=11, prio=5) / Raw(b"with a priority!" * 4)
    with Capture(limited["b11"], "eth0", tmp_path / "pcp.pcap") as capture:
        inject(limited["a-lan"], "trunk", [frame] * 3)
        time.sleep(0.3)
    tags = [bytes(found[12:16]).hex() for found in capture.having(b"with a priority!")]
    assert tags == [f"8100{5 << 13 | 111:04x}"] * 3
    assert interfaces(limited["a10"])
