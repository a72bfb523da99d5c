"""The Debian package: what is in it, and a clean Debian before, with and after it."""

import json
import os
import pathlib
import re
import subprocess

from chroot import ROOT

CONFIG = """\
mode = "client"
[system]
memory_mb = 64
[[port]]
name = "trunk0"
role = "trunk"
device = "net_null0"
[[port]]
name = "wan"
role = "uplink"
device = "kernel:lo"
mtu = 1500
[[segment]]
name = "one"
tunnel_id = 1
[[segment.attachment]]
port = "trunk0"
vlan = 10
[client]
server = "127.0.0.1"
user = "branch"
password = "secret"
fingerprint = "%s"
""" % ("00" * 32)


def contents(package):
    listed = subprocess.run(["dpkg-deb", "--contents", package], check=True, stdout=subprocess.PIPE, text=True).stdout
    return [line.split()[5].removeprefix("./") for line in listed.splitlines()]


def field(package, name):
    return subprocess.run(["dpkg-deb", "--field", package, name], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def extracted(package, place):
    subprocess.run(["dpkg-deb", "--extract", package, place], check=True)
    return pathlib.Path(place)


def test_lintian_has_no_error(package):
    # Policy of the archive: the package is not in it, and closes no bug.
    words = ["lintian", "--allow-root", "--fail-on", "error", "--suppress-tags", "bad-distribution-in-changes-file", package]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stdout


def test_it_has_what_an_operator_looks_for(package):
    files = contents(package)
    for file in ("usr/bin/causeway", "lib/systemd/system/causeway.service", "lib/udev/rules.d/60-causeway.rules", "etc/causeway/",
                 "etc/default/causeway", "usr/share/man/man1/causeway.1.gz", "usr/share/man/man1/causeway-setup.1.gz",
                 "usr/share/bash-completion/completions/causeway", "usr/share/zsh/vendor-completions/_causeway",
                 "usr/share/fish/vendor_completions.d/causeway.fish", "usr/share/doc/causeway/copyright"):
        assert file in files, file
    for example in (ROOT / "appliance-config").glob("*.toml"):
        assert f"usr/share/doc/causeway/examples/{example.name}" in files
    assert any(re.fullmatch(r"usr/lib/causeway/.*glue/librte_common_mlx5_glue\.so\.[\d.]+", file) for file in files)


def test_pages_lead_to_what_is_in_the_package(package, tmp_path):
    docs = extracted(package, tmp_path) / "usr/share/doc/causeway"
    assert (docs / "wireshark/causeway.lua").is_file() and (docs / "decisions/README.md").is_file()
    broken = []
    for page in docs.rglob("*.md"):
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            found = (page.parent / target).resolve()
            if "://" not in target and not (found.is_relative_to(docs.resolve()) and found.exists()):
                broken.append(f"{page.relative_to(docs)}: {target}")
    assert not broken, broken
    unit = (tmp_path / "lib/systemd/system/causeway.service").read_text()
    for page in re.findall(r"file://(\S+)", unit):
        assert (tmp_path / page.lstrip("/")).is_file(), page


def test_no_dpdk_package_is_needed(package, tmp_path):
    depends = field(package, "Depends")
    assert "procps" in depends, "systemctl reload runs its kill"
    assert "libc6" in depends and "librte" not in depends and "dpdk" not in depends and "ipsec" not in depends, depends
    binary = extracted(package, tmp_path) / "usr/bin/causeway"
    needed = subprocess.run(["readelf", "--dynamic", binary], check=True, stdout=subprocess.PIPE, text=True).stdout
    libraries = re.findall(r"Shared library: \[(.*?)\]", needed)
    assert libraries and not [name for name in libraries if "rte_" in name or "IPSec" in name], libraries


def test_manual_pages_are_sound(package, tmp_path):
    root = extracted(package, tmp_path)
    for page in (root / "usr/share/man/man1").iterdir():
        # lintian's way: warnings of groff would be shown.
        done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page], capture_output=True, text=True,
                              env={**os.environ, "MANROFFSEQ": "", "MANWIDTH": "80", "LC_ALL": "C.UTF-8"})
        assert done.returncode == 0 and not done.stderr.strip(), f"{page.name}: {done.stderr}"


def test_the_unit_is_sound(package, tmp_path):
    root = extracted(package, tmp_path)
    unit = root / "lib/systemd/system/causeway.service"
    text = unit.read_text()
    unit.write_text(text.replace("/usr/bin/causeway", str(root / "usr/bin/causeway")))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True)
    assert done.returncode == 0 and "causeway.service" not in done.stderr, done.stderr
    # 0 is nothing exposed, 100 everything; what it has now with some room for another release of systemd.
    checked = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=50", unit], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_it_runs_on_the_oldest_cpu_it_is_built_for(package, tmp_path):
    """Nehalem is x86-64-v2, without AES and AVX: emulated, any other instruction on the way ends the program."""
    root = extracted(package, tmp_path)
    config = tmp_path / "causeway.toml"
    config.write_text(CONFIG)
    binary = root / "usr/bin/causeway"
    for words in (["--version"], ["check", "-c", config], ["passwd"]):
        done = subprocess.run(["qemu-x86_64", "-cpu", "Nehalem", binary, *map(str, words)], capture_output=True, text=True,
                              input="secret\n", timeout=240)
        assert done.returncode == 0, f"{words}: {done.returncode} {done.stdout}{done.stderr}"


def test_installed_upgraded_and_removed(package, chroot, tmp_path):
    before = chroot.files()
    assert chroot.run("sh", "-c", "ls /usr/lib/x86_64-linux-gnu | grep -c rte_", check=False).stdout.strip() == "0"
    chroot.copy(package, "tmp/one.deb")
    chroot.run("dpkg", "--install", "/tmp/one.deb")

    version = chroot.run("causeway", "--version").stdout
    assert version.startswith("causeway "), version
    assert "causeway:" in chroot.path("etc/passwd").read_text()
    mode = chroot.path("etc/causeway").stat().st_mode & 0o7777
    assert mode == 0o2770, oct(mode)
    unit = chroot.path("lib/systemd/system/causeway.service").read_text()
    assert f"ConfigurationDirectoryMode={mode:o}" in unit, "systemd would complain at each start"
    starts(chroot)

    # An upgrade keeps what the operator changed.
    chroot.path("etc/causeway/causeway.toml").write_text(CONFIG)
    chroot.path("etc/default/causeway").write_text("RUST_LOG=debug\n")
    chroot.copy(newer(package, tmp_path), "tmp/two.deb")
    chroot.run("dpkg", "--install", "--force-confdef", "/tmp/two.deb")
    assert chroot.run("dpkg-query", "-W", "-f", "${Version}", "causeway").stdout == "99.0-1"
    assert chroot.path("etc/causeway/causeway.toml").read_text() == CONFIG
    assert chroot.path("etc/default/causeway").read_text() == "RUST_LOG=debug\n"

    # Whoever has set the machine up is told what stays.
    chroot.run("causeway", "setup", "--bind", "kernel", "--write")
    removed = chroot.run("dpkg", "--remove", "causeway")
    assert "causeway setup --undo" in removed.stderr, removed.stderr
    chroot.path("var/lib/causeway-setup/setup.json").unlink()
    assert chroot.path("etc/default/causeway").exists() and not chroot.path("usr/bin/causeway").exists()
    chroot.run("dpkg", "--purge", "causeway")
    assert chroot.path("etc/causeway/causeway.toml").exists(), "keys and configurations are the operator's"
    chroot.path("etc/causeway/causeway.toml").unlink()
    chroot.path("etc/causeway").rmdir()
    left = {file for file in chroot.files() - before if not file.startswith(("etc/passwd", "etc/group", "etc/shadow", "etc/gshadow", "etc/sub"))}
    assert not left, left


def starts(chroot):
    """The appliance comes up: DPDK's environment, a DPDK device, the answer to a question; and ends when it is told to."""
    chroot.path("tmp/causeway.toml").write_text(CONFIG)
    script = """
        causeway check -c /tmp/causeway.toml || exit 1
        causeway run -c /tmp/causeway.toml >/tmp/log 2>&1 &
        pid=$!
        for i in $(seq 200); do
            causeway show ports --json >/tmp/ports.json 2>/dev/null && break
            kill -0 $pid || break
            sleep 0.1
        done
        kill $pid
        wait $pid
        echo "ended with $?" >>/tmp/log
        cat /tmp/log >&2
        cat /tmp/ports.json
    """
    done = chroot.run("sh", "-c", script)
    assert "ended with 0" in done.stderr, done.stderr
    ports = {port["port"]: port for port in json.loads(done.stdout.split("is good\n")[-1])["ports"]}
    assert {"trunk0", "wan"} <= set(ports), ports


def newer(package, tmp_path):
    """The same package with a greater version."""
    place = tmp_path / "newer"
    subprocess.run(["dpkg-deb", "--raw-extract", package, place], check=True)
    control = place / "DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: .*", "Version: 99.0-1", control.read_text()))
    default = place / "etc/default/causeway"
    default.write_text(default.read_text() + "# a newer package says more\n")
    built = tmp_path / "newer.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", place, built], check=True, stdout=subprocess.DEVNULL)
    return built
