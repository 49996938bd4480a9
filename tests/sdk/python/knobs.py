"""The stand-in's knobs. They stand in the model id, behind the word `sandbox`: the gateway takes such an id for one of Bedrock's own."""

BASE = "anthropic.claude-3-haiku-20240307-v1:0"

# What a stream can fail with after the head was sent.
MID_STREAM = ["internalServerException", "modelStreamErrorException", "serviceUnavailableException", "throttlingException", "validationException"]


def _model(*knobs):
    return ".".join([BASE, "sandbox", *knobs])


def slow(seconds):
    """Waits between two frames of a stream."""
    return _model(f"pause-{round(seconds * 1000)}ms")


def words(count):
    """Answers with so many words, whatever was asked."""
    return _model(f"words-{count}")


def refuse(exception, retry_after=None):
    """Answers with an error of Bedrock's instead."""
    return _model(f"error-{exception}", *([f"retry-{retry_after}"] if retry_after else []))


def refuse_in_stream(exception, frames=3):
    """Sends an exception behind so many pieces of content."""
    return _model(f"exception-{exception}", f"after-{frames}")


def cut(frames=3):
    """The connection breaks behind so many frames."""
    return _model(f"cut-{frames}")


def hold():
    """Waits for a release behind the first piece of content."""
    return _model("hold")
