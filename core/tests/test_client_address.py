import pytest
from django.test import RequestFactory

from core.http.client_address import client_address, client_network


@pytest.mark.parametrize(
    ("proxy_count", "header", "address"),
    [
        (0, "203.0.113.1", "198.51.100.1"),
        (1, "203.0.113.1", "203.0.113.1"),
        (1, "6.6.6.6, 203.0.113.1", "203.0.113.1"),
        (2, "6.6.6.6, 203.0.113.1, 10.0.0.1", "203.0.113.1"),
        (2, "203.0.113.1", "198.51.100.1"),
        (1, "nonsense", "198.51.100.1"),
        (1, "", "198.51.100.1"),
        (1, "::ffff:203.0.113.1", "::ffff:cb00:7101"),
    ],
)
def test_client_address_is_the_hop_that_our_proxies_appended(settings, proxy_count, header, address):
    settings.TRUSTED_PROXY_COUNT = proxy_count
    request = RequestFactory().get("/", headers={"X-Forwarded-For": header}, REMOTE_ADDR="198.51.100.1")

    assert client_address(request) == address


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.1", "203.0.113.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.1", "203.0.113.1"),
        ("x", "unknown"),
    ],
)
def test_client_network_is_an_ipv4_address_or_an_ipv6_64(address, network):
    assert client_network(address) == network
