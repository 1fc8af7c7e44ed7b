"""People are erased while their events are coming in: every erasure and every batch succeeds."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable

import pytest
from django.db import DatabaseError, connection

from recommender import capture
from recommender.capture import erasure
from recommender.jobs import erasing
from recommender.models import Event, Visitor
from tests.capture.drafts import accounted, draft

N_WRITERS, N_ERASERS, N_BATCHES, BATCH = 4, 2, 15, 10

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(*tasks: Callable[[], object]) -> list[str]:
    """Do the tasks in threads of their own; return the errors."""
    errors: list[str] = []

    def work(task: Callable[[], object]) -> None:
        try:
            task()
        except DatabaseError as error:
            errors.append(f"{type(error).__name__}: {error}")
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


@pytest.mark.parametrize("are_shared", [False, True], ids=["own visitors", "shared visitors"])
def test_erasures_and_batches_succeed_beside_each_other(are_shared: bool) -> None:
    """With shared visitors every writer's batch touches the same people, in another order each."""
    people = [[uuid.uuid4() for _ in range(6)] for _ in range(N_WRITERS)]
    if are_shared:
        people = [people[0]] * N_WRITERS
    capture.ingest([draft(visitor_key=key) for keys in people for key in keys])
    counts: Counter[str] = Counter()
    lock = threading.Lock()

    def write(keys: list[uuid.UUID]) -> None:
        for number in range(N_BATCHES):
            ordered = keys[number % len(keys) :] + keys[: number % len(keys)]
            batch = [draft(visitor_key=ordered[index % len(ordered)]) for index in range(BATCH)]
            result = capture.ingest(batch)
            with lock:
                counts["accounted"] += accounted(result)

    def erase(number: int) -> None:
        for keys in people[: 1 if are_shared else None]:
            for key in keys[number::N_ERASERS]:
                erasure.erase(visitor_key=key)
                with lock:
                    counts["erased"] += 1

    writers = [lambda keys=keys: write(keys) for keys in people]
    erasers = [lambda number=number: erase(number) for number in range(N_ERASERS)]
    assert at_once(*writers, *erasers) == []
    assert counts["accounted"] == N_WRITERS * N_BATCHES * BATCH
    erased = {key for keys in people for key in keys}
    assert counts["erased"] == len(erased)
    erasing.finish_erasures()
    assert not Visitor.objects.filter(key__in=erased).exists()
    assert not Event.objects.exists()
