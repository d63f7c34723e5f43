"""The certificate file: minted once, safe, never out of date, refused by name when it is not usable."""

from __future__ import annotations

import hashlib
import os
import ssl
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from distributed import config
from distributed.errors import AuthenticationError, CertificateError
from distributed.security.certificates import certificate_path, certificates, has_certificates, load, mint, short

x509 = pytest.importorskip("cryptography.x509")

DER = b"a certificate"
ITS_PRINT = hashlib.sha256(DER).hexdigest()


def test_minting_makes_one_file_that_only_its_owner_can_read_and_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "key.tls"
    made = mint(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["key.tls"]
    text = path.read_text()
    assert mint(path) == made
    assert path.read_text() == text
    assert (
        made.fingerprint == hashlib.sha256(ssl.PEM_cert_to_DER_cert(text[text.index("-----BEGIN CERT") :])).hexdigest()
    )


def test_several_who_mint_at_once_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        prints = {made.fingerprint for made in pool.map(mint, [tmp_path / "key.tls"] * 16)}
    assert len(prints) == 1
    assert os.listdir(tmp_path) == ["key.tls"]


def test_minting_with_force_makes_another_one(tmp_path: Path) -> None:
    path = tmp_path / "key.tls"
    assert mint(path).fingerprint != mint(path, replace=True).fingerprint
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["key.tls"]


def test_a_certificate_has_no_date_at_which_a_cluster_would_stop(tmp_path: Path) -> None:
    mint(tmp_path / "key.tls")
    minted = x509.load_pem_x509_certificate((tmp_path / "key.tls").read_bytes())
    assert minted.not_valid_before_utc.year == 2000
    assert minted.not_valid_after_utc.year == 9999


def test_it_lies_beside_the_key_and_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "_settings", config.Settings(key_file=str(tmp_path / "my")))
    assert certificate_path() == tmp_path / "my.tls"
    assert not has_certificates()
    with pytest.raises(
        CertificateError, match=r"there is none; .*pip install 'distributed\[tls\]', then `python -m dist"
    ):
        certificates()
    mint(certificate_path())
    assert has_certificates()
    assert certificates() is certificates()


def test_without_the_package_minting_names_it_and_reading_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = mint(tmp_path / "there")
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(CertificateError, match=r"needs the package cryptography: pip install 'distributed\[tls\]'"):
        mint(tmp_path / "new")
    assert mint(tmp_path / "there") == load(tmp_path / "there") == made
    assert os.listdir(tmp_path) == ["there"]


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.tls"
    mint(path)
    path.chmod(0o644)
    with pytest.raises(CertificateError, match=r"certificate file .*key\.tls: its mode is 0644, .*chmod 600 it"):
        load(path)


def test_a_file_without_certificate_or_key_is_refused_and_its_text_not_shown(tmp_path: Path) -> None:
    text = mint(tmp_path / "good") and (tmp_path / "good").read_text()
    secret, certificate = text.split("-----BEGIN CERTIFICATE")
    broken = "-----BEGIN CERTIFICATE" + certificate.replace(certificate[30:60], "*" * 30)
    for content in ("", "hello", secret, "-----BEGIN CERTIFICATE" + certificate, secret + broken):
        path = tmp_path / "bad"
        path.write_text(content)
        path.chmod(0o600)
        with pytest.raises(CertificateError, match=r"holds no private key with its certificate; .*--force") as caught:
            load(path)
        assert secret.splitlines()[1] not in str(caught.value)


def test_a_key_of_another_certificate_is_told_before_anybody_connects(tmp_path: Path) -> None:
    texts = [mint(tmp_path / name) and (tmp_path / name).read_text() for name in "ab"]
    mixed = tmp_path / "mixed"
    mixed.write_text(texts[0].split("-----BEGIN CERT")[0] + "-----BEGIN CERT" + texts[1].split("-----BEGIN CERT")[1])
    mixed.chmod(0o600)
    with pytest.raises(CertificateError, match="its private key cannot be used"):
        load(mixed).context(is_server=True)


def test_every_certificate_in_the_file_is_accepted_and_the_first_is_shown(tmp_path: Path) -> None:
    old, new = mint(tmp_path / "old"), mint(tmp_path / "new")
    both = tmp_path / "both"
    both.write_text(
        (tmp_path / "new").read_text() + (tmp_path / "old").read_text().partition("-----END PRIVATE KEY-----")[2]
    )
    both.chmod(0o600)
    assert load(both).fingerprints == (new.fingerprint, old.fingerprint)


def test_another_certificate_is_refused_by_both_fingerprints(tmp_path: Path) -> None:
    own = mint(tmp_path / "key.tls")
    with pytest.raises(AuthenticationError) as caught:
        own.check(DER, "tls://h:1")
    assert str(caught.value).startswith(
        f"tls://h:1: its certificate is {short(ITS_PRINT)}, expected was {short(own.fingerprint)}; "
        "all machines need the same certificate: copy the file that `python -m distributed key --tls` names"
    )
    with pytest.raises(AuthenticationError, match="its certificate is none at all"):
        own.check(None, "tls://h:1")


def test_a_pinned_fingerprint_leaves_no_choice(tmp_path: Path) -> None:
    own = mint(tmp_path / "key.tls")
    der = ssl.PEM_cert_to_DER_cert(own._pem)
    assert own.check(der, "tls://h:1") == own.check(der, "tls://h:1", own.fingerprint) == own.fingerprint
    with pytest.raises(AuthenticationError, match=f"certificate is {short(own.fingerprint)}, expected was {'ab' * 8};"):
        own.check(der, "tls://h:1", "ab" * 32)


def test_tls_is_version_1_3_and_nothing_secret_is_shown(tmp_path: Path) -> None:
    own = mint(tmp_path / "key.tls")
    for context in (own.context(True), own.context(False), own.page_context()):
        assert context.minimum_version == context.maximum_version == ssl.TLSVersion.TLSv1_3
    assert own.context(True).verify_mode == ssl.CERT_REQUIRED
    assert own.page_context().verify_mode == ssl.CERT_NONE
    assert repr(own) == f"<Certificates {short(own.fingerprint)}>"
