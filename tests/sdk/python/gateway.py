"""Starts `adit demo`, `adit serve` or `adit sandbox` for a test run and stops it again.

As a program it runs a command against a demo: `python gateway.py COMMAND ARGUMENT…` sets ADIT_BASE_URL for the command and exits with its code.
Where ADIT_BASE_URL is set already, that gateway is used and none is started. Nothing but the standard library is needed; with `--backends` before the
command, which also starts a gateway in front of all the stand-ins (`backends.py`) and sets ADIT_BACKENDS_URL, their requirements are.
"""

import contextlib
import json
import os
import re
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
# What the caller's shell says of accounts or of a config file is none of a test's business.
FOREIGN = ("AWS_", "ADIT_", "OPENAI_", "ANTHROPIC_", "AZURE_", "GOOGLE_", "GCE_")


def binary():
    """The `adit` to test."""
    return Path(os.environ.get("ADIT_BINARY", ROOT / "target" / "debug" / "adit"))


def clean_environment():
    return {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}


class Gateway:
    """A running gateway: `base_url` without a trailing slash and without /v1, `log` the file with its output.

    Without a config file it is a demo. `folder`: `adit serve` there, with what is built in if the folder is empty.
    """

    def __init__(self, extra_environment=None, config=None, folder=None):
        self.binary = binary()
        self.arguments = ["serve", "-c", str(config)] if config else ["serve"] if folder else ["demo"]
        self.folder = folder or ROOT
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
        environment = clean_environment()
        environment.setdefault("RUST_LOG", "info")
        environment.update(self.extra_environment)
        environment["ADIT_LISTEN"] = f"127.0.0.1:{port}"
        with open(self.log, "wb") as log:
            command = [self.binary, *self.arguments]
            self.process = subprocess.Popen(command, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + START_SECONDS
        while not self.healthy():
            if self.process.poll() is not None:
                raise RuntimeError(f"adit {self.arguments[0]} ended with {self.process.returncode}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"adit {self.arguments[0]} did not answer /health within {START_SECONDS} s:\n{self.tail()}")
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


class Sandbox:
    """A running `adit sandbox`: Bedrock as strict as AWS (`src/sandbox/mod.rs`), and its side door."""

    ACCESS_KEY_ID = "AKIAIOSFODNN7EXAMPLE"
    SECRET_ACCESS_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

    def __enter__(self):
        LOGS.mkdir(parents=True, exist_ok=True)
        self.log = LOGS / "sandbox.log"
        with open(self.log, "wb") as log:
            command = [binary(), "sandbox", "--listen", "127.0.0.1:0"]
            self.process = subprocess.Popen(command, cwd=ROOT, env=clean_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True)
        # Empty when it ended before it listened.
        line = self.process.stdout.readline()
        found = re.search(r"http://\S+", line)
        if not found:
            self.__exit__()
            raise RuntimeError(f"{line!r}, and in {self.log}: {self.log.read_text()}")
        self.base_url = found[0]
        return self

    def __exit__(self, *_):
        ended = self.process.poll()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        assert ended is None, "the sandbox ended on its own"

    def requests(self, tag=None):
        """What arrived, the oldest first, and how far each answer is."""
        return self._ask("GET", "requests", tag)["requests"]

    def last(self):
        """The last request, once every answer has ended."""
        self.wait(requests=1)
        while (requests := self.requests())[-1]["answer"]["state"] in ("open", "held"):
            self.wait(complete=1 + sum(request["answer"]["state"] == "complete" for request in requests))
        return requests[-1]

    def forget(self):
        self._ask("DELETE", "requests")

    def release(self):
        """Lets go on what the knob `hold` stops."""
        self._ask("POST", "release")

    def wait(self, **states):
        """Waits until so many requests are there, `held`, `complete`, `closed` or `broken`."""
        query = "&".join(f"{name}={count}" for name, count in states.items())
        self._ask("GET", f"wait?{query}&timeout={START_SECONDS}s")

    def _ask(self, method, path, tag=None):
        url = f"{self.base_url}/sandbox/{path}" + (f"?tag={tag}" if tag else "")
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=START_SECONDS + 5) as answer:
            body = answer.read()
        return json.loads(body) if body.startswith((b"{", b"[")) else body


def main(command):
    with_backends = command[:1] == ["--backends"]
    if with_backends:
        command = command[1:]
    if not command:
        sys.exit(__doc__)
    with contextlib.ExitStack() as running:
        environment = dict(os.environ)
        started = []
        if not environment.get("ADIT_BASE_URL"):
            started.append(running.enter_context(Gateway()))
            environment["ADIT_BASE_URL"] = started[-1].base_url
        if with_backends:
            from backends import Backends

            backends = running.enter_context(Backends())
            started.append(running.enter_context(backends.gateway()))
            environment["ADIT_BACKENDS_URL"] = started[-1].base_url
        code = subprocess.run(command, check=False, env=environment).returncode
        for gateway in started:
            if gateway.process.poll() is not None:
                print(f"adit ended on its own with {gateway.process.returncode}:\n{gateway.tail()}", file=sys.stderr)
                code = code or 1
        if with_backends and backends.objections():
            print("the stand-ins object:", *backends.objections(), sep="\n", file=sys.stderr)
            code = code or 1
        return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
