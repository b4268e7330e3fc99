"""Runs that name no engine share one worker process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from one_worker import OneWorker

from m2l_bench.suite import local


@pytest.fixture(scope="session", autouse=True)
def shared_worker() -> Iterator[None]:
    engine, make = OneWorker(), local.LocalEngine
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "LocalEngine", lambda **options: make(**options) if options else engine)
        yield
    engine.end()


@pytest.fixture
def commands_share_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor do commands start one of their own."""
    monkeypatch.setattr("m2l_bench.cli._local", lambda **limits: local.LocalEngine())
