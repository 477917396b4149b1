# SPDX-License-Identifier: MIT
"""Fixtures: real servers for the whole run, and a cbtap daemon with topics and a queue of its own for each test."""
import os
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(ROOT, "tests", "services"), os.path.join(ROOT, "tests", "alloc")]

import events  # noqa: E402
from kafka_service import Kafka  # noqa: E402
from rabbitmq_service import RabbitMQ  # noqa: E402
from redis_service import Redis  # noqa: E402
from run import Run, Scale  # noqa: E402
from services import close_all, start_all  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--cbtap", default=os.environ.get("CBTAP", os.path.join(ROOT, "build/release/bin/cbtap")),
                     help="the cbtap to test")
    parser.addoption("--log-dir", default=None, help="where the servers' and cbtap's logs stay after the run")
    parser.addoption("--sanitizer", default="", choices=["", "address", "thread"],
                     help="what cbtap was built with: tests take smaller loads and wait longer")
    parser.addoption("--exhaustive", action="store_true", help="every allocation fails in turn, not two of each place")


def pytest_configure(config):
    config.addinivalue_line("markers", "corpus: compares with ../shared/corpus, and is skipped where that is missing")
    config.addinivalue_line("markers", "without(SANITIZER...): has nothing to tell these: it measures cost, or runs on one thread")


def pytest_collection_modifyitems(config, items):
    sanitizer = config.getoption("--sanitizer")
    pointless = [item for item in items if any(sanitizer in mark.args for mark in item.iter_markers("without"))]
    config.hook.pytest_deselected(items=pointless)
    items[:] = [item for item in items if item not in pointless]
    if os.path.isdir(events.CORPUS):
        return
    for item in items:
        if item.get_closest_marker("corpus"):
            item.add_marker(pytest.mark.skip(reason="SKIPPED FOR WANT OF ../shared/corpus"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    setattr(item, f"report_{call.when}", outcome.get_result())


@pytest.fixture(scope="session")
def log_dir(request, tmp_path_factory):
    path = request.config.getoption("--log-dir") or str(tmp_path_factory.mktemp("logs"))
    os.makedirs(path, exist_ok=True)
    return path


@pytest.fixture(scope="session")
def servers(log_dir):
    """All three, started at once."""
    all_three = [RabbitMQ(log_dir), Redis(log_dir), Kafka(log_dir)]
    try:
        start_all(all_three)
        all_three[0].declare_exchanges()
        yield all_three
    finally:
        close_all(all_three)


@pytest.fixture
def rabbitmq(servers):
    server = servers[0].again()
    server.declare_exchanges()
    yield server


@pytest.fixture
def redis(servers):
    yield servers[1].again()


@pytest.fixture
def kafka(servers):
    server = servers[2].again()
    yield server
    if server.alive():
        server.resume()


@pytest.fixture(scope="session")
def pb(tmp_path_factory):
    return events.event_messages(tmp_path_factory.mktemp("pb"))


@pytest.fixture(scope="session")
def scale(request):
    return Scale(request.config.getoption("--sanitizer"))


@pytest.fixture(scope="session")
def exhaustive(request):
    return request.config.getoption("--exhaustive")


@pytest.fixture
def run(request, tmp_path, log_dir, scale):
    """At its end every daemon of the test that still runs must stop on SIGTERM, with 0 and without a sanitizer's report."""
    assert os.access(request.config.getoption("--cbtap"), os.X_OK), "no cbtap: build it, or name it by --cbtap"
    this = Run(request.node.name, request.config, tmp_path, log_dir, scale)
    yield this
    this.finish(failed=getattr(request.node, "report_call", None) is None or request.node.report_call.failed)
