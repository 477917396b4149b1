# SPDX-License-Identifier: MIT
"""Bundles of one type of event each, for every type there is: also those that the load generator does not send.

Every field is set, to something of the usual length, so that an event costs what a full one of its type does.
"""
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "property"))
from schema import F, compile_proto, event_class  # noqa: E402

# Name, member of CbEventMsg, what makes the type where others have the same member (None: not set).
TYPES = (
    ("procstart", "process", {"created": True}), ("procend", "process", {"created": False}), ("moduleload", "modload", {}),
    ("filemod", "filemod", {}), ("netconn", "networkv2", {}), ("netconn (network)", "network", {}), ("regmod", "regmod", {}),
    ("childproc", "childproc", {}), ("crossprocopen", "crossproc", {"remotethread": None}),
    ("remotethread", "crossproc", {"open": None}), ("emetmitigation", "emet", {}), ("filelessscriptload", "scriptexe", {}),
    ("filebackedscriptload", "fbscriptexe", {}), ("netconnblocked", "netconnBlockedv2", {}),
    ("netconnblocked (netconnBlocked)", "netconnBlocked", {}), ("tamper", "tamperAlert", {}), ("processblock", "blocked", {}),
    ("module", "module", {}), ("vtwrite", "vtwrite", {}), ("vtload", "vtload", {}), ("processmeta", "processMeta", {}),
    ("unknown", None, {}))
PATH = b"c:\\program files\\vendor\\application\\program.exe"
COMMAND = b'"' + PATH + b'" --type=service --session=7'
LONGER = {"utf8string": PATH, "commandline": COMMAND, "blockedCmdline": COMMAND, "utf8_netpath": b"www.example.com",
          "proxyNetPath": b"proxy.example.com", "script": b"Get-ChildItem -Recurse | Remove-Item",
          "utf8_regpath": b"\\registry\\machine\\system\\currentcontrolset\\services\\tcpip\\parameters\\dhcpserver",
          "Icon": bytes(1500), "ImageFileHeader": bytes(248)}
HASHES_AS_TEXT = ("CbModuleInfoMsg", "CbScriptExecute", "CbFileBackedScriptExecute")
RECORDS = 64


def contents(message, name):
    lower = name.lower()
    if "md5" in lower or "sha256" in lower:
        digest = bytes(range(0x9a, 0x9a + (16 if "md5" in lower else 32)))
        return digest.hex().encode() if message.DESCRIPTOR.name in HASHES_AS_TEXT else digest
    return LONGER.get(name, PATH if "path" in lower or "filename" in lower else b"a text")


def number(name, index):
    if name.endswith("guid"):
        return 0x1234567890abcdef
    return 131000000000000000 + 10007 * index if name.lower().endswith(("time", "timestamp", "timstamp")) else 4000 + index


def fill(message, index, given):
    for field in message.DESCRIPTOR.fields:
        if field.type == F.TYPE_MESSAGE:
            if given.get(field.name, True) is not None:
                child = getattr(message, field.name)
                fill(child.add() if field.label == F.LABEL_REPEATED else child, index, {})
        elif field.type in (F.TYPE_BYTES, F.TYPE_STRING):
            setattr(message, field.name, contents(message, field.name))
        elif field.type == F.TYPE_BOOL:
            setattr(message, field.name, given.get(field.name, True))
        else:  # an enum's default has a name
            setattr(message, field.name, field.default_value if field.has_default_value else number(field.name, index))


def write(directory):
    """A file for each type. Returns the pairs of name and path."""
    event, files = event_class(compile_proto()), []
    for at, (name, member, given) in enumerate(TYPES):
        path = os.path.join(directory, f"{at}.bundle")
        with open(path, "wb") as f:
            for index in range(RECORDS):
                message = event()
                fill(message.header, index, {})
                fill(message.strings.add(), index, {})
                if member is not None:
                    fill(getattr(message, member), index, given)
                record = message.SerializeToString()
                f.write(struct.pack("<I", len(record)) + record)
        files.append((name, path))
    return files
