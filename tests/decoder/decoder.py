"""An independent decoder of the Causeway tunnel, written from docs/protocol.md alone.

    decoder.py CAPTURE KEYLOG      prints the inner frames of a capture of the WAN, one a line

CAPTURE is a pcap file (classic format, Ethernet) that holds the TLS connections of the control channel from their
start. KEYLOG is what the appliance writes with SSLKEYLOGFILE set. Numbers like "4.1" are sections of docs/protocol.md.
"""

import hashlib
import hmac
import ipaddress
import struct
import sys
from collections import defaultdict, namedtuple

import cbor2
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

Inner = namedtuple("Inner", "lane tunnel frame")

SUITES = {0x1301: ("sha256", 16), 0x1302: ("sha384", 32)}  # 2.1: hash and key length
CIPHERS = {1: 16, 2: 32}  # 2.2: key length
LOGIN, WELCOME, OPEN, OPENED = 1, 4, 5, 6  # 2.2
TO_SERVER, TO_CLIENT = 0, 1  # 3


def expand_label(secret, label, context, length, digest="sha256"):
    """HKDF-Expand-Label (RFC 8446 7.1)."""
    label = b"tls13 " + label
    info = struct.pack("!HB", length, len(label)) + label + bytes([len(context)]) + context
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = hmac.new(secret, block + info + bytes([counter]), digest).digest()
        out, counter = out + block, counter + 1
    return out[:length]


def nonce(iv, number):
    """RFC 8446 5.3."""
    return bytes(a ^ b for a, b in zip(iv, number.to_bytes(12, "big")))


class Lane:
    """One direction of a session from one worker (3, 4.1)."""

    def __init__(self, secret, cipher):
        self.secrets = [secret]  # by phase
        self.key_length = CIPHERS[cipher]
        self.top = 0
        self.phase = 0
        self.records = {}  # plaintext by number

    def open(self, datagram):
        """Opens a record; returns whether it was authentic."""
        number = self.number(struct.unpack("!I", datagram[4:8])[0])
        for phase in (self.phase, *range(self.phase + 1, self.phase + 9), self.phase - 1):
            if phase < 0 or phase & 15 != datagram[0] & 15:
                continue
            while len(self.secrets) <= phase:
                self.secrets.append(expand_label(self.secrets[-1], b"next", b"", 32))
            secret = self.secrets[phase]
            key = expand_label(secret, b"key", b"", self.key_length)
            iv = expand_label(secret, b"iv", b"", 12)
            try:
                plaintext = AESGCM(key).decrypt(nonce(iv, number), datagram[8:], datagram[:8])
            except Exception:
                return False
            self.records[number] = plaintext
            self.phase, self.top = max(self.phase, phase), max(self.top, number)
            return True
        return False

    def number(self, low):
        """The 64-bit number nearest to the highest so far that has these low bits (RFC 4303 A2.2, near enough)."""
        high = self.top >> 32
        candidates = [(h << 32) | low for h in (high - 1, high, high + 1) if h >= 0]
        return min(candidates, key=lambda number: abs(number - self.top))

    def frames(self):
        """Whole frames, in the order of their last octets (4.2)."""
        piece, expected = None, None
        for number in sorted(self.records):
            for first, last, tunnel, octets in blocks(self.records[number]):
                if first:
                    piece = (tunnel, b"")
                elif piece is None or expected != number or piece[0] != tunnel:
                    piece = None
                    continue
                piece = (tunnel, piece[1] + octets)
                if last:
                    yield piece
                    piece = None
                else:
                    expected = number + 1


def blocks(plaintext):
    """(first, last, tunnel ID, octets) of each block (4.2)."""
    at = 0
    while at + 4 <= len(plaintext):
        flags, length = struct.unpack_from("!HH", plaintext, at)
        octets = plaintext[at + 4:at + 4 + length]
        if length == 0 or len(octets) < length:
            return
        yield bool(flags & 0x8000), bool(flags & 0x4000), flags & 0x0FFF, octets
        at += 4 + length


class TlsStream:
    """One direction of a TLS 1.3 connection, opened with the secrets of a key log (RFC 8446 5)."""

    def __init__(self, data):
        self.data = data
        self.handshake = b""
        self.application = b""

    def records(self):
        at = 0
        while at + 5 <= len(self.data):
            kind, _, length = struct.unpack_from("!BHH", self.data, at)
            if at + 5 + length > len(self.data):
                return
            yield kind, self.data[at:at + 5], self.data[at + 5:at + 5 + length]
            at += 5 + length

    def hello(self):
        """The body of the first handshake message, which is not encrypted."""
        for kind, _, body in self.records():
            if kind == 22:
                return body[4:]
        return None

    def decrypt(self, handshake_secret, traffic_secret, digest, key_length):
        secret, number = handshake_secret, 0
        for kind, header, body in self.records():
            if kind != 23:
                continue
            key = expand_label(secret, b"key", b"", key_length, digest)
            iv = expand_label(secret, b"iv", b"", 12, digest)
            inner = AESGCM(key).decrypt(nonce(iv, number), body, header).rstrip(b"\0")
            number += 1
            content, kind = inner[:-1], inner[-1]
            if kind == 22:
                self.handshake += content
                if self.has_finished() and secret is handshake_secret:
                    secret, number = traffic_secret, 0
            elif kind == 23:
                self.application += content

    def messages(self):
        """Handshake messages: (type, body)."""
        at = 0
        while at + 4 <= len(self.handshake):
            length = int.from_bytes(self.handshake[at + 1:at + 4], "big")
            yield self.handshake[at], self.handshake[at + 4:at + 4 + length]
            at += 4 + length

    def has_finished(self):
        return any(kind == 20 for kind, _ in self.messages())

    def certificate(self):
        """The end-entity certificate, DER (RFC 8446 4.4.2)."""
        for kind, body in self.messages():
            if kind == 11:
                at = 1 + body[0] + 3
                length = int.from_bytes(body[at:at + 3], "big")
                return body[at + 3:at + 3 + length]
        return None

    def control(self):
        """Control messages: (type, body) (2.2)."""
        at = 0
        while at + 4 <= len(self.application):
            length = struct.unpack_from("!I", self.application, at)[0]
            yield cbor2.loads(self.application[at + 4:at + 4 + length])
            at += 4 + length


def export(secret, label, context, length, digest):
    """The TLS exporter (RFC 8446 7.5)."""
    empty = hashlib.new(digest, b"").digest()
    derived = expand_label(secret, label, empty, len(empty), digest)
    return expand_label(derived, b"exporter", hashlib.new(digest, context).digest(), length, digest)


def lane_secret(exporter, digest, direction, index, lane, site, certificate):
    """secret[0] of a lane (3)."""
    context = (bytes([direction]) + index.to_bytes(2, "big") + lane.to_bytes(3, "big")
               + bytes([len(site)]) + site + hashlib.sha256(certificate).digest())
    return export(exporter, b"EXPORTER-causeway-data-1", context, 32, digest)


def site_name(first):
    """The user name of a SCRAM client-first-message."""
    name = first.split(b",")[2]
    return name[2:].replace(b"=2C", b",").replace(b"=3D", b"=")


class Session:
    """The lanes agreed on in one TLS connection, by (lane ID, direction)."""

    def __init__(self, client, server, keys):
        self.lanes = {}
        random = client.hello()[2:34]
        secrets = keys[random]
        digest, key_length = SUITES[suite_of(server.hello())]
        client.decrypt(secrets["CLIENT_HANDSHAKE_TRAFFIC_SECRET"], secrets["CLIENT_TRAFFIC_SECRET_0"], digest, key_length)
        server.decrypt(secrets["SERVER_HANDSHAKE_TRAFFIC_SECRET"], secrets["SERVER_TRAFFIC_SECRET_0"], digest, key_length)
        sent, answered = dict(client.control()), dict(server.control())
        if OPEN not in sent or OPENED not in answered:
            return
        site, cipher = site_name(sent[LOGIN][5]), answered[WELCOME][7]
        self.port = answered[WELCOME][4]
        for direction, ids in ((TO_CLIENT, sent[OPEN][1]), (TO_SERVER, answered[OPENED][1])):
            for index, lane in enumerate(ids):
                secret = lane_secret(secrets["EXPORTER_SECRET"], digest, direction, index, lane, site,
                                     server.certificate())
                self.lanes[lane, direction] = Lane(secret, cipher)


def suite_of(server_hello):
    """The cipher suite: behind version, random and the echoed session ID."""
    at = 2 + 32
    at += 1 + server_hello[at]
    return struct.unpack_from("!H", server_hello, at)[0]


def read_pcap(path):
    with open(path, "rb") as file:
        data = file.read()
    order = {b"\xd4\xc3\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">"}[data[:4]]
    at = 24
    while at + 16 <= len(data):
        length = struct.unpack_from(order + "I", data, at + 8)[0]
        yield data[at + 16:at + 16 + length]
        at += 16 + length


def transport(frame):
    """(protocol, source, destination, ports and payload) of an IPv4 or IPv6 packet, else None."""
    kind = struct.unpack_from("!H", frame, 12)[0]
    if kind == 0x0800:
        header = 4 * (frame[14] & 15)
        total = struct.unpack_from("!H", frame, 16)[0]
        addresses = frame[26:30], frame[30:34]
        return frame[23], *map(ipaddress.ip_address, addresses), frame[14 + header:14 + total]
    if kind == 0x86DD:
        total = struct.unpack_from("!H", frame, 18)[0]
        addresses = frame[22:38], frame[38:54]
        return frame[20], *map(ipaddress.ip_address, addresses), frame[54:54 + total]
    return None


def tcp_streams(segments):
    """Reassembles TCP: {(source, port, destination, port): octets}."""
    streams = {}
    for (key, start), pieces in segments.items():
        out = bytearray()
        for sequence, octets in sorted(pieces.items(), key=lambda item: (item[0] - start) & 0xFFFFFFFF):
            offset = (sequence - start) & 0xFFFFFFFF
            if offset > len(out):
                break  # the capture misses a segment
            out += octets[len(out) - offset:]
        streams[key] = bytes(out)
    return streams


def read_keys(path):
    """{client random: {label: secret}}."""
    keys = defaultdict(dict)
    with open(path) as file:
        for line in file:
            words = line.split()
            if len(words) == 3:
                keys[bytes.fromhex(words[1])][words[0]] = bytes.fromhex(words[2])
    return keys


def decode(capture, keylog, tcp_port=443):
    """The inner frames of a capture, as a list of Inner, and how many records did not open."""
    segments, starts, datagrams = defaultdict(dict), {}, []
    for frame in read_pcap(capture):
        parsed = transport(frame)
        if parsed is None:
            continue
        protocol, source, destination, packet = parsed
        if protocol == 17:
            ports = struct.unpack_from("!HH", packet)
            datagrams.append((ports, packet[8:]))
        elif protocol == 6 and tcp_port in struct.unpack_from("!HH", packet):
            key = (source, *struct.unpack_from("!H", packet), destination, *struct.unpack_from("!H", packet, 2))
            sequence = struct.unpack_from("!I", packet, 4)[0]
            if packet[13] & 2:  # SYN
                starts[key] = sequence + 1 & 0xFFFFFFFF
            payload = packet[4 * (packet[12] >> 4):]
            if payload and key in starts:
                pieces = segments[key, starts[key]]
                if len(payload) > len(pieces.get(sequence, b"")):
                    pieces[sequence] = payload
    streams, keys = tcp_streams(segments), read_keys(keylog)
    lanes, data_ports = {}, set()
    for (source, port, destination, to_port), data in streams.items():
        back = streams.get((destination, to_port, source, port))
        client = TlsStream(data)
        if to_port != tcp_port or back is None or client.hello() is None or client.hello()[2:34] not in keys:
            continue
        session = Session(client, TlsStream(back), keys)
        if session.lanes:
            lanes.update(session.lanes)
            data_ports.add(session.port)
    damaged = 0
    for ports, datagram in datagrams:
        direction = TO_SERVER if ports[1] in data_ports else TO_CLIENT
        if len(datagram) < 24 or datagram[0] >> 4 != 1 or not data_ports & set(ports):
            continue
        lane = lanes.get((int.from_bytes(datagram[1:4], "big"), direction))
        if lane is None or not lane.open(datagram):
            damaged += 1
    inner = [Inner(lane, tunnel, frame) for lane, opened in lanes.items() for tunnel, frame in opened.frames()]
    return inner, damaged


if __name__ == "__main__":
    found, unopened = decode(*sys.argv[1:3])
    for (lane, direction), tunnel, frame in found:
        print(f"lane {lane:06x} {'to server' if direction == TO_SERVER else 'to client'} tunnel {tunnel:4} {frame.hex()}")
    print(f"{len(found)} blocks, {unopened} records that did not open", file=sys.stderr)
