"""Performs the steps of the Dockerfile on this machine, for where no Docker runs: `make image-steps`.

The Dockerfile is read, there is no second copy of its commands. Every stage gets an empty folder below target/image-steps, its paths are mapped there, and this
machine stands in for the base images. What the Dockerfile says and this program cannot do is an error, never passed over. An `apt-get` step runs only with --apt and
as root; without, it is checked that the packages exist.

The last stage is then run as its user with what the image has, and no more: as root in a chroot with a read-only file system, a tmpfs on /run/adit and no
capability; else in its folder, by the user that runs this.
"""

import argparse
import contextlib
import io
import json
import os
import re
import shlex
import shutil
import signal
import socket
import string
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from docker.utils.build import exclude_paths
from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).resolve().parents[2]
SCRATCH = ROOT / "target" / "image-steps"
# What the build's own RUN steps see of the caller; CARGO_TARGET_DIR and its like would lead out of the folder.
KEPT = ("PATH", "HOME", "RUSTUP_HOME", "CARGO_HOME", "LANG")
# The shared libraries of the last stage's base image: Debian's libc6, libgcc-s1, libstdc++6, libgomp1 and libssl3.
BASE_LIBRARIES = re.compile(r"(ld-linux.*|lib(c|m|dl|rt|util|pthread|resolv|gcc_s|stdc\+\+|gomp|ssl|crypto))\.so\.[\d.]+$")
CERTIFICATES = Path("etc/ssl/certs/ca-certificates.crt")
START_SECONDS = 30
# pingora.grace_period_seconds, and some time to spare.
STOP_SECONDS = 30


class Refused(Exception):
    """A step that failed, or that this program cannot perform."""


def say(text):
    print(f"image-steps: {text}", flush=True)


def parse(text):
    """The instructions of a Dockerfile as (line, name, value)."""
    file = io.BytesIO(text.encode())
    return [(step["startline"] + 1, step["instruction"], step["value"]) for step in DockerfileParser(fileobj=file).structure if step["instruction"] != "COMMENT"]


def flags(value):
    """`--name=value` words at the beginning, and the rest."""
    found = {}
    while match := re.match(r"--([a-z-]+)(?:=(\S+))?\s+", value):
        found[match[1]] = match[2] or ""
        value = value[match.end() :]
    return found, value


def json_form(value):
    """The words of an instruction in JSON form."""
    words = json.loads(value)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise Refused(f"not a list of words: {value}")
    return words


def packages_of(command):
    """The packages that a RUN step installs with apt-get."""
    found, installing, previous = [], False, ""
    for word in shlex.split(command):
        if word in ("&&", ";", "||"):
            installing = False
        elif word == "install" and previous == "apt-get":
            installing = True
        elif installing and not word.startswith("-"):
            found.append(word)
        previous = word
    return found


def copy(origin, into):
    """Copies one file with its times and mode."""
    into.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(origin, into)


class Stage:
    """One FROM and what follows: its folder, its environment, and what it says of how to run."""

    def __init__(self, base, name, folder):
        self.base, self.name, self.folder = base, name, folder
        self.workdir = "/"
        self.environment = {}
        self.arguments = {}
        self.said = {}
        folder.mkdir(parents=True)

    def inside(self, path):
        """A path of the image as a path of this machine."""
        mapped = Path(os.path.normpath(os.path.join("/", self.workdir, path)))
        return self.folder / mapped.relative_to("/")

    def expand(self, value):
        return string.Template(value).safe_substitute({**self.arguments, **self.environment})


class Steps:
    """The stages of a Dockerfile, performed one step after the other."""

    def __init__(self, text, context, scratch, apt=False):
        self.steps, self.context, self.scratch, self.apt = parse(text), context, scratch, apt
        self.stages = []
        ignored = context / ".dockerignore"
        patterns = [line for line in ignored.read_text().splitlines() if line and not line.startswith("#")] if ignored.exists() else []
        self.files = sorted(path for path in exclude_paths(str(context), patterns) if (context / path).is_file())

    def perform(self):
        for line, name, value in self.steps:
            do = getattr(self, f"do_{name.lower()}", None)
            if do is None or (not self.stages and name != "FROM"):
                raise Refused(f"line {line}: {name} is not known here")
            try:
                do(value)
            except (Refused, ValueError, OSError) as error:
                raise Refused(f"line {line}: {name}: {error}") from error
        return self.stages[-1]

    @property
    def stage(self):
        return self.stages[-1]

    def do_from(self, value):
        words = value.split()
        if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
            raise Refused(f"not understood: {value}")
        name = words[2] if len(words) == 3 else str(len(self.stages))
        say(f"stage {name}: this machine stands in for {words[0]}")
        self.stages.append(Stage(words[0], name, self.scratch / name))

    def do_workdir(self, value):
        self.stage.workdir = os.path.join(self.stage.workdir, self.stage.expand(value))
        self.stage.inside(".").mkdir(parents=True, exist_ok=True)

    def do_env(self, value):
        for pair in shlex.split(value):
            name, equals, word = pair.partition("=")
            if not equals:
                raise Refused(f"not NAME=value: {pair}")
            self.stage.environment[name] = self.stage.expand(word)

    def do_arg(self, value):
        name, _, word = value.partition("=")
        self.stage.arguments[name] = word

    def do_copy(self, value):
        options, rest = flags(value)
        if options.keys() - {"from"}:
            raise Refused(f"flags are not known here: {sorted(options)}")
        *sources, target = shlex.split(self.stage.expand(rest))
        into = self.stage.inside(target)
        folder = target.endswith("/") or target == "." or len(sources) > 1
        for source in sources:
            if "from" in options:
                origin = next((stage for stage in self.stages[:-1] if stage.name == options["from"]), None)
                if origin is None:
                    raise Refused(f"no stage {options['from']}")
                copy(origin.inside(os.path.join("/", source)), into / os.path.basename(source) if folder else into)
            else:
                self.copy_context(source, into, folder)

    def copy_context(self, source, into, folder):
        """Copies what .dockerignore lets into the context: a file, or what is in a folder."""
        if any(letter in source for letter in "*?["):
            raise Refused(f"patterns are not known here: {source}")
        clean = os.path.normpath(source)
        if clean in self.files:
            copy(self.context / clean, into / os.path.basename(clean) if folder else into)
            return
        inside = [path for path in self.files if path.startswith(f"{clean}/")]
        if not inside:
            raise Refused(f"{source} is not in the context")
        for path in inside:
            copy(self.context / path, into / os.path.relpath(path, clean))

    def do_run(self, value):
        options, command = flags(value)
        if options:
            raise Refused(f"flags are not known here: {sorted(options)}")
        if re.search(r"\bapt-get\b", command) and not (self.apt and os.geteuid() == 0):
            self.look_for(packages_of(command))
            return
        # Only relative paths are mapped: an absolute one would read or write this machine's own.
        workdir = os.path.normpath(self.stage.workdir)
        if workdir != "/" and re.search(rf"(?<![\w.]){re.escape(workdir)}\b", command):
            raise Refused(f"names {workdir}: only relative paths are mapped")
        say(f"RUN {' '.join(command.split())}")
        environment = {name: os.environ[name] for name in KEPT if name in os.environ} | self.stage.arguments | self.stage.environment
        begin = time.monotonic()
        run = subprocess.Popen(["/bin/sh", "-c", command], cwd=self.stage.inside("."), env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        compiled = []
        for line in run.stdout:
            print(line, end="", flush=True)
            if found := re.match(r"\s*Compiling (\S+)", line):
                compiled.append(found[1])
        if run.wait() != 0:
            raise Refused(f"exit code {run.returncode}")
        say(f"{time.monotonic() - begin:.0f} s, {len(compiled)} crates compiled")
        self.stage.said.setdefault("compiled", []).append(compiled)

    def look_for(self, packages):
        if not packages:
            raise Refused("an apt-get step that installs nothing can only be run, with --apt and as root")
        if shutil.which("apt-cache") is None:
            say(f"unchecked, as there is no apt-cache: {' '.join(packages)}")
            return
        for package in packages:
            if not subprocess.run(["apt-cache", "show", "--no-all-versions", package], capture_output=True, text=True).stdout:
                raise Refused(f"there is no package {package}")
        say(f"the packages exist: {' '.join(packages)}")

    def note(self, name, value):
        self.stage.said[name] = value

    def do_user(self, value):
        self.note("user", value)

    def do_stopsignal(self, value):
        self.note("stopsignal", value)

    def do_expose(self, value):
        self.note("expose", value.split())

    def do_entrypoint(self, value):
        self.note("entrypoint", json_form(value))

    def do_cmd(self, value):
        self.note("cmd", json_form(value))

    def do_healthcheck(self, value):
        _, rest = flags(value)
        if not rest.startswith("CMD "):
            raise Refused(f"not understood: {value}")
        self.note("healthcheck", json_form(rest.removeprefix("CMD ")))

    def do_label(self, value):
        self.note("labels", dict(pair.split("=", 1) for pair in shlex.split(self.stage.expand(value.replace("\\\n", " ")))))


class Image:
    """The last stage as a container would run it."""

    def __init__(self, stage):
        self.stage = stage
        user = re.fullmatch(r"(\d+):(\d+)", stage.said.get("user", ""))
        if not user or 0 in (int(user[1]), int(user[2])):
            raise Refused("USER of the last stage has to be numbers, and not root's")
        self.user = stage.said["user"]
        self.program = stage.said["entrypoint"]
        self.isolated = os.geteuid() == 0 and all(shutil.which(name) for name in ("unshare", "setpriv", "chroot"))
        if not stage.inside(self.program[0]).is_file():
            raise Refused(f"{self.program[0]} is not in the image")
        self.add_base()

    def add_base(self):
        """The shared libraries that the binary asks for, which have to be ones of the base image, and the certificates."""
        listed = subprocess.run(["ldd", self.stage.inside(self.program[0])], capture_output=True, text=True, check=True).stdout
        names = []
        for path in re.findall(r"(?:=> )?(/\S+) \(", listed):
            name = os.path.basename(path)
            if not BASE_LIBRARIES.match(name):
                raise Refused(f"{name} is not in {self.stage.base}")
            names.append(name)
            copy(Path(path), self.stage.folder / path.lstrip("/"))
        say(f"shared libraries, all of them in {self.stage.base}: {' '.join(sorted(names))}")
        certificates = Path("/") / CERTIFICATES
        if certificates.exists():
            copy(certificates, self.stage.folder / CERTIFICATES)
        for folder in ("proc", "run/adit", "tmp"):
            (self.stage.folder / folder).mkdir(parents=True, exist_ok=True)

    def command(self, words):
        if not self.isolated:
            return [self.stage.inside(words[0]), *words[1:]]
        root = shlex.quote(str(self.stage.folder))
        owner = "uid={},gid={}".format(*self.user.split(":"))
        mounts = (
            f"mount --bind {root} {root} && mount -o remount,bind,ro {root} && mount -t proc proc {root}/proc && mount -t tmpfs -o size=1m,mode=0700,{owner} tmpfs {root}/run/adit"
        )
        # The shell turns into the program: signals reach it. What chroot itself needs is lost when it becomes the user.
        enter = ["setpriv", "--no-new-privs", "--bounding-set=-all,+sys_chroot,+setuid,+setgid", "--inh-caps=-all", shutil.which("chroot"), f"--userspec={self.user}", "--groups=", str(self.stage.folder), *words]
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", f'{mounts} && exec "$@"', "sh", *enter]

    def start(self, words, **options):
        return subprocess.Popen(self.command(words), cwd="/", stdin=subprocess.DEVNULL, **options)

    def run(self, words, environment):
        run = self.start(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        output, _ = run.communicate(timeout=START_SECONDS)
        return run.returncode, output

    def check(self):
        how = f"as {self.user} without capabilities on a read-only file system" if self.isolated else f"as user {os.geteuid()}, in its folder (a chroot needs root)"
        said = self.stage.said
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        # The image's own environment, but for a port that is free here.
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", **self.stage.environment}
        address, _ = environment["ADIT_LISTEN"].rsplit(":", 1)
        environment["ADIT_LISTEN"] = f"{address}:{port}"

        code, output = self.run([*self.program, "-t"], environment)
        if code != 0:
            raise Refused(f"`adit -t` ended with {code}:\n{output}")
        say(f"`adit -t` {how}: {output.strip().splitlines()[-1]}")

        with open(self.stage.folder.parent / "serve.log", "w+") as log:
            daemon = self.start([*self.program, *said["cmd"]], env=environment, stdout=log, stderr=subprocess.STDOUT)
            try:
                self.serve(daemon, port, environment, how)
            except Refused as error:
                log.seek(0)
                raise Refused(f"{error}\n{log.read()}") from error
            finally:
                if daemon.poll() is None:
                    daemon.kill()
                    daemon.wait()

    def serve(self, daemon, port, environment, how):
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
                if answer.status == 200:
                    break
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise Refused(f"no answer to /health; exit code {daemon.poll()}")
            time.sleep(0.05)
        if self.isolated:
            status = dict(line.split(":", 1) for line in Path(f"/proc/{daemon.pid}/status").read_text().splitlines())
            user, group = self.user.split(":")
            seen = (set(status["Uid"].split()), set(status["Gid"].split()), int(status["CapEff"], 16), int(status["CapPrm"], 16), status["NoNewPrivs"].strip())
            if seen != ({user}, {group}, 0, 0, "1"):
                raise Refused(f"it does not run as it should: {seen}")
        say(f"serves {how}")

        healthcheck = self.stage.said["healthcheck"]
        code, output = self.run(healthcheck, environment)
        if code != 0:
            raise Refused(f"HEALTHCHECK of a gateway that serves: exit code {code}: {output}")

        begin = time.monotonic()
        daemon.send_signal(signal.Signals[self.stage.said["stopsignal"]])
        code = daemon.wait(STOP_SECONDS)
        if code != 0:
            raise Refused(f"{self.stage.said['stopsignal']}: exit code {code}")
        say(f"{self.stage.said['stopsignal']} ended it in {time.monotonic() - begin:.1f} s with 0")
        code, output = self.run(healthcheck, environment)
        if code != 1:
            raise Refused(f"HEALTHCHECK of a gateway that is gone: exit code {code}: {output}")
        say("HEALTHCHECK: 0 while it serves, 1 when it is gone")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--apt", action="store_true", help="run apt-get steps on this machine, as root")
    parser.add_argument("--keep", action="store_true", help="keep the folders of the stages before the last")
    options = parser.parse_args()
    begin = time.monotonic()
    shutil.rmtree(SCRATCH, ignore_errors=True)
    try:
        steps = Steps((ROOT / "Dockerfile").read_text(), ROOT, SCRATCH, options.apt)
        last = steps.perform()
        builds = [compiled for stage in steps.stages for compiled in stage.said.get("compiled", []) if compiled]
        # The first is the layer of the dependencies; what comes after it has to find them there.
        if len(builds) != 2 or builds[1] != ["adit"]:
            raise Refused(f"the source's layer compiled more than the crate: {builds[1:]}")
        Image(last).check()
        size = sum(file.stat().st_size for file in last.folder.rglob("adit") if file.is_file())
        say(f"good in {time.monotonic() - begin:.0f} s: {len(builds[0])} crates in the dependencies' layer, 1 in the source's, binary of {size / 1e6:.1f} MB")
    except Refused as error:
        say(str(error))
        return 1
    finally:
        if not options.keep:
            for stage in SCRATCH.iterdir() if SCRATCH.exists() else []:
                if stage.is_dir() and (stage / "src").exists():
                    shutil.rmtree(stage)
    return 0


if __name__ == "__main__":
    sys.exit(main())
