"""Google's token endpoint for service accounts, and the metadata server of its machines."""

import base64
import binascii
import json
import time
from urllib.parse import parse_qs

from .rsa import Key
from .server import Answer, Refusal, StandIn

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
# How far the two clocks may be apart.
SKEW_SECONDS = 60
# How long after its end a token is still taken: a request may have been on its way.
LEEWAY_SECONDS = 5
LONGEST_SECONDS = 3600
TOKEN_PATH = "/computeMetadata/v1/instance/service-accounts/default/token"


class OAuth(StandIn):
    """Issues tokens that live for `lifetime` seconds; a Vertex stand-in asks `accepts`."""

    PROJECT = "standin-project"
    EMAIL = "adit@standin-project.iam.gserviceaccount.com"
    KEY_ID = "standin-key-1"
    own_headers = {"metadata-flavor": "Google"}

    def __init__(self, lifetime=3600):
        super().__init__()
        self.lifetime = lifetime
        self.key = Key()
        self.issued = {}

    def service_account(self):
        """What stands in the file that GOOGLE_APPLICATION_CREDENTIALS names."""
        return {
            "type": "service_account",
            "project_id": self.PROJECT,
            "private_key_id": self.KEY_ID,
            "private_key": self.key.pem,
            "client_email": self.EMAIL,
            "client_id": "100000000000000000001",
            "token_uri": f"{self.base_url}/token",
            "universe_domain": "googleapis.com",
        }

    def accepts(self, authorization):
        """Whether a header is a token that was issued and still lives."""
        return self.issued.get(authorization.removeprefix("Bearer "), 0) + LEEWAY_SECONDS > time.monotonic()

    def respond(self, request):
        match (request.method, request.path):
            case ("POST", "/token"):
                self._check(request)
                return self._token()
            case ("GET", path) if request.header("metadata-flavor") != "Google":
                raise Refusal(403, f"{path}: Missing Metadata-Flavor:Google header.")
            case ("GET", path) if path == TOKEN_PATH:
                return self._token()
            case ("GET", "/computeMetadata/v1/project/project-id"):
                return Answer(body=self.PROJECT.encode(), headers={"content-type": "application/text"})
            case ("GET", "/computeMetadata/v1/universe/universe-domain" | "/computeMetadata/v1/universe/universe_domain"):
                return Answer(body=b"googleapis.com", headers={"content-type": "application/text"})
            case ("GET", "/computeMetadata/v1/instance/service-accounts/default/email"):
                return Answer(body=self.EMAIL.encode(), headers={"content-type": "application/text"})
            case ("GET", "/" | "/computeMetadata/v1/"):
                return Answer(body=b"computeMetadata/\n", headers={"content-type": "application/text"})
        raise Refusal(404, "Not found")

    def render(self, request, refusal):
        return {"error": "invalid_grant", "error_description": refusal.message}

    def _token(self):
        token = f"ya29.standin-{len(self.issued) + 1}"
        self.issued[token] = time.monotonic() + self.lifetime
        return Answer(body={"access_token": token, "expires_in": self.lifetime, "token_type": "Bearer"})

    def _check(self, request):
        if request.header("content-type") != "application/x-www-form-urlencoded":
            raise Refusal(400, "expected a form")
        form = parse_qs(request.body.decode())
        if form.get("grant_type") != [GRANT]:
            raise Refusal(400, f"grant_type: {form.get('grant_type')}")
        head, claims = self._verify(form.get("assertion", [""])[0])
        # The key's id may be left out: an account has few keys.
        if head not in ({"alg": "RS256", "typ": "JWT", "kid": self.KEY_ID}, {"alg": "RS256", "typ": "JWT"}):
            raise Refusal(400, f"the header is {head}")
        now = time.time()
        if claims.get("iss") != self.EMAIL or claims.get("aud") != f"{self.base_url}/token" or SCOPE not in claims.get("scope", "").split():
            raise Refusal(400, f"iss, aud or scope: {claims}")
        if not (abs(claims["iat"] - now) < SKEW_SECONDS and now < claims["exp"] <= claims["iat"] + LONGEST_SECONDS):
            raise Refusal(400, f"iat or exp: {claims}")

    def _verify(self, assertion):
        parts = assertion.split(".")
        try:
            head, claims, signature = (base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in parts)
            head, claims = json.loads(head), json.loads(claims)
        except (ValueError, binascii.Error) as error:
            raise Refusal(400, f"the assertion is no JWT: {error}") from error
        if not self.key.verifies(".".join(parts[:2]).encode(), signature):
            raise Refusal(400, "Invalid JWT Signature.")
        return head, claims
