"""The HTTP API of reports (`views/reports.py`)."""

from datetime import UTC, datetime, timedelta

import pytest

from analytics.models import Kind
from analytics.reports import rollups
from analytics.tests.helpers import (
    IMPORT_DAY,
    MARCH_DAYS,
    create_definition,
    minutes_from_march,
    order_fields,
    plausible_export,
    plausible_visitors,
    run_import,
    write_events,
    write_visits,
)
from conftest import sign_in
from core import tenancy
from sites.tests.factories import SiteFactory

pytestmark = pytest.mark.django_db


def at(day, hour=12, minute=0):
    """A time in March 2026."""
    return datetime(2026, 3, day, hour, minute, tzinfo=UTC)


@pytest.fixture
def events_in_march(site):
    write_events(
        site,
        (at(1), 1, 11, {"page": "/", "source": "Google", "country": "DE"}),
        (at(1, 12, 1), 1, 11, {"page": "/menu", "source": "Google", "country": "DE"}),
        (at(1, 15), 2, 21, {"page": "/", "country": "FR"}),
        (at(1, 15, 1), 2, 21, {"kind": Kind.CUSTOM, "name": "Order", "props": {"plan": "gold"}}),
        (at(2), 3, 31, {"page": "/", "source": "X"}),
        (at(2), None, None, {"page": "/menu"}),
    )


def test_summary_returns_metrics_and_those_of_the_days_before(site, owner, events_in_march):
    report = owner.get(f"sites/{site.pk}/analytics/summary?{MARCH_DAYS}&compare=previous").json()

    assert report["range"] == {"first": "2026-03-01", "last": "2026-03-02", "timezone": "UTC"}
    assert report["metrics"] == {
        "visitors": 3,
        "visits": 3,
        "pageviews": 5,
        "events": 1,
        "views_per_visit": 1.33,
        "bounce_rate": 0.3333,
        "visit_duration": 40,
        "time_on_page": 0,
    }
    assert report["compared"]["pageviews"] == 0
    assert report["compared"]["bounce_rate"] is None


@pytest.mark.parametrize("with_rollups", [False, True])
def test_timeseries_and_breakdown_are_equal_from_events_and_from_rollups(
    site, owner, events_in_march, with_rollups
):
    if with_rollups:
        rollups.rebuild_dirty_days()
    base = f"sites/{site.pk}/analytics"

    series = owner.get(f"{base}/timeseries?{MARCH_DAYS}").json()["results"]
    assert [(point["at"], point["pageviews"]) for point in series] == [
        ("2026-03-01T00:00:00+00:00", 3),
        ("2026-03-02T00:00:00+00:00", 2),
    ]
    hours = owner.get(f"{base}/timeseries?{MARCH_DAYS}&interval=hour").json()["results"]
    assert (len(hours), hours[12]["pageviews"], hours[15]["events"]) == (48, 2, 1)
    pages = owner.get(f"{base}/breakdown?{MARCH_DAYS}&dimension=page").json()
    assert [(row["value"], row["visitors"], row["pageviews"]) for row in pages["results"]] == [
        ("/", 3, 3),
        ("/menu", 1, 2),
    ]
    sources = owner.get(f"{base}/breakdown?{MARCH_DAYS}&dimension=source&limit=2").json()
    assert (sources["count"], [row["value"] for row in sources["results"]]) == (3, [None, "Google"])
    exit_pages = owner.get(f"{base}/breakdown?{MARCH_DAYS}&dimension=exit_page").json()["results"]
    assert {row["value"]: row["visits"] for row in exit_pages} == {"/": 2, "/menu": 1}


@pytest.mark.parametrize(
    ("parameters", "pageviews"),
    [
        ("filter=page:is:/menu", 2),
        ("filter=page:is_not:/menu", 3),
        ("filter=page:is:/|/menu", 5),
        ("filter=page:contains:MEN", 2),
        ("filter=page:contains_not:men", 3),
        ("filter=page:contains:%25", 0),
        ("filter=source:is:Google&filter=page:is:/", 1),
        ("filter=country:is:DE", 2),
        ("filter=source:is_not:Google", 3),
        ("filter=entry_page:is:/", 4),
        ("filter=event:is:Order", 0),
        ("filter=page:is:/nowhere", 0),
        ("filter=property:plan:is:gold", 0),
    ],
)
def test_summary_applies_filters(site, owner, events_in_march, parameters, pageviews):
    response = owner.get(f"sites/{site.pk}/analytics/summary?{MARCH_DAYS}&{parameters}")

    assert response.status_code == 200, response.content
    assert response.json()["metrics"]["pageviews"] == pageviews


def test_breakdown_by_a_property(site, owner, events_in_march):
    base = f"sites/{site.pk}/analytics"

    rows = owner.get(f"{base}/breakdown?{MARCH_DAYS}&dimension=property:plan").json()["results"]

    assert [(row["value"], row["events"], row["visitors"]) for row in rows] == [("gold", 1, 1)]


@pytest.mark.parametrize(
    "parameters",
    [
        "from=2026-03-01",
        "from=2026-03-02&to=2026-03-01",
        "from=x&to=y",
        "from=0001-01-01&to=2026-01-01",
        "period=1y",
        "filter=page",
        "filter=page:is:",
        "filter=page:like:x",
        "filter=nothing:is:x",
        "filter=property::is:x",
        "filter=page:is:%00",
        "compare=x",
        "unknown=1",
        "&".join(["filter=page:is:x"] * 11),
    ],
)
def test_summary_refuses_invalid_parameters(site, owner, parameters):
    assert owner.get(f"sites/{site.pk}/analytics/summary?{parameters}").status_code == 400


def test_breakdown_names_the_valid_parameters_when_one_is_unknown(site, owner):
    detail = owner.get(f"sites/{site.pk}/analytics/breakdown?by=page").json()["errors"][0]["detail"]

    assert "dimension" in detail.partition("The parameters here are")[2]


def test_timeseries_refuses_too_many_intervals(site, owner):
    base = f"sites/{site.pk}/analytics/timeseries"
    assert owner.get(f"{base}?period=7d&interval=minute").status_code == 400
    assert owner.get(f"{base}?period=90d&interval=hour").status_code == 400
    assert owner.get(f"{base}?from=2026-03-01&to=2026-03-02&interval=minute").status_code == 200


def test_summary_and_breakdown_never_include_another_site(site, owner, events_in_march):
    other_site = SiteFactory()
    with tenancy.context(tenancy.SYSTEM):
        other_site.refresh_from_db()
    write_events(other_site, (at(1), 9, 91, {"page": "/other_site"}))
    other_owner = sign_in(other_site.owner)

    assert other_owner.get(f"sites/{site.pk}/analytics/summary?{MARCH_DAYS}").status_code == 404
    pages = other_owner.get(f"sites/{other_site.pk}/analytics/breakdown?{MARCH_DAYS}&dimension=page").json()[
        "results"
    ]
    assert [row["value"] for row in pages] == ["/other_site"]


def test_summary_timeseries_and_breakdown_with_a_goal_return_its_conversions(site, owner, shop_events):
    parameters = f"{MARCH_DAYS}&goal={create_definition(owner, site, 'event:is:Order')}"
    base = f"sites/{site.pk}/analytics"

    summary = owner.get(f"{base}/summary?{parameters}&compare=previous").json()
    assert (summary["metrics"]["converted"], summary["metrics"]["conversion_rate"], summary["sample"]) == (
        3,
        0.5,
        1.0,
    )
    assert (summary["compared"]["converted"], summary["compared"]["conversion_rate"]) == (0, None)
    days = owner.get(f"{base}/timeseries?{parameters}").json()["results"]
    assert [(day["conversions"], day["revenue"].get("EUR")) for day in days] == [(3, "12.50"), (1, "1.00")]
    sources = owner.get(f"{base}/breakdown?{parameters}&dimension=source").json()["results"]
    assert {row["value"]: row["converted"] for row in sources} == {None: 2, "Google": 1}, (
        "the source of the whole visit counts"
    )
    assert "converted" not in owner.get(f"{base}/summary?{MARCH_DAYS}").json()["metrics"]


@pytest.mark.parametrize("with_rollups", [False, True])
def test_conversions_returns_count_visitors_and_revenue(site, owner, shop_events, with_rollups):
    if with_rollups:
        rollups.rebuild_dirty_days()
    create_definition(owner, site, "event:is:Order", name="Orders")
    create_definition(owner, site, "page:is:/cart", name="Cart")

    goals = {
        row["name"]: row
        for row in owner.get(f"sites/{site.pk}/analytics/conversions?{MARCH_DAYS}").json()["results"]
    }

    orders = goals["Orders"]
    cart = goals["Cart"]
    assert (orders["conversions"], orders["converted"], orders["conversion_rate"]) == (4, 3, 0.5)
    assert orders["revenue"] == {"EUR": "13.50", "USD": "7.00"}
    assert (cart["conversions"], cart["converted"], cart["revenue"]) == (3, 3, {}), (
        "an engagement is no page view"
    )


def test_funnel_counts_visitors_who_take_the_steps_in_order_on_one_day(site, owner, shop_events):
    funnel_id = create_definition(owner, site, "page:is:/", "page:is:/cart", "event:is:Order", kind="funnels")

    report = owner.get(f"sites/{site.pk}/analytics/funnels/{funnel_id}/report?{MARCH_DAYS}").json()

    assert [step["visitors"] for step in report["results"]] == [5, 2, 1], (
        "visitor 3 took the steps in another order; 5 and 6 are different visitors"
    )
    assert [step["rate"] for step in report["results"]] == [1.0, 0.4, 0.2]
    assert [step["step_rate"] for step in report["results"]] == [1.0, 0.4, 0.5]
    filtered = owner.get(
        f"sites/{site.pk}/analytics/funnels/{funnel_id}/report?{MARCH_DAYS}&filter=source:is:Google"
    ).json()
    assert [step["visitors"] for step in filtered["results"]] == [1, 1, 1]


def test_funnel_and_conversions_with_a_page_filter_count_the_other_events_of_its_visits(
    site, owner, shop_events
):
    funnel_id = create_definition(owner, site, "page:is:/", "event:is:Order", kind="funnels")
    create_definition(owner, site, "event:is:Order")
    base = f"sites/{site.pk}/analytics"
    parameters = f"{MARCH_DAYS}&filter=page:is:/cart"

    report = owner.get(f"{base}/funnels/{funnel_id}/report?{parameters}").json()
    assert [step["visitors"] for step in report["results"]] == [4, 2], (
        "visitors 1 to 4 viewed the cart; 1 and 3 ordered after the first page"
    )
    conversions = owner.get(f"{base}/conversions?{parameters}").json()["results"][0]
    assert (conversions["converted"], conversions["conversion_rate"], conversions["revenue"]) == (
        2,
        0.5,
        {"EUR": "12.50", "USD": "7.00"},
    )


def test_funnel_with_the_same_page_twice_requires_two_views(site, owner):
    write_visits(site, (0, 1, {}), (0, 2, {}), (1, 2, {}))
    funnel_id = create_definition(owner, site, "page:is:/", "page:is:/", kind="funnels")

    report = owner.get(f"sites/{site.pk}/analytics/funnels/{funnel_id}/report?{MARCH_DAYS}").json()

    assert [step["visitors"] for step in report["results"]] == [2, 1]


def test_reports_with_a_segment_equal_reports_with_its_filters(site, owner, shop_events):
    segment_id = create_definition(owner, site, "source:is:Google", kind="segments")
    base = f"sites/{site.pk}/analytics"

    for report in ("summary", "timeseries", "breakdown"):
        with_segment = owner.get(f"{base}/{report}?{MARCH_DAYS}&segment={segment_id}").json()
        assert with_segment == owner.get(f"{base}/{report}?{MARCH_DAYS}&filter=source:is:Google").json()
    metrics = owner.get(f"{base}/summary?{MARCH_DAYS}&segment={segment_id}&filter=page:is:/cart").json()[
        "metrics"
    ]
    assert (metrics["pageviews"], metrics["visitors"]) == (1, 1)
    assert owner.get(f"{base}/summary?{MARCH_DAYS}&segment=nonsense").status_code == 400
    goal_id = create_definition(owner, site, "page:is:/")
    assert owner.get(f"{base}/summary?{MARCH_DAYS}&segment={goal_id}").status_code == 404


def test_conversions_with_a_negative_filter_leave_out_whole_visits(site, owner):
    write_visits(
        site,
        (0, 1, {"page": "/"}),
        (1, 1, {"page": "/cart"}),
        (2, 1, order_fields("1.00", "EUR")),
        (0, 2, {"page": "/"}),
        (2, 2, order_fields("2.00", "EUR")),
    )
    create_definition(owner, site, "event:is:Order")

    conversions = owner.get(
        f"sites/{site.pk}/analytics/conversions?{MARCH_DAYS}&filter=page:is_not:/cart"
    ).json()["results"][0]

    assert (conversions["converted"], conversions["conversion_rate"], conversions["revenue"]) == (
        1,
        1.0,
        {"EUR": "2.00"},
    )


def test_conversions_rate_ignores_visitors_of_imported_days(site, owner, tmp_path):
    run_import(
        site,
        plausible_export(
            tmp_path,
            visitors=plausible_visitors(f"{IMPORT_DAY.date()},15,15,0,15,15"),
        ),
        "plausible",
    )
    minute = minutes_from_march(IMPORT_DAY + timedelta(days=1))
    write_visits(site, (minute, 1, {}), (minute + 1, 1, order_fields("1.00", "EUR")))
    create_definition(owner, site, "event:is:Order")

    conversions = owner.get(f"sites/{site.pk}/analytics/conversions?period=90d").json()["results"][0]

    assert (conversions["converted"], conversions["conversion_rate"]) == (1, 1.0)


@pytest.mark.commits
def test_reports_take_a_bounded_number_of_queries(
    site, owner, events_in_march, django_assert_max_num_queries
):
    rollups.rebuild_dirty_days()
    paths = (
        f"summary?{MARCH_DAYS}",
        f"timeseries?{MARCH_DAYS}",
        f"breakdown?dimension=page&{MARCH_DAYS}",
        "realtime",
    )
    for path in paths:
        with django_assert_max_num_queries(14):
            assert owner.get(f"sites/{site.pk}/analytics/{path}").status_code == 200
