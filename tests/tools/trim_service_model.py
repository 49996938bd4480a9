#!/usr/bin/env python3
"""Trims botocore's Bedrock runtime model to what the sandbox checks requests with.

    python3 tests/tools/trim_service_model.py service-2.json > src/sandbox/service-model.json

`service-2.json` is `botocore/data/bedrock-runtime/2023-09-30/service-2.json.gz` of PyPI botocore, decompressed. Kept: the operations below, the shapes
that their inputs reach, and the status of every exception. Left out: documentation, and what says nothing about a request.
"""

import json
import sys

OPERATIONS = ["Converse", "ConverseStream", "CountTokens", "InvokeModel", "InvokeModelWithResponseStream"]
KEPT = {"type", "required", "members", "union", "document", "member", "key", "value", "min", "max", "pattern", "enum", "shape", "location", "locationName", "payload"}


def reach(shapes, name, seen):
    if name in seen:
        return
    seen.add(name)
    shape = shapes[name]
    for member in shape.get("members", {}).values():
        reach(shapes, member["shape"], seen)
    for inner in ("member", "key", "value"):
        if inner in shape:
            reach(shapes, shape[inner]["shape"], seen)


def trim(shape):
    kept = {key: value for key, value in shape.items() if key in KEPT}
    if "members" in kept:
        kept["members"] = {name: {key: value for key, value in member.items() if key in KEPT} for name, member in kept["members"].items()}
    return kept


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        model = json.load(file)
    shapes, seen = model["shapes"], set()
    operations = {}
    for name in OPERATIONS:
        operation = model["operations"][name]
        operations[name] = {"http": {key: operation["http"][key] for key in ("method", "requestUri")}, "input": operation["input"]["shape"]}
        reach(shapes, operation["input"]["shape"], seen)
    errors = {name: shape["error"]["httpStatusCode"] for name, shape in sorted(shapes.items()) if shape.get("exception")}
    out = {
        "origin": "botocore 1.44.5, data/bedrock-runtime/2023-09-30/service-2.json.gz, Copyright Amazon.com, Inc. or its affiliates, Apache-2.0; "
        "trimmed by tests/tools/trim_service_model.py",
        "operations": operations,
        "errors": errors,
        "shapes": {name: trim(shapes[name]) for name in sorted(seen)},
    }
    # One shape a line: small, and still readable in a diff.
    lines = [f"{json.dumps(key)}: {json.dumps(out[key])}," for key in ("origin", "operations", "errors")]
    rows = [f"  {json.dumps(name)}: {json.dumps(shape)}" for name, shape in out["shapes"].items()]
    print("{\n" + "\n".join(lines) + '\n"shapes": {\n' + ",\n".join(rows) + "\n}\n}")


main()
