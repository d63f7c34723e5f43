"""Spellings of addresses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distributed.comm.addresses import Address, is_loopback, parse_address
from distributed.errors import AddressError


@pytest.mark.parametrize(
    ("spelling", "canonical"),
    [
        ("127.0.0.1:8888", "tcp://127.0.0.1:8888"),
        (b"127.0.0.1:8888", "tcp://127.0.0.1:8888"),
        (("127.0.0.1", 8888), "tcp://127.0.0.1:8888"),
        (["127.0.0.1", "8888"], "tcp://127.0.0.1:8888"),
        ((b"127.0.0.1", 8888), "tcp://127.0.0.1:8888"),
        ("tcp://host.example:1", "tcp://host.example:1"),
        ("TCP://host:1", "tcp://host:1"),
        (" host:1 ", "tcp://host:1"),
        ("tls://host:65535", "tls://host:65535"),
        ("[::1]:80", "tcp://[::1]:80"),
        ("tcp://[::1]:80", "tcp://[::1]:80"),
        (("::1", 80), "tcp://[::1]:80"),
        ("unix:///tmp/x", "unix:///tmp/x"),
        ("inproc://name", "inproc://name"),
        (Address("tcp", "h", 1), "tcp://h:1"),
    ],
)
def test_every_spelling_has_one_canonical_form(spelling: Any, canonical: str) -> None:
    place = parse_address(spelling)
    assert str(place) == canonical
    assert parse_address(str(place)) == place


@pytest.mark.parametrize(("spelling", "host"), [("host", "host"), ("host:", "host"), ("::1", "::1"), ("[::1]", "::1")])
def test_a_default_port_completes_a_host(spelling: str, host: str) -> None:
    assert parse_address(spelling, 8786) == Address("tcp", host, 8786)
    with pytest.raises(AddressError, match="the port is missing"):
        parse_address(spelling)


@pytest.mark.parametrize(
    ("spelling", "rule"),
    [
        (None, "neither text nor"),
        (5, "neither text nor"),
        ("", "host is missing"),
        (":80", "host is missing"),
        ("tcp://", "host is missing"),
        ("[::1:80", "host is missing"),
        ("host:x", "no port number"),
        ("host:65536", "between 0 and 65535"),
        ("host:-1", "between 0 and 65535"),
        (("host", None), "no port number"),
        (("host", 70000), "between 0 and 65535"),
        (("host",), "a pair is"),
        (("", 80), "is a host"),
        (("tcp://host", 80), "is a host"),
        ((5, 80), "neither text nor"),
        ("http://host:1", "unknown scheme 'http'"),
        ("unix://", "wants a name"),
        ("inproc://", "wants a name"),
    ],
)
def test_what_is_no_address_is_refused_with_the_rule(spelling: Any, rule: str) -> None:
    with pytest.raises(AddressError, match=rule):
        parse_address(spelling)


@settings(max_examples=40)
@given(st.text(max_size=20) | st.binary(max_size=20) | st.tuples(st.text(max_size=9), st.integers()))
def test_any_text_is_an_address_or_an_address_error(value: Any) -> None:
    try:
        place = parse_address(value, 1)
    except AddressError:
        return
    assert str(place)


@pytest.mark.parametrize(("host", "answer"), [("localhost", True), ("127.8.9.1", True), ("::1", True)])
def test_loopback_is_loopback(host: str, answer: bool) -> None:
    assert is_loopback(host) is answer


@pytest.mark.parametrize(
    "host", ["", "0.0.0.0", "::", "10.0.0.1", "host.example", "localhost.example", "::ffff:10.0.0.1"]
)
def test_everything_else_is_not(host: str) -> None:
    assert not is_loopback(host)
