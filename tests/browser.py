"""A headless Chromium that is driven through its DevTools protocol, over pipes."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time

SECONDS = 120
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
_KEYS = {"Enter": 13, "Tab": 9, "Escape": 27, "ArrowDown": 40, "ArrowUp": 38}
_TEXTS = {"Enter": "\r", "Tab": "\t"}


class Page:
    """One tab of a browser.

    ``errors`` holds messages of the page's console, failed scripts, and what its
    Content-Security-Policy has blocked; ``dialogs`` the kinds of dialogs of the
    browser, all of which are accepted.
    """

    def __init__(self, process, to_browser, from_browser):
        self._process, self._to_browser = process, to_browser
        self._answers, self._number, self._session = {}, 0, None
        self._arrived = threading.Condition()
        self.errors, self.dialogs = [], []
        threading.Thread(target=self._read, args=(from_browser,), daemon=True).start()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """Call a method of the protocol."""
        number = self._send(method, parameters)
        with self._arrived:
            arrived = self._arrived.wait_for(lambda: number in self._answers, SECONDS)
            assert arrived, f"no answer to {method}"
            answer = self._answers.pop(number)
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def _send(self, method, parameters):
        with self._arrived:
            self._number += 1
            message = {"id": self._number, "method": method, "params": parameters}
            if self._session:
                message["sessionId"] = self._session
            self._to_browser.write(json.dumps(message).encode() + b"\0")
            self._to_browser.flush()
            return self._number

    def _read(self, file):
        rest = b""
        while data := os.read(file.fileno(), 2**16):
            *messages, rest = (rest + data).split(b"\0")
            for message in map(json.loads, messages):
                if "id" in message:
                    with self._arrived:
                        self._answers[message["id"]] = message
                        self._arrived.notify_all()
                else:
                    self._note(message)

    def _note(self, message):
        kind, parameters = message["method"], message["params"]
        if kind == "Runtime.exceptionThrown":
            self.errors.append(str(parameters["exceptionDetails"]))
        elif kind == "Log.entryAdded":
            entry = parameters["entry"]
            # An answer with an error status is not an error of the page.
            if entry["level"] == "error" and entry["source"] != "network":
                self.errors.append(entry["text"])
        elif kind == "Page.javascriptDialogOpening":
            self.dialogs.append(parameters["type"])
            self._send("Page.handleJavaScriptDialog", {"accept": True})

    def run(self, script):
        """Return the value of an expression, or of the promise that it is."""
        result = self.call(
            "Runtime.evaluate",
            expression=script,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, script):
        """Wait until an expression is true, and return its value."""
        end = time.monotonic() + SECONDS
        while True:
            with contextlib.suppress(AssertionError):  # between two pages
                if value := self.run(script):
                    return value
            if time.monotonic() > end:
                raise AssertionError(f"{script} stayed false; errors: {self.errors}")
            time.sleep(0.02)

    def open(self, address):
        self.call("Page.navigate", url=address)
        self.wait(
            "document.readyState === 'complete' && location.href !== 'about:blank'"
        )

    def show_as(self, width, height=800, *, scheme="light", touch=False):
        """Set the size of the window, and whether colours are light or dark."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=touch,
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def click(self, selector):
        """Click in the middle of an element, as a pointer does."""
        x, y = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center'});"
            "const r = e.getBoundingClientRect();"
            "return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call(
                "Input.dispatchMouseEvent",
                type=kind,
                x=x,
                y=y,
                button="left",
                clickCount=1,
            )

    def type(self, text):
        """Type into what has the focus."""
        self.call("Input.insertText", text=text)

    def press(self, key, *, control=False, shift=False):
        code = _KEYS.get(key, ord(key[0].upper()))
        text = _TEXTS.get(key, key if len(key) == 1 else "")
        common = {
            "key": key,
            "code": key,
            "windowsVirtualKeyCode": code,
            "modifiers": 2 * control + 8 * shift,
        }
        if text and not control:
            common["text"] = text
        self.call("Input.dispatchKeyEvent", type="keyDown", **common)
        common.pop("text", None)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def choose_file(self, selector, path):
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def screenshot(self, path, *, whole=False):
        options = {"captureBeyondViewport": whole}
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            options["clip"] = size | {"x": 0, "y": 0, "scale": 1}
        data = self.call("Page.captureScreenshot", **options)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))


@contextlib.contextmanager
def browsing(downloads=None):
    """Start a browser; yield a page, which keeps downloads in a folder."""
    to_read, to_write = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [
            *(CHROMIUM, "--headless", "--no-sandbox", "--remote-debugging-pipe"),
            *("--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"),
            # A mouse, which a machine without a screen lacks.
            "--blink-settings=primaryHoverType=2,availableHoverTypes=2,"
            "primaryPointerType=4,availablePointerTypes=4",
        ]
        # The browser takes its commands from file 3, and answers on file 4.
        shell = f'exec "$0" "$@" 3<&{to_read[0]} 4>&{to_write[1]}'
        process = subprocess.Popen(
            ["bash", "-c", shell, *command],
            pass_fds=(to_read[0], to_write[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read[0])
        os.close(to_write[1])
        with open(to_read[1], "wb") as writer, open(to_write[0], "rb") as reader:
            try:
                page = Page(process, writer, reader)
                if downloads is not None:
                    page.call(
                        "Browser.setDownloadBehavior",
                        behavior="allow",
                        downloadPath=str(downloads),
                    )
                yield page
            finally:
                process.terminate()
                process.wait(SECONDS)
