"""Traffic sources: brands by registrable domain, and campaign parameters."""

import pytest

from analytics.ingest.referrers import NAME_BY_REGISTRABLE_DOMAIN, parse_traffic_source

HOST = "www.tramway.example"


@pytest.mark.parametrize(
    ("referrer", "source"),
    [
        ("https://www.google.de/", "Google"),
        ("https://google.co.uk/search?q=tram", "Google"),
        ("https://mail.google.com/", "Gmail"),
        ("https://m.facebook.com/", "Facebook"),
        ("https://de.wikipedia.org/wiki/Tram", "Wikipedia"),
        ("https://t.co/x", "X"),
        ("android-app://com.google.android.gm/", "Gmail"),
        ("https://google.tramfans.example/", "google.tramfans.example"),
        ("https://claude.painter.example/works", "claude.painter.example"),
        ("https://alice.github.io/tram", "alice.github.io"),
        ("https://google.blogspot.com/", "google.blogspot.com"),
        ("https://notgoogle.com/", "notgoogle.com"),
        ("https://com/", "com"),
        ("https://203.0.113.9/", "203.0.113.9"),
        ("https://www.tramway.example/fares", ""),
        ("", ""),
    ],
)
def test_a_brand_is_known_by_its_registrable_domain(referrer, source):
    assert parse_traffic_source("", referrer, HOST).source == source


@pytest.mark.parametrize("domain", NAME_BY_REGISTRABLE_DOMAIN)
def test_no_label_in_the_middle_of_a_host_is_a_brand(domain):
    name = NAME_BY_REGISTRABLE_DOMAIN[domain]

    assert parse_traffic_source("", f"https://a.b.{domain}/", HOST).source == name
    for host in (f"{domain}.tramfans.example", f"{domain.partition('.')[0]}.painter.example", f"x{domain}"):
        assert parse_traffic_source("", f"https://{host}/", HOST).source == host


@pytest.mark.parametrize(
    ("query", "source", "medium"),
    [
        ("UTM_SOURCE=Letter", "Letter", ""),
        ("utm_source=poster&amp;utm_medium=wall", "poster", "wall"),
        ("Utm_Source=GOOGLE&UTM_medium=cpc", "Google", "cpc"),
        ("REF=friend", "friend", ""),
        ("utm_sourcex=a", "", ""),
    ],
)
def test_names_of_campaign_parameters_are_read_in_any_case(query, source, medium):
    traffic = parse_traffic_source(query, "", HOST)

    assert (traffic.source, traffic.utm[1]) == (source, medium)
