"""The client's way to its servers: several addresses, and an HTTP proxy that is the only way out."""

import contextlib
import time

import pytest

from lab import Lab, PASSWORD
from netns import veth
from tools import iperf, pinging, seconds_until_ping, start_proxy, wait_for_listener, wait_until

@pytest.fixture(scope="module")
def quiet_lab():
    """A lab whose server runs; each test starts a client of its own."""
    with Lab() as lab:
        lab.write_configs(wan="ipv6")  # listens on both families
        lab.a.start()
        wait_for_listener(lab["a"], 443)
        lab.b.plain = lab.b.config.read_text()
        yield lab


def configure(lab, server, more=""):
    """Gives the client other servers, and something behind all it has."""
    text = lab.b.plain.replace('server = "fd00::1"', server).replace("port = 443\n", "connect_timeout_ms = 1000\n")
    lab.b.config.write_text(text + more)


@contextlib.contextmanager
def client(lab, server, more=""):
    configure(lab, server, more)
    lab.b.start()
    try:
        yield lab.b
    finally:
        lab.b.stop()


@contextlib.contextmanager
def blocked(lab, rule):
    """Drops what fits on the WAN's bridge."""
    wan = lab["wan"]
    wan.run("nft", "add table bridge blocked; add chain bridge blocked way "
                   "{ type filter hook forward priority 0; }; add rule bridge blocked way " + rule + " drop")
    try:
        yield
    finally:
        wan.run("nft", "delete table bridge blocked")


def failure(appliance, *words, timeout=15.0):
    """Waits for a failure that has these words, and returns it."""
    deadline = time.monotonic() + timeout
    while True:
        with contextlib.suppress(Exception):
            reason = appliance.show("service", "l2vpn")["sites"][0]["last_failure"] or ""
            if all(word in reason for word in words):
                return reason
        assert time.monotonic() < deadline, f"{words} are not told:\n{appliance.log()[-2000:]}"
        time.sleep(0.05)


def test_addresses_are_tried_in_order(quiet_lab):
    # One that swallows packets, one that refuses, one without an address, and the right one.
    servers = 'servers = ["192.0.2.99", "192.0.2.1:4443", "nowhere.invalid", "192.0.2.1"]'
    with client(quiet_lab, servers):
        quiet_lab.wait_up()
        assert quiet_lab.b.show("service", "l2vpn")["sites"][0]["peer"] == "192.0.2.1:443"


def test_every_address_that_failed_is_named(quiet_lab):
    with client(quiet_lab, 'servers = ["192.0.2.99", "192.0.2.1:4443", "nowhere.invalid"]') as b:
        reason = failure(b, "192.0.2.99:443: no answer within 1s", "nowhere.invalid")
        assert "192.0.2.1:4443: cannot connect: Connection refused" in reason


def test_another_address_takes_over(quiet_lab):
    servers = 'servers = ["fd00::1", "192.0.2.1"]'
    with client(quiet_lab, servers) as b:
        quiet_lab.wait_up()
        assert b.show("service", "l2vpn")["sites"][0]["peer"] == "[fd00::1]:443"
        with blocked(quiet_lab, "ip6 daddr fd00::1"):
            deadline = time.monotonic() + 30
            while not (b.up() and b.show("service", "l2vpn")["sites"][0]["peer"] == "192.0.2.1:443"):
                assert time.monotonic() < deadline, b.log()[-3000:]
                time.sleep(0.1)


def reload(appliance):
    appliance.namespace.run(appliance.lab.binary, "reload", "--socket", appliance.socket)


def test_the_cipher_is_one_that_both_ends_take(quiet_lab):
    def wants(*names):
        return f'server = "192.0.2.1"\nciphers = {list(names)}'.replace("'", '"')

    def ciphers():
        return [x.show("sessions")["sessions"][0]["cipher"] for x in (quiet_lab.a, quiet_lab.b)]

    server = quiet_lab.a.config.read_text()
    with client(quiet_lab, wants("aes-256-gcm")) as b:
        quiet_lab.wait_up()
        assert ciphers() == ["aes-256-gcm"] * 2
        assert seconds_until_ping(quiet_lab["a10"], "10.10.0.2") < 10
        configure(quiet_lab, wants("aes-128-gcm"))
        reload(b)
        wait_until(lambda: ciphers() == ["aes-128-gcm"] * 2, "the other cipher", 15)
        assert seconds_until_ping(quiet_lab["a10"], "10.10.0.2") < 10
        try:
            quiet_lab.a.config.write_text(server.replace("[server]\n", '[server]\nciphers = ["aes-256-gcm"]\n'))
            reload(quiet_lab.a)
            assert b.up(), "the session goes on with what it agreed on"
            quiet_lab.a.namespace.run(quiet_lab.binary, "console", "--socket", quiet_lab.a.socket, "-c", "clear sessions")
            assert quiet_lab.a.show("service", "l2vpn")["sites"][0]["last_failure"] == "the operator ended the session"
            failure(b, "no common data cipher", "the site offers aes-128-gcm, the server takes aes-256-gcm")
            failure(quiet_lab.a, 'site "branch" offers aes-128-gcm, this server takes aes-256-gcm')
            # With both to choose from, the server's only one is taken.
            configure(quiet_lab, wants("aes-128-gcm", "aes-256-gcm"))
            reload(b)
            wait_until(lambda: ciphers() == ["aes-256-gcm"] * 2, "the one that both take", 15)
        finally:
            quiet_lab.a.config.write_text(server)
            reload(quiet_lab.a)


@contextlib.contextmanager
def tinyproxy(lab, port=443):
    """A proxy on the WAN, which is all that the two sites see of each other."""
    if "proxy" not in lab.namespaces:
        proxy = lab.namespace("proxy")
        veth(proxy, "eth0", lab["wan"], "proxy")
        proxy.address("eth0", "192.0.2.3/24")
        lab["wan"].ip("link", "set", "dev", "proxy", "master", "br0")
    process = start_proxy(lab["proxy"], "192.0.2.3", lab.directory, port)
    try:
        with blocked(lab, "iifname { a, b } oifname { a, b }"):
            yield
    finally:
        process.terminate()
        process.wait()


def proxy_table(user="branch", password="sesame"):
    credentials = f'user = "{user}"\npassword = "{password}"\n' if user else ""
    return f'[client.proxy]\naddress = "192.0.2.3:3128"\n{credentials}'


def test_what_the_proxy_refuses_is_told(quiet_lab):
    with tinyproxy(quiet_lab):
        with client(quiet_lab, 'server = "192.0.2.1"', proxy_table(user=None)) as b:
            failure(b, "through the proxy 192.0.2.3:3128", "407", "password_file in [client.proxy]")
        with client(quiet_lab, 'server = "192.0.2.1"', proxy_table(password="wrong")) as b:
            failure(b, "the proxy answers", "password is wrong")
        assert "sesame" not in b.log() and PASSWORD not in b.log()
    with tinyproxy(quiet_lab, port=8443):
        with client(quiet_lab, 'server = "192.0.2.1"', proxy_table()) as b:
            failure(b, "403", "does not allow connections to 192.0.2.1:443")


def test_a_site_behind_a_proxy_works(quiet_lab):
    with tinyproxy(quiet_lab), client(quiet_lab, 'server = "192.0.2.1"', proxy_table()) as b:
        quiet_lab.wait_up()
        assert seconds_until_ping(quiet_lab["a10"], "10.10.0.2") < 10
        # Longer than the dead-peer time: UDP has no way at all.
        with pinging(quiet_lab["a10"], "10.10.0.2") as pings:
            time.sleep(4)
        assert pings["received"] >= pings["sent"] - 1
        site = b.show("service", "l2vpn")["sites"][0]
        assert (site["state"], site["transport"]) == ("up", "tcp")
        assert iperf(quiet_lab["b10"], quiet_lab["a10"], "10.10.0.2", seconds=2)["sum_received"]["bytes"] > 1_000_000
