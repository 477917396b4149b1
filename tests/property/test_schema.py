# SPDX-License-Identifier: MIT
"""proto/sensor_events.proto says what the server's schema says, field by field; the text fields as bytes."""
import csv
import os

import pytest

from schema import F, ROOT

SPEC = os.path.join(ROOT, "..", "shared", "spec")
LABELS = {F.LABEL_OPTIONAL: "optional", F.LABEL_REQUIRED: "required", F.LABEL_REPEATED: "repeated"}
TYPES = {getattr(F, name): name[5:].lower() for name in dir(F) if name.startswith("TYPE_")}


def table(name):
    path = os.path.join(SPEC, name)
    if not os.path.exists(path):
        pytest.skip(f"{path} is missing: nothing was compared")
    with open(path, encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f, delimiter="\t"))


def type_of(field):
    return field.type_name.split(".")[-1] if field.type_name else TYPES[field.type]


def default_of(field, text):
    """The declared default, in the way that the table writes it."""
    return hex(int(field.default_value)) if text.startswith("0x") and field.default_value else field.default_value


def test_every_field_is_that_of_the_table(proto):
    rows = table("sensor_events.fields.tsv")
    fields = {(message.name, field.number): field for message in proto.message_type for field in message.field}
    differences = []
    for row in rows:
        field = fields.pop((row["message"], int(row["number"])), None)
        if field is None:
            differences.append(f"missing: {row}")
            continue
        kind = "string" if type_of(field) == "bytes" and row["type"] == "string" else type_of(field)
        is_ = (LABELS[field.label], kind, field.name, default_of(field, row["default"]))
        if is_ != (row["label"], row["type"], row["field"], row["default"]):
            differences.append(f"{row} is {is_}")
    assert not differences and not fields
    assert len(rows) > 200


def test_every_enum_value_is_that_of_the_table_in_its_order(proto):
    rows = table("sensor_events.enums.tsv")
    values = [(f"{message.name}.{enum.name}", value.name, value.number)
              for message in proto.message_type for enum in message.enum_type for value in enum.value]
    expected = [(row["enum"], row["value"], int(row["number"])) for row in rows]
    by_enum = sorted({name for name, _, _ in values + expected})
    assert {name: [v for v in values if v[0] == name] for name in by_enum} \
        == {name: [v for v in expected if v[0] == name] for name in by_enum}


def test_every_enum_field_is_of_an_enum_of_its_own_message(proto):
    """By that the class for Python finds them, and a name of the table without its message means only one."""
    for message in proto.message_type:
        own = {f".{message.name}.{enum.name}" for enum in message.enum_type}
        assert {field.type_name for field in message.field if field.type == F.TYPE_ENUM} == own
