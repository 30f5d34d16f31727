"""Limits on the cost of requests: places for expensive work, slow requests, and time that is charged."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from accounts.credentials import hashing
from core.admission import costs
from core.admission.costs import ExpensiveSlots, ExpensiveWorkBusy, SlowRequests, TooManyAtOnce
from core.storage import redis


@pytest.fixture
def held():
    """Return a function that holds a place of `slots` in a thread until the test ends."""
    may_end = threading.Event()
    threads = []

    def hold(slots, caller):
        is_held = threading.Event()

        def run():
            with slots.hold(caller):
                is_held.set()
                may_end.wait(20)

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        return is_held

    yield hold
    may_end.set()
    for thread in threads:
        thread.join()


def test_expensive_slots_refuse_callers_beyond_the_places(held):
    slots = ExpensiveSlots(running=1, waiting=1)
    assert held(slots, "a").wait(5)
    is_running = held(slots, "b")  # waits for the place of a
    time.sleep(0.1)

    with pytest.raises(ExpensiveWorkBusy), slots.hold("c"):
        pass
    assert not is_running.is_set()


def test_expensive_slots_give_a_caller_one_place_to_run_and_one_to_wait(held):
    slots = ExpensiveSlots(running=4, waiting=4)
    assert held(slots, "a").wait(5)
    assert held(slots, "a").wait(5)

    with pytest.raises(TooManyAtOnce), slots.hold("a"):
        pass
    with slots.hold("b"):
        pass


def test_expensive_slots_are_free_again_after_an_error_and_after_waiting_in_vain(held, monkeypatch):
    monkeypatch.setattr(costs, "WAIT_SECONDS", 0.05)
    slots = ExpensiveSlots(running=1, waiting=1)
    with pytest.raises(ZeroDivisionError), slots.hold("a"):
        raise ZeroDivisionError
    assert held(slots, "a").wait(5)

    for _ in range(3):
        with pytest.raises(ExpensiveWorkBusy), slots.hold("b"):
            pass


@pytest.mark.django_db
def test_charge_takes_requests_from_the_rate_limit_of_the_caller(api, settings):
    settings.RATE_LIMIT = 100
    before = int(api.get("config")["RateLimit-Remaining"])

    costs.charge(f"user:{api.user.pk}", 3.05)  # 30 requests at a tenth of a second each

    assert int(api.get("config")["RateLimit-Remaining"]) in {
        before - 31,
        before - 30,
    }  # a request was regained
    costs.charge(f"user:{api.user.pk}", 3600)
    refused = api.get("config")
    assert (refused.status_code, int(refused["Retry-After"]) <= 61) == (429, True)


@pytest.mark.django_db
def test_charge_is_free_for_cheap_work_and_without_redis(api, settings, monkeypatch):
    costs.charge("user:x", 0.09)
    assert redis.client().keys("limit:user:x") == []

    monkeypatch.setattr(redis, "call", lambda command: (_ for _ in ()).throw(redis.RedisUnavailable))
    costs.charge("user:x", 5.0)


def test_slow_requests_let_a_caller_with_fast_requests_pass_and_refuse_one_with_slow_ones(monkeypatch):
    monkeypatch.setattr(costs, "SLOW_SECONDS", 0.05)
    tracker = SlowRequests(2)
    with tracker.track("a"), tracker.track("a"), tracker.track("a"):
        pass  # any number of fast ones

    with tracker.track("a"), tracker.track("a"):
        time.sleep(0.1)
        with pytest.raises(TooManyAtOnce), tracker.track("a"):
            pass
        with tracker.track("b"):
            pass
    with tracker.track("a"):
        pass


@pytest.mark.django_db
def test_compare_is_refused_when_the_places_are_taken(api, held, monkeypatch):
    slots = ExpensiveSlots(running=1, waiting=1)
    monkeypatch.setattr(costs, "_slots", lambda: slots)
    site_id = api.post("sites", {"name": "A", "subdomain": "costly"}).json()["id"]
    assert api.get(f"sites/{site_id}/differences").status_code == 200
    held(slots, "other")
    held(slots, "another")
    time.sleep(0.1)

    response = api.get(f"sites/{site_id}/differences")

    assert (response.status_code, response.json()["code"], response["Retry-After"]) == (503, "busy", "2")


def test_passwords_are_hashed_by_threads_with_a_low_priority():
    priority = hashing._run_with_low_priority(
        lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    )

    assert priority == os.getpriority(os.PRIO_PROCESS, 0) + hashing.LOW_PRIORITY


@pytest.mark.django_db
def test_api_keys_of_a_user_share_the_rate_limit_of_their_owner(api, settings):
    settings.RATE_LIMIT = 100
    keys = [api.post("api-keys", {"label": name, "scopes": ["sites.read"]}).json()["key"] for name in "ab"]

    def use_keys():
        for key in keys:
            response = api.client.get("/api/v1/sites", headers={"Authorization": f"Bearer {key}"})
            assert response.status_code == 200

    use_keys()  # the first request of a key is counted to the network, because its owner is not known yet
    before = int(api.get("config")["RateLimit-Remaining"])
    use_keys()

    assert int(api.get("config")["RateLimit-Remaining"]) in {before - 3, before - 2}


def test_expensive_slots_hold_their_numbers_under_many_threads():
    slots = ExpensiveSlots(running=2, waiting=2)
    running = []
    most = []
    lock = threading.Lock()

    def work(number):
        try:
            with slots.hold(f"caller {number % 10}"):
                with lock:
                    running.append(number)
                    most.append(len(running))
                time.sleep(0.001)
                with lock:
                    running.remove(number)
        except (ExpensiveWorkBusy, TooManyAtOnce):
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(work, range(300)))

    assert max(most) <= 2
    assert any(results)
    with slots.hold("last"):
        pass
