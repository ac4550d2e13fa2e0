import pytest
from django.db import connection, transaction
from pytest_django import DjangoAssertNumQueries

from maintenance import tags
from maintenance.models import Job, JobTag
from tests.maintenance import jobs

pytestmark = pytest.mark.django_db


def enqueue(*words: str) -> Job:
    return jobs.write_line.tagged(*words).enqueue(path="", text="")


def test_a_job_is_found_by_each_of_its_tags_and_shows_them_in_order() -> None:
    row = enqueue("run:5", "conversation:7")
    other = enqueue("conversation:7")
    enqueue("conversation:70")
    assert row.tags == ["run:5", "conversation:7"]
    assert list(tags.jobs_tagged("run:5")) == [row]
    assert set(tags.jobs_tagged("conversation:7")) == {row, other}
    assert list(tags.jobs_tagged("conversation")) == []


def test_the_newest_job_of_a_common_tag_is_found_without_sorting() -> None:
    rows = [enqueue("agent:1") for _ in range(3)]
    assert list(tags.jobs_tagged("agent:1")) == sorted(rows, key=lambda row: row.pk, reverse=True)
    if connection.vendor == "sqlite":  # PostgreSQL's plan depends on how many there are
        assert "TEMP B-TREE" not in tags.jobs_tagged("agent:1").explain()


def test_a_tag_that_is_given_twice_is_there_once() -> None:
    row = enqueue("a", "b", "a")
    assert row.tags == ["a", "b"]
    assert list(tags.jobs_tagged("a")) == [row]


def test_tags_go_with_the_transaction_of_their_job() -> None:
    with transaction.atomic():
        enqueue("a")
        transaction.set_rollback(True)
    assert not JobTag.objects.exists()


def test_a_second_job_of_a_unique_key_adds_no_tags() -> None:
    jobs.write_line.keyed("k").tagged("a").enqueue(path="", text="")
    jobs.write_line.keyed("k").tagged("b").enqueue(path="", text="")
    assert list(JobTag.objects.values_list("tag", flat=True)) == ["a"]


def test_all_tags_of_a_job_cost_one_query_and_none_cost_nothing(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    with transaction.atomic():
        with django_assert_num_queries(1):
            enqueue()
        with django_assert_num_queries(2):
            enqueue("a", "b", "c", "d")


@pytest.mark.parametrize("word", ["", " a", "a ", "x" * 101])
def test_what_is_no_tag_is_refused_when_it_is_declared(word: str) -> None:
    with pytest.raises(ValueError, match="is no tag"):
        jobs.write_line.tagged("good", word)
