"""No address that is not public is spoken to, whatever it is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from memos.errors import Forbidden, InvalidInput
from memos.network import Policy, fetch, is_public, vet

PRIVATE = [
    "127.0.0.1", "127.8.9.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::1",
    "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/",
        "http://127.1/", "http://localhost/", "http://localhost./", "https://[::1]/",
        "http://[::ffff:127.0.0.1]/", "http://169.254.169.254/latest/meta-data", "http://0/",
    ],
)  # fmt: skip
def test_urls_that_lead_inside(url: str, tmp_path: Path) -> None:
    with pytest.raises(Forbidden) as refused:
        fetch(url, tmp_path / "x", Policy())
    assert refused.value.code == "private_address"
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "ftp://example.org/x", "gopher://example.org", "http://", "x",
        "http://user:secret@example.org/", "http://example.org:port/", "http://[::1", "//host/x",
    ],
)  # fmt: skip
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        vet(url, Policy())
    assert "secret" not in refused.value.detail


def test_what_the_policy_allows() -> None:
    assert vet("http://127.0.0.1:81/", Policy(allow=("127.0.0.0/8",))).port == 81
    assert vet("https://localhost/", Policy(allow=("LOCALHOST",))).port == 443
    with pytest.raises(Forbidden):
        vet("http://127.0.0.1/", Policy(allow=("localhost", "10.0.0.0/8")))
