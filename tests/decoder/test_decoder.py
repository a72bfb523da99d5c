"""The decoder agrees with the vectors, which another implementation made, and undoes what the text says."""

import json
import pathlib
import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from decoder import Lane, expand_label, nonce

VECTORS = pathlib.Path(__file__).resolve().parents[2] / "crates/record/tests/vectors.json"


def seal(secret, phase, number, plaintext, lane=7):
    for _ in range(phase):
        secret = expand_label(secret, b"next", b"", 32)
    header = bytes([0x10 | phase & 15]) + lane.to_bytes(3, "big") + (number & 0xFFFFFFFF).to_bytes(4, "big")
    key, iv = expand_label(secret, b"key", b"", 16), expand_label(secret, b"iv", b"", 12)
    return header + AESGCM(key).encrypt(nonce(iv, number), plaintext, header)


def block(first, last, tunnel, octets):
    return struct.pack("!HH", first << 15 | last << 14 | tunnel, len(octets)) + octets


def test_vectors():
    for vector in json.loads(VECTORS.read_text()):
        lane = Lane(bytes.fromhex(vector["secret"]), vector["cipher"])
        for number in (0, 1):
            assert lane.open(bytes.fromhex(vector[f"record_{number}"]))
            assert lane.records[number].hex() == vector["plaintext"]


def test_numbers_go_over_32_bits_and_phases_over_16():
    secret = bytes(32)
    lane = Lane(secret, 1)
    lane.top = 2**32 - 2
    assert lane.open(seal(secret, 0, 2**32 - 1, b"a"))
    assert lane.open(seal(secret, 1, 2**32 + 3, b"b"))
    assert lane.open(seal(secret, 0, 2**32, b"c"))
    assert sorted(lane.records) == [2**32 - 1, 2**32, 2**32 + 3]
    for phase in range(2, 20):
        assert lane.open(seal(secret, phase, 2**32 + 10 + phase, b"d"))
    assert not lane.open(seal(secret, 28, 2**32 + 40, b"e"))
    assert lane.open(seal(secret, 27, 2**32 + 40, b"e"))
    assert not lane.open(seal(secret, 25, 2**32 + 41, b"f"))


def test_frames_span_records_and_a_lost_one_costs_what_it_touched():
    secret, big = bytes(32), bytes(range(256)) * 4
    records = [
        block(1, 1, 5, b"one") + block(1, 0, 6, big[:100]),
        block(0, 0, 6, big[100:600]),
        block(0, 1, 6, big[600:]) + block(1, 1, 7, b"two") + block(1, 0, 8, b"thr"),
        block(0, 1, 8, b"ee"),
    ]
    sealed = [seal(secret, 0, number, record) for number, record in enumerate(records)]

    def frames(numbers):
        lane = Lane(secret, 1)
        assert all(lane.open(sealed[number]) for number in numbers)
        return list(lane.frames())

    assert frames([3, 1, 0, 2]) == [(5, b"one"), (6, big), (7, b"two"), (8, b"three")]
    assert frames([0, 2, 3]) == [(5, b"one"), (7, b"two"), (8, b"three")]
    assert frames([0, 1, 3]) == [(5, b"one")]
