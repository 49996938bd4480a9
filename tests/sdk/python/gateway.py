"""Starts `adit demo` for a test run and stops it again.

As a program it runs a command against it: `python gateway.py COMMAND ARGUMENT…` sets ADIT_BASE_URL for the command and exits with its code.
Where ADIT_BASE_URL is set already, that gateway is used and none is started. Nothing but the standard library is needed.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
LOGS = ROOT / "target" / "test-logs"
START_SECONDS = 30
ATTEMPTS = 3


class Gateway:
    """A running demo: `base_url` without a trailing slash and without /v1, `log` the file with its output."""

    def __init__(self, extra_environment=None):
        self.binary = Path(os.environ.get("ADIT_BINARY", ROOT / "target" / "debug" / "adit"))
        self.extra_environment = extra_environment or {}
        self.process = None
        self.base_url = None
        self.log = None

    def __enter__(self):
        if not self.binary.exists():
            raise RuntimeError(f"{self.binary} is missing: `cargo build` first")
        LOGS.mkdir(parents=True, exist_ok=True)
        # Between choosing a free port and listening on it someone else may take it: then the next one.
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._start()
                return self
            except RuntimeError:
                self.stop()
                if attempt == ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    def __exit__(self, *_):
        self.stop()

    def _start(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.base_url = f"http://127.0.0.1:{port}"
        self.log = LOGS / f"gateway-{port}.log"
        # What the caller's shell says of AWS or of a config file is none of a demo's business.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ADIT_", "OPENAI_", "ANTHROPIC_"))}
        environment.setdefault("RUST_LOG", "info")
        environment.update(self.extra_environment)
        environment["ADIT_LISTEN"] = f"127.0.0.1:{port}"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([self.binary, "demo"], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + START_SECONDS
        while not self.healthy():
            if self.process.poll() is not None:
                raise RuntimeError(f"adit demo ended with {self.process.returncode}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"adit demo did not answer /health within {START_SECONDS} s:\n{self.tail()}")
            time.sleep(0.02)

    def healthy(self):
        """Whether /health answers 200, from this process."""
        try:
            with urllib.request.urlopen(f"{self.base_url}/health", timeout=2) as answer:
                return answer.status == 200 and self.process.poll() is None
        except (OSError, urllib.error.URLError):
            return False

    def tail(self):
        """The last lines of its output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            # SIGINT stops at once; SIGTERM would wait for open streams.
            self.process.send_signal(2)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None


def main(command):
    if not command:
        sys.exit(__doc__)
    if os.environ.get("ADIT_BASE_URL"):
        return subprocess.run(command, check=False).returncode
    with Gateway() as gateway:
        code = subprocess.run(command, check=False, env={**os.environ, "ADIT_BASE_URL": gateway.base_url}).returncode
        if gateway.process.poll() is not None:
            print(f"adit demo ended on its own with {gateway.process.returncode}:\n{gateway.tail()}", file=sys.stderr)
            code = code or 1
        return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
