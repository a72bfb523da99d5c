"""The end-to-end scenario: tunnels side by side in the same topology and the same run, in turn.

    run.py [--quick] [--peers plain,causeway,softether,...] [--repeat N] [--json FILE]

Without --peers: plain forwarding and Causeway. install-peers.sh installs the others.
"""

import argparse
import json
import pathlib
import statistics
import sys
import time

from topology import HOST_B, Topology
from variants import VARIANTS, is_available

import measure

COLUMNS = [  # key, title, unit, better
    ("tcp", "TCP", "Gbit/s", "higher"), ("tcp_reverse", "TCP back", "Gbit/s", "higher"),
    ("cpu", "CPU", "s/GB", "lower"), ("small", "64 B", "kpps", "higher"),
    ("udp", "UDP 1400 flood", "Gbit/s", "higher"), ("udp_loss", "its loss", "%", "lower"),
    ("ping_us", "ping", "us", "lower"), ("ping_p99_us", "p99", "us", "lower"),
    ("load_ping_ms", "ping under TCP", "ms", "lower"), ("load_ping_p99_ms", "p99 under TCP", "ms", "lower"),
    ("wire", "WAN octets a 1514 frame", "", "lower"), ("memory", "memory", "MB", "lower"),
]


def wait_for_ping(topology, timeout=40.0):
    deadline = time.monotonic() + timeout
    while "1 received" not in topology["ha"].run("ping", "-n", "-c", 1, "-W", 1, HOST_B, check=False):
        if time.monotonic() > deadline:
            logs = "".join(path.read_text(errors="replace")[-500:] for path in topology.directory.glob("*.log"))
            raise RuntimeError(f"no ping through the tunnel\n{logs}")


def one_turn(name, quick):
    with Topology() as topology:
        VARIANTS[name](topology)
        wait_for_ping(topology)
        if name == "causeway-spin":
            # Two polling appliances leave a machine of two cores nothing to run hosts on: only the idle ping means something.
            median, p99 = measure.pings(topology)
            return {"ping_us": median, "ping_p99_us": p99}
        return measure.turn(topology, quick)


def value(samples):
    ordered = sorted(samples)
    quarter = (len(ordered) - 1) / 4
    def at(place):
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
    return {"median": statistics.median(ordered), "q1": at(quarter), "q3": at(3 * quarter), "n": len(samples), "samples": samples}


def goals(rows):
    """What the figures say about the project's goals, in words."""
    figures = {row["id"]: {key: one["median"] for key, one in row["values"].items()} for row in rows}
    ours = figures.get("causeway")
    others = {name: of for name, of in figures.items() if not name.startswith(("causeway", "plain")) and "tcp" in of}
    if not ours or "tcp" not in ours:
        return []
    lines = [f"ping under TCP load, p99: {ours['load_ping_p99_ms']:.1f} ms (goal: below 3)",
             f"idle ping, adaptive: median {ours['ping_us']:.0f} us (goal: below 400)"]
    if "causeway-spin" in figures:
        lines.append(f"idle ping, spin: median {figures['causeway-spin']['ping_us']:.0f} us (goal: below 100)")
    if others:
        best = max(others, key=lambda name: others[name]["tcp"])
        thrifty = min(others, key=lambda name: others[name]["cpu"])
        quick = max(others, key=lambda name: others[name]["small"])
        lines += [f"TCP: {ours['tcp'] / others[best]['tcp']:.1f} x {best}, the best peer (goal: 3)",
                  f"CPU a GB: {ours['cpu'] / others[thrifty]['cpu']:.2f} of {thrifty}'s, the best peer (goal: 0.33)",
                  f"64 B: {ours['small'] / others[quick]['small']:.1f} x {quick}, the best peer (goal: 1.5)"]
    return lines


def print_table(rows):
    for row in rows:
        cells = [f"{title} {row['values'][key]['median']:.4g} {unit}".strip()
                 for key, title, unit, _ in COLUMNS if key in row["values"]]
        print(f"{row['id']:<20} " + ", ".join(cells))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peers", default="plain,causeway")
    parser.add_argument("--repeat", type=int)
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    names = [name for name in arguments.peers.split(",") if name]
    unknown = [name for name in names if name not in VARIANTS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(VARIANTS)}")
    notes = [f"{name} is not installed and was left out: perf/e2e/install-peers.sh" for name in names if not is_available(name)]
    names = [name for name in names if is_available(name)]
    samples = {name: {} for name in names}
    repeat = arguments.repeat or (1 if arguments.quick else 3)
    for number in range(repeat):
        for name in names:
            print(f"turn {number + 1} of {repeat}: {name}", file=sys.stderr, flush=True)
            try:
                for key, figure in one_turn(name, arguments.quick).items():
                    samples[name].setdefault(key, []).append(figure)
            except Exception as error:  # one tunnel that breaks down does not end the run
                notes.append(f"{name}, turn {number + 1}: {error}")
                print(f"  {error}", file=sys.stderr)
    rows = [{"id": name, "labels": {"tunnel": name}, "values": {key: value(of) for key, of in samples[name].items()}}
            for name in names]
    notes += goals(rows)
    if arguments.json:
        columns = [dict(zip(("key", "title", "unit", "better"), column)) for column in COLUMNS]
        title = "two sites in namespaces, hosts' offloads at their defaults, WAN MTU 1500"
        arguments.json.write_text(json.dumps({"name": "end-to-end", "title": title, "columns": columns, "rows": rows, "notes": notes}))
    else:
        print_table(rows)
        print("\n".join(notes))


if __name__ == "__main__":
    main()
