#!/usr/bin/env python3
"""Writes down what botocore makes of recorded ConverseStream bodies: an opinion on the same bytes that shares nothing with ours.

    .venv/bin/python tests/tools/botocore_reads.py

writes `<name>.botocore.json` beside every `tests/fixtures/bedrock/<name>.bin`. Needs PyPI botocore, which brings its own model of the service.
"""

import json
from pathlib import Path

import botocore.parsers
import botocore.session
from botocore.eventstream import EventStream
from botocore.exceptions import EventStreamError

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "bedrock"


class Body:
    """The bytes of an answer in the place of a connection."""

    def __init__(self, data):
        self.data = data

    def stream(self):
        yield self.data

    def close(self):
        pass


def events(data):
    """The events of a ConverseStream body, as a boto3 client yields them."""
    operation = botocore.session.Session().get_service_model("bedrock-runtime").operation_model("ConverseStream")
    parser = botocore.parsers.EventStreamJSONParser()
    return EventStream(Body(data), operation.get_event_stream_output(), parser, operation.name)


def read(data):
    """What a body says: texts and tool calls by block, why it stopped, tokens, and the exception if there is one."""
    blocks, answer = {}, {"blocks": [], "stopReason": None, "usage": None, "exception": None}
    try:
        for event in events(data):
            (name, value), *more = event.items()
            assert not more, event
            if name == "contentBlockStart":
                tool = value["start"]["toolUse"]
                blocks[value["contentBlockIndex"]] = {"toolUseId": tool["toolUseId"], "name": tool["name"], "input": ""}
            elif name == "contentBlockDelta" and "text" in value["delta"]:
                blocks.setdefault(value["contentBlockIndex"], {"text": ""})["text"] += value["delta"]["text"]
            elif name == "contentBlockDelta":
                blocks[value["contentBlockIndex"]]["input"] += value["delta"]["toolUse"]["input"]
            elif name == "messageStop":
                answer["stopReason"] = value["stopReason"]
            elif name == "metadata":
                answer["usage"] = value["usage"]
    except EventStreamError as error:
        answer["exception"] = {"code": error.response["Error"]["Code"], "message": error.response["Error"]["Message"]}
    answer["blocks"] = [blocks[index] for index in sorted(blocks)]
    return answer


def recordings():
    """Every recorded body, and where botocore's opinion on it is kept."""
    return [(path, path.with_suffix(".botocore.json")) for path in sorted(FIXTURES.glob("*.bin"))]


def main():
    for recording, opinion in recordings():
        opinion.write_text(json.dumps(read(recording.read_bytes()), indent=2, ensure_ascii=False) + "\n")
        print(opinion.relative_to(Path.cwd()) if opinion.is_relative_to(Path.cwd()) else opinion)


if __name__ == "__main__":
    main()
