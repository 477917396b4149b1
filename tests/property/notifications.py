# SPDX-License-Identifier: MIT
"""A second opinion on server notifications: JSON in, the expected objects out, by the specification alone.

Nothing here comes from the C code. Python's own json parses, once ill-formed UTF-8 is mended.
"""
import json
import re

from decoder import DEAD, Number, text, upper_ascii

HASHES = ("md5", "parent_md5", "process_md5")
SURROGATES = re.compile("[\ud800-\udfff]")


def is_string(value):
    return isinstance(value, str) and not isinstance(value, Number)


def is_integer(value):
    return isinstance(value, Number) and re.fullmatch("-?[0-9]+", value) is not None


def mend(value):
    return SURROGATES.sub("\ufffd", value) if is_string(value) else value


def parse(source):
    """The value of a JSON text; of a key that comes twice the last. ValueError where it is no JSON."""
    def no_constant(name):
        raise ValueError(f"{name} is not JSON")

    def whole(pairs):
        return {mend(key): deep(value) for key, value in pairs}

    def deep(value):
        return [deep(item) for item in value] if isinstance(value, list) else mend(value)

    return deep(json.loads(source, parse_int=Number, parse_float=Number, parse_constant=no_constant,
                           object_pairs_hook=whole))


def upper(value):
    return upper_ascii(value.encode())


def form_decode(value):
    """application/x-www-form-urlencoded; a % without two hexadecimal digits stands for itself."""
    encoded = value.replace("+", " ").encode()
    return text(re.sub(rb"%([0-9A-Fa-f]{2})", lambda match: bytes([int(match[1], 16)]), encoded))


class Notifications:
    def __init__(self, routing_key, server_name="", server_url=""):
        self.type = re.sub(r"^feed\.[0-9]+\.", "feed.", routing_key)
        self.server_name = server_name
        self.url = server_url + "/" if server_url and not server_url.endswith("/") else server_url

    def decode(self, source):
        """The list of events that the notification becomes, or DEAD."""
        try:
            notification = parse(text(source))
        except (ValueError, RecursionError):
            return DEAD
        if not isinstance(notification, dict):
            return DEAD
        docs = notification.get("docs")
        if not isinstance(docs, list):
            return [self.event(notification)]
        entries = [[self.fix(entry) if isinstance(entry, dict) else entry] for entry in docs] or [[]]
        return [{**self.event(notification), "docs": entry} for entry in entries]

    def event(self, notification):
        return {**self.fix(notification), "type": self.type, "cb_server": self.server_name}

    def fix(self, given):
        out = dict(given)
        if "event_timestamp" in out:
            out["timestamp"] = out.pop("event_timestamp")
        if "hostname" in out:
            out["computer_name"] = out["hostname"]
        out.pop("highlights", None)
        for key in HASHES:
            if is_string(out.get(key)) and len(out[key].encode()) == 32:
                out[key] = upper(out[key])
        self.fix_ioc(out)
        for key in ("comms_ip", "interface_ip"):
            if is_integer(out.get(key)) and -2**31 <= int(out[key]) < 2**31:
                out[key] = ".".join(str(byte) for byte in (int(out[key]) & 0xffffffff).to_bytes(4, "big"))
        self.fix_guids(out)
        if self.url:
            self.link(out)
        return out

    @staticmethod
    def fix_ioc(out):
        kind = out.get("ioc_type")
        if isinstance(kind, dict) and is_string(kind.get("md5")):
            out["ioc_type"] = {**kind, "md5": upper(kind["md5"])}
        if not (is_string(kind) and kind == "query" and is_string(out.get("ioc_value"))):
            return
        try:
            value = parse(out["ioc_value"])
        except (ValueError, RecursionError):
            return
        if not isinstance(value, dict) or not all(is_string(value.get(key)) for key in ("index_type", "search_query")):
            return
        out["ioc_query_index"] = value["index_type"]
        for parameter in value["search_query"].split("&"):
            name, _, given = parameter.partition("=")
            if form_decode(name) == "q":
                out["ioc_query_string"] = form_decode(given)
                break

    def fix_guids(self, out):
        unique_id, parent_id = out.get("unique_id"), out.get("parent_unique_id")
        if is_guid(unique_id) and not self.type.startswith("alert."):
            out["process_guid"], out["segment_id"] = split_guid(unique_id)
        elif is_string(out.get("process_id")):
            out["process_guid"], out["segment_id"] = split_guid(out["process_id"])
        if is_guid(parent_id):
            out["parent_guid"], out["parent_segment_id"] = split_guid(parent_id)

    def link(self, out):
        if is_integer(out.get("sensor_id")):
            out["link_sensor"] = f"{self.url}#/host/{out['sensor_id']}"
        for key in HASHES:
            if is_string(out.get(key)) and len(out[key]) == 32:
                out[f"link_{key}"] = f"{self.url}#/binary/{out[key]}"
        for link, guid, segment, default in (("link_process", "process_guid", "segment_id", "0"),
                                             ("link_parent", "parent_guid", "parent_segment_id", "1")):
            if isinstance(out.get(guid), str):
                number = out[segment] if isinstance(out.get(segment), str) else default
                out[link] = f"{self.url}#analyze/{out[guid]}/{number}"


def is_guid(value):
    return is_string(value) and len(value) in (36, 45, 49)


def split_guid(value):
    match = re.fullmatch("-([0-9A-Fa-f]{8}|[0-9A-Fa-f]{12})", value[36:])
    return value[:36], str(int(match[1], 16)) if match else "1"
