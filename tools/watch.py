#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Watches a running cbtap from the terminal: its stages, from its /metrics.

usage: watch.py [--url http://127.0.0.1:9464] [--seconds N] [--interval SECONDS]
       watch.py [--url http://127.0.0.1:9464] --balance

On a terminal the picture is refreshed in place (NO_COLOR is respected); elsewhere it is one line an interval.
Percentiles are those of the last few seconds. Ctrl-C ends it. --balance waits until nothing is in flight, shows what
became of everything that came in, and exits with 1 if any of it is unaccounted for.
"""
import argparse
import collections
import json
import math
import os
import re
import shutil
import signal
import sys
import time
import urllib.request

SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
WINDOW_SECONDS = 5
BAR_WIDTH = 24


class Scrape:
    """One answer of /metrics, and when it came."""

    def __init__(self, url):
        with urllib.request.urlopen(url + "/metrics", timeout=5) as answer:
            text = answer.read().decode()
        self.time = time.monotonic()
        self.families = collections.defaultdict(list)
        for line in text.splitlines():
            match = SAMPLE.fullmatch(line) if line and line[0] != "#" else None
            if match:
                self.families[match[1]].append((dict(LABEL.findall(match[2] or "")), float(match[3])))

    def sum(self, name, **labels):
        return sum(value for have, value in self.families.get(name, ()) if labels.items() <= have.items())

    def max(self, name):
        return max((value for _, value in self.families.get(name, ())), default=0)

    def values(self, name, label):
        """The label's values, in the order of the answer."""
        return list(dict.fromkeys(have[label] for have, _ in self.families.get(name, ()) if label in have))

    def buckets(self, name):
        """Upper bound and cumulative count of a histogram, summed over its series."""
        counts = collections.Counter()
        for have, value in self.families.get(name + "_bucket", ()):
            counts[float(have["le"])] += value
        return sorted(counts.items())


def number(value):
    return f"{value:,.0f}"


def size(value):
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1000 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return ""


def duration(seconds):
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.1f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172800 else f"{seconds / 86400:.0f} d"


def percentile(new, old, part):
    """Of what came between two scrapes, by interpolation within the bucket, as a text."""
    before = dict(old)
    counts = [(bound, count - before.get(bound, 0)) for bound, count in new]
    if not counts or counts[-1][1] <= 0:
        return "-"
    wanted = part * counts[-1][1]
    low_bound = low_count = 0
    for bound, count in counts:
        if count >= wanted:
            if bound == float("inf"):
                break
            return duration(low_bound + (bound - low_bound) * (wanted - low_count) / max(count - low_count, 1))
        low_bound, low_count = bound, count
    return "over " + duration(low_bound)


class Picture:
    def __init__(self, url, color):
        self.url = url
        self.color = color
        self.history = collections.deque()

    def paint(self, code, text):
        return f"\x1b[{code}m{text}\x1b[0m" if self.color else text

    def bar(self, part):
        full = min(BAR_WIDTH, math.ceil(max(0, part) * BAR_WIDTH))
        code = "31" if part > 0.9 else "33" if part > 0.6 else "32"
        return "[" + self.paint(code, "█" * full) + "·" * (BAR_WIDTH - full) + "]"

    def state(self, connected):
        return self.paint("32", "connected   ") if connected else self.paint("31;1", "DISCONNECTED")

    def take(self):
        self.history.append(Scrape(self.url))
        while self.history[-1].time - self.history[0].time > WINDOW_SECONDS and len(self.history) > 2:
            self.history.popleft()

    def rate(self, name, **labels):
        """Each second, over the last interval but one to now: short enough to live, long enough to be read."""
        new = self.history[-1]
        old = next(scrape for scrape in self.history if new.time - scrape.time <= 1.5)
        if old is new:
            old = self.history[max(0, len(self.history) - 2)]
        if old is new:
            return 0
        return (new.sum(name, **labels) - old.sum(name, **labels)) / (new.time - old.time)

    def head(self, title, *columns):
        return self.paint("1", f" {title:<16}") + self.paint("2", "".join(f"{column:>13}" for column in columns))

    def row(self, title, *columns, state=""):
        return f"   {title:<14}" + state + "".join(f"{column:>13}" for column in columns)

    def sources(self):
        now = self.history[-1]
        yield self.head("receive", "", "messages/s", "messages", "bytes/s", "oldest", "backlog")
        for name in now.values("cbtap_source_received_frames_total", "source"):
            backlog = "" if name not in now.values("cbtap_source_queue_messages", "source") else \
                number(now.sum("cbtap_source_queue_messages", source=name))
            yield self.row(name, number(self.rate("cbtap_source_received_frames_total", source=name)),
                           number(now.sum("cbtap_source_received_frames_total", source=name)),
                           size(self.rate("cbtap_source_received_bytes_total", source=name)),
                           duration(now.sum("cbtap_oldest_frame_seconds", source=name)), backlog,
                           state=" " + self.state(now.sum("cbtap_source_connected", source=name)))

    def memory(self):
        now = self.history[-1]
        rings = now.max("cbtap_ring_used_ratio")
        used, limit = now.sum("cbtap_inflight_bytes"), now.sum("cbtap_inflight_bytes_limit")
        yield self.head("in flight")
        yield f"   {'fullest ring':<14} {self.bar(rings)} {rings:6.1%}"
        yield (f"   {'memory':<14} {self.bar(used / limit if limit else 0)} {used / limit if limit else 0:6.1%}"
               f"   {size(used)} of {size(limit)}, {number(now.sum('cbtap_inflight_frames'))} messages, "
               f"{number(now.sum('cbtap_inflight_events'))} events")

    def workers(self):
        now = self.history[-1]
        yield self.head("decode", "", "events/s", "events", "messages/s", "busy", "blocked")
        threads = now.values("cbtap_decode_frames_total", "thread")
        for name in threads:
            yield self.row(name, "", "", number(self.rate("cbtap_decode_frames_total", thread=name)),
                           f"{self.rate('cbtap_stage_busy_seconds_total', thread=name):.0%}",
                           f"{self.rate('cbtap_stage_blocked_seconds_total', thread=name):.0%}", state=" " * 13)
        yield self.row("all", number(self.rate("cbtap_decode_events_total")), number(now.sum("cbtap_decode_events_total")),
                       number(self.rate("cbtap_decode_frames_total")), "", "", state=" " * 13)
        total = now.sum("cbtap_decode_events_total")
        types = sorted(((now.sum("cbtap_decode_events_total", type=t), t)
                        for t in now.values("cbtap_decode_events_total", "type")), reverse=True)
        shown = ", ".join(f"{name} {count / total:.0%}" for count, name in types[:5] if count) if total else "none yet"
        yield f"   {'types':<14} {shown}"

    def sinks(self):
        now = self.history[-1]
        yield self.head("deliver", "", "records/s", "records", "bytes/s", "dead letters", "sent again")
        for name in now.values("cbtap_sink_delivered_records_total", "sink"):
            yield self.row(name, number(self.rate("cbtap_sink_delivered_records_total", sink=name)),
                           number(now.sum("cbtap_sink_delivered_records_total", sink=name)),
                           size(self.rate("cbtap_sink_delivered_bytes_total", sink=name)),
                           number(now.sum("cbtap_decode_dead_letters_total")),
                           number(now.sum("cbtap_sink_resent_records_total", sink=name)),
                           state=" " + self.state(now.sum("cbtap_sink_connected", sink=name)))

    def lags(self):
        new, old = self.history[-1], self.history[0]
        yield self.head("time it takes", "", "half within", "95 %", "99 %")
        for title, name in (("decode", "cbtap_decode_seconds"), ("delivery", "cbtap_delivery_seconds"),
                            ("end to end", "cbtap_end_to_end_seconds"), ("event lag", "cbtap_event_lag_seconds")):
            yield self.row(title, *(percentile(new.buckets(name), old.buckets(name), part)
                                    for part in (0.5, 0.95, 0.99)), state=" " * 13)

    def lines(self):
        now = self.history[-1]
        yield (self.paint("1", " cbtap ") + f" {self.url}/   {size(now.sum('process_resident_memory_bytes'))} of memory, "
               f"{self.rate('process_cpu_seconds_total'):.0%} of a processor"
               + (f", up {duration(time.time() - now.sum('process_start_time_seconds'))}"
                  if now.sum("process_start_time_seconds") else ""))
        for part in (self.sources, self.workers, self.memory, self.sinks, self.lags):
            yield ""
            yield from part()

    def line(self):
        now = self.history[-1]
        new, old = self.history[-1], self.history[0]
        lag = percentile(new.buckets("cbtap_end_to_end_seconds"), old.buckets("cbtap_end_to_end_seconds"), 0.99)
        return (f"received {number(self.rate('cbtap_source_received_frames_total'))} messages/s, "
                f"decoded {number(self.rate('cbtap_decode_events_total'))} events/s, "
                f"delivered {number(self.rate('cbtap_sink_delivered_records_total'))} records/s "
                f"({number(now.sum('cbtap_sink_delivered_records_total'))} in all), "
                f"in flight {size(now.sum('cbtap_inflight_bytes'))} of {size(now.sum('cbtap_inflight_bytes_limit'))}, "
                f"99 % within {lag}, dead letters {number(now.sum('cbtap_decode_dead_letters_total'))}")


VISIBLE = re.compile(r"(\x1b\[[0-9;]*m)|.")


def clip(line, width):
    """Cuts what goes beyond the terminal, where it would wrap and spoil the picture; colours have no width."""
    out, used = [], 0
    for match in VISIBLE.finditer(line):
        used += match[1] is None
        if used <= width or match[1]:
            out.append(match[0])
    return "".join(out)


def draw(picture, height_before):
    width, height = shutil.get_terminal_size()
    lines = [clip(line, width - 1) for line in picture.lines()][:height - 1]
    up = f"\x1b[{height_before}A" if height_before else ""
    sys.stdout.write(up + "".join(line + "\x1b[K\n" for line in lines) + "\x1b[J")
    sys.stdout.flush()
    return len(lines)


def account(title, came, went):
    """One line of the balance; went is [(count, what)]."""
    shown = " + ".join(f"{number(count)} {what}" for count, what in went)
    difference = came - sum(count for count, _ in went)
    print(f"  {title:<10} {number(came)} = {shown}" + ("" if difference == 0 else f"   DIFFERENCE {number(difference)}"))
    return difference == 0


def balance(url, timeout_seconds=30):
    """At rest, or as it stands when it does not come to rest."""
    end = time.monotonic() + timeout_seconds
    while True:
        with urllib.request.urlopen(url + "/status.json", timeout=5) as answer:
            accounts = json.load(answer)["balance"]
        frames, events = accounts["frames"], accounts["events"]
        busy = frames["in_flight"] or frames["difference"] or any(e["in_flight"] or e["difference"] for e in events)
        if not busy or time.monotonic() > end:
            break
        time.sleep(0.1)
    ok = account("messages", frames["received"], [(frames["settled"], "settled"), (frames["abandoned"], "abandoned"),
                                                  (frames["dropped"], "dropped"), (frames["in_flight"], "in flight")])
    for sink in events:
        ok &= account("events", sink["walked"], [
            (sink["delivered"], f"delivered to {sink['sink']}"), (sink["filtered"], "filtered"),
            (sink["dead_letters"], "dead letters"), (sink["in_flight"], "in flight")])
    return 0 if ok else 1


def main():
    parser = argparse.ArgumentParser(description="Watches a running cbtap from the terminal.")
    parser.add_argument("--url", default="http://127.0.0.1:9464", help="cbtap's http_listen (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=0, help="end after so long; 0: until Ctrl-C")
    parser.add_argument("--interval", type=float, default=0, help="seconds between two looks (default 0.5, or 2 off a terminal)")
    parser.add_argument("--balance", action="store_true", help="only show what became of everything that came in")
    args = parser.parse_args()
    if args.balance:
        return balance(args.url.rstrip("/"))
    terminal = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    interval = args.interval or (0.5 if terminal else 2)
    picture = Picture(args.url.rstrip("/"), terminal and "NO_COLOR" not in os.environ)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    end = time.monotonic() + args.seconds if args.seconds else float("inf")
    height = 0
    try:
        picture.take()
        time.sleep(min(interval, 0.5))
        if terminal:
            sys.stdout.write("\x1b[?25l")
        while time.monotonic() < end:
            picture.take()
            if terminal:
                height = draw(picture, height)
            else:
                print(picture.line(), flush=True)
            time.sleep(max(0, min(interval, end - time.monotonic())))
    except KeyboardInterrupt:
        return 0
    except OSError as e:
        print(f"watch.py: nothing to be had from {args.url}: {e}", file=sys.stderr)
        return 1
    finally:
        if terminal:
            sys.stdout.write("\x1b[?25h")
    return 0


if __name__ == "__main__":
    sys.exit(main())
