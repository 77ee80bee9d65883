"""Limits, subjects and addresses of the store: what is allowed, and what stops the start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ratelimit import (
    LimitError,
    StorageUriError,
    compile_plan,
    encode_subject,
    normalize_ip,
    parse_limits,
    parse_storage_uri,
)
from app.ratelimit.redis.cluster import find_slot
from app.ratelimit.subject import SUBJECT_MAX_LENGTH

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("10/minute", ((10, 60),)),
        ("10/minute;100/hour", ((10, 60), (100, 3600))),
        ("5 per 15 minutes, 1/second", ((5, 900), (1, 1))),
        ("1000000/day", ((1_000_000, 86_400),)),
    ],
)
def test_limits_in_the_usual_notation(text: str, pairs: tuple[tuple[int, int], ...]) -> None:
    assert parse_limits(text).pairs == pairs


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10",
        "10/fortnight",
        "0/minute",
        "-1/minute",
        "1/0 minutes",
        "5/minute;junk",
        "5/minute;;",
        "9" * 30 + "/day",
        "1/9 years",
    ],
)
def test_a_malformed_limit_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(LimitError, match="10/minute;100/hour"):
        parse_limits(text)


def test_the_precision_has_a_range() -> None:
    with pytest.raises(LimitError, match="from 10 to 120"):
        compile_plan("5/minute", precision=1000)


def test_limits_of_one_scope_and_window_keep_the_strictest() -> None:
    (limit,) = compile_plan("9/minute;5/minute;7/1 minute").limits
    assert limit.amount == 5


def test_small_limits_are_exact_and_large_ones_are_bucketed() -> None:
    small, large = compile_plan("120/minute;121/hour", precision=50).limits
    assert small.bucket_us == 0
    assert large.bucket_us == 72_000_000


@given(st.text(), st.text())
def test_different_subjects_never_share_a_name(first: str, second: str) -> None:
    assert (encode_subject(first) == encode_subject(second)) == (first == second)


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_no_subject_can_close_its_hash_tag_or_open_a_pattern(subject: str) -> None:
    name = encode_subject(subject)
    assert 0 < len(name) <= SUBJECT_MAX_LENGTH
    assert name.isascii()
    assert not set(name) & set("{}*?[]\\ \r\n\0")
    assert 0 <= find_slot(subject) < 16384


@pytest.mark.parametrize(
    ("address", "normal"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("192.0.2.7:4711", "192.0.2.7"),
        ("[2001:db8:1:2::7]:4711", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::7]", "2001:db8:1:2::/64"),
        ("1.2:3", "1.2:3"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix:", "unix:"),
    ],
)
def test_an_ipv6_customer_is_one_subject(address: str, normal: str) -> None:
    assert normalize_ip(address) == normal


def test_every_kind_of_storage_uri() -> None:
    assert parse_storage_uri("memory://").kind == "memory"
    single = parse_storage_uri("redis://us%40er:p%3A%2F@h:7000/3")
    assert (single.username, single.password, single.hosts, single.database) == ("us@er", "p:/", (("h", 7000),), 3)
    assert parse_storage_uri("redis://h").hosts == (("h", 6379),)
    assert parse_storage_uri("redis://[::1]:7000").hosts == (("::1", 7000),)
    unix = parse_storage_uri("unix:///run/redis.sock?db=2")
    assert (unix.kind, unix.path, unix.database) == ("unix", "/run/redis.sock", 2)
    cluster = parse_storage_uri("rediss+cluster://u:p@a:1,b,[::1]:3")
    assert cluster.hosts == (("a", 1), ("b", 6379), ("::1", 3))
    assert cluster.is_tls
    sentinel = parse_storage_uri("redis+sentinel://a:1,b:2/mymaster?db=4&sentinel_password=s")
    assert (sentinel.service, sentinel.database, sentinel.sentinel_password) == ("mymaster", 4, "s")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "redis",
        "http://h",
        "memory://h",
        "redis://",
        "redis://:6379",
        "redis://h:0",
        "redis://h:port",
        "redis://h/db",
        "redis://h:6379/0#x",
        "redis://h?socket_timeout=60",
        "redis://h?db=1&db=2",
        "redis://h?ssl_ca_certs=/x",
        "rediss://h?ssl_ca_certs=/no/such/file",
        "rediss://h?ssl_cert_reqs=none",
        "redis+cluster://a,b/1",
        "redis+sentinel://a,b",
        "unix://relative",
    ],
)
def test_a_malformed_storage_uri_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(StorageUriError, match=r"redis\+cluster://h1:p,h2:p"):
        parse_storage_uri(text)


def test_a_client_certificate_needs_its_key(tmp_path: Path) -> None:
    file = tmp_path / "c.pem"
    file.touch()
    with pytest.raises(StorageUriError, match="together"):
        parse_storage_uri(f"rediss://h?ssl_certfile={file}")


def test_no_password_is_ever_printed() -> None:
    uri = parse_storage_uri("redis+sentinel://u:s3cret@h/service?sentinel_password=s3cret")
    assert "s3cret" not in repr(uri)
    with pytest.raises(StorageUriError) as caught:
        parse_storage_uri("redis://u:s3cret@h:port")
    assert "s3cret" not in str(caught.value)
