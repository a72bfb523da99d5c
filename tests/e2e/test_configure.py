"""`configure` on a running appliance: candidates, commits that hold or go back, versions, and what goes wrong on the way."""

import json
import re
import socket
import subprocess
import threading
import time

import pytest

from lab import ROOT, Lab
from netns import sh
from tools import ping_times, pinging, wait_for_listener


class Console:
    """Asks an appliance as a console's session does."""

    def __init__(self, appliance, session="one"):
        self.appliance = appliance
        self.session = session

    def ask(self, line):
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(20)
            stream.connect(str(self.appliance.socket))
            stream.sendall(line.encode() + b"\n")
            answer = b""
            while chunk := stream.recv(65536):
                answer += chunk
                if answer.endswith(b"\n"):
                    break
        return json.loads(answer)

    def do(self, line):
        answer = self.ask(f"configure {self.session} {line}")
        assert "error" not in answer, f"{line}: {answer['error']}"
        return answer

    def fails(self, line):
        answer = self.ask(f"configure {self.session} {line}")
        assert "error" in answer, f"{line}: {answer}"
        return answer["error"]

    def versions(self):
        return self.ask("configure versions")["versions"]


def segments(lab):
    return {segment["segment"]: segment["mtu"] for segment in lab.a.show("segments")["segments"]}


def until(true, timeout=40.0, told=lambda: ""):
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, told()
        time.sleep(0.05)


@pytest.fixture(scope="module")
def lab():
    with Lab() as lab:
        # A disk of its own for the server's configuration, small enough to be filled.
        small = lab.directory / "small"
        small.mkdir()
        sh("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", small)
        try:
            text = lab.a.config.read_text().replace('"server.crt"', f'"{lab.directory}/server.crt"')
            lab.a.config = small / "a.toml"
            lab.a.config.write_text("# The first line.\n" + text.replace('"server.key"', f'"{lab.directory}/server.key"'))
            lab.start()
            until(lambda: ping_times(lab["a10"], "10.10.0.2", count=1))
            yield lab
        finally:
            if lab.a.running():
                lab.a.stop()
            sh("umount", small)


def test_a_commit_changes_what_it_says_and_nothing_else(lab):
    one = Console(lab.a)
    before = lab.a.config.read_text()
    with pinging(lab["a10"], "10.10.0.2") as result:
        one.do("set segment guests tunnel_id 12 mtu 1400")
        one.do("set segment guests attachment trunk0 vlan 12")
        one.do("set site branch description \"Branch office, 2nd floor\"")
        assert "guests" not in segments(lab) and lab.a.config.read_text() == before
        diff = one.do("compare")["text"]
        assert "+tunnel_id = 12\n" in diff and '+description = "Branch office, 2nd floor"\n' in diff
        assert "candidate is good" in one.do("check")["done"]
        one.do("commit")
        time.sleep(1)
    assert result["sent"] == result["received"] > 5, result
    assert segments(lab) == {"servers": 1500, "voice": 1500, "guests": 1400}
    text = lab.a.config.read_text()
    assert text.startswith("# The first line.\n") and text != before
    sh(lab.binary, "check", "-c", lab.a.config)
    assert [version["back"] for version in one.versions()] == [0, 1]
    assert "uid 0" in one.versions()[0]["note"]


def test_a_bad_commit_changes_nothing(lab):
    one = Console(lab.a)
    before, was = lab.a.config.read_text(), segments(lab)
    one.do("set segment guests tunnel_id 10")
    told = one.fails("commit")
    assert re.search(r"a\.toml:\d+: segment\[\d\].*tunnel ID of segment \"servers\" already", told), told
    one.do("discard")
    one.do("set port trunk0 device kernel:nothing")
    assert "cannot change while the appliance runs" in one.fails("commit")
    one.do("discard")
    one.do(f"set server certificate {lab.directory}/server.key")
    assert "wrong file" in one.fails("commit")
    one.do("discard")
    assert "unknown" in one.fails("set segment guests color red") or "there is no" in one.fails("set segment guests color red")
    assert "out of range" in one.fails("set segment guests mtu 10")
    assert "there is no \"frobnicate\"" in one.fails("frobnicate")
    one.do("discard")
    assert lab.a.config.read_text() == before and segments(lab) == was
    assert not list(lab.a.config.parent.glob(".*"))


def test_a_reload_that_the_system_refuses_changes_nothing(lab):
    """The configuration is good, but somebody else has the console's port: what could be done before that is not done either."""
    before = lab.a.config.read_text()
    hash = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGhhcyB0aGlz$5Y2YN4wJVMGYGFDPLTR5vPXRfJYQ7bYkpUWb7HHrNmE"
    other = lab["a"].popen("/usr/bin/python3", "-m", "http.server", "7777", "--bind", "127.0.0.1",
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_listener(lab["a"], 7777, timeout=30)
        lab.a.config.write_text(
            before + f'\n[console]\nlisten = "127.0.0.1:7777"\n[[console.user]]\nname = "ann"\nrole = "admin"\n'
            f'password_hash = "{hash}"\n[[server.share]]\nsni = "www.lab"\nto = "127.0.0.1:8443"\n')
        assert "cannot listen on TCP 127.0.0.1:7777" in Console(lab.a).ask("reload")["error"]
        assert lab.a.show("service", "l2vpn")["shared_port"] == []
        # Who comes now is still accepted.
        lab.b.stop()
        lab.b.start()
        lab.wait_up(30)
    finally:
        other.kill()
        other.wait()
        lab.a.config.write_text(before)


def fill(lab):
    """Fills the disk of the server's configuration; returns the file to remove."""
    filler = lab.a.config.with_name("filler")
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    return filler


def test_a_full_disk_loses_nothing_and_says_so(lab):
    one = Console(lab.a)
    before, was, count = lab.a.config.read_text(), segments(lab), len(one.versions())
    filler = fill(lab)
    try:
        one.do("set segment guests mtu 1300")
        told = one.fails("commit")
        assert "nothing has changed" in told and "No space left" in told
        assert lab.a.config.read_text() == before and segments(lab) == was and len(one.versions()) == count
        assert not list(lab.a.config.parent.glob(".*"))
    finally:
        filler.unlink()
    # The candidate is still there, and goes in once there is room.
    one.do("commit")
    assert segments(lab)["guests"] == 1300


def test_versions_come_back(lab):
    one = Console(lab.a)
    one.do("rollback 1")
    assert "mtu = 1400" in one.do("compare")["text"]
    one.do("commit")
    assert segments(lab)["guests"] == 1400
    one.do("rollback 2")
    one.do("commit")
    assert segments(lab)["guests"] == 1400
    assert "there is no version 99" in one.fails("rollback 99")
    # Hand edits go the same way.
    lab.a.config.write_text(lab.a.config.read_text().replace("mtu = 1400", "mtu = 1280"))
    sh(lab.binary, "reload", "--socket", lab.a.socket)
    assert segments(lab)["guests"] == 1280 and "hand (reload)" in one.versions()[0]["note"]
    one.do("rollback 1")
    one.do("commit")
    assert segments(lab)["guests"] == 1400
    history = lab.directory / "a.sock.state" / "history" / "a"
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in history.iterdir())


def test_two_operators_at_once(lab):
    one, two = Console(lab.a), Console(lab.a, "two")
    one.do("set segment guests mtu 1401")
    two.do("set segment voice mtu 1402")
    one.do("commit")
    assert two.do("compare")["outdated"]
    assert "`merge`" in two.fails("commit")
    two.do("merge")
    two.do("commit")
    assert segments(lab) == {"servers": 1500, "voice": 1402, "guests": 1401}
    one.do("set segment guests mtu 1403")
    two.do("set segment guests mtu 1404")
    one.do("commit")
    assert "changed here and by somebody else: segment guests mtu 1404" in two.fails("merge")
    two.do("discard")
    assert segments(lab)["guests"] == 1403


def shorten(lab, seconds=2):
    """Nobody waits a minute here: the note on the disk is brought forward, and read at the next start."""
    note = lab.a.config.with_name(".a.toml.unconfirmed")
    waits = json.loads(note.read_text())
    waits["until"] = int(time.time()) + seconds
    note.write_text(json.dumps(waits))


def test_a_commit_that_is_confirmed_stays(lab):
    one = Console(lab.a)
    one.do("set segment guests mtu 1500")
    assert "goes back by itself" in one.do("commit confirmed 1")["done"]
    assert segments(lab)["guests"] == 1500 and one.ask("configure versions")["unconfirmed_until"]
    assert "confirmed" in one.ask("configure confirm")["done"]
    assert not list(lab.a.config.parent.glob(".*"))
    assert "nothing to confirm" in one.ask("configure confirm")["error"]
    assert "1 to 1440 minutes" in one.fails("commit confirmed 0")


def test_a_commit_that_nobody_confirms_goes_back_across_a_restart(lab):
    one = Console(lab.a)
    before = lab.a.config.read_text()
    # The time is over while the appliance runs again.
    one.do("set segment guests mtu 1200")
    one.do("commit confirmed 1")
    lab.a.kill()
    shorten(lab, seconds=12)
    lab.start()
    assert segments(lab)["guests"] == 1200
    until(lambda: segments(lab)["guests"] == 1500, told=lab.a.log)
    assert lab.a.config.read_text() == before
    assert not list(lab.a.config.parent.glob(".*"))
    # The time is over while it does not run.
    one.do("set segment guests mtu 1200")
    one.do("commit confirmed 1")
    lab.a.kill()
    shorten(lab, seconds=-1)
    lab.start()
    assert segments(lab)["guests"] == 1500 and lab.a.config.read_text() == before
    # It was not even good any more.
    one.do("set segment guests mtu 1200")
    one.do("commit confirmed 1")
    lab.a.kill()
    lab.a.config.write_text("mode = ")
    lab.start()
    assert segments(lab)["guests"] == 1500 and lab.a.config.read_text() == before


def waits(lab):
    """The commit that waits for being confirmed, as the disk knows it."""
    note = lab.a.config.with_name(".a.toml.unconfirmed")
    return json.loads(note.read_text()) if note.exists() else None


def test_only_commit_and_confirm_confirm(lab):
    """What waits goes on to wait when other commits fail, or wait themselves, and when somebody reloads."""
    one = Console(lab.a)
    before = lab.a.config.read_text()
    one.do("set segment guests mtu 1210")
    one.do("commit confirmed 10")
    first = waits(lab)
    assert first["before"] == before
    # One that fails, with and without a time of its own.
    for commit in ("commit", "commit confirmed 20"):
        one.do("set port trunk0 device kernel:nothing")
        assert "cannot change while the appliance runs" in one.fails(commit)
        one.do("discard")
        assert waits(lab) == first and one.ask("configure versions")["unconfirmed_until"], commit
    # A second one has more time, and goes back just as far.
    one.do("set segment guests mtu 1220")
    one.do("commit confirmed 20")
    assert waits(lab)["before"] == before and waits(lab)["until"] > first["until"]
    # A reload says that something waits.
    lab.a.config.write_text(lab.a.config.read_text().replace("mtu = 1220", "mtu = 1230"))
    assert "not confirmed yet" in one.ask("reload")["done"]
    assert segments(lab)["guests"] == 1230 and waits(lab)["before"] == before
    lab.a.kill()
    shorten(lab, seconds=12)
    lab.start()
    assert segments(lab)["guests"] == 1230
    until(lambda: segments(lab)["guests"] == 1500, told=lab.a.log)
    until(lambda: lab.a.config.read_text() == before and not waits(lab), told=lab.a.log)


def test_a_way_back_that_fails_is_tried_again(lab):
    """A full disk, and a start on one: what was before is in force at once, and in the file when there is room."""
    one = Console(lab.a)
    before = lab.a.config.read_text()
    for seconds in (12, -1):
        one.do("set segment guests mtu 1240")
        one.do("commit confirmed 1")
        lab.a.kill()
        shorten(lab, seconds)
        filler = fill(lab)
        try:
            lab.start()
            until(lambda: segments(lab)["guests"] == 1500, told=lab.a.log)
            until(lambda: "No space left" in lab.a.log(), told=lab.a.log)
            assert "mtu = 1240" in lab.a.config.read_text() and waits(lab)
            assert "too late" in one.ask("configure confirm")["error"]
        finally:
            filler.unlink()
        until(lambda: lab.a.config.read_text() == before and not waits(lab), told=lab.a.log)
        assert segments(lab)["guests"] == 1500


def test_commits_under_traffic_lose_nothing(lab):
    """Twenty commits of one segment while another carries traffic; only so many versions are kept."""
    until(lambda: len(ping_times(lab["a10"], "10.10.0.2", count=1)) == 1)
    one = Console(lab.a)
    with pinging(lab["a10"], "10.10.0.2") as result:
        time.sleep(0.5)  # ping has begun
        for number in range(22):
            one.do(f"set segment guests mtu {1300 + number}")
            one.do("commit")
    assert result["sent"] == result["received"] > 5, result
    assert len(one.versions()) == 20


def test_the_page_can_be_typed_as_it_stands(lab):
    page = (ROOT / "docs" / "tasks" / "change-step-by-step.md").read_text()
    first, *lines = re.search(r"```\n(configure\n.*?)\n```", page, re.DOTALL)[1].splitlines()
    one = Console(lab.a, "page")
    try:
        for line in lines:
            one.do(line)
        assert "voice" not in segments(lab) and segments(lab)["guests"] == 1400
    finally:
        one.do("rollback 1")
        one.do("commit")


def test_many_candidates_and_bad_words(lab):
    """A candidate each for many sessions, and none for more: nobody else's is harmed."""
    sessions = [Console(lab.a, f"s{number}") for number in range(40)]
    answers = [console.ask(f"configure {console.session} set segment guests mtu 1234") for console in sessions]
    refused = [answer for answer in answers if "error" in answer]
    assert refused and all("too many candidates" in answer["error"] for answer in refused)
    threads = [threading.Thread(target=lambda c=console: c.ask(f"configure {c.session} discard")) for console in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one = Console(lab.a)
    for line in ("set", "set segment", "delete", "rollback x", "complete nonsense x", "show nowhere", "add segment guests mtu 4"):
        one.ask(f"configure one {line}")
    one.ask("configure one set " + "x" * 100_000)
    one.ask("configure one set segment \"\x1b[2J\" mtu 1300")
    one.do("discard")
    hints = {hint["word"]: hint for hint in one.do("complete segment guests")["hints"]}
    assert hints["mtu"]["literal"] and "octets" in hints["mtu"]["help"]
    one.do("discard")
    assert len(ping_times(lab["a10"], "10.10.0.2", count=2)) == 2
