# SPDX-License-Identifier: MIT
"""The example configuration is valid as it stands, and with everything in it that is commented out."""
import os
import re
import subprocess

import pytest

EXAMPLE = os.path.join(os.path.dirname(__file__), "..", "..", "deploy", "cbtap.conf.example")


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
    assert f"sources={2 if everything else 1}" in done.stderr
