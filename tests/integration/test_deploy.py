# SPDX-License-Identifier: MIT
"""What is installed besides the program: the example configuration is valid, the unit confines the daemon."""
import os
import re
import subprocess

import pytest

DEPLOY = os.path.join(os.path.dirname(__file__), "..", "..", "deploy")
EXAMPLE = os.path.join(DEPLOY, "cbtap.conf.example")
UNIT = os.path.join(DEPLOY, "cbtap.service")
EXPOSURE_MAX = 2.0


@pytest.mark.parametrize("everything", [False, True])
def test_example_configuration_is_valid(request, tmp_path, everything):
    with open(EXAMPLE, encoding="utf-8") as f:
        text = f.read()
    if everything:
        text = re.sub(r"^#(?=[\w.]+ =|\[)", "", text, flags=re.M)
    config = tmp_path / "cbtap.conf"
    config.write_text(text)
    done = subprocess.run([request.config.getoption("--cbtap"), "check", "-c", config], capture_output=True, text=True,
                          env=os.environ | {"CB_RABBITMQ_PASSWORD": "secret"}, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert f"sources={3 if everything else 1}" in done.stderr


@pytest.mark.without("address", "thread")
def test_exposure_of_the_unit_is_low():
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", UNIT], capture_output=True, text=True,
                          timeout=60, check=False)
    exposure = re.search(r"Overall exposure level for cbtap\.service: ([\d.]+)", done.stdout)
    assert exposure and float(exposure[1]) < EXPOSURE_MAX, done.stdout[-400:] + done.stderr


@pytest.mark.without("address", "thread")
def test_unit_is_one_that_systemd_understands():
    """A key or value that systemd does not know is a warning there and no protection."""
    known = subprocess.run(["systemd-analyze", "verify", "--man=no", UNIT], capture_output=True, text=True, timeout=60,
                           check=False)
    said = [line for line in known.stderr.splitlines() if "cbtap.service" in line and "not executable" not in line]
    assert not said, known.stderr
    with open(UNIT, encoding="utf-8") as unit, open(os.path.join(DEPLOY, "cbtap.sysusers.conf"), encoding="utf-8") as users:
        assert "\nUser=cbtap\n" in unit.read() and "\nu cbtap " in users.read()
