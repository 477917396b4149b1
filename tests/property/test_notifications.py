# SPDX-License-Identifier: MIT
"""Random notifications through `cbtap export --notification`: the lines equal what the specification makes of each."""
from decoder import DEAD
from exporting import Export, check
from notifications import Notifications
from random_notifications import RandomNotifications

FILE_NOTIFICATIONS = 300


def test_every_notification_is_as_specified(pytestconfig, tmp_path):
    seed, count = pytestconfig.getoption("--seed"), pytestconfig.getoption("--records")
    source, dead = RandomNotifications(seed), 0
    for start in range(0, count, FILE_NOTIFICATIONS):
        key = source.random.choice(source.ROUTING_KEYS)
        setting = {"server_name": source.random.choice(("cbserver", "sérvér \"1\"")),
                   "server_url": source.random.choice(("", "https://cbtests/", "https://edr.example/edr"))}
        decoder = Notifications(key, **setting)
        options = [part for name, value in setting.items() for part in ("-s", f"cbtap.{name}={value}")]
        export = Export(pytestconfig.getoption("--cbtap"), [*options, "--notification", key], tmp_path,
                        lambda sources: b"".join(line + b"\n" for line in sources))
        sources = [source.notification() for _ in range(min(FILE_NOTIFICATIONS, count - start))]
        check(export, decoder.decode, sources, f"{start} and on of --seed={seed} --records={count}: {key}, {setting}")
        dead += sum(decoder.decode(one) == DEAD for one in sources)
    assert count < 1000 or 0 < dead < count / 10
