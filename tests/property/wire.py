# SPDX-License-Identifier: MIT
"""The protobuf wire format, written by hand: also what no serializer writes but every parser must read."""
VARINT, FIXED64, LEN, GROUP, END_GROUP, FIXED32 = range(6)
WIDTHS = {FIXED64: 8, FIXED32: 4}
NUMBER_MAX = 2**29 - 1
TAG_MAX, LENGTH_MAX, VALUE_MAX = 5, 5, 10  # bytes of a varint


class NoSuchNumber(ValueError):
    """A field number that protobuf does not have."""


def varint(value, at_least=1):
    """A varint of so many bytes or more: longer than needed is valid too."""
    value &= 0xffffffffffffffff
    out = bytearray()
    while value > 0x7f or len(out) < at_least - 1:
        out.append(value & 0x7f | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def fields(data):
    """The (number, wire type, contents) of a message's fields. ValueError where it is no message."""
    def read_varint(at, longest):
        value = 0
        for i, byte in enumerate(data[at:at + longest]):
            value |= (byte & 0x7f) << 7 * i
            if byte < 0x80:
                return value, at + i + 1
        raise ValueError("a varint without an end")

    at = 0
    while at < len(data):
        tag, at = read_varint(at, TAG_MAX)
        number, wire_type = tag >> 3, tag & 7
        if not 0 < number <= NUMBER_MAX:
            raise NoSuchNumber(f"field number {number}")
        start = at
        if wire_type == VARINT:
            _, at = read_varint(at, VALUE_MAX)
        elif wire_type in WIDTHS:
            at += WIDTHS[wire_type]
        elif wire_type == LEN:
            length, start = read_varint(at, LENGTH_MAX)
            at = start + length
        else:
            raise ValueError("a group, or no wire type")
        if at > len(data):
            raise ValueError("a field beyond the end")
        yield number, wire_type, data[start:at]


def field(number, wire_type, contents, pad=0):
    """One field; contents of VARINT is a varint already. pad: bytes by which tag and length are longer than needed."""
    def padded(value, longest):
        return varint(value, min(len(varint(value)) + pad, longest))

    out = padded(number << 3 | wire_type, TAG_MAX)
    if wire_type == LEN:
        out += padded(len(contents), LENGTH_MAX)
    return out + contents
