"""The user's TLS certificate: minted once into a file beside the key, shared by all processes of the user, and pinned.

The file holds a private key and certificates, as PEM, mode 0600. The first certificate is shown to peers; a peer may
show any of them. Nothing in a certificate is believed but that it *is* one of these: there is no authority, no name and
no date, so it never expires; it is replaced by minting another one. A fingerprint is the SHA-256 of a certificate in
hex digits; errors show the first 16.

Minting needs the package ``cryptography`` (extra ``[tls]``); everything else is in the standard library.
"""

from __future__ import annotations

import base64
import hashlib
import re
import ssl
from pathlib import Path

from distributed.dataclass import dataclass, field
from distributed.errors import AuthenticationError, CertificateError
from distributed.security.keys import key_path, read_private_file, write_private_file

__all__ = [
    "BEYOND_LOOPBACK",
    "Certificates",
    "certificate_path",
    "certificates",
    "has_certificates",
    "mint",
    "short",
    "uncertified",
]

BEYOND_LOOPBACK = (
    "beyond this machine connections must be encrypted: install distributed[tls] and mint a certificate with "
    "`python -m distributed key --tls`, or spell out --insecure (in Python: insecure=True)"
)

FILE_NBYTES_MAX = 100_000  # some hundred certificates
SHORT_DIGITS = 16
HOW_TO_MINT = (
    "copy the file from where the cluster runs, or mint one: pip install 'distributed[tls]', then "
    "`python -m distributed key --tls`"
)
CURE = (
    "all machines need the same certificate: copy the file that `python -m distributed key --tls` names, "
    "and restart what was running"
)
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)


@dataclass(slots=True, frozen=True, repr=False)
class Certificates:
    """What this user's processes show and accept. Its repr shows no secret.

    Attributes:
        path: of the file; empty: we show none, see `uncertified`.
        fingerprints: accepted of a peer; the first one is of the certificate that we show. None: whatever it shows.
    """

    path: str
    fingerprints: tuple[str, ...]
    _pem: str = field(compare=False)  # of the certificates only
    _contexts: dict[tuple[bool, bool], ssl.SSLContext] = field(default_factory=dict, compare=False)

    def __repr__(self) -> str:
        return f"<Certificates {', '.join(map(short, self.fingerprints))}>"

    @property
    def fingerprint(self) -> str:
        """Of the certificate that we show; empty: none."""
        return self.fingerprints[0] if self.path else ""

    def context(self, is_server: bool, is_optional: bool = False) -> ssl.SSLContext:
        """For connections of our own, which prove both sides; made once. Check the peer afterwards, see `check`.

        Args:
            is_optional: whether clients that have no certificate are let in, who prove themselves by other means.
        """
        which = is_server, is_optional
        if which not in self._contexts:
            made = self.page_context() if is_server else self._new(ssl.PROTOCOL_TLS_CLIENT)
            if is_server:  # without one of these modes the client is not asked for one
                made.verify_mode = ssl.CERT_OPTIONAL if is_optional else ssl.CERT_REQUIRED
                made.load_verify_locations(cadata=self._pem)
            self._contexts[which] = made
        return self._contexts[which]

    def page_context(self) -> ssl.SSLContext:
        """A new one for pages that browsers look at: they are shown our certificate, and asked for none."""
        made = self._new(ssl.PROTOCOL_TLS_SERVER)
        made.num_tickets = 0  # connections live long and are not resumed
        return made

    def pinned_context(self) -> ssl.SSLContext:
        """A new one for those who ask for such pages: the server must show one of our certificates."""
        made = self._new(ssl.PROTOCOL_TLS_CLIENT)
        made.verify_mode = ssl.CERT_REQUIRED
        made.load_verify_locations(cadata=self._pem)
        return made

    def check(self, shown: bytes | None, address: str, pinned: str | None = None) -> str:
        """The fingerprint of the certificate that a peer has `shown`, if we accept it.

        Args:
            address: of the peer, for error texts.
            pinned: only this fingerprint will do.
        Raises:
            AuthenticationError: another one; it names both.
        """
        found = hashlib.sha256(shown).hexdigest() if shown else "none at all"
        for accepted in (self.fingerprints or (found,), (pinned or found,)):
            if found not in accepted:
                wanted = " or ".join(map(short, accepted))
                raise AuthenticationError(address, f"its certificate is {short(found)}, expected was {wanted}", CURE)
        return found

    def not_accepted(self, address: str) -> AuthenticationError:
        """The error for a peer that does not accept ours."""
        return AuthenticationError(address, f"it does not accept our certificate {short(self.fingerprint)}", CURE)

    def _new(self, protocol: int) -> ssl.SSLContext:
        made = ssl.SSLContext(protocol)
        made.minimum_version = made.maximum_version = ssl.TLSVersion.TLSv1_3
        made.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        made.check_hostname = False  # there are no names; `check` looks at the certificate itself
        made.verify_mode = ssl.CERT_NONE
        if not self.path:
            return made
        try:
            made.load_cert_chain(self.path)
        except (ssl.SSLError, OSError) as error:
            raise CertificateError(self.path, f"its private key cannot be used: {error.strerror or error}") from None
        return made


def short(fingerprint: str) -> str:
    """Enough of a fingerprint to compare by eye."""
    return fingerprint[:SHORT_DIGITS]


def uncertified(fingerprint: str | None = None) -> Certificates:
    """For who connects with a key that it shares with another user: none is shown, and only `fingerprint` is accepted.

    Without one any will do: the handshake that follows proves both sides by the key, for this very TLS session.
    """
    return Certificates("", (fingerprint,) if fingerprint else (), "")


def certificate_path() -> Path:
    """``<key file>.tls``: certificate and key belong together and are copied together."""
    path = key_path()
    return path.with_name(f"{path.name}.tls")


def has_certificates() -> bool:
    """Whether this user has minted, or copied, a certificate."""
    return certificate_path().exists()


_loaded: dict[Path, Certificates] = {}


def certificates() -> Certificates:
    """Those of this process's user, read once per path.

    Raises:
        CertificateError: there are none, or the file is not safe to use; the text says what to do.
    """
    path = certificate_path()
    if path not in _loaded:
        _loaded[path] = load(path)
    return _loaded[path]


def load(path: Path) -> Certificates:
    """Those in the file. Errors as `certificates`."""
    try:
        text = read_private_file(path, FILE_NBYTES_MAX, CertificateError)
    except FileNotFoundError:
        raise CertificateError(str(path), f"there is none; {HOW_TO_MINT}") from None
    except OSError as error:
        raise CertificateError(str(path), f"cannot be read: {error.strerror or error}") from None
    found = _CERTIFICATE.findall(text)
    try:
        prints = [hashlib.sha256(_der(pem)).hexdigest() for pem in found]
    except ValueError:
        prints = []
    if not prints or "PRIVATE KEY" not in text:
        raise CertificateError(str(path), f"it holds no private key with its certificate; {HOW_TO_MINT} --force")
    return Certificates(str(path), tuple(dict.fromkeys(prints)), "".join(found))


def mint(path: Path, replace: bool = False) -> Certificates:
    """Make the file if there is none: several at once agree on one. With `replace`, make another one anyway.

    Raises:
        CertificateError: the package cryptography is missing, or the file cannot be written.
    """
    if replace or not path.exists():
        try:
            write_private_file(path, _minted(path), replace)
        except OSError as error:
            raise CertificateError(str(path), f"cannot be written: {error.strerror or error}") from None
    _loaded.pop(path, None)
    return load(path)


def _minted(path: Path) -> str:
    """A fresh P-256 key and its self-signed certificate; about 1 ms."""
    from datetime import datetime  # lazy: a millisecond for all who mint nothing

    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        raise CertificateError(
            str(path), "minting needs the package cryptography: pip install 'distributed[tls]'"
        ) from None

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "distributed")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2000, 1, 1))  # whatever the clocks of the machines say
        .not_valid_after(datetime(9999, 12, 31, 23, 59, 59))  # RFC 5280: no expiry
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return (secret + made.public_bytes(serialization.Encoding.PEM)).decode()


def _der(pem: str) -> bytes:
    """The certificate itself. ValueError: not base64, every character of it, unlike what `ssl` lets pass."""
    return base64.b64decode("".join(pem.split("\n")[1:]).partition("-----END")[0], validate=True)
