"""What the appliance gives up once it runs."""

import pathlib
import re
import signal
import subprocess

import pytest

from lab import Lab
from tools import ping_times, seconds_until_ping
from tracing import system_call

SYS_UNSHARE, SYS_SOCKET, SYS_GETPID = 272, 41, 39
CLONE_NEWNET, AF_ALG, AF_INET, SOCK_DGRAM = 0x40000000, 38, 2, 2
ENOSYS = 38


@pytest.fixture(scope="module")
def lab():
    with Lab() as running:
        running.start()
        yield running


def statuses(appliance):
    """/proc/PID/task/*/status of each thread: name to fields."""
    tasks = pathlib.Path(f"/proc/{appliance.process.pid}/task")
    read = [dict(re.findall(r"(\w+):\s*(.*)", (task / "status").read_text())) for task in tasks.iterdir()]
    return read


def test_every_thread_is_confined(lab):
    for appliance in (lab.a, lab.b):
        threads = statuses(appliance)
        assert len(threads) >= 3
        for status in threads:
            main = status["Pid"] == str(appliance.process.pid)
            # CAP_NET_BIND_SERVICE, CAP_NET_ADMIN, CAP_NET_RAW; CAP_IPC_LOCK where the limit of locked memory cannot be raised
            wanted = 1 << 10 | 1 << 12 | 1 << 13 if main else 0
            assert int(status["CapEff"], 16) & ~(1 << 14) == int(status["CapPrm"], 16) & ~(1 << 14) == wanted, status
            assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", status
        limits = pathlib.Path(f"/proc/{appliance.process.pid}/limits").read_text()
        assert re.search(r"Max core file size\s+0\s+0", limits)
        assert int(threads[0]["VmLck"].split()[0]) > 0


def test_show_says_the_same(lab):
    shown = lab.a.show("privileges")
    assert shown["hardening"] == "on" and shown["dumpable"] is False and shown["core_dump_octets"] == 0
    assert shown["locked_octets"] > 0
    threads = {thread["thread"]: thread for thread in shown["threads"]}
    of = lambda name: [cap for cap in threads[name]["capabilities"] if cap != "CAP_IPC_LOCK"]  # noqa: E731
    assert of("control") == ["CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW"] and of("worker-0") == []
    assert all(thread["system_calls"] == "filtered" and thread["no_new_privileges"] for thread in threads.values())


def test_system_calls_are_refused_to_the_running_appliance(lab):
    """Its own control thread is made to try."""
    pid = lab.a.process.pid
    assert system_call(pid, SYS_GETPID) == pid, "this is how it is done"
    handle = system_call(pid, SYS_SOCKET, AF_INET, SOCK_DGRAM, 0)
    assert handle > 0
    assert system_call(pid, SYS_SOCKET, AF_ALG, SOCK_DGRAM, 0) == -ENOSYS
    assert lab.a.up() and seconds_until_ping(lab["a10"], "10.10.0.2") < 20
    assert system_call(pid, SYS_UNSHARE, CLONE_NEWNET) is None
    assert lab.a.process.wait(10) == -signal.SIGSYS
    assert f"system call  {SYS_UNSHARE} is forbidden" in lab.a.log()
    lab.start()


def test_another_user(lab):
    """As a user without any rights of its own, with gateways, reload and the socket."""
    user = "nobody"
    lab.b.stop()
    text = lab.b.config.read_text()
    lab.directory.chmod(0o777)
    try:
        lab.b.config.write_text(text.replace("[system]\n", f'[system]\nuser = "{user}"\n'))
        lab.b.start()
        lab.wait_up()
        uid = int(subprocess.run(["id", "-u", user], capture_output=True, text=True).stdout)
        shown = lab.b.show("privileges")
        assert shown["uid"] == uid
        assert all(status["Uid"].split() == [str(uid)] * 4 for status in statuses(lab.b))
        changed = lab.b.config.read_text().replace(
            'name = "servers"\ntunnel_id = 10\n',
            'name = "servers"\ntunnel_id = 10\ngateway = { addresses = ["10.10.0.253/24"], send_redirects = false }\n')
        assert changed != lab.b.config.read_text()
        lab.b.config.write_text(changed)
        lab.b.namespace.run(lab.binary, "reload", "--socket", lab.b.socket)
        assert seconds_until_ping(lab["b10"], "10.10.0.253") < 20
        assert seconds_until_ping(lab["a10"], "10.10.0.253") < 20
        assert lab.b.stop() < 5
        assert not lab.b.socket.exists()
        assert "gateway" not in lab["b"].ip("link")
    finally:
        if lab.b.running():
            lab.b.stop()
        lab.b.config.write_text(text)
        lab.start()


def test_it_can_be_switched_off(lab):
    lab.b.stop()
    text = lab.b.config.read_text()
    try:
        lab.b.config.write_text(text.replace("[system]\n", '[system]\nhardening = "off"\n'))
        lab.b.start()
        lab.wait_up()
        assert lab.b.show("privileges")["hardening"] == "off"
        assert all(status["Seccomp"] == "0" for status in statuses(lab.b))
    finally:
        lab.b.stop()
        lab.b.config.write_text(text)
        lab.start()


def test_a_user_that_there_is_not_is_told(lab):
    path = lab.directory / "nobody.toml"
    path.write_text(lab.b.config.read_text().replace("[system]\n", '[system]\nuser = "no-such-user"\n'))
    told = lab["b"].run("sh", "-c", f"{lab.binary} run -c {path} 2>&1 || true", timeout=20)
    assert "system.user: there is no user" in told
