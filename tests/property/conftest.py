# SPDX-License-Identifier: MIT
"""Options of the property tests, and what they have in common."""
import random

import pytest

import schema


def pytest_addoption(parser):
    parser.addoption("--cbtap", required=True, help="the program to test")
    parser.addoption("--records", type=int, default=20000, help="how many random records")
    parser.addoption("--seed", type=int, default=random.SystemRandom().getrandbits(32), help="of the random records")


def pytest_terminal_summary(terminalreporter, config):
    terminalreporter.write_line(f"--records={config.getoption('--records')} --seed={config.getoption('--seed')}")


@pytest.fixture(scope="session")
def proto():
    return schema.compile_proto()
