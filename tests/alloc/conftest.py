# SPDX-License-Identifier: MIT
"""Which build to test, and how thoroughly."""
import os

import pytest

from alloc import Allocations, Preloaded

SANITIZER_ENV = {
    "ASAN_OPTIONS": "detect_leaks=1:exitcode=99:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
}


def pytest_addoption(parser):
    parser.addoption("--failing", required=True, help="cbtap-failing")
    parser.addoption("--cbtap", required=True, help="cbtap, to go with --preload")
    parser.addoption("--preload", default="", help="libcbtap-failing-preload.so; empty: a sanitizer's build has none")
    parser.addoption("--exhaustive", action="store_true", help="every allocation, not two of each place in the code")


def pytest_configure(config):
    config.addinivalue_line("markers", "exhaustive: only with --exhaustive")


def pytest_collection_modifyitems(config, items):
    """A sanitizer has an allocator of its own: nothing is preloaded there."""
    def is_left(item):
        return item.get_closest_marker("exhaustive") and not config.getoption("--exhaustive") or \
            "make_libraries" in item.fixturenames and not config.getoption("--preload")

    left = [item for item in items if is_left(item)]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in left]


@pytest.fixture(scope="session")
def env():
    return dict(os.environ) | SANITIZER_ENV | {"ALLOC_PASSWORD": "secret"}


@pytest.fixture(scope="session")
def exhaustive(request):
    return request.config.getoption("--exhaustive")


@pytest.fixture
def make_own(request, tmp_path):
    """Plans for cbtap's own calls."""
    return lambda name: Allocations(tmp_path / name, request.config.getoption("--failing"))


@pytest.fixture
def make_libraries(request, tmp_path):
    """Plans for calls of libraries."""
    preload = request.config.getoption("--preload")
    return lambda name, libraries: Preloaded(tmp_path / name, request.config.getoption("--cbtap"), preload, libraries)
