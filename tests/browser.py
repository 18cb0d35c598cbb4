"""A headless Chromium that tests press keys in, by the WebDriver protocol (W3C, 2018)."""

import base64
import json
import re
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
BACKSPACE, CONTROL, RIGHT = "\ue003", "\ue009", "\ue014"


class Browser:
    """One window, with a profile and a folder for downloads of its own.

    Args:
        folder: for both.
    """

    def __init__(self, folder: Path):
        self.downloads = folder / "downloads"
        self.downloads.mkdir(parents=True)
        self._driver = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, text=True)
        said = ""
        while not (found := re.search(r"successfully on port (\d+)", said)):
            line = self._driver.stdout.readline()
            assert line, said
            said += line
        self._address, self._session = f"http://127.0.0.1:{found[1]}", ""
        options = {
            "binary": CHROMIUM,
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
                     "--disable-background-networking", "--proxy-server=127.0.0.1:9",
                     f"--user-data-dir={folder / 'profile'}"],
            "prefs": {"download.default_directory": str(self.downloads)},
        }  # fmt: skip
        wanted = {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}
        try:
            self._session = "/session/" + self._call("", capabilities=wanted)["sessionId"]
        except BaseException:
            self._end_driver()
            raise

    def _call(self, path: str, method: str = "POST", **body):
        address = self._address + (self._session + path if self._session else "/session")
        data = json.dumps(body).encode() if method == "POST" else None
        request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
        request.method = method
        no_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with no_proxy.open(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def open(self, page: Path) -> None:
        self._call("/url", url=page.resolve().as_uri())

    def reload(self) -> None:
        self._call("/refresh")

    def run(self, script: str):
        """The value that a script in the page returns."""
        return self._call("/execute/sync", script=script, args=[])

    def press(self, *keys: str, held: str = "") -> None:
        """Press and release keys, as on a keyboard; ``held`` is down meanwhile."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        if held:
            actions = [{"type": "keyDown", "value": held}, *actions,
                       {"type": "keyUp", "value": held}]  # fmt: skip
        self._call("/actions", actions=[{"type": "key", "id": "keyboard", "actions": actions}])

    def shoot(self, path: Path, width: int, height: int) -> None:
        """A picture of the page at that size of the window."""
        self._call("/goog/cdp/execute", cmd="Emulation.setDeviceMetricsOverride",
                   params={"width": width, "height": height, "deviceScaleFactor": 1,
                           "mobile": False})  # fmt: skip
        path.write_bytes(base64.b64decode(self._call("/screenshot", "GET")))

    def downloaded(self, name: str) -> bytes:
        """A file that the page has saved, once it is whole; it is removed."""
        path = self.downloads / name
        for _ in range(1200):
            if path.exists():
                data = path.read_bytes()
                path.unlink()
                return data
            time.sleep(0.05)
        raise AssertionError(f"{name} was not saved")

    def close(self) -> None:
        try:
            self._call("", "DELETE")
        finally:
            self._end_driver()

    def _end_driver(self) -> None:
        self._driver.terminate()
        self._driver.wait(60)
        self._driver.stdout.close()
