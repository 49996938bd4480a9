"""RSA keys as a service account has them, and the check of RS256: for a token server that nothing is installed for."""

import base64
import hashlib
import secrets

BITS = 2048
EXPONENT = 65537
# SHA-256 in PKCS #1 v1.5: RFC 8017, section 9.2, note 1.
SHA256_PREFIX = bytes.fromhex("3031300d060960864801650304020105000420")
RSA_ENCRYPTION = bytes.fromhex("300d06092a864886f70d0101010500")


class Key:
    """A new key: `pem` is what a service account's file holds."""

    def __init__(self):
        self._p, self._q = (_prime(BITS // 2) for _ in range(2))
        while self._p == self._q:
            self._q = _prime(BITS // 2)
        self.modulus = self._p * self._q

    @property
    def pem(self):
        p, q = max(self._p, self._q), min(self._p, self._q)
        private = pow(EXPONENT, -1, (p - 1) * (q - 1))
        numbers = [0, self.modulus, EXPONENT, private, p, q, private % (p - 1), private % (q - 1), pow(q, -1, p)]
        inner = _der(0x30, b"".join(_integer(number) for number in numbers))
        outer = _der(0x30, _integer(0) + RSA_ENCRYPTION + _der(0x04, inner))
        text = base64.b64encode(outer).decode()
        lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
        return f"-----BEGIN PRIVATE KEY-----\n{lines}\n-----END PRIVATE KEY-----\n"

    def verifies(self, message, signature):
        """Whether this key has signed a message with RS256."""
        length = BITS // 8
        digest = SHA256_PREFIX + hashlib.sha256(message).digest()
        padded = b"\0\1" + b"\xff" * (length - len(digest) - 3) + b"\0" + digest
        return len(signature) == length and pow(int.from_bytes(signature), EXPONENT, self.modulus).to_bytes(length) == padded


def _prime(bits):
    while True:
        # The two highest bits are set, so that the product of two has all its bits.
        number = secrets.randbits(bits) | 3 << (bits - 2) | 1
        if number % EXPONENT != 1 and all(number % small for small in range(3, 1000, 2)) and _probably_prime(number):
            return number


def _probably_prime(number, rounds=20):
    """Miller and Rabin's test."""
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for _ in range(rounds):
        value = pow(2 + secrets.randbelow(number - 3), odd, number)
        if value in (1, number - 1):
            continue
        for _ in range(twos - 1):
            value = pow(value, 2, number)
            if value == number - 1:
                break
        else:
            return False
    return True


def _integer(number):
    return _der(0x02, number.to_bytes(number.bit_length() // 8 + 1))


def _der(tag, content):
    length = len(content)
    size = length.to_bytes((length.bit_length() + 7) // 8 or 1)
    return bytes([tag]) + (size if length < 128 else bytes([0x80 | len(size)]) + size) + content
