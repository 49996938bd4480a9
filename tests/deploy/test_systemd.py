"""systemd/: the unit by systemd-analyze, the user and the files by the tools that make them, and the times that have to fit together."""

import configparser
import os
import re
import shutil
import subprocess

import pytest
import yaml

from gateway import ROOT, binary

FOLDER = ROOT / "systemd"
UNIT = FOLDER / "adit.service"
# Exposure in tenths, of 100.
THRESHOLD = 20
LAST_WORDS_SECONDS = 5


class Many(dict):
    """Options that stand several times, as a list."""

    def __setitem__(self, key, value):
        if key in self and isinstance(value, list):
            self[key].extend(value)
        else:
            super().__setitem__(key, value)


@pytest.fixture(scope="module")
def service():
    """The section [Service], each option with all its lines."""
    parser = configparser.RawConfigParser(strict=False, dict_type=Many, comment_prefixes=("#",), delimiters=("=",))
    parser.optionxform = str
    parser.read(UNIT)
    # One that is reset first, as in `X=`, is an empty line in the list.
    return {name: value.splitlines() or [""] for name, value in parser["Service"].items()}


def need(*programs):
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)} here")


def run(*words):
    return subprocess.run(words, capture_output=True, text=True, env={**os.environ, "SYSTEMD_COLORS": "0", "SYSTEMD_EMOJI": "0"})


def verify(text, folder):
    """Exit code and complaints about a unit whose programs are where the tests have them."""
    copy = folder / UNIT.name
    # The manual that it names is there once it is installed.
    copy.write_text(re.sub(r"(?m)^Documentation=.*\n", "", text).replace("/usr/local/bin/adit", str(binary().resolve())))
    done = run("systemd-analyze", "verify", "--man=no", copy)
    return done.returncode, done.stdout + done.stderr


def test_systemd_takes_the_unit(tmp_path):
    need("systemd-analyze")
    assert verify(UNIT.read_text(), tmp_path) == (0, "")


@pytest.mark.parametrize("line", ["Typ=notify", "ProtectSystem=very", "SystemCallFilter=@system-servise", "ExecStart=/no/such/program"])
def test_systemd_would_complain(tmp_path, line):
    need("systemd-analyze")
    _, complaints = verify(UNIT.read_text().replace("[Install]", f"{line}\n[Install]"), tmp_path)
    assert complaints


def test_exposure_is_low():
    need("systemd-analyze")
    done = run("systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={THRESHOLD}", UNIT)
    figure = re.search(r"Overall exposure level for adit\.service: ([\d.]+)", done.stdout)
    if figure is None and "offline" in done.stderr:
        pytest.skip("this systemd-analyze cannot look at a file")
    print(figure[0])
    assert done.returncode == 0, done.stdout
    assert float(figure[1]) * 10 <= THRESHOLD


def test_a_stop_waits_for_the_last_request(service):
    pingora = yaml.safe_load((ROOT / "conf" / "adit.yaml").read_text())["pingora"]
    [stop] = service["TimeoutStopSec"]
    assert int(stop) > pingora["grace_period_seconds"] + pingora["graceful_shutdown_timeout_seconds"] + LAST_WORDS_SECONDS


def test_files_of_the_daemon_lie_in_the_units_folders(service):
    pingora = yaml.safe_load((ROOT / "conf" / "adit.yaml").read_text())["pingora"]
    [name] = service["RuntimeDirectory"]
    assert {os.path.dirname(pingora[key]) for key in ("pid_file", "upgrade_sock")} == {f"/run/{name}"}
    assert service["RuntimeDirectoryMode"] == ["0700"]


def test_the_successor_may_notify(service):
    assert (service["Type"], service["NotifyAccess"]) == (["notify"], ["all"])
    assert "PIDFile" not in service


def test_the_commands_are_ones_of_the_binary(service, tmp_path):
    for name in ("adit.yaml", "models.yaml"):
        shutil.copy(ROOT / "conf" / name, tmp_path / name)

    def here(command):
        return command.replace("/usr/local/bin/adit", str(binary().resolve())).replace("/etc/adit", str(tmp_path))

    [start] = service["ExecStart"]
    assert run(*here(start).split(), "-t").returncode == 0
    test = re.fullmatch(r"/bin/sh -c '(.*)'", service["ExecReload"][0])[1]
    done = run("/bin/sh", "-c", here(test))
    assert (done.returncode, done.stdout) == (0, "")
    (tmp_path / "models.yaml").write_text("modles: {}\n")
    done = run("/bin/sh", "-c", here(test))
    assert done.returncode == 2 and "modles" in done.stderr


def test_the_stop_command_waits_for_the_process(service):
    command = re.fullmatch(r"/bin/sh -c '(.*)'", service["ExecStop"][0])[1]
    process = subprocess.Popen(["sleep", "60"])
    try:
        reaper = subprocess.Popen(["/bin/sh", "-c", command], env={**os.environ, "MAINPID": str(process.pid)})
        assert process.wait(10) == -15
        assert reaper.wait(10) == 0
    finally:
        process.kill()
    # What ended on its own has no process to wait for.
    assert run("env", "-u", "MAINPID", "/bin/sh", "-c", command).returncode == 0


def test_user_and_files_are_made(service, tmp_path):
    need("systemd-sysusers", "systemd-tmpfiles")
    if os.geteuid() != 0:
        pytest.skip("giving files to another user needs root")
    (tmp_path / "etc/adit").mkdir(parents=True)
    for name in ("adit.yaml", "models.yaml", "keys.yaml", "adit.env"):
        (tmp_path / "etc/adit" / name).touch()
    for kind in ("sysusers", "tmpfiles"):
        (tmp_path / f"usr/lib/{kind}.d").mkdir(parents=True)
        shutil.copy(FOLDER / f"adit.{kind}.conf", tmp_path / f"usr/lib/{kind}.d/adit.conf")
    for words in (["systemd-sysusers"], ["systemd-tmpfiles", "--create"]):
        done = run(*words, f"--root={tmp_path}", "adit.conf")
        assert done.returncode == 0, done.stderr
    user, _, uid, gid, _, home, shell = (tmp_path / "etc/passwd").read_text().strip().split(":")
    assert ([user], [user]) == (service["User"], service["Group"])
    assert (home, os.path.basename(shell)) == (f"/var/lib/{service['StateDirectory'][0]}", "nologin")

    def facts(name):
        found = (tmp_path / "etc/adit" / name).stat()
        return found.st_uid, found.st_gid, found.st_mode & 0o7777

    assert facts(".") == (0, int(gid), 0o750)
    assert [facts(name) for name in ("adit.yaml", "models.yaml", "keys.yaml")] == [(0, int(gid), 0o640)] * 3
    assert facts("adit.env") == (0, 0, 0o600)
    assert int(uid) != 0
