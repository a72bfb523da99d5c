"""TCP 443 shared with a web server while a session is up."""

import contextlib
import json
import ssl
import subprocess
import time

import pytest

from lab import Lab
from tools import ping_times, pinging, wait_for_listener

SHARES = """
[[server.share]]
sni = "www.lab"
to = "127.0.0.1:8443"
idle_s = 2
max_connections = 20

[[server.share]]
alpn = "acme-tls/1"
to = "127.0.0.1:8444"

[[server.share]]
sni = "told.lab"
to = "127.0.0.1:8445"
proxy_protocol = "v1"
"""


@pytest.fixture(scope="module")
def shared():
    with Lab() as lab:
        lab.a.config.write_text(lab.a.config.read_text() + SHARES)
        with contextlib.ExitStack() as services:
            directory = lab.directory / "www"
            directory.mkdir()
            (directory / "big").write_bytes(bytes(range(256)) * 40_000)
            for port, name in ((8443, "www"), (8444, "acme")):
                key, crt = directory / f"{name}.key", directory / f"{name}.crt"
                subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                                "-keyout", key, "-out", crt, "-days", "2", "-subj", f"/CN={name}.lab"],
                               check=True, capture_output=True)
                words = ["openssl", "s_server", "-quiet", "-accept", f"127.0.0.1:{port}", "-key", key, "-cert", crt]
                words += ["-WWW"] if name == "www" else ["-alpn", "acme-tls/1", "-www"]
                process = lab["a"].popen(*words, cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                         stderr=subprocess.DEVNULL)
                services.callback(process.wait)
                services.callback(process.terminate)
                wait_for_listener(lab["a"], port)
            lab.start()
            yield lab


def client(lab, *words, **options):
    """A program on the WAN, beside the two sites."""
    return subprocess.run(lab["wan"].command(*words), capture_output=True, timeout=30, **options)


def subject(lab, *options):
    """Whose certificate a TLS client gets to see."""
    done = client(lab, "openssl", "s_client", "-connect", "192.0.2.1:443", *options, input=b"")
    for line in (done.stdout + done.stderr).decode(errors="replace").splitlines():
        if "CN" in line and ("subject=" in line or " s:" in line):
            return line.rpartition("=")[2].strip()
    return None


def service(lab, to):
    return next(x for x in lab.a.show("service", "l2vpn")["shared_port"] if x["to"] == to)


def test_each_connection_goes_where_it_belongs(shared):
    assert subject(shared, "-servername", "www.lab") == "www.lab"
    assert subject(shared, "-servername", "WWW.lab", "-tls1_2") == "www.lab", "an older TLS too"
    assert subject(shared, "-alpn", "acme-tls/1") == "acme.lab"
    assert subject(shared, "-servername", "www.lab", "-alpn", "causeway/1") == "vpn.lab", "ours stays ours"
    assert subject(shared, "-servername", "other.lab") is None, "nobody's is refused as ever"
    assert shared.a.up() and shared.b.up()


def test_a_large_answer_comes_whole_while_the_session_carries_traffic(shared):
    with pinging(shared["a10"], "10.10.0.2") as pings:
        for _ in range(3):
            done = client(shared, "python3", "-c", FETCH, "192.0.2.1", "www.lab", "/big")
            length, digest = done.stdout.decode().split()
            assert (int(length), digest) == (10_240_000, DIGEST), done.stderr.decode()
    assert pings["received"] >= pings["sent"] - 1
    assert service(shared, "127.0.0.1:8443")["passed_on"] >= 3


def test_a_client_that_takes_its_time_gets_all(shared):
    """Longer than `idle_s` nothing moves here: the kernel's buffers are full, and are emptied piece by piece."""
    slow = FETCH.replace("data = ", "import time; time.sleep(4); data = ")
    assert "sleep" in slow
    done = client(shared, "python3", "-c", slow, "192.0.2.1", "www.lab", "/big")
    assert done.stdout.decode().split() == ["10240000", DIGEST], done.stderr.decode()


FETCH = """
import hashlib, socket, ssl, sys
context = ssl.create_default_context(); context.check_hostname = False; context.verify_mode = ssl.CERT_NONE
with context.wrap_socket(socket.create_connection((sys.argv[1], 443)), server_hostname=sys.argv[2]) as s:
    s.sendall(f"GET {sys.argv[3]} HTTP/1.0\\r\\n\\r\\n".encode())
    data = bytearray()
    while True:
        try: more = s.recv(1 << 16)
        except ssl.SSLError: break
        if not more: break
        data += more
body = data.partition(b"\\r\\n\\r\\n")[2]
print(len(body), hashlib.sha256(body).hexdigest())
"""
DIGEST = __import__("hashlib").sha256(bytes(range(256)) * 40_000).hexdigest()

RAW = """
import socket, sys, time
pieces = [bytes.fromhex(piece) for piece in sys.argv[2].split(",")]
s = socket.create_connection((sys.argv[1], 443))
for piece in pieces:
    s.sendall(piece); time.sleep(0.05)
s.settimeout(20)
began = time.monotonic()
try: got = s.recv(64)
except OSError: got = b""
print(f"{time.monotonic() - began:.1f}", got.hex())
"""


def hello(name, alpn=("h2",)):
    """What a TLS client sends first."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(list(alpn))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def raw(lab, *pieces):
    """Sends octets with pauses between them; returns how long the answer took, and the answer."""
    words = ",".join(piece.hex() for piece in pieces)
    waited, _, answer = client(lab, "python3", "-c", RAW, "192.0.2.1", words).stdout.decode().partition(" ")
    return float(waited), bytes.fromhex(answer.strip())


def test_a_hello_in_pieces_arrives_and_garbage_hurts_nobody(shared):
    whole = hello("www.lab")
    pieces = [whole[at:at + 40] for at in range(0, len(whole), 40)]
    _, answer = raw(shared, *pieces)
    assert answer[:1] == b"\x16", "a ServerHello"
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", bytes(300), whole[:9] + b"\xff" * 400, b"\x16\x03\x01\xff\xff"):
        raw(shared, garbage)
    waited, answer = raw(shared, whole[:50])
    assert answer == b"" and waited < 10, "who says no more is closed"
    assert shared.a.up() and len(ping_times(shared["a10"], "10.10.0.2", count=3)) == 3


def test_silent_connections_end_and_there_is_a_limit(shared):
    holder = """
import socket, sys, time
open = []
for _ in range(30):
    s = socket.create_connection((sys.argv[1], 443)); s.sendall(bytes.fromhex(sys.argv[2])); open.append(s)
time.sleep(1); print("ready", flush=True)
for s in open:
    s.settimeout(15)
    while s.recv(65536): pass
print("closed", flush=True)
"""
    process = shared["wan"].popen("python3", "-c", holder, "192.0.2.1", hello("www.lab").hex(), stdout=subprocess.PIPE, text=True,
                                  stderr=subprocess.DEVNULL)
    assert process.stdout.readline() == "ready\n"
    now = service(shared, "127.0.0.1:8443")
    assert now["connections"] <= 20 and now["failed"] >= 10
    process.communicate(timeout=30)
    deadline = time.monotonic() + 15
    while service(shared, "127.0.0.1:8443")["connections"]:
        assert time.monotonic() < deadline, json.dumps(service(shared, "127.0.0.1:8443"))
        time.sleep(0.1)


def test_a_service_is_told_who_the_client_is_and_one_that_is_not_there_is_told_of(shared):
    script = """
import socket
l = socket.create_server(("127.0.0.1", 8445)); print("ready", flush=True)
s, _ = l.accept()
print(s.makefile("rb").readline().decode().strip(), flush=True)
"""
    assert raw(shared, hello("told.lab"))[1] == b"", "nobody listens"
    assert service(shared, "127.0.0.1:8445")["failed"] == 1
    assert "cannot pass a connection on" in shared.a.log()
    process = shared["a"].popen("python3", "-c", script, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    raw(shared, hello("told.lab"))
    words = process.communicate(timeout=10)[0].split()
    assert words[:4] == ["PROXY", "TCP4", "192.0.2.254", "192.0.2.1"] and words[5] == "443"


def test_shares_change_on_the_running_appliance(shared):
    config = shared.a.config.read_text()
    shared.a.config.write_text(config.replace('sni = "www.lab"', 'sni = "web.lab"'))
    subprocess.run([shared.binary, "reload", "--socket", shared.a.socket], check=True, capture_output=True)
    assert subject(shared, "-servername", "web.lab") == "www.lab"
    assert subject(shared, "-servername", "www.lab") is None
    assert shared.a.up() and shared.b.up()
    shared.b.stop()  # a login through the shared port
    shared.start()
