import threading

import pytest
from django.core.cache import cache
from django.db import connection

from maintenance.models import CacheEntry

pytestmark = pytest.mark.django_db


def test_what_is_set_is_got() -> None:
    cache.set("k", {"a": [1, None, "ü"]})
    assert cache.get("k") == {"a": [1, None, "ü"]}
    cache.set("k", 2)
    assert cache.get("k") == 2


def test_a_key_that_is_not_there_gives_the_default() -> None:
    assert cache.get("k") is None
    assert cache.get("k", "d") == "d"


def test_none_is_a_value() -> None:
    cache.set("k", None)
    assert cache.get("k", "d") is None
    assert "k" in cache


def test_nothing_is_pickled() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        cache.set("k", object())
    cache.set("k", "plain")
    assert CacheEntry.objects.get().value == "plain"


@pytest.mark.parametrize("timeout", [0, -1])
def test_what_has_expired_is_gone(timeout: int) -> None:
    cache.set("k", 1, timeout=timeout)
    assert cache.get("k") is None
    assert "k" not in cache
    assert not cache.touch("k", 10)
    with pytest.raises(ValueError, match="not found"):
        cache.incr("k")


def test_expired_rows_are_swept_when_another_is_written() -> None:
    cache.set("old", 1, timeout=0)
    cache.set("new", 1)
    assert [entry.key for entry in CacheEntry.objects.all()] == [cache.make_key("new")]


def test_a_value_without_timeout_stays() -> None:
    cache.set("k", 1, timeout=None)
    assert CacheEntry.objects.get().expires_at is None
    assert cache.get("k") == 1


def test_add_does_not_replace() -> None:
    assert cache.add("k", 1)
    assert not cache.add("k", 2)
    assert cache.get("k") == 1


def test_touch_moves_the_expiry() -> None:
    cache.set("k", 1, timeout=10)
    assert cache.touch("k", None)
    assert CacheEntry.objects.get().expires_at is None


def test_deleting_says_whether_there_was_something() -> None:
    cache.set("k", 1)
    assert cache.delete("k")
    assert not cache.delete("k")


def test_many_are_got_with_one_query(django_assert_num_queries: object) -> None:
    cache.set_many({"a": 1, "b": 2})
    with django_assert_num_queries(1):  # type: ignore[operator]
        assert cache.get_many(["a", "b", "c"]) == {"a": 1, "b": 2}


def test_clear_empties_it() -> None:
    cache.set("k", 1)
    cache.clear()
    assert cache.get("k") is None


@pytest.mark.django_db(transaction=True)
def test_two_that_count_at_once_are_both_counted() -> None:
    cache.set("n", 0)

    def count() -> None:
        try:
            for _ in range(10):
                cache.incr("n")
        finally:
            connection.close()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.get("n") == 40
