"""Metrics over HTTP, the page, Prometheus, and word to systemd."""

import json
import os
import pathlib
import re
import socket
import subprocess
import time
import urllib.parse

import pytest

from browser import Browser
from lab import ROOT, Lab
from tools import ping_times
from tracing import held_thread

PORT = 9469
METRICS = "\n[metrics]\n"
GET = """
import http.client, json, sys
conn = http.client.HTTPConnection("127.0.0.1", 9469, timeout=10)
conn.request(sys.argv[1], sys.argv[2], headers=dict([sys.argv[3:]]) if sys.argv[3:] else {})
answer = conn.getresponse()
json.dump([answer.status, dict(answer.headers), answer.read().decode()], sys.stdout)
"""


@pytest.fixture(scope="module")
def lab():
    with Lab() as running:
        for appliance in (running.a, running.b):
            # At the end of the file: the table of the mode is the last of the lab's.
            appliance.config.write_text(appliance.config.read_text() + METRICS)
        running.start()
        yield running


def get(appliance, path, method="GET", *header):
    """Status, header fields and body of an answer."""
    return json.loads(appliance.namespace.run("/usr/bin/python3", "-c", GET, method, path, *header))


def metrics(appliance):
    """Every sample: name with labels to value."""
    status, _, body = get(appliance, "/metrics")
    assert status == 200
    samples = [line.rpartition(" ") for line in body.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in samples}


def wait_for(what, condition, timeout=15.0):
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout} s"
        time.sleep(0.1)
    return found


def test_metrics_are_of_good_form_and_true(lab):
    sent, trip = 'causeway_site_frames_total{site="branch",direction="transmit"}', 'causeway_site_round_trip_seconds{site="branch"}'
    before = metrics(lab.a)
    assert len(ping_times(lab["a10"], "10.10.0.2", count=10)) == 10

    def counted():
        found = metrics(lab.a)
        return found if found[sent] >= before[sent] + 10 and trip in found else None

    after = wait_for("the pings in the counters", counted)
    assert after['causeway_site_up{site="branch"}'] == 1
    assert after['causeway_segment_frames_total{segment="servers",from="lan"}'] >= 10
    assert after['causeway_sites{state="up"}'] == 1
    assert 0 < after[trip] < 1
    assert after['causeway_site_path_mtu_bytes{site="branch"}'] == 1500
    assert 29 * 86400 < after['causeway_certificate_not_after_timestamp_seconds{certificate="server"}'] - time.time() < 31 * 86400
    assert abs(after["causeway_start_time_seconds"] - time.time()) < 600
    assert after["process_open_fds"] > 5
    assert 'causeway_site_up{site="branch"}' in metrics(lab.b)
    for name, value in before.items():
        if name.partition("{")[0].endswith("_total"):
            assert after[name] >= value, name
    shown = lab.a.show("counters")["drops"]
    now = metrics(lab.a)
    assert {name for name in shown} == set(re.findall(r'causeway_drops_total\{reason="(\w+)"', "\n".join(now)))


def test_promtool_finds_nothing_to_complain_of(lab):
    for appliance in (lab.a, lab.b):
        _, _, body = get(appliance, "/metrics")
        checked = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True, text=True)
        assert checked.returncode == 0 and not checked.stderr + checked.stdout, checked.stderr + checked.stdout


def test_answers_say_what_is_wrong(lab):
    assert get(lab.a, "/nothing")[0] == 404
    assert get(lab.a, "/metrics", "POST")[0] == 405
    assert get(lab.a, "/metrics", "GET", "Host", "evil.example")[0] == 421
    status, fields, body = get(lab.a, "/metrics", "HEAD")
    assert (status, body) == (200, "") and int(fields["Content-Length"]) > 1000
    assert get(lab.a, "/metrics", "GET", "X-Long", "x" * 10000)[0] == 431


def test_bad_clients_harm_nobody(lab):
    """Garbage, silence by the dozen, and a reader that does not read; others are served meanwhile, and the tunnel goes on."""
    script = """
import os, socket, time
def connect():
    return socket.create_connection(("127.0.0.1", 9469), timeout=5)
with connect() as s:
    s.sendall(os.urandom(4000))
    s.recv(1000)
held = [connect() for _ in range(60)]
for s in held:
    s.sendall(b"GET /metrics HTTP/1.1\\r\\n")
slow = connect()
slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
slow.sendall(b"GET /metrics HTTP/1.1\\r\\n\\r\\n")
print("held", flush=True)
time.sleep(3)
"""
    with lab.a.namespace.popen("/usr/bin/python3", "-c", script, stdout=subprocess.PIPE, text=True) as held:
        assert held.stdout.readline() == "held\n"
        for _ in range(10):
            assert get(lab.a, "/metrics")[0] == 200
        assert len(ping_times(lab["a10"], "10.10.0.2", count=10)) == 10
    wait_for("the descriptors back", lambda: metrics(lab.a)["process_open_fds"] < 60, timeout=30)


def test_another_address_needs_a_word(lab):
    path = lab.directory / "exposed.toml"
    text = lab.a.config.read_text().replace(METRICS, '\n[metrics]\nlisten = "0.0.0.0:9469"\n')
    path.write_text(text)
    told = lab.a.namespace.run("sh", "-c", f"{lab.binary} check -c {path} 2>&1 || true")
    assert "metrics.listen" in told and "expose = true" in told
    path.write_text(text + "expose = true\n")
    assert "is good" in lab.a.namespace.run(lab.binary, "check", "-c", path)


def test_the_page_in_a_browser(lab):
    """Loaded whole, from here alone, without a word of the browser's; it fits narrow windows, and follows dark and light."""
    with Browser(lab["a"], lab.directory) as browser:
        for width in (1280, 360):
            browser.size(width, 900)
            browser.open(f"http://127.0.0.1:{PORT}/")
            assert not browser.complaints(), browser.complaints()
            assert all(url.startswith((f"http://127.0.0.1:{PORT}/", "data:")) for url in browser.requested())
            text = browser.value("document.body.innerText")
            for words in ("1 of 1 sites up", "branch", "servers", "trunk0 VLAN 10", "Traffic of all sites", "Dropped packets"):
                assert words in text, f"{words} is not in {text}"
            assert browser.value("document.documentElement.scrollWidth") <= width, "wider than the window"
            shown = browser.value("[...document.querySelectorAll('svg.topology')].map(x => x.getBoundingClientRect().width)")
            assert (shown[0] > 0) != (shown[1] > 0), "one drawing, the one that fits"
            if pictures := os.environ.get("CAUSEWAY_PICTURES"):
                browser.picture(pathlib.Path(pictures) / f"page-{width}.png")
        colours = []
        for dark in (False, True):
            browser.dark(dark)
            colours.append(browser.value("getComputedStyle(document.body).backgroundColor"))
        assert colours[0] != colours[1]
        browser.open(f"http://127.0.0.1:{PORT}/nothing")
        assert "there are / and /metrics" in browser.value("document.body.innerText")


def test_a_site_that_is_down_is_told_with_its_reason(lab):
    lab.b.stop()
    try:
        down = wait_for("the site down", lambda: metrics(lab.a)['causeway_site_up{site="branch"}'] == 0)
        _, _, body = get(lab.a, "/")
        assert down and "0 of 1 sites up" in body and "the site ended the session" in body
    finally:
        lab.b.start()
        lab.wait_up()
    wait_for("the site up", lambda: metrics(lab.a)['causeway_site_up{site="branch"}'] == 1)


def ask_prometheus(lab, path):
    script = ("import sys, urllib.request\n"
              "print(urllib.request.urlopen('http://127.0.0.1:9090/api/v1/' + sys.argv[1], timeout=10).read().decode())")
    answer = json.loads(lab["a"].run("/usr/bin/python3", "-c", script, path, check=False) or "{}")
    return answer.get("data")


def test_prometheus_scrapes_queries_and_loads_the_rules(lab):
    shipped = ROOT / "appliance-config" / "prometheus"
    tested = subprocess.run(["promtool", "test", "rules", shipped / "causeway.rules.test.yml"], capture_output=True, text=True)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    config = (shipped / "prometheus.yml").read_text().replace("15s", "1s")
    path = lab.directory / "prometheus.yml"
    path.write_text(config)
    (lab.directory / "causeway.rules.yml").write_text((shipped / "causeway.rules.yml").read_text())
    log = (lab.directory / "prometheus.log").open("wb")
    prometheus = lab["a"].popen(
        "prometheus", f"--config.file={path}", f"--storage.tsdb.path={lab.directory}/tsdb",
        "--web.listen-address=127.0.0.1:9090", stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        def sample(query):
            found = ask_prometheus(lab, "query?query=" + urllib.parse.quote(query))
            return [float(result["value"][1]) for result in (found or {"result": []})["result"]]

        assert wait_for("a scrape", lambda: sample('up{job="causeway"} == 1')) == [1]
        assert wait_for("the site", lambda: sample('causeway_site_up{site="branch"}')) == [1]
        query = 'sum(rate(causeway_worker_polls_total[10s]))'
        assert wait_for("a rate", lambda: sample(query))[0] >= 0
        errors = lambda: [target["lastError"] for target in ask_prometheus(lab, "targets")["activeTargets"]]  # noqa: E731
        wait_for("scrapes without an error", lambda: errors() == [""])
        rules = [rule for group in ask_prometheus(lab, "rules")["groups"] for rule in group["rules"]]
        assert len(rules) == (shipped / "causeway.rules.yml").read_text().count("- alert:")
        health = lambda: [rule["health"] for group in ask_prometheus(lab, "rules")["groups"] for rule in group["rules"]]  # noqa: E731
        wait_for("the rules", lambda: health() == ["ok"] * len(rules))
        panels = json.loads((ROOT / "appliance-config" / "grafana" / "causeway.json").read_text())["panels"]
        queries = [target["expr"] for panel in panels for target in panel.get("targets", [])]
        for query in queries:
            asked = query.replace("$__rate_interval", "1m").replace("$instance", ".*").replace("$site", ".*").replace("$segment", ".*")
            assert ask_prometheus(lab, "query?query=" + urllib.parse.quote(asked)) is not None, query
    finally:
        prometheus.terminate()
        prometheus.wait(20)
        log.close()


def test_systemd_is_told(lab):
    """Ready when frames can cross, a sign of life for the watchdog, reloading with a time, stopping."""
    path = lab.directory / "notify"
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(str(path))
    receiver.settimeout(20)

    def until(word):
        told = []
        while not told or not any(line.startswith(word) for line in told[-1].splitlines()):
            told.append(receiver.recv(4096).decode())
        return told[-1], told

    lab.a.stop()
    log = lab.a.log_path.open("ab")
    environment = {**os.environ, "NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "2000000"}
    lab.a.process = lab["a"].popen(lab.binary, "run", "-c", lab.a.config, start_new_session=True, env=environment,
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        until("READY=1")
        assert lab.a.show("service", "l2vpn")["mode"] == "server"
        until("WATCHDOG=1")
        until("STATUS=1 of 1 sites are up")
        lab.wait_up()
        lab.a.namespace.run(lab.binary, "reload", "--socket", lab.a.socket)
        reloading, _ = until("RELOADING=1")
        told = int(re.search(r"MONOTONIC_USEC=(\d+)", reloading)[1])
        assert abs(told / 1e6 - time.clock_gettime(time.CLOCK_MONOTONIC)) < 30
        until("READY=1")
        stopped_worker(lab, receiver)
        lab.a.process.terminate()
        until("STOPPING=1")
        lab.a.process.wait(10)
    finally:
        receiver.close()
        if not lab.a.running():
            lab.a.start()
        lab.wait_up()


def stopped_worker(lab, receiver):
    """While one worker is held, the watchdog hears nothing, and metrics say so; the control thread goes on."""
    tasks = pathlib.Path(f"/proc/{lab.a.process.pid}/task")
    worker = next(int(task.name) for task in tasks.iterdir() if (task / "comm").read_text() == "worker-0\n")
    with held_thread(worker):
        time.sleep(2)  # what was seen a moment ago still counts for half of the interval
        receiver.setblocking(False)
        while True:
            try:
                receiver.recv(4096)
            except BlockingIOError:
                break
        receiver.settimeout(3)
        with pytest.raises(TimeoutError):
            while b"WATCHDOG=1" not in receiver.recv(4096):
                pass
        wait_for("the alarm", lambda: metrics(lab.a)['causeway_worker_stalled{worker="0"}'] == 1)
        assert "the worker makes no progress" in lab.a.log()
    receiver.settimeout(20)
    while b"WATCHDOG=1" not in receiver.recv(4096):
        pass
    wait_for("the end of the alarm", lambda: metrics(lab.a)['causeway_worker_stalled{worker="0"}'] == 0)
