"""The admin console by real telnet, by nc and by `causeway console`: editing, help, roles, logins, and what it withstands while traffic flows."""

import json
import os
import re
import socket
import tarfile
import time

import pexpect
import pytest
from scapy.all import Dot1Q, Ether

from lab import Lab
from netns import sh
from tools import inject, ping_times, pinging, wait_until

PORT = 2323
PASSWORDS = {"ann": "correct horse", "otto": "battery staple"}
PROMPT = r"[\w.-]+(\(config\))?[#>] "


@pytest.fixture(scope="module")
def lab():
    with Lab() as running:
        users = ""
        for name, role in (("ann", "admin"), ("otto", "operator")):
            password = sh(running.binary, "passwd", "--console", input=PASSWORDS[name] + "\n").strip()
            users += f'[[console.user]]\nname = "{name}"\nrole = "{role}"\npassword_hash = "{password}"\n'
        config = running.a.config.read_text()
        running.a.config.write_text(f'{config}\n[console]\nlisten = "127.0.0.1:{PORT}"\nmax_sessions = 20\n{users}')
        running.start()
        yield running


def terminal(lab, *command, rows=40):
    """A program on a pseudo-terminal in the server's namespace."""
    words = lab.a.namespace.command(*command) if hasattr(lab.a.namespace, "command") else [
        "ip", "netns", "exec", lab.a.namespace.name, *map(str, command)]
    child = pexpect.spawn(words[0], words[1:], encoding="utf-8", codec_errors="replace", timeout=30,
                          dimensions=(rows, 120), env={**os.environ, "TERM": "xterm"})
    child.delaybeforesend = None
    return child


def console(lab, rows=40):
    child = terminal(lab, lab.binary, "console", "--socket", lab.a.socket, rows=rows)
    child.expect(PROMPT)
    return child


def telnet(lab, user, rows=40):
    child = terminal(lab, "telnet", "127.0.0.1", PORT, rows=rows)
    child.expect("Login: ")
    child.send(f"{user}\r")
    child.expect("Password: ")
    child.send(f"{PASSWORDS[user]}\r")
    child.expect(PROMPT)
    return child


def plain(text):
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text).replace("\r", "")


def run(child, line):
    """What a command shows."""
    child.send(f"{line}\r")
    child.expect(r"\n")
    child.expect(PROMPT)
    return plain(child.before)


def line_mode(lab, text):
    """What a script gets that only pipes text."""
    return sh("ip", "netns", "exec", lab.a.namespace.name, "nc", "-N", "-U", lab.a.socket, input="console\n" + text, timeout=30)


def test_a_terminal_on_the_unix_socket(lab):
    child = console(lab)
    assert "branch" in run(child, "show service l2vpn")
    assert re.search(r"\d+ lines", run(child, "sh por | count"))
    assert json.loads(run(child, "show ports | json"))["ports"]
    assert "servers" not in run(child, "show segments | exclude servers")
    child.send("show mac-table segment v\t\r")
    child.expect("addresses, room for")
    child.expect(PROMPT)
    child.send("show service ?")
    child.expect("l2vpn +The L2 VPN service")
    child.send("\x10\x10\x15show versoin\x17wersion\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\x7fv\r")
    child.expect("uptime s")
    child.expect(PROMPT)
    assert "incomplete" in run(child, "show") and "unknown" in run(child, "shwo ports")
    child.send("exit\r")
    child.expect(pexpect.EOF)


def test_top_draws_what_crosses_and_ends_by_a_key(lab):
    child = terminal(lab, lab.binary, "top", "--socket", lab.a.socket)
    with pinging(lab["a10"], "10.10.0.2", 0.05):
        child.expect("1 of 1 sites up")
        child.expect(r"branch +up .* [1-9][\d.]* k?bit/s")
    child.send("q")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0


def test_tech_support_is_one_archive_without_secrets(lab, tmp_path):
    archive = tmp_path / "support.tar"
    sh(lab.binary, "tech-support", "-w", archive, "--socket", lab.a.socket)
    with tarfile.open(archive) as opened:
        files = {member.name: opened.extractfile(member).read().decode() for member in opened.getmembers()}
        assert all(abs(member.mtime - time.time()) < 600 for member in opened.getmembers())
    parts = ("configuration", "counters", "sessions", "alarms", "certificate", "debug", "loops", "neighbours", "privileges",
             "service-l2vpn-bridge", "log-limit-1000")
    assert {f"causeway/{part}.{end}" for part in parts for end in ("json", "txt")} <= files.keys()
    assert not [name for name, text in files.items() if '"error":' in text.split("\n", 2)[1]]
    config = lab.a.config.read_text()
    secrets = re.findall(r'(?:verifier|password_hash) = "(.*)"', config)
    assert len(secrets) == 3 and not [name for name, text in files.items() for secret in secrets if secret in text]
    assert "branch" in files["causeway/configuration.txt"]


def test_a_console_beyond_the_machine_wants_tls_and_shows_its_certificate():
    """Without TLS the configuration is refused; with it the client pins the certificate, and another fingerprint is told."""
    with Lab() as lab:
        password = sh(lab.binary, "passwd", "--console", input=PASSWORDS["ann"] + "\n").strip()
        config = lab.a.config.read_text()
        listen = f'\n[console]\nlisten = "192.0.2.1:{PORT}"\nmax_sessions = 1\n'
        lab.a.config.write_text(config + listen)
        with pytest.raises(Exception, match="tls"):
            sh(lab.binary, "check", "-c", lab.a.config)
        lab.a.config.write_text(
            f'{config}{listen}tls = true\ncertificate = "server.crt"\nkey = "server.key"\n'
            f'[[console.user]]\nname = "ann"\nrole = "admin"\npassword_hash = "{password}"\n')
        lab.start()
        where = ("console", "--connect", f"192.0.2.1:{PORT}", "--tls", "--fingerprint")
        child = terminal(lab, lab.binary, *where, lab.certificate())
        child.expect("Login: ")
        child.send("ann\r")
        child.expect("Password: ")
        child.send(f"{PASSWORDS['ann']}\r")
        child.expect(PROMPT)
        assert "branch" in run(child, "show service l2vpn")
        late = terminal(lab, lab.binary, *where, lab.certificate())
        late.expect("all 1 consoles that come over TCP .* are in use: try again later")
        late.expect(pexpect.EOF)
        child.close()
        with pytest.raises(Exception, match="fingerprint"):
            lab["a"].run(lab.binary, *where, "0" * 64, input="")


def test_long_answers_come_in_pages(lab):
    child = console(lab, rows=10)
    child.send("show counters | json\r")
    child.expect("--More--")
    child.send(" ")
    child.expect("--More--")
    child.send("q")
    child.expect(PROMPT)
    run(child, "terminal length 0")
    assert "--More--" not in run(child, "show counters | json")
    child.close()


def test_every_show_answers_people_and_programs(lab):
    shows = ["service l2vpn", "service l2vpn bridge", "service l2vpn conversion-table", "service l2vpn trunk-table",
             "service l2vpn site branch", "service l2vpn statistics", "configuration", "configuration l2vpn", "ports",
             "alarms", "neighbours", "privileges", "queues", "segments", "mac-table", "mac-table segment servers limit 5", "sessions", "sessions branch",
             "counters", "drops", "loops", "workers", "certificate", "consoles", "debug", "log", "log level warn limit 5",
             "top", "version", "tech-support"]
    for words in shows:
        text = sh(lab.binary, "show", *words.split(), "--socket", lab.a.socket)
        assert isinstance(lab.a.show(*words.split()), dict), words
        assert "verifier" not in text or "***" in text, words
    assert "List of learned MAC addresses" in sh(lab.binary, "show", "service", "l2vpn", "bridge", "--socket", lab.a.socket)
    rows = lab.b.show("service", "l2vpn", "conversion-table")["rows"]
    assert {(row["tunnel_id"], row["id"], row["type"]) for row in rows} == {(10, "5010", "VXLAN"), (11, "111", "VLAN")}
    # One site has the same keys wherever it is shown.
    (site,) = lab.a.show("service", "l2vpn")["sites"]
    assert site["index"] == 1 and site["interface"] == "wan" and site["established"].endswith("Z") and site["description"] == ""
    beside = {"egress_gateways", "max_macs", "storm_control", "enabled_in_configuration"}
    assert lab.a.show("service", "l2vpn", "site", "branch").keys() == site.keys() | beside
    sessions = lab.a.show("sessions")["sessions"]
    assert sessions[0].keys() == site.keys() | {"keys_age_s", "lanes", "loss_percent"}
    assert sessions[0]["lanes"] == 1 and sessions[0]["keys_age_s"] >= 0 and sessions[0]["transport"] == "udp"
    # There are rates as soon as two readings are there.
    deadline = time.monotonic() + 10
    while (idle := lab.a.show("workers")["workers"][0]["idle_percent"]) is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert idle is not None and 0 <= idle <= 100


def test_telnet_users_and_roles(lab):
    ann, otto = telnet(lab, "ann"), telnet(lab, "otto")
    assert "needs the role admin" in run(otto, "clear counters")
    assert "needs the role admin" in run(otto, "configure")
    assert "branch" in run(otto, "show service l2vpn")
    assert "shown from now on" in run(ann, "clear counters")
    consoles = run(ann, "show consoles")
    assert "otto" in consoles and "operator" in consoles
    run(ann, "terminal length 0")
    log = run(ann, "show log limit 50")
    assert "clear counters" in log and "needs the role admin" in log, "every command is in the log"
    for user, command, result in (("ann", "clear counters", "done"), ("otto", "clear counters", "[^\n]*needs the role admin")):
        entry = rf"user\W+{user}\W+from\W+127\.0\.0\.1:\d+\W+command\W+{command}\W+result\W+{result}"
        assert re.search(entry, plain(lab.a.log())), entry
    # Values of secrets are in no entry, however the command is written; and every command has a result.
    run(ann, "configure")
    for line in ("set client password correct hunter2", "set client pasword hunter2", "set site branch verifier hunter2", "discard"):
        run(ann, line)
    assert "hunter2" not in lab.a.log() and "set client pasword" in lab.a.log()
    ann.send("exit\r")
    ann.expect(PROMPT)
    ann.send("capture lines port trunk0 arp\r")
    ann.expect("capture lines")
    deadline = time.monotonic() + 20
    while not re.search(r"command\W+capture lines port trunk0 arp\W+result\W+asked", plain(lab.a.log())):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    ann.send("\x03")
    ann.expect(PROMPT)
    ann.send("exit\r")
    ann.expect(pexpect.EOF)
    while not re.search(r"command\W+capture lines port trunk0 arp\W+result\W+cancelled", plain(lab.a.log())):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    sh(lab.binary, "clear", "counters", "--socket", lab.a.socket)
    assert re.search(r"user\W+uid 0\W+from\W+local\W+command\W+clear counters\W+result\W+done", plain(lab.a.log()))
    otto.send("exit\r")
    otto.expect(pexpect.EOF)


def test_a_capture_ends_with_the_terminal(lab):
    going_on = lambda: lab.a.show("consoles")["captures"]
    for way in ("key", "closed"):
        child = console(lab)
        child.send("capture lines port trunk0 host 192.0.2.99\r")
        wait_until(lambda: going_on() == 1, "it has begun", 30)
        if way == "key":
            child.send("\x04")
            child.expect(pexpect.EOF)
        else:
            child.close()
        wait_until(lambda: going_on() == 0, "nothing is left of it", 30)


def test_frames_and_filters_are_completed_word_by_word(lab):
    wait_until(lambda: ping_times(lab["a10"], "10.10.0.2", count=1), "their addresses are learned", 30)
    child = console(lab)
    child.send("explain seg\tser\tsrc ?")
    child.expect(r"<MAC>.*\n +..:..:..:..:..:..")
    child.send("02:00:00:00:00:71 ds\tff:ff:ff:ff:ff:ff fr\t?")
    child.expect("<NAME>.*\n +branch")
    child.send("branch ?")
    child.expect("size +How long.*<cr>")
    child.send("\r")
    child.expect("flooded to")
    child.expect(PROMPT)
    assert 'unknown "hots"; here: not' in run(child, "capture lines port trunk0 hots 1.2.3.4")
    assert "incomplete; next: dst" in run(child, "explain segment servers src 02:00:00:00:00:71")
    run(child, "configure")
    run(child, "set seg guests tun 77")
    assert "+tunnel_id = 77" in run(child, "compare")
    run(child, "discard")
    child.close()


def test_what_was_learned_and_counted_is_forgotten(lab):
    macs = [f"02:00:00:00:00:{last}" for last in ("71", "72", "73")]
    learned = lambda: {entry["mac"] for entry in lab.a.show("mac-table", "limit", "1000")["entries"]} & set(macs)
    vlans = (10, 10, 11)
    frames = [Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / Dot1Q(vlan=vlan, type=0x88B5) / bytes(46) for mac, vlan in zip(macs, vlans)]
    inject(lab["a-lan"], "trunk", frames)
    wait_until(lambda: learned() == set(macs), "they are learned", 30)
    child = console(lab)
    assert "1 addresses are forgotten" in run(child, f"clear mac-table mac {macs[0]}")
    assert learned() == set(macs[1:])
    assert "addresses are forgotten" in run(child, "clear mac-table segment voice")
    assert learned() == {macs[1]}
    assert "addresses are forgotten" in run(child, "clear mac-table")
    assert learned() == set()
    assert "no segment" in run(child, "clear mac-table segment nowhere")
    assert len(ping_times(lab["a10"], "10.10.0.2", count=2)) == 2, "they are learned anew"
    # Counters: what is shown begins anew, for all who look.
    unknown = lambda: lab.a.show("counters")["drops"]["unknown_vlan"]
    before = unknown()
    inject(lab["a-lan"], "trunk", [Ether(src=macs[0], dst="ff:ff:ff:ff:ff:ff") / Dot1Q(vlan=77, type=0x88B5) / bytes(46)])
    wait_until(lambda: unknown() > before, "it is counted", 30)
    assert "shown from now on" in run(child, "clear counters")
    assert unknown() == 0 and lab.a.show("counters")["counted_s"] < 30
    child.close()


def test_debug_is_on_until_it_is_off_whoever_goes(lab):
    child = console(lab)
    assert "for 3 min" in run(child, "debug control tr min 3")
    assert "control=trace" in run(child, "show debug")
    child.close()
    shown = lab.a.show("debug")
    assert shown["debug"] == ["control=trace"] and 0 < shown["ends_in_s"] <= 180, "it does not end with the console"
    child = console(lab)
    assert "not one of error, warn, info, debug, trace" in run(child, "debug control loud")
    assert "normally" in run(child, "debug off")
    assert lab.a.show("debug")["debug"] == []
    child.close()


def test_queues_have_their_counters(lab):
    ping_times(lab["a10"], "10.10.0.2", count=3)
    for port in lab.a.show("queues")["ports"]:
        (queue,) = port["queues"]
        assert port["note"] is None and queue["queue"] == 0
        assert queue["rx_frames"] >= 3 and queue["tx_octets"] > 200, port
        # The socket sees super-frames whole, and what the worker has not taken yet.
        assert queue["device"]["rx_packets"] > 0 and queue["device"]["rx_dropped"] >= 0, port
    child = console(lab)
    shown = run(child, "show queues")
    assert re.search(r"trunk0 +kernel", shown) and "rx dropped" in shown and "commands" in shown
    child.close()


def test_two_who_configure_know_of_each_other(lab):
    """One user twice has one candidate; two users have one each, and the second undoes nothing of the first."""
    ann, again, owner = telnet(lab, "ann"), telnet(lab, "ann"), console(lab)
    assert "! " not in run(ann, "configure")
    assert re.search(r"! ann from 127\.0\.0\.1:\d+, since 2\S+.* same candidate", run(again, "configure"))
    assert run(owner, "configure").count("! ann from 127.0.0.1:") == 2
    run(again, "exit")
    run(ann, "set segment voice mtu 1401")
    run(owner, "set segment servers mtu 1402")
    assert re.search(r"! uid-0 from local, since .* has to merge", run(ann, "commit"))
    assert "`merge`" in run(owner, "commit")
    mtus = lambda: {segment["segment"]: segment["mtu"] for segment in lab.a.show("segments")["segments"]}
    assert mtus() == {"servers": 1500, "voice": 1401}, "the first is as it was committed"
    run(owner, "merge")
    run(owner, "commit")
    assert mtus() == {"servers": 1402, "voice": 1401}
    # Who commits confirms what waits, and is told.
    run(ann, "set segment voice mtu 1500")
    run(ann, "commit confirmed 10")
    run(owner, "set segment servers mtu 1500")
    assert "the commit of ann from 127.0.0.1" in run(owner, "commit")
    assert "nothing to confirm" in run(owner, "confirm") and mtus() == {"servers": 1500, "voice": 1500}
    for child in (ann, again, owner):
        child.close()


def test_sites_are_switched_and_sessions_begin_anew(lab):
    child = console(lab)
    assert "out of service" in run(child, "site disable branch")
    deadline = time.monotonic() + 15
    while lab.a.show("service", "l2vpn")["sites"][0]["state"] != "disabled":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "in service" in run(child, "site enable branch")
    lab.wait_up(30)
    before = lab.a.show("service", "l2vpn")["sites"][0]["up_s"]
    assert "begin anew" in run(child, "clear sessions branch")
    time.sleep(0.2)
    lab.wait_up(30)
    assert lab.a.show("service", "l2vpn")["sites"][0]["up_s"] < before + 1
    child.close()


def service(appliance):
    return appliance.show("service", "l2vpn")


def test_the_service_is_switched_at_both_ends(lab):
    child = console(lab)
    assert "not running" in run(child, "service l2vpn disable")
    wait_until(lambda: service(lab.a)["sites"][0]["state"] == "disabled", "the session has ended", 30)
    assert service(lab.a)["running"] is False and "L2 VPN service is not running" in run(child, "show service l2vpn")
    assert lab.a.show("service", "l2vpn", "statistics")["serverStatus"] == "DOWN"
    assert service(lab.a)["sites"][0]["last_failure"] == "the operator disabled the service"
    wait_until(lambda: 'disabled at the server ("the service is disabled")' in service(lab.b)["sites"][0]["last_failure"],
               "the other end knows why", 30)
    assert "not running" in run(child, "clear sessions")
    assert "in service" in run(child, "site enable branch")
    assert service(lab.a)["sites"][0]["state"] == "disabled", "a site alone does not begin the service"
    assert "running" in run(child, "service l2vpn enable")
    lab.wait_up(90)
    child.close()
    # The same on a client.
    sh(lab.binary, "console", "--socket", lab.b.socket, "-c", "service l2vpn disable")
    wait_until(lambda: service(lab.a)["sites"][0]["state"] == "down", "the server knows", 30)
    assert service(lab.b)["running"] is False and service(lab.b)["sites"][0]["state"] == "disabled"
    time.sleep(1)
    assert service(lab.b)["sites"][0]["state"] == "disabled", "it does not connect"
    sh(lab.binary, "console", "--socket", lab.b.socket, "-c", "service l2vpn enable")
    lab.wait_up(90)
    # What the configuration says holds across a reload, and takes the place of what was switched.
    text = lab.b.config.read_text()
    lab.b.config.write_text(text.replace("[client]\n", "[client]\nenabled = false\n"))
    sh(lab.binary, "reload", "--socket", lab.b.socket)
    wait_until(lambda: service(lab.b)["sites"][0]["state"] == "disabled", "not in service by its configuration", 30)
    lab.b.config.write_text(text)
    sh(lab.binary, "reload", "--socket", lab.b.socket)
    lab.wait_up(90)
    assert service(lab.b)["running"] is True


def test_the_configuration_is_changed_and_goes_back(lab):
    child = console(lab)
    run(child, "configure")
    run(child, "set segment voice mtu 1400")
    assert "1400" in run(child, "show | compare")
    run(child, "commit")
    assert lab.a.show("segments")["segments"][1]["mtu"] == 1400
    run(child, "rollback 1")
    run(child, "commit")
    assert lab.a.show("segments")["segments"][1]["mtu"] == 1500
    child.send("set segment voice m\t")
    child.expect("mss_clamp|mtu")
    child.send("\x15exit\r")
    child.expect(PROMPT)
    child.close()


def test_scripts_pipe_text(lab):
    out = line_mode(lab, "show ports | count\nshow versoin\nshow version\n")
    assert re.search(r"\d+ lines", out) and "% unknown" in out and "kernel" in out
    text = sh(lab.binary, "console", "--socket", lab.a.socket, "-c", "show ports | count")
    assert re.search(r"\d+ lines", text)


def test_wrong_passwords_lock_an_address_and_not_the_unix_socket(lab):
    said = ""
    for _ in range(3):
        child = terminal(lab, "telnet", "127.0.0.1", PORT)
        for _ in range(3):
            child.expect("Login: ")
            child.send("ann\r")
            child.expect("Password: ")
            child.send("guess\r")
            child.expect("wrong user or password|too many|try again")
            said += child.after
        child.close()
    assert "too many" in said, "after some the address has to wait"
    assert "branch" in run(console(lab), "show service l2vpn"), "the owner is not locked out"
    assert "guess" not in lab.a.log()


SCRIPT = """
import socket, sys, time
conns = []
for n in range(200):
    s = socket.socket()
    s.settimeout(5)
    try:
        s.connect(("127.0.0.1", %d))
        conns.append(s)
    except OSError:
        pass
for n, s in enumerate(conns):
    try:
        s.setblocking(False)
        s.send((b"x" * 60000, bytes([255, 251, n %% 256]) * 20000, b"ann\\r\\nx\\r\\n" * 5000)[n %% 3])
    except OSError:
        pass
print(len(conns))
sys.stdout.flush()
time.sleep(6)
""" % PORT


def memory(lab):
    status = open(f"/proc/{lab.a.process.pid}/status").read()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1))


def test_floods_and_readers_that_never_read_do_no_harm_to_traffic(lab):
    ping_times(lab["a10"], "10.10.0.2", count=2)
    before = memory(lab)
    deaf = socket.socket(socket.AF_UNIX)
    deaf.connect(str(lab.a.socket))
    deaf.setblocking(False)
    deaf.send(b"console\n" + b"show counters | json\n" * 2000)
    endless = socket.socket(socket.AF_UNIX)
    endless.connect(str(lab.a.socket))
    endless.setblocking(False)
    with pinging(lab["a10"], "10.10.0.2") as pings:
        flood = lab.a.namespace.popen("/usr/bin/python3", "-c", SCRIPT, stdout=-1, text=True)
        sent, end = 0, time.monotonic() + 7
        while time.monotonic() < end:
            try:
                sent += endless.send(b"console\n" if sent == 0 else b"y" * 65536)
            except BlockingIOError:
                time.sleep(0.01)
        flood.communicate()
        assert "branch" in run(console(lab), "show service l2vpn"), "a console of the owner opens all the same"
    assert pings["received"] >= pings["sent"] - 1, pings
    assert sent > 256 << 10
    assert memory(lab) - before < 64 << 10, "memory is bounded"
    deaf.close()
    endless.close()
