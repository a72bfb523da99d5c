"""A clean Debian in a directory, without what this machine has installed: made once by mmdebstrap, unpacked for each test."""

import hashlib
import os
import pathlib
import shutil
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
SUITE = "bookworm"

# Beside a minimal Debian only what the package itself asks for, so that a test needs no archive: libraries, adduser, kill.
BESIDE = ["adduser", "procps", "libnuma1", "libelf1", "libbpf1", "libxdp1", "zlib1g"]


def base():
    """The archive of a minimal Debian; kept below target/."""
    name = hashlib.sha256(" ".join([SUITE, *BESIDE]).encode()).hexdigest()[:12]
    archive = TARGET / "install" / f"{SUITE}-{name}.tar"
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        new = archive.with_suffix(".new.tar")
        subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(BESIDE)}", SUITE, new], check=True)
        new.rename(archive)
    return archive


class Chroot:
    """A context manager; `run` runs a command inside, in namespaces of its own."""

    def __enter__(self):
        self.place = pathlib.Path(tempfile.mkdtemp(prefix="causeway-chroot-"))
        subprocess.run(["tar", "-xf", base(), "-C", self.place, "--numeric-owner"], check=True)
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.place)

    def path(self, inside):
        return self.place / str(inside).lstrip("/")

    def copy(self, file, inside):
        shutil.copy(file, self.path(inside))

    def run(self, *words, check=True, timeout=120):
        """Runs a command with nothing of this machine but its kernel; returns the finished process with its output."""
        script = 'ip link set dev lo up && mount -t proc proc "$0/proc" && mount --rbind /sys "$0/sys" && mount --rbind /dev "$0/dev" && exec chroot "$0" "$@"'
        done = subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "--net", "sh", "-c", script, self.place, *map(str, words)],
            capture_output=True, text=True, timeout=timeout, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"})
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(map(str, words))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def files(self):
        """Everything that is there, but what changes by itself."""
        skip = ("run", "var/lib/dpkg", "var/cache", "var/log", "proc", "sys", "dev", "tmp")
        return {str(path.relative_to(self.place)) for path in self.place.rglob("*")
                if not str(path.relative_to(self.place)).startswith(skip)}
