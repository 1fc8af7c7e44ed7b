"""Answers of the API to generated calls: how many failed, of a number that is to be reached.

    pip install schemathesis
    python -m benchmarks.fuzzing [--cases 10000] [--seed 0]

schemathesis makes the calls from `docs/openapi.yaml`, half of them valid and half of them not. They come with the token
of an app that is linked to the customer with the most orders, who has consented, so that they get as far as they can;
each is undone, so that the person stays whole. An answer fails if it is a server error, or an error that is not
`application/problem+json`. The small demo is on the database of the settings, in a copy that is deleted afterwards.
"""

from __future__ import annotations

import argparse
import datetime as dt
import logging
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.event_storage import own_database

ROOT = Path(__file__).resolve().parent.parent
HOST = "http://testserver"
N_CUSTOMERS, N_PRODUCTS = 30, 60
LONGEST_RUN = dt.timedelta(days=7)
"""The token lasts as long; otherwise it lasts an hour, after which every call of a person would be refused."""

CASES_PER_DRAW = 500
"""Hypothesis remembers what it made: after so many cases it starts anew with another seed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shopreco-bench-") as folder:
        os.environ.update(SHOPRECO_VAR=folder, DJANGO_DEBUG="0", DJANGO_SECRET_KEY="only-for-this-run")  # noqa: S106
        os.environ["SHOPRECO_TLS"] = "0"
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shopreco.settings")
        import django

        django.setup()
        with own_database():
            _fuzz(_caller(), options.cases, options.seed)


def _fuzz(call: Callable[[Any], Any], n_cases: int, seed: int) -> None:
    from schemathesis import GenerationMode, openapi

    operations = [result.ok() for result in openapi.from_path(ROOT / "docs" / "openapi.yaml").get_all_operations()]
    share = -(-n_cases // (2 * len(operations)))
    total, failures, started = Counter[int](), Counter[str](), time.perf_counter()
    print(f"{'operation':<42} {'calls':>7}  answers")
    for operation in operations:
        answers: Counter[int] = Counter()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            for case in _cases(operation, mode, share, seed):
                answer = call(case)
                answers[answer.status_code] += 1
                if fault := _fault(answer):
                    failures[f"{operation.label}: {fault}"] += 1
        counts = ", ".join(f"{status} × {n}" for status, n in sorted(answers.items()))
        print(f"{operation.label:<42} {answers.total():>7}  {counts}", flush=True)
        total += answers
    n_server_errors = sum(n for status, n in total.items() if status >= 500)
    for failure, n in failures.most_common(20):
        print(f"FAILED {n:>6} × {failure}")
    verdict = "ok" if total.total() >= n_cases and not failures else "FAILED"
    print(
        f"\n{total.total()} calls of {n_cases} in {time.perf_counter() - started:.0f} s, "
        f"{n_server_errors} server errors, {failures.total()} failures of 0 allowed  {verdict}"
    )


def _cases(operation: Any, mode: Any, n_cases: int, seed: int) -> Iterator[Any]:
    import hypothesis

    for start in range(0, n_cases, CASES_PER_DRAW):
        drawn: list[Any] = []
        collect = hypothesis.given(operation.as_strategy(generation_mode=mode))(_collector(drawn))
        limited = hypothesis.settings(
            max_examples=min(CASES_PER_DRAW, n_cases - start),
            database=None,
            deadline=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        try:
            hypothesis.seed(seed + start)(limited(collect))()
        except hypothesis.errors.Unsatisfiable:  # nothing can be wrong about a call that sends nothing
            yield from _cases(operation, type(mode).POSITIVE, n_cases - start, seed)
            return
        yield from drawn


def _collector(drawn: list[Any]) -> Callable[[Any], None]:
    def collect(case: Any) -> None:
        drawn.append(case)

    return collect


def _fault(answer: Any) -> str:
    """What is wrong with an answer; empty if nothing is."""
    kind = answer.headers.get("Content-Type", "")
    if answer.status_code >= 500:
        return f"{answer.status_code} {answer.content[:200]!r}"
    if answer.status_code >= 400 and kind.partition(";")[0] != "application/problem+json":
        return f"{answer.status_code} as {kind or 'nothing'}"
    return ""


def _caller() -> Callable[[Any], Any]:
    from django.conf import settings
    from django.contrib.auth import get_user_model
    from django.db import transaction
    from django.db.models import Count
    from django.test import Client
    from django.urls import reverse
    from django.utils import timezone

    from recommender import conf, identity, tracking
    from recommender.catalog import sync
    from recommender.datasets import statistics
    from recommender.identity import linking, tokens
    from recommender.models import Visitor
    from shopreco.shop import loading

    logging.getLogger("django.request").setLevel(logging.ERROR)
    settings.ALLOWED_HOSTS = ["testserver"]
    settings.RECOMMENDER = {**settings.RECOMMENDER, "THROTTLES": dict.fromkeys(conf.throttles())}
    loading.load(n_customers=N_CUSTOMERS, n_products=N_PRODUCTS, now=None)
    sync.sync()
    tracking.reconcile()
    statistics.refresh_statistics()
    user = get_user_model()._default_manager.annotate(n=Count("customer__orders")).order_by("-n")[0]
    identity.grant_consent([identity.user_key_of(user)])
    issued = tokens.issue(Visitor.objects.create(has_consented=True))
    claims = tokens.claims_of(issued.token)
    if claims is None or linking.link_app(claims, user, authentication="benchmark", session_hash="") is None:
        raise SystemExit("The app's visitor could not be linked to its user.")
    until = timezone.now() + LONGEST_RUN
    token = tokens.token_for(claims.visitor_key, token_key=claims.token_key, scopes=claims.scopes, until=until)
    client = Client(raise_request_exception=False)
    base = HOST + reverse("recommender:search").removesuffix("/api/v1/search")

    def call(case: Any) -> Any:
        sent = case.as_transport_kwargs(base_url=base)
        with transaction.atomic():
            answer = client.generic(**_as_wsgi(sent, f"Visitor {token}"))
            transaction.set_rollback(True)
        return answer

    return call


def _as_wsgi(sent: dict[str, Any], authorization: str) -> dict[str, Any]:
    """What Django's test client takes for a call that `requests` would send."""
    import requests

    prepared = requests.Request(
        sent["method"],
        sent["url"],
        params=sent.get("params"),
        data=sent.get("data"),
        json=sent.get("json"),
        headers={name: str(value) for name, value in dict(sent.get("headers") or {}).items()},
    ).prepare()
    body = prepared.body or b""
    return {
        "method": prepared.method or "GET",
        "path": (prepared.url or "").removeprefix(HOST),
        "data": body.encode() if isinstance(body, str) else body,
        "content_type": prepared.headers.get("Content-Type", "application/json"),
        "headers": {"Authorization": authorization},
    }


if __name__ == "__main__":
    main()
