# SPDX-License-Identifier: MIT
"""The messages of proto/sensor_events.proto for Python, made by protoc when the tests run."""
import os
import subprocess
import tempfile

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
F = descriptor_pb2.FieldDescriptorProto


def compile_proto(path=os.path.join(ROOT, "proto", "sensor_events.proto")):
    """What protoc makes of the file, as a FileDescriptorProto."""
    with tempfile.TemporaryDirectory() as directory:
        out = os.path.join(directory, "descriptors")
        subprocess.run(["protoc", f"--proto_path={os.path.dirname(path)}", f"--descriptor_set_out={out}", path], check=True)
        with open(out, "rb") as f:
            return descriptor_pb2.FileDescriptorSet.FromString(f.read()).file[0]


def enums(file):
    """{"Message.Enum": {number: name}}, each in the order of the file."""
    return {f"{message.name}.{enum.name}": {value.number: value.name for value in enum.value}
            for message in file.message_type for enum in message.enum_type}


def event_class(file):
    """CbEventMsg with its enums as int32: proto2 would put a value without a name among the unknown fields."""
    plain = descriptor_pb2.FileDescriptorProto()
    plain.CopyFrom(file)
    for message, original in zip(plain.message_type, file.message_type):
        for field in message.field:
            if field.type == F.TYPE_ENUM:
                enum = next(e for e in original.enum_type if field.type_name == f".{original.name}.{e.name}")
                numbers = {value.name: value.number for value in enum.value}
                field.default_value = str(numbers[field.default_value] if field.default_value else enum.value[0].number)
                field.type = F.TYPE_INT32
                field.ClearField("type_name")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(plain)
    return message_factory.MessageFactory(pool).GetPrototype(pool.FindMessageTypeByName("CbEventMsg"))
