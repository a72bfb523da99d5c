"""A headless Chromium, driven over the pipes of its DevTools protocol."""

import base64
import itertools
import json
import os
import pathlib
import select
import shutil
import subprocess
import time


class Browser:
    """A Chromium in a namespace, with one page. A context manager."""

    def __init__(self, namespace, scratch):
        if not shutil.which("chromium"):
            raise SystemExit("chromium is missing: dpdk-build/install.sh watch")
        self.ids = itertools.count(1)
        self.events = []
        self.buffer = b""
        self.profile = pathlib.Path(scratch) / "chromium"
        read_theirs, self.to = os.pipe()
        self.back, write_theirs = os.pipe()
        # Chromium reads from descriptor 3 and writes to descriptor 4.
        script = f'exec 3<&{read_theirs} 4>&{write_theirs}; exec "$@"'
        self.process = subprocess.Popen(
            ["bash", "-c", script, "bash", *namespace.command(
                "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage",
                f"--user-data-dir={self.profile}", "--remote-debugging-pipe", "about:blank")],
            pass_fds=(read_theirs, write_theirs), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        os.close(read_theirs)
        os.close(write_theirs)
        self.session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Log", "Runtime", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.to)
        os.close(self.back)

    def call(self, method, **params):
        number = next(self.ids)
        message = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while (answer := self.receive()).get("id") != number:
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def receive(self, timeout=60.0):
        deadline = time.monotonic() + timeout
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.back], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError("chromium does not answer")
            if not (chunk := os.read(self.back, 1 << 20)):
                raise RuntimeError("chromium has ended")
            self.buffer += chunk
        line, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(line)

    def size(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def dark(self, on):
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if on else "light"}])

    def open(self, url):
        self.events.clear()
        self.call("Page.navigate", url=url)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.receive())

    def value(self, expression):
        """What a JavaScript expression is worth; the page's own policy does not hold for it."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def complaints(self):
        """Errors of the page: refused by its policy, failed to load, thrown."""
        found = [event["params"] for event in self.events if event.get("method") in
                 ("Log.entryAdded", "Runtime.exceptionThrown", "Network.loadingFailed")]
        return [entry for entry in found if entry.get("entry", {}).get("level", "error") == "error"]

    def requested(self):
        """Addresses of everything that was loaded."""
        return [event["params"]["request"]["url"] for event in self.events
                if event.get("method") == "Network.requestWillBeSent"]

    def picture(self, path):
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        pathlib.Path(path).write_bytes(base64.b64decode(shot["data"]))
