import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone
from rest_framework.test import APIClient

from maintenance.access import idempotency
from maintenance.models import CacheEntry, IdempotentRequest

pytestmark = pytest.mark.urls("tests.maintenance.probe_urls")


def post(client: APIClient, key: str, body: Any = None, path: str = "/makes") -> Any:
    return client.post(path, body or {}, headers={"Idempotency-Key": key})


@pytest.mark.django_db
class TestOneAfterTheOther:
    def test_without_a_key_every_post_makes_one(self, api: APIClient) -> None:
        assert api.post("/makes", {}).json() != api.post("/makes", {}).json()

    def test_the_same_request_gets_the_same_answer(self, api: APIClient) -> None:
        first, second = post(api, "k", {"a": 1, "b": 2}), post(api, "k", {"b": 2, "a": 1})
        assert (first.status_code, first.json()) == (second.status_code, second.json())
        assert second["Idempotent-Replayed"] == "true"
        assert CacheEntry.objects.count() == 1

    @pytest.mark.parametrize(("body", "path"), [({"a": 2}, "/makes"), ({"a": 1}, "/makes/other")])
    def test_another_request_with_the_key_is_409(self, api: APIClient, body: Any, path: str) -> None:
        post(api, "k", {"a": 1})
        answer = post(api, "k", body, path)
        assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_conflict")
        assert CacheEntry.objects.count() == 1

    def test_keys_of_other_users_are_other_keys(self, api: APIClient, charlie: User) -> None:
        post(api, "k", {"a": 1})
        stranger = APIClient()
        stranger.force_authenticate(charlie)
        assert post(stranger, "k", {"a": 2}).status_code == 201

    def test_a_refused_request_may_be_tried_again(self, api: APIClient) -> None:
        assert post(api, "k", {"refuse": True}).status_code == 409
        assert not CacheEntry.objects.exists()
        assert post(api, "k", {"refuse": False}).status_code == 201

    def test_while_the_first_is_under_way_it_is_409(self, api: APIClient, alice: User) -> None:
        post(api, "k", {"a": 1})
        IdempotentRequest.objects.update(status_code=None)
        answer = post(api, "k", {"a": 1})
        assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_in_progress")

    def test_what_a_dead_process_left_is_taken_over(self, api: APIClient) -> None:
        post(api, "k", {"a": 1})
        long_ago = timezone.now() - idempotency.ABANDONED_AFTER - timedelta(seconds=1)
        IdempotentRequest.objects.update(status_code=None, created_at=long_ago)
        assert post(api, "k", {"a": 1}).status_code == 201
        assert post(api, "k", {"a": 1})["Idempotent-Replayed"] == "true"
        assert CacheEntry.objects.count() == 2

    def test_a_long_key_is_refused(self, api: APIClient) -> None:
        assert post(api, "k" * 201).status_code == 422


@pytest.mark.django_db(transaction=True)
class TestAtTheSameTime:
    def at_once(self, number: int, do: Callable[[], Any]) -> list[Any]:
        answers: list[Any] = []
        gate = threading.Barrier(number)

        def one() -> None:
            try:
                gate.wait()
                answers.append(do())
            finally:
                connection.close()

        threads = [threading.Thread(target=one) for _ in range(number)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return answers

    def test_f02_parallel_posts_with_one_key_do_the_work_once(self, alice: User) -> None:
        def send() -> Any:
            client = APIClient()
            client.force_authenticate(alice)
            return post(client, "k", {"a": 1})

        answers = self.at_once(8, send)
        assert CacheEntry.objects.filter(key__startswith="made-").count() == 1
        made = {answer.json()["key"] for answer in answers if answer.status_code == 201}
        refused = {answer.json()["code"] for answer in answers if answer.status_code != 201}
        assert len(made) == 1
        assert refused <= {"idempotency_in_progress"}

    def test_a_work_that_was_taken_over_meanwhile_is_undone(self, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
        client = APIClient()
        client.force_authenticate(alice)
        store = idempotency._store

        def too_late(claim: IdempotentRequest, response: Any) -> None:
            IdempotentRequest.objects.filter(pk=claim.pk).update(created_at=timezone.now() + timedelta(seconds=1))
            store(claim, response)

        monkeypatch.setattr(idempotency, "_store", too_late)
        assert post(client, "k").json()["code"] == "idempotency_in_progress"
        assert not CacheEntry.objects.filter(key__startswith="made-").exists()
