"""Sends what a well-behaved stack does not; runs inside a namespace (see tools.inject).

    inject.py frames INTERFACE                  frames from stdin, one a line in hexadecimal
    inject.py flood INTERFACE FRAME             the frame over and over, 2,000 a second, until it is ended; a line when it has begun
    inject.py datagrams ADDRESS PORT COUNT SEED random UDP datagrams; prints how many answers came
"""

import random
import socket
import sys
import time


def frames(interface):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((interface, 0))
        for line in sys.stdin:
            raw.send(bytes.fromhex(line))


def flood(interface, frame):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((interface, 0))
        raw.send(bytes.fromhex(frame))
        print("began", flush=True)
        while True:
            for _ in range(10):
                raw.send(bytes.fromhex(frame))
            time.sleep(0.005)


def datagrams(address, port, count, seed):
    """An answer is a datagram, or an ICMP error, which a connected socket reports as refused."""
    chance = random.Random(seed)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    answers = 0
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        udp.connect((address, port))
        for _ in range(count):
            answers += attempt(udp.send, chance.randbytes(chance.randrange(0, 1400)))
            answers += attempt(udp.recv, 2048, socket.MSG_DONTWAIT)
        udp.settimeout(0.5)
        answers += attempt(udp.recv, 2048)
    print(answers)


def attempt(call, *arguments):
    """Calls and returns 1 when that shows an answer."""
    try:
        return 1 if isinstance(call(*arguments), bytes) else 0
    except ConnectionRefusedError:
        return 1
    except (BlockingIOError, TimeoutError):
        return 0


if __name__ == "__main__":
    mode, *rest = sys.argv[1:]
    if mode == "frames":
        frames(*rest)
    elif mode == "flood":
        flood(*rest)
    else:
        datagrams(rest[0], *map(int, rest[1:]))
