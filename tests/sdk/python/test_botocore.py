"""What botocore reads from the recorded streams: `tests/recorded.rs` compares the gateway's translation with it."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import botocore_reads

RECORDINGS = botocore_reads.recordings()


@pytest.fixture(autouse=True)
def still_serving():
    """No gateway is needed here."""


def test_there_are_recordings():
    assert RECORDINGS


@pytest.mark.parametrize(("recording", "opinion"), RECORDINGS, ids=[recording.stem for recording, _ in RECORDINGS])
def test_the_committed_opinion_is_that_of_the_installed_botocore(recording, opinion):
    assert json.loads(opinion.read_text()) == botocore_reads.read(recording.read_bytes())
