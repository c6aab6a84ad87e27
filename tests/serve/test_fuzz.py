"""Requests nobody thought of, made from our own description of the endpoint."""

from __future__ import annotations

import httpx2
import hypothesis
import pytest
import schemathesis

from serve.conftest import body

REQUESTS = 60  # `python -m benchmarks.serve.fuzz` sends thousands


@pytest.fixture(scope="module")
def operations(live):
    page = httpx2.get(f"{live.address}/openapi.json", trust_env=False).json()
    schema = schemathesis.openapi.from_dict(page)
    schema.config.update(base_url=live.address)
    return {
        f"{one.method} {one.path}": one for one in (r.ok() for r in schema.get_all_operations())
    }


def test_the_description_has_the_body_and_every_route(operations):
    assert set(operations) == {
        "post /v1/chat/completions",
        "get /v1/models",
        "get /v1/pruning",
        "get /health",
        "get /ready",
        "get /metrics",
    }


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_no_request_is_an_error_of_the_server(operations, live, mode):
    operation = operations["post /v1/chat/completions"]
    statuses = []

    @hypothesis.settings(
        max_examples=REQUESTS // 2,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(operation.as_strategy(generation_mode=mode))
    def send(case):
        answer = case.call()
        statuses.append(answer.status_code)
        assert answer.status_code < 500, answer.text
        if answer.status_code != 200:
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}

    send()
    assert len(statuses) >= REQUESTS // 4
    assert live.post(body()).status_code == 200
    assert live.service.admission.inside == 0
