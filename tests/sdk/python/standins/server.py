"""An HTTP/1.1 server that remembers what arrived and what it sent, byte for byte. What it answers is up to whoever inherits from it."""

import gzip
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote

# How long a test waits for what should have happened already.
PATIENCE_SECONDS = 20
# What `slow` puts between two frames.
PAUSE_SECONDS = 0.1
# What `error-midstream` and `cut` let pass.
FRAMES_BEFORE = 3
# Headers in which clients of the gateway send what only the gateway may see.
CREDENTIAL_HEADERS = ["authorization", "x-api-key", "api-key", "x-goog-api-key", "proxy-authorization", "cookie", "x-totp-code"]
KNOB = re.compile(r"^(?P<rest>.+)\.(?P<knob>error-\d{3}|error-midstream|cut|slow|hold|gzip|lax)$")


class Refusal(Exception):
    """A request that the real one would refuse. `expected`: a knob asked for it, so it is nobody's mistake."""

    def __init__(self, status, message, param=None, expected=False, headers=None):
        super().__init__(message)
        self.status, self.message, self.param, self.expected, self.headers = status, message, param, expected, headers or {}


@dataclass
class Request:
    """What arrived, and what became of it. `target` is as it was on the wire; the hashes are hex SHA-256 of bodies without transfer coding."""

    method: str
    target: str
    headers: list
    body: bytes
    state: str = "open"  # then complete, broken (a knob's doing) or closed (the peer left)
    status: int = None
    answer: bytes = b""

    @property
    def path(self):
        return self.target.partition("?")[0]

    @property
    def segments(self):
        """The path's segments, decoded one by one."""
        return [unquote(segment) for segment in self.path.strip("/").split("/")]

    @property
    def query(self):
        """The raw query, or None."""
        return self.target.partition("?")[2] if "?" in self.target else None

    @property
    def parameters(self):
        return {name: values[-1] for name, values in parse_qs(self.query or "", keep_blank_values=True).items()}

    @property
    def body_sha256(self):
        return hashlib.sha256(self.body).hexdigest()

    @property
    def answer_sha256(self):
        return hashlib.sha256(self.answer).hexdigest()

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name]

    def header(self, name):
        return ", ".join(self.all(name)) or None

    def json(self):
        try:
            value = json.loads(self.body)
        except ValueError as error:
            raise Refusal(400, f"the body is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise Refusal(400, "the body is not an object")
        return value


@dataclass
class Answer:
    """`frames` for a stream, `body` for everything else. `content`: which frames are pieces of the answer's content."""

    status: int = 200
    body: object = None
    frames: list = None
    content: list = field(default_factory=list)
    failure: bytes = b""  # the frame that `error-midstream` sends
    headers: dict = field(default_factory=dict)
    knobs: frozenset = frozenset()

    def bytes(self):
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body, ensure_ascii=False).encode()


def knobs_of(model):
    """`gpt-4.1-mini.slow.cut` → `gpt-4.1-mini`, {slow, cut}"""
    knobs = set()
    while found := KNOB.match(model):
        model = found["rest"]
        knobs.add(found["knob"])
    return model, frozenset(knobs)


def refuse_by_knob(knobs):
    """What `error-429` and its like ask for."""
    for knob in knobs:
        if (status := knob.removeprefix("error-")).isdigit():
            headers = {"retry-after": "7"} if status in ("429", "529") else {}
            raise Refusal(int(status), f"the stand-in was asked for {status}", expected=True, headers=headers)


def only_credential(request, name, value):
    """The gateway's own key, in one header, and nothing of a client's beside it."""
    for header in CREDENTIAL_HEADERS:
        found = request.all(header)
        if header != name and found:
            raise Refusal(401, f"a credential that is not the gateway's arrived in {header}")
        if header == name and found != [value]:
            raise Refusal(401, f"expected the gateway's own key in {name}, found {len(found)} other values" if found else f"no key in {name}")
    foreign = [key for key, _ in request.headers if key.lower().startswith("x-amz-")]
    if foreign:
        raise Refusal(401, f"a signature for AWS arrived: {foreign}")


class StandIn:
    """A server on a free port: `with OpenAi() as openai: openai.base_url`."""

    # Headers that each answer has.
    own_headers = {}

    def __init__(self):
        self.requests = []
        self.objections = []
        self._changed = threading.Condition()
        self._released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"stand_in": self}))
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.base_url = f"http://127.0.0.1:{self._server.server_port}"

    def respond(self, request):
        """The answer to a request; a Refusal is raised."""
        raise NotImplementedError

    def render(self, request, refusal):
        """The body of an error."""
        raise NotImplementedError

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._released.set()
        self._server.shutdown()
        self._server.server_close()

    def forget(self):
        """What was said and what was objected to; answers that are held go on."""
        self.release()
        with self._changed:
            self.requests, self.objections = [], []
            self._released.clear()

    def release(self):
        """Lets go on what `hold` stops."""
        self._released.set()

    def wait(self, met=lambda requests: requests and all(request.state != "open" for request in requests)):
        """Waits until something holds of the requests, by default that there are some and all have been answered; gives them."""
        with self._changed:
            assert self._changed.wait_for(lambda: met(self.requests), PATIENCE_SECONDS), [(request.target, request.state) for request in self.requests]
            return list(self.requests)

    def last(self):
        """The last request, once it has been answered."""
        return self.wait()[-1]

    def _note(self, request=None, **changes):
        with self._changed:
            for name, value in changes.items():
                setattr(request, name, value)
            self._changed.notify_all()

    def _take(self, request):
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()
        try:
            return self.respond(request)
        except Refusal as refusal:
            if not refusal.expected:
                self.objections.append(f"{request.method} {request.target}: {refusal.status} {refusal.message}")
            return Answer(refusal.status, self.render(request, refusal), headers=refusal.headers)
        except Exception as error:  # the stand-in's own mistake, which must not look like the gateway's
            self.objections.append(f"{request.method} {request.target}: the stand-in failed: {error!r}")
            return Answer(500, {"error": {"message": repr(error)}})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    stand_in = None

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def __getattr__(self, name):
        # Every method is answered by the stand-in, whatever it is called.
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def log_message(self, *_):
        """The journal says it better."""

    def _serve(self):
        # `self.path` has leading slashes taken away.
        request = Request(self.command, self.requestline.split(" ")[1], list(self.headers.items()), self._body())
        answer = self.stand_in._take(request)
        request.status = answer.status
        try:
            self._send(request, answer)
        except ConnectionError:
            self.close_connection = True
            self.stand_in._note(request, state="closed")

    def _body(self):
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    def _send(self, request, answer):
        headers = {**self.stand_in.own_headers, **answer.headers}
        if answer.frames is not None:
            own = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache", "transfer-encoding": "chunked"}
            self._head(answer.status, {**own, **headers})
            self._stream(request, answer)
            return
        body = answer.bytes()
        if "gzip" in answer.knobs and "gzip" in (request.header("accept-encoding") or ""):
            body = gzip.compress(body, mtime=0)
            headers["content-encoding"] = "gzip"
        if "hold" in answer.knobs:
            self._hold(request)
        self._head(answer.status, {"content-type": "application/json", "content-length": str(len(body)), **headers})
        if "cut" in answer.knobs:
            self.wfile.write(body[: len(body) // 2])
            self._break(request)
            return
        if request.method != "HEAD":
            self.wfile.write(body)
            request.answer = body
        self.stand_in._note(request, state="complete")

    def _head(self, status, headers):
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _stream(self, request, answer):
        contents = 0
        for index, frame in enumerate(answer.frames):
            if "slow" in answer.knobs and index:
                self.stand_in._released.wait(PAUSE_SECONDS)
            self._chunk(request, frame)
            if index not in answer.content:
                continue
            contents += 1
            if contents == 1 and "hold" in answer.knobs:
                self._hold(request)
            if contents == FRAMES_BEFORE and "cut" in answer.knobs:
                self._break(request)
                return
            if contents == FRAMES_BEFORE and "error-midstream" in answer.knobs:
                self._chunk(request, answer.failure)
                break
        self.wfile.write(b"0\r\n\r\n")
        self.stand_in._note(request, state="complete")

    def _chunk(self, request, frame):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(frame), frame))
        request.answer += frame

    def _hold(self, request):
        self.stand_in._note(request, state="held")
        self.stand_in._released.wait(PATIENCE_SECONDS)
        self.stand_in._note(request, state="open")

    def _break(self, request):
        self.close_connection = True
        self.stand_in._note(request, state="broken")
