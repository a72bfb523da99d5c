"""What is compared: each function starts one tunnel in a topology. `AVAILABLE` says which programs it needs."""

import os
import shutil
import time

from topology import WAN_A, WAN_B, sh  # which finds the lab of the tests

from lab import CLIENT, PASSWORD, SERVER, causeway_binary

CAUSEWAY = """\
mode = "{mode}"
[system]
workers = [{core}]
idle = "{idle}"
socket = "{socket}"
[[port]]
name = "trunk"
role = "trunk"
device = "{device}:lan0"
[[port]]
name = "wan"
role = "uplink"
device = "{device}:wan0"
[[segment]]
name = "one"
tunnel_id = 10
[[segment.attachment]]
port = "trunk"
untagged = true
"""


def causeway(topology, device="kernel", idle="adaptive"):
    program, place = causeway_binary(), topology.directory
    sh(program, "cert", "self-sign", "--cn", "vpn.bench", "--days", 30, "--out", place / "server")
    fingerprint = sh(program, "cert", "fingerprint", place / "server.crt").strip()
    verifier = sh(program, "passwd", input=PASSWORD + "\n").strip()
    cores = sorted(os.sched_getaffinity(0))
    for space, mode, core, tail in (
            ("sa", "server", cores[0], SERVER.format(listen=f"{WAN_A}:443", verifier=verifier, segments='["one"]')),
            ("sb", "client", cores[-1], CLIENT.format(server=WAN_A, user="branch", password=PASSWORD, fingerprint=fingerprint))):
        config = place / f"{space}.toml"
        config.write_text(CAUSEWAY.format(mode=mode, core=core, idle=idle, device=device, socket=place / f"{space}.sock") + tail)
        topology.daemon(space, program, "run", "-c", config)


def causeway_spin(topology):
    causeway(topology, idle="spin")


def causeway_af_packet(topology):
    topology.offloads_off()
    causeway(topology, device="af_packet")


def plain(topology):
    topology.bridge("wan0")


def vpncloud(topology):
    # It wants a default route at start.
    for space, own, other in (("sa", WAN_A, WAN_B), ("sb", WAN_B, WAN_A)):
        topology[space].ip("route", "add", "default", "via", other)
        topology.daemon(space, "vpncloud", "--type", "tap", "--mode", "switch", "--device", "tap0", "--password", "bench",
                        "--algorithm", "aes128", "--no-port-forwarding", "--ip", "169.254.7.1/32", "--listen", f"{own}:3210",
                        *(["--peer", f"{other}:3210"] if space == "sa" else []))
    topology.bridge("tap0")


def openvpn(topology):
    place = topology.directory
    for name in ("server", "client"):
        sh("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", 30,
           "-subj", f"/CN={name}", "-keyout", place / f"{name}.key", "-out", place / f"{name}.crt")
    prints = {name: sh("openssl", "x509", "-in", place / f"{name}.crt", "-noout", "-fingerprint", "-sha256").strip().split("=")[1]
              for name in ("server", "client")}
    common = ["openvpn", "--dev", "tap0", "--dev-type", "tap", "--proto", "udp", "--data-ciphers", "AES-256-GCM",
              "--verb", "1", "--tun-mtu", 1500]
    for space, own, role, other, more in (
            ("sb", "server", "--tls-server", "client", ["--local", WAN_B, "--dh", "none"]),
            ("sa", "client", "--tls-client", "server", ["--remote", WAN_B])):
        topology.daemon(space, *common, role, "--cert", place / f"{own}.crt", "--key", place / f"{own}.key",
                        "--peer-fingerprint", prints[other], *more)
    topology.bridge("tap0")


def fastd(topology):
    keys = {}
    for space in ("sa", "sb"):
        text = sh("fastd", "--generate-key")
        keys[space] = {line.split(":")[0].lower(): line.split(":")[1].strip() for line in text.splitlines() if ":" in line}
    for space, own, other, address in (("sa", WAN_A, "sb", WAN_B), ("sb", WAN_B, "sa", WAN_A)):
        config = topology.directory / f"{space}.conf"
        config.write_text(f'mode tap; interface "tap0"; method "salsa2012+umac"; mtu 1500; bind {own}:9000; '
                          f'secret "{keys[space]["secret"]}"; '
                          f'peer "p" {{ key "{keys[other]["public"]}"; remote {address} port 9000; }}\n')
        topology.daemon(space, "fastd", "--config", config)
    topology.bridge("tap0")


def tinc(topology):
    for space, name, own, other, address in (("sa", "a", WAN_A, "b", WAN_B), ("sb", "b", WAN_B, "a", WAN_A)):
        place = topology.directory / space
        (place / "hosts").mkdir(parents=True)
        (place / "tinc.conf").write_text(f"Name = {name}\nMode = switch\nDeviceType = tap\nInterface = tap0\nConnectTo = {other}\n"
                                         "AddressFamily = ipv4\n")
        (place / "hosts" / name).write_text(f"Address = {own}\n")
        sh("tincd", "-c", place, "-K2048", input="\n\n\n")
    for space, other, name in (("sa", "sb", "b"), ("sb", "sa", "a")):
        shutil.copy(topology.directory / other / "hosts" / name, topology.directory / space / "hosts" / name)
    for space in ("sa", "sb"):
        topology.daemon(space, "tincd", "-c", topology.directory / space, "-D", f"--pidfile={topology.directory / space}.pid")
    topology.bridge("tap0")


SOFTETHER_PRIVATE = ("mount -t tmpfs t /run && mount -t tmpfs t /var/lib && mount -t tmpfs t /var/log && mkdir -p /run/softether "
                     "/var/lib/softether /var/log/softether && exec \"$@\"")


def softether(topology):
    """Over TLS on TCP, without its UDP acceleration, which is slower here. Its state stays in a mount namespace of its own."""
    server = "/usr/libexec/softether/vpnserver/vpnserver"
    bridge = "/usr/libexec/softether/vpnbridge/vpnbridge"
    processes = {space: topology.daemon(space, "unshare", "-m", "sh", "-c", SOFTETHER_PRIVATE, "sh", program, "execsvc")
                 for space, program in (("sb", server), ("sa", bridge))}

    def command(space, text):
        script = topology.directory / f"{space}.cmd"
        script.write_text(text)
        sh("nsenter", "-t", processes[space].pid, "-m", "-n", "vpncmd", "localhost:5555", "/SERVER", f"/IN:{script}", timeout=60)

    for space in ("sa", "sb"):
        deadline = time.monotonic() + 30
        while ":5555" not in topology[space].run("ss", "-Hltn") and time.monotonic() < deadline:
            time.sleep(0.5)
    command("sb", "HubCreate HP /PASSWORD:hub\nBridgeCreate HP /DEVICE:hp /TAP:yes\nKeepDisable\nHub HP\n"
                  "UserCreate u /GROUP:none /REALNAME:none /NOTE:none\nUserPasswordSet u /PASSWORD:pw\nSecureNatDisable\n"
                  "ExtOptionSet DisableUdpAcceleration /VALUE:1\n")
    command("sa", f"BridgeCreate BRIDGE /DEVICE:hp /TAP:yes\nKeepDisable\nHub BRIDGE\nCascadeCreate up /SERVER:{WAN_B}:5555 /HUB:HP "
                  "/USERNAME:u\nCascadePasswordSet up /PASSWORD:pw /TYPE:standard\nCascadeOnline up\n")
    topology.bridge("tap_hp")


VARIANTS = {"plain": plain, "causeway": causeway, "causeway-spin": causeway_spin, "causeway-af-packet": causeway_af_packet,
            "softether": softether, "openvpn": openvpn, "fastd": fastd, "tinc": tinc, "vpncloud": vpncloud}

NEEDS = {"softether": "/usr/libexec/softether/vpnserver/vpnserver", "openvpn": "openvpn", "fastd": "fastd", "tinc": "tincd",
         "vpncloud": "vpncloud"}


def is_available(name):
    return name not in NEEDS or shutil.which(NEEDS[name]) is not None
