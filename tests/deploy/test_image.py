"""The Dockerfile: what hadolint says, what lies in the context, and the program that performs its steps (`make image-steps` performs them all)."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from dockerfile_steps import Refused, Steps, flags, packages_of, parse
from gateway import ROOT, binary, clean_environment

HADOLINT = Path(sys.executable).with_name("hadolint")


def hadolint(text):
    """Exit code and findings; a finding of any level counts."""
    run = subprocess.run([HADOLINT, "--no-color", "--failure-threshold", "style", "-"], input=text, capture_output=True, text=True)
    return run.returncode, run.stdout + run.stderr


@pytest.fixture(scope="module")
def text():
    return (ROOT / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def instructions(text):
    return [(name, value) for _, name, value in parse(text)]


def last(instructions, name):
    return [value for found, value in instructions if found == name][-1]


def test_hadolint_finds_nothing(text):
    assert hadolint(text) == (0, "")


def test_hadolint_would_find_something(text):
    code, findings = hadolint(text.replace("-slim-bookworm", "").replace("rust:1.95.0", "rust") + "\nRUN cd /tmp && sudo true\n")
    assert code != 0
    assert {"DL3006", "DL3004"} <= set(re.findall(r"DL\d+", findings))


def test_base_images_are_pinned_and_of_one_debian(instructions):
    build, final = [value.split()[0] for name, value in instructions if name == "FROM"]
    version, debian = re.fullmatch(r"rust:(\d+\.\d+\.\d+)-slim-(\w+)", build).groups()
    wanted = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["rust-version"]
    assert [int(part) for part in version.split(".")] >= [int(part) for part in wanted.split(".")]
    # The binary runs with the final image's glibc.
    assert (debian, final) == ("bookworm", "gcr.io/distroless/cc-debian12:nonroot")


def test_dependencies_have_a_layer_that_no_source_changes(instructions):
    builds = [at for at, (name, value) in enumerate(instructions) if name == "RUN" and "cargo build" in value]
    copies = {at: value for at, (name, value) in enumerate(instructions) if name == "COPY"}
    dependencies, source = builds
    assert [value for at, value in copies.items() if at < dependencies] == ["Cargo.toml Cargo.lock ./"]
    assert {value for at, value in copies.items() if dependencies < at < source} == {"conf conf", "src src"}
    # The same build, or Cargo would choose other features and compile them again.
    commands = [re.search(r"cargo build.*", instructions[at][1])[0] for at in builds]
    assert commands[0] == commands[1]


def test_the_image_runs_as_nobody_in_particular_and_says_how_it_is(instructions):
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last(instructions, "USER"))
    assert last(instructions, "STOPSIGNAL") == "SIGTERM"
    assert last(instructions, "ENTRYPOINT") == '["/usr/local/bin/adit"]'
    assert flags(last(instructions, "HEALTHCHECK"))[1] == 'CMD ["/usr/local/bin/adit", "health"]'
    assert last(instructions, "ENV") == f"ADIT_LISTEN=0.0.0.0:{last(instructions, 'EXPOSE')}"


def test_the_health_check_is_a_command_of_the_binary():
    run = subprocess.run([binary(), "health", "--url", "http://127.0.0.1:1"], env=clean_environment(), capture_output=True, text=True)
    assert run.returncode == 1, run.stderr


def test_no_file_but_the_sources_lies_in_the_context(text, tmp_path):
    for name in ("Cargo.toml", "Cargo.lock", "Dockerfile", ".dockerignore"):
        shutil.copy(ROOT / name, tmp_path / name)
    for name in (".env", "conf/adit.yaml", "src/a/b.rs", "src.env", "target/debug/adit", "tests/key.pem", ".git/config", "deploy/conf"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    steps = Steps(text, tmp_path, tmp_path / "scratch")
    # Docker sends these two in any case.
    assert set(steps.files) - {"Dockerfile", ".dockerignore"} == {"Cargo.toml", "Cargo.lock", "conf/adit.yaml", "src/a/b.rs"}


def test_steps_are_performed_below_a_folder(tmp_path):
    context = tmp_path / "context"
    (context / "in/deep").mkdir(parents=True)
    (context / "in/deep/file").write_text("hello")
    (context / "one").write_text("1")
    dockerfile = """
FROM one:1 AS first
WORKDIR /work
ARG WHO=you
ENV HOW="well enough" WHERE=here
COPY one ./
COPY in there
# A comment
RUN mkdir out \\
    && echo "$WHO $HOW $(cat there/deep/file) $(cat one)" >out/text
FROM two:2
COPY --from=first /work/out/text /result/
USER 5:6
CMD ["serve"]
"""
    stage = Steps(dockerfile, context, tmp_path / "scratch").perform()
    assert (stage.folder / "result/text").read_text() == "you well enough hello 1\n"
    assert (stage.said["user"], stage.said["cmd"]) == ("5:6", ["serve"])
    assert sorted(path.name for path in (tmp_path / "scratch").iterdir()) == ["1", "first"]


@pytest.mark.parametrize(
    "step",
    [
        "RUN false",
        "RUN echo >/work/file",
        "RUN --mount=type=cache,target=/x true",
        "COPY nothing .",
        "COPY --from=nobody a b",
        "COPY --chown=1:1 one b",
        "ADD one .",
        "VOLUME /x",
        "CMD serve",
        "RUN apt-get update && apt-get install --yes no-such-package-anywhere",
    ],
)
def test_what_cannot_be_performed_is_refused(tmp_path, step):
    if "apt-get" in step and not shutil.which("apt-cache"):
        pytest.skip("no apt-cache here")
    (tmp_path / "one").touch()
    with pytest.raises(Refused, match="^line 3: "):
        Steps(f"FROM a:1\nWORKDIR /work\n{step}\n", tmp_path, tmp_path / "scratch").perform()


def test_packages_of_an_apt_get_step_are_found(instructions):
    step = next(value for name, value in instructions if name == "RUN" and "apt-get" in value)
    assert packages_of(step) == ["cmake", "make"]
