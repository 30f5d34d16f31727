from analytics.reports.filters import parse_filter


def test_parse_filter_reverses_str():
    for text in ("page:is:/menu|/", "property:plan:is_not:gold", "source:contains:a:b"):
        assert str(parse_filter(text)) == text
