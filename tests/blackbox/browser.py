"""A headless Chromium, spoken to in its own protocol through two pipes; no driver is needed."""

import base64
import json
import os
import select
import shutil
import subprocess
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip
PATIENCE = 60.0  # seconds for an answer of a browser that starts on a busy machine


def found():
    """The path of a Chromium, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One browser with one tab, closed at the end of a ``with`` block.

    Args:
        profile: an empty folder for its profile.
    """

    def __init__(self, profile):
        arguments = [found(), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        # Chromium reads its commands from descriptor 3 and answers on 4
        self._process = subprocess.Popen(
            ["sh", "-c", 'exec "$@" 3<&0 4>&1 0</dev/null 1>/dev/null', "sh", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._buffer = b""
        self._count = 0
        self.events = []  # (method, params), as they came
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = None
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._ask(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self._send("Browser.close", {}, None)
            self._process.wait(10)
        except (OSError, subprocess.TimeoutExpired):
            os.killpg(self._process.pid, 9)
            self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def look(self, width, height=900, *, scheme="light", media="screen"):
        """Set the window's size in CSS pixels, and what the page is told of its reader."""
        self._ask(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._ask("Emulation.setEmulatedMedia", media=media, features=features)

    def open(self, url):
        """Load a page and wait until it is complete."""
        self.events.clear()
        self._ask("Page.navigate", url=url)
        self._until(lambda: any(method == "Page.loadEventFired" for method, _ in self.events))

    def value(self, expression):
        """What a JavaScript expression gives in the page."""
        answer = self._ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def screenshot(self, path, *, whole=True):
        """A picture of the page as PNG."""
        given = self._ask("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(given["data"]))

    def pdf(self):
        """The page as it would be printed."""
        return base64.b64decode(self._ask("Page.printToPDF", printBackground=True)["data"])

    def requests(self):
        """The address of everything that the page asked for."""
        return [
            params["request"]["url"]
            for method, params in self.events
            if method == "Network.requestWillBeSent"
        ]

    def complaints(self):
        """What the page wrote to its console, and every error and violation in it."""
        kinds = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [params for method, params in self.events if method in kinds]

    def _ask(self, method, **params):
        self._count += 1
        self._send(method, params, self._count)
        answer = self._until(lambda: self._answers.pop(self._count, None))
        assert "error" not in answer, answer["error"]
        return answer["result"]

    _answers = {}  # noqa: RUF012

    def _send(self, method, params, number):
        message = {"id": number or 0, "method": method, "params": params}
        if getattr(self, "_session", None):
            message["sessionId"] = self._session
        self._process.stdin.write(json.dumps(message).encode() + b"\0")
        self._process.stdin.flush()

    def _until(self, done):
        end = time.monotonic() + PATIENCE
        while not (found := done()):
            ready, _, _ = select.select(
                [self._process.stdout], [], [], max(0, end - time.monotonic())
            )
            assert ready, "the browser does not answer"
            received = os.read(self._process.stdout.fileno(), 1 << 20)
            assert received, "the browser is gone"
            *messages, self._buffer = (self._buffer + received).split(b"\0")
            for message in map(json.loads, messages):
                if "id" in message:
                    self._answers[message["id"]] = message
                else:
                    self.events.append((message["method"], message.get("params", {})))
        return found
