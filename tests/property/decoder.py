# SPDX-License-Identifier: MIT
"""A second opinion on the json format: a record's bytes to the expected object, by the specification alone.

Nothing here comes from the C code. Google's own protobuf parses; the rest is written down as the specification says it,
with no thought of speed.
"""
import base64
import ipaddress
import struct

from google.protobuf.message import DecodeError

import wire

DEAD, UNSPECIFIED = "a dead letter", "unspecified"

# The members in the order in which they count where several are set.
ORDER = ("process", "modload", "filemod", "networkv2", "network", "regmod", "childproc", "crossproc", "emet", "scriptexe",
         "fbscriptexe", "netconnBlockedv2", "netconnBlocked", "tamperAlert", "blocked", "module", "vtwrite", "vtload",
         "processMeta", "stats")


# What the profile cbef-3.8 calls the keys of the documented one; None: it does not have the key.
CBEF_3_8 = {"actiontype": "action_type", "filetype": "file_type", "child_suppressed": "childproc_suppressed",
            "parent_process_guid": None, "child_process_guid": None}


class Number(str):
    """A JSON number by its digits: equal to no string, and 1, 1.0 and 1e0 differ."""

    def __eq__(self, other):
        return isinstance(other, Number) and str.__eq__(self, other)

    def __ne__(self, other):
        return not self == other

    __hash__ = str.__hash__

    def __repr__(self):
        return str(self)


def num(value):
    return Number(int(value))


def text(data):
    return data.decode("utf-8", "replace")


def upper_ascii(data):
    """bytes.upper() changes ASCII letters only."""
    return text(data.upper())


def hexadecimal(data):
    return data.hex().upper()


def b64(data):
    return base64.b64encode(data).decode()


def ip4(value):
    return ".".join(str(byte) for byte in struct.pack("<I", value))


def ip(address):
    if not address.bIsIpv6:
        return ip4(address.ipv4Address)
    packed = struct.pack("<QQ", address.ipv6High, address.ipv6Low)
    if packed[:12] == bytes(10) + b"\xff\xff":
        shown = "::ffff:" + ".".join(str(byte) for byte in packed[12:])
    else:
        shown = ipaddress.IPv6Address(packed).compressed
    return shown + ("%" + text(address.ipv6Scope) if address.HasField("ipv6Scope") else "")


def port(value):
    return num(int.from_bytes(struct.pack("<H", value & 0xffff), "big"))


def guid_text(sensor_id, pid, create_time):
    sensor_id, pid, create_time = sensor_id & 0xffffffff, pid & 0xffffffff, create_time & 0xffffffffffffffff
    return "%08x-%04x-%04x-%04x-%04x%08x" % (sensor_id, pid >> 16, pid & 0xffff, create_time >> 48,
                                             create_time >> 32 & 0xffff, create_time & 0xffffffff)


class Unspecified(Exception):
    """The record is broken in a way that some parsers take and others do not."""


def check_wire_types(descriptor, data, levels=3):
    """ValueError where a known field comes with a wire type not its own, or there is a group.

    Google's parser takes both for unknown fields. The specification does not say; a dead letter loses nothing, while an
    event without the field would be wrong and look right.
    """
    try:
        for number, wire_type, contents in wire.fields(data):
            field = descriptor.fields_by_number.get(number)
            if field is None:
                continue
            right = wire_type == (wire.LEN if field.type in (field.TYPE_BYTES, field.TYPE_MESSAGE) else wire.VARINT)
            if not right:
                raise ValueError(f"{field.full_name} of wire type {wire_type}")
            if field.type == field.TYPE_MESSAGE and levels > 1:
                check_wire_types(field.message_type, contents, levels - 1)
    except wire.NoSuchNumber as error:
        if levels == 1:
            raise Unspecified(str(error)) from error
        raise


class Decoder:
    def __init__(self, event_class, enums, server_name="", server_url="", float_time=False, headers=(), profile="documented"):
        self.event_class = event_class
        self.enums = enums
        self.server_name = server_name
        self.url = server_url + "/" if server_url and not server_url.endswith("/") else server_url
        self.float_time = float_time
        self.headers = dict(headers)
        self.profile = profile

    def decode(self, record):
        """A list of the object that the record becomes, empty where it is filtered; or DEAD, or UNSPECIFIED."""
        if self.member_on_wire(record) == "stats":
            return []
        message = self.event_class()
        try:
            check_wire_types(self.event_class.DESCRIPTOR, record)
            message.ParseFromString(record)
        except (ValueError, DecodeError):
            return DEAD
        except Unspecified:
            return UNSPECIFIED
        return [Event(self, message, record).to_object()] if message.IsInitialized() else DEAD

    def member_on_wire(self, record):
        """What the filter goes by, which acts before validity is judged: None where the top level is no CbEventMsg."""
        descriptor = self.event_class.DESCRIPTOR
        try:
            check_wire_types(descriptor, record, levels=1)
            present = {number for number, _, _ in wire.fields(record)}
        except (ValueError, Unspecified):
            return None
        return next((name for name in ORDER if descriptor.fields_by_name[name].number in present), None)


class Event:
    def __init__(self, decoder, message, record):
        self.decoder, self.message, self.record = decoder, message, record
        self.header = message.header
        self.url = decoder.url
        endpoint, headers = message.env.endpoint, decoder.headers
        self.sensor_id = endpoint.SensorId if endpoint.HasField("SensorId") else headers.get("sensorId")
        self.host = endpoint.SensorHostName if endpoint.HasField("SensorHostName") else headers.get("sensorHostName", b"")
        self.process_guid = self.guid(self.header, "process_pid", self.header, "process_create_time",
                                      self.header.process_guid)

    def to_object(self):
        member = next((name for name in ORDER if self.message.HasField(name)), "unknown")
        if member == "crossproc" and not (self.message.crossproc.HasField("open")
                                          or self.message.crossproc.HasField("remotethread")):
            member = "unknown"
        event_type, type_name, own = getattr(self, member)(getattr(self.message, member, None))
        out = {
            "type": "ingress.event." + type_name, "event_type": event_type, "timestamp": self.unix(self.header.timestamp),
            "sensor_id": num(self.sensor_id or 0), "computer_name": text(self.host),
            "cb_server": self.decoder.server_name,
        }
        if event_type not in ("binary_info", "tamper", "blocked_process"):
            out.update(self.common())
        if member == "processMeta":
            own = {key: value for key, value in own.items() if key not in out}
        out.update(own)
        return out if self.decoder.profile == "documented" else self.as_cbef(out)

    @staticmethod
    def as_cbef(out):
        renamed = {CBEF_3_8.get(key, key.replace("utf8_", "utf_8_", 1) if key.startswith("utf8_") else key): value
                   for key, value in out.items()}
        renamed.pop(None, None)
        return renamed

    def common(self):
        header = self.header
        out = {"process_guid": self.process_guid, "pid": num(header.process_pid),
               "md5": hexadecimal(header.process_md5), "sha256": hexadecimal(header.process_sha256)}
        if header.HasField("fork_pid"):
            out["fork_pid"] = num(header.fork_pid)
        if header.process_path:
            out["process_path"] = text(header.process_path)
        self.link(out, "link_process", f"#analyze/{self.process_guid}/0")
        self.link(out, "link_sensor", f"#/host/{self.sensor_id or 0}")
        return out

    # What the specification calls by these names.

    def unix(self, filetime):
        if filetime == 0:
            return num(0)
        if not self.decoder.float_time:
            return num(filetime // 10**7 - 11644473600)
        ms = filetime // 10**4 - 11644473600000
        return Number(f"{'-' if ms < 0 else ''}{abs(ms) // 1000}.{abs(ms) % 1000:03d}")

    def guid(self, pid_of, pid, time_of, create_time, deprecated):
        if self.sensor_id is None or not pid_of.HasField(pid) or not time_of.HasField(create_time):
            return str(deprecated)
        return guid_text(self.sensor_id, getattr(pid_of, pid), getattr(time_of, create_time))

    def path(self):
        wanted = self.header.filepath_string_guid
        return text(next((entry.utf8string for entry in self.message.strings if entry.guid == wanted), b""))

    def enum(self, name, number, prefix=""):
        value = self.decoder.enums[name].get(number)
        return f"unknown ({number})" if value is None else value[len(prefix):]

    def link(self, out, key, rest):
        if self.url:
            out[key] = self.url + rest

    @staticmethod
    def optional(out, message, **fields):
        """key=(field, conversion): the key is there only where its field is set."""
        for key, (field, convert) in fields.items():
            if message.HasField(field):
                out[key] = convert(getattr(message, field))

    # One method for each member: event_type, type, and the keys of its own.

    def process(self, m):
        header, created = self.header, m.created
        out = {
            "path": self.path(), "command_line": text(m.commandline), "parent_path": text(m.parent_path),
            "parent_pid": num(m.parent_pid), "parent_guid": num(m.parent_guid),
            "parent_create_time": self.unix(m.parent_create_time),
            "parent_process_guid": self.guid(m, "parent_pid", m, "parent_create_time", m.parent_guid),
            "filtering_known_dlls": m.bFilteringKnownDlls, "expect_followon_w_md5": m.expect_followon_w_md5,
            "md5": hexadecimal(m.md5hash if created and m.HasField("md5hash") else header.process_md5),
            "sha256": hexadecimal(m.sha256hash if created and m.HasField("sha256hash") else header.process_sha256),
        }
        self.optional(out, m, parent_md5=("parent_md5", hexadecimal), parent_sha256=("parent_sha256", hexadecimal),
                      username=("username", text), uid=("uid", text), logon_type=("logon_type", num))
        self.link(out, "link_parent", f"#analyze/{out['parent_process_guid']}/1")
        return "proc", "procstart" if created else "procend", out

    def modload(self, m):
        return "modload", "moduleload", {"path": self.path(), "md5": hexadecimal(m.md5hash),
                                         "sha256": hexadecimal(m.sha256hash)}

    def filemod(self, m):
        names = {1: "create", 2: "write", 4: "delete", 8: "lastwrite", 16: "open"}
        out = {
            "path": self.path(), "action": names.get(m.action, f"unknown ({m.action})"), "actiontype": num(m.action),
            "filetype": num(m.type), "filetype_name": self.enum("CbFileModMsg.CbFileType", m.type, "filetype"),
            "tamper": m.tamper, "tamper_sent": m.tamper_sent,
        }
        self.optional(out, m, file_md5=("md5hash", hexadecimal), file_sha256=("sha256hash", hexadecimal))
        return "filemod", "filemod", out

    @staticmethod
    def connection(m):
        return {"domain": text(m.utf8_netpath), "protocol": num(m.protocol),
                "direction": "outbound" if m.outbound else "inbound"}

    def connection_v2(self, m):
        out = self.connection(m)
        out.update(remote_ip=ip(m.remoteIpAddress), remote_port=port(m.remotePort), local_ip=ip(m.localIpAddress),
                   local_port=port(m.localPort), proxy=m.proxyConnection)
        if m.proxyConnection:
            out.update(proxy_ip=ip(m.proxyIpAddress), proxy_port=port(m.proxyPort), proxy_domain=text(m.proxyNetPath))
        self.optional(out, m, ja3=("ja3", text), ja3s=("ja3s", text))
        return out

    def connection_v1(self, m):
        out = self.connection(m)
        out.update(ipv4=ip4(m.ipv4Address), port=port(m.port))
        if m.HasField("remoteIpAddress"):
            out.update(remote_ip=ip4(m.remoteIpAddress), remote_port=port(m.remotePort))
        if m.HasField("localIpAddress"):
            out.update(local_ip=ip4(m.localIpAddress), local_port=port(m.localPort))
        return out

    def networkv2(self, m):
        return "netconn", "netconn", self.connection_v2(m)

    def network(self, m):
        return "netconn", "netconn", self.connection_v1(m)

    def netconnBlockedv2(self, m):
        reason = self.enum("CbNetConnBlockedMsgv2.NetconnBlockType", m.blockedType)
        return "blocked_netconn", "netconnblocked", {**self.connection_v2(m), "blocked_reason": reason}

    def netconnBlocked(self, m):
        reason = self.enum("CbNetConnBlockedMsg.NetconnBlockType", m.blockedType)
        return "blocked_netconn", "netconnblocked", {**self.connection_v1(m), "blocked_reason": reason}

    def regmod(self, m):
        names = {1: "createkey", 2: "writeval", 4: "delkey", 8: "delval"}
        return "regmod", "regmod", {
            "path": text(m.utf8_regpath), "action": names.get(m.action, f"unknown ({m.action})"),
            "actiontype": num(m.action), "tamper": m.tamper, "tamper_sent": m.tamper_sent}

    def childproc(self, m):
        header = self.header
        out = {
            "created": m.created, "child_process_guid": self.guid(m, "pid", m, "create_time", m.child_guid),
            "child_pid": num(m.pid),
            "parent_guid": self.guid(header, "process_pid", header, "process_create_time", m.parent_guid),
            "path": text(m.path), "md5": hexadecimal(m.md5hash), "sha256": hexadecimal(m.sha256hash),
            "childproc_type": self.enum("CbChildProcessMsg.CbChildProcType", m.childProcType, "childProc"),
            "tamper": m.tamper, "tamper_sent": m.tamper_sent, "child_suppressed": m.suppressed.bIsSuppressed,
        }
        if m.suppressed.bIsSuppressed:
            out.update(child_command_line=text(m.commandline), child_username=text(m.username))
        self.link(out, "link_child", f"#analyze/{out['child_process_guid']}/1")
        return "childproc", "childproc", out

    def crossproc(self, m):
        if m.HasField("open"):
            target, prefix, type_name = m.open, "target", "crossprocopen"
            kind = {1: "open_process", 2: "open_thread"}.get(target.type, f"unknown ({target.type})")
            out = {"requested_access": num(target.requestedAccess)}
        else:
            target, prefix, type_name, kind, out = m.remotethread, "remote", "remotethread", "remote_thread", {}

        def part(name):
            return getattr(target, prefix + name)

        out.update({
            "is_target": m.isTarget, "cross_process_type": kind, "tamper": m.tamper, "tamper_sent": m.tamper_sent,
            "target_pid": num(part("Pid" if prefix == "target" else "ProcPid")),
            "target_create_time": num(part("ProcCreateTime")), "target_md5": hexadecimal(part("ProcMd5")),
            "target_sha256": hexadecimal(part("ProcSha256")), "target_path": text(part("ProcPath")),
        })
        out["target_process_guid"] = guid_text(self.sensor_id or 0, int(out["target_pid"]), int(out["target_create_time"]))
        self.link(out, "link_target", f"#analyze/{out['target_process_guid']}/1")
        return "cross_process", type_name, out

    def mitigation(self, action):
        return self.enum("CbEmetMitigationAction.CbEmetMitigationTypes", action.mitigationType, "action")

    def emet(self, m):
        return "emet_mitigation", "emetmitigation", {
            "log_message": text(m.actionText), "mitigation": self.mitigation(m.action), "blocked": m.blocked,
            "log_id": num(m.emetId), "emet_timestamp": num(m.emetTimstamp)}

    def scriptexe(self, m):
        return "filelessscriptload", "filelessscriptload", {"script": text(m.script), "script_sha256": text(m.sha256)}

    def fbscriptexe(self, m):
        return "filebackedscriptload", "filebackedscriptload", {
            "script": text(m.script), "script_sha256": text(m.sha256), "script_path": text(m.filename)}

    def tamperAlert(self, m):
        return "tamper", "tamper", {"tamper_type": self.enum("CbTamperAlertMsg.CbTamperAlertType", m.type, "Alert")}

    def blocked(self, m):
        result = self.enum("CbProcessBlockedMsg.BlockResult", m.blockResult)
        out = {
            "blocked_reason": "Md5Hash" if m.blockedType == 1 else f"unknown ({m.blockedType})",
            "blocked_event": self.enum("CbProcessBlockedMsg.BlockEvent", m.blockedEvent),
            "blocked_result": "NotTerminatedWhitelistPath" if m.blockResult == 4 else result,
            "md5": hexadecimal(m.blockedmd5Hash), "path": text(m.blockedPath), "command_line": text(m.blockedCmdline),
        }
        if m.blockResult in (5, 6):
            out["blocked_error"] = num(m.blockError)
        if m.HasField("blockedPid"):
            process_guid = guid_text(self.sensor_id or 0, m.blockedPid, m.blockedProcCreateTime)
            out.update(pid=num(m.blockedPid), process_create_time=num(m.blockedProcCreateTime), process_guid=process_guid)
            self.link(out, "link_target", f"#analyze/{process_guid}/1")
        if out["blocked_event"] == "ProcessCreate" and result == "ProcessTerminated":
            out.update(uid=text(m.blockedUid), username=text(m.blockedUsername))
        return "blocked_process", "processblock", out

    def module(self, m):
        out = {
            "md5": upper_ascii(m.md5), "sha256": upper_ascii(m.sha256), "size": num(m.OriginalModuleLength),
            "utf8_copied_module_length": num(m.CopiedModuleLength),
            "icon": b64(m.Icon) if m.HasField("Icon") else None,
            "image_file_header": b64(m.ImageFileHeader) if m.HasField("ImageFileHeader") else None,
            "digsig": {key: text(getattr(m, "utf8_DigSig_" + field)) for key, field in (
                ("result", "Result"), ("publisher", "Publisher"), ("program_name", "ProgramName"),
                ("issuer_name", "IssuerName"), ("subject_name", "SubjectName"), ("result_code", "ResultCode"),
                ("sign_time", "SignTime"))},
        }
        out.update({"utf8_" + key: text(getattr(m, "utf8_" + field)) for key, field in (
            ("file_description", "FileDescription"), ("company_name", "CompanyName"), ("product_name", "ProductName"),
            ("file_version", "FileVersion"), ("comments", "Comments"), ("legal_copyright", "LegalCopyright"),
            ("legal_trademark", "LegalTrademark"), ("internal_name", "InternalName"),
            ("original_file_name", "OriginalFileName"), ("product_description", "ProductDescription"),
            ("product_version", "ProductVersion"), ("private_build", "PrivateBuild"), ("special_build", "SpecialBuild"),
            ("on_disk_filename", "OnDiskFilename"))})
        return "binary_info", "module", out

    def vtwrite(self, m):
        return "vtwrite", "vtwrite", {
            "path": text(m.FileWrittenFilename), "file_md5": hexadecimal(m.FileWrittenMd5),
            "file_sha256": hexadecimal(m.FileWrittenSha256), "is_pe_module": m.FileWrittenIsPeModuleHint,
            "writer_path": text(m.WritingProcessFilename), "writer_md5": hexadecimal(m.WritingProcessExeMd5)}

    def vtload(self, m):
        return "vtload", "vtload", {"loader_md5": hexadecimal(m.LoaderProcessExeMd5), "md5": hexadecimal(m.LoadedModuleMd5)}

    def processMeta(self, m):
        out = {}
        for field, value in m.ListFields():
            if field.name == "actions":
                out["actions"] = [self.mitigation(action) for action in value]
            elif field.name.endswith(("_md5", "_sha256")):
                out[field.name] = hexadecimal(value)
            elif field.type == field.TYPE_BYTES:
                out[field.name] = text(value)
            elif field.type == field.TYPE_BOOL:
                out[field.name] = value
            else:
                out[field.name] = num(value)
        return "process_meta", "processmeta", out

    def unknown(self, _):
        return "unknown", "unknown", {"raw": b64(self.record)}
