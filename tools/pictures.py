#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Draws the pictures of the terminal in the README: runs commands on a pseudo-terminal and writes what they show as SVG.

usage: tools/pictures.py [--cbtap PROGRAM] [--corpus FOLDER] [--columns N] [--lines N] [NAME=COMMAND]...

NAME.svg in docs/pictures is COMMAND's first lines on a terminal. In it, {cbtap} and {corpus} stand for the two options, and
{bus} for a configuration whose RabbitMQ gets the corpus's events, of all types in turn, as soon as somebody listens. With no
COMMAND it draws export.svg and tail.svg. Understood are newlines, carriage returns and colours (SGR); other escape sequences
are left out.
"""
import argparse
import contextlib
import fcntl
import glob
import itertools
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import threading
from xml.sax.saxutils import escape

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(ROOT, "tests", name) for name in ("services", "integration")]
from bus import Publisher, publish_when_bound  # noqa: E402
from rabbitmq_service import RabbitMQ  # noqa: E402

DEFAULT = ["export={cbtap} export --quiet --format table --type netconn,procstart,tamper {corpus}/events",
           "tail={cbtap} tail -c {bus}"]
CELL_WIDTH, LINE_HEIGHT, MARGIN, FONT_SIZE = 8.4, 18, 14, 14
BACKGROUND, FOREGROUND = "#1e1e1e", "#d4d4d4"
COLOURS = ["#7f7f7f", "#f14c4c", "#23d18b", "#e5e510", "#3b8eea", "#d670d6", "#29b8db", "#e5e5e5"]
ESCAPE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")


def on_terminal(command, columns, lines):
    """What the command shows on a terminal of that many columns, until it has shown enough lines."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    env = {**os.environ, "TERM": "xterm-256color"}
    env.pop("NO_COLOR", None)
    shown = b""
    with subprocess.Popen(command, shell=True, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=env) as process:
        os.close(theirs)
        while shown.count(b"\n") <= lines:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux: the other end is closed
                break
            if not part:
                break
            shown += part
        os.close(ours)  # so it hangs up: what goes on for ever ends
        process.wait()
    return shown.decode("utf-8", "replace")


def records(path):
    """The records of a sensor event log, each as a log of its own."""
    with open(path, "rb") as f:
        log = f.read()
    while log:
        end = 4 + struct.unpack_from("<I", log)[0]
        yield log[:end]
        log = log[end:]


def publish(rabbitmq, corpus):
    logs = [records(path) for path in sorted(glob.glob(os.path.join(corpus, "events", "*.log")))]
    in_turn = [record for some in itertools.zip_longest(*logs) for record in some if record][:1000]
    publish_when_bound(rabbitmq, "api.rawsensordata", "", in_turn[0], "application/protobuf")
    with Publisher(rabbitmq) as publisher:
        for record in in_turn[1:]:
            publisher.raw(record, content_type="application/protobuf")


@contextlib.contextmanager
def bus(corpus):
    """The configuration of a bus with live events."""
    with tempfile.TemporaryDirectory() as folder, RabbitMQ() as rabbitmq:
        rabbitmq.declare_exchanges()
        path = os.path.join(folder, "cbtap.conf")
        with open(path, "w", encoding="utf-8") as f:
            f.write(f"[source.bus]\ntype = amqp\nurl = {rabbitmq.url}\n")
        publisher = threading.Thread(target=publish, args=(rabbitmq, corpus), daemon=True)
        publisher.start()
        yield path
        publisher.join()


class Style:
    """What SGR says of the characters that follow."""

    def __init__(self):
        self.colour, self.bold, self.faint = None, False, False

    def apply(self, parameters):
        """ECMA-48, 8.3.117, as far as programs use it."""
        numbers = [int(n) for n in parameters.split(";") if n.isdigit()] or [0]
        while numbers:
            n = numbers.pop(0)
            if n == 0:
                self.__init__()
            elif n in (1, 2):
                self.bold, self.faint = self.bold or n == 1, self.faint or n == 2
            elif n == 22:
                self.bold = self.faint = False
            elif 30 <= n <= 37 or 90 <= n <= 97:
                self.colour = COLOURS[n % 10]
            elif n == 39:
                self.colour = None
            elif n in (38, 48):
                del numbers[:2 if numbers[:1] == [5] else 4]

    def attributes(self):
        return f' fill="{self.colour or FOREGROUND}"' + (' font-weight="bold"' if self.bold else "") \
            + (' opacity="0.7"' if self.faint else "")


def runs(line, style):
    """(column, characters, attributes) of each run of one style. The style goes on in the next line."""
    column, at = 0, 0
    for match in [*ESCAPE.finditer(line), None]:
        text = line[at:match.start() if match else len(line)]
        text = "".join(c for c in text if c.isprintable())
        if text:
            yield column, text, style.attributes()
            column += len(text)
        if match:
            at = match.end()
            if match[2] == "m":
                style.apply(match[1])


def svg(shown, command, columns, lines):
    rows = [f"\x1b[32m$\x1b[0m {command}"] + [row.rsplit("\r", 1)[-1] for row in shown.replace("\r\n", "\n").split("\n")]
    rows = rows[:lines]
    while rows and not rows[-1]:
        rows.pop()
    width, height = columns * CELL_WIDTH + 2 * MARGIN, len(rows) * LINE_HEIGHT + 2 * MARGIN
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
           f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="ui-monospace, Menlo, Consolas, monospace" '
           f'font-size="{FONT_SIZE}" xml:space="preserve">',
           f'<title>{escape(command)}</title>',
           f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>']
    style = Style()
    for number, row in enumerate(rows):
        for column, text, attributes in runs(row, style):
            x, y = MARGIN + column * CELL_WIDTH, MARGIN + number * LINE_HEIGHT + FONT_SIZE
            out.append(f'<text x="{x:.1f}" y="{y}" textLength="{len(text) * CELL_WIDTH:.1f}"{attributes}>{escape(text)}</text>')
    return "\n".join([*out, "</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cbtap", default=os.path.join(ROOT, "build", "release", "bin", "cbtap"))
    parser.add_argument("--corpus", default=os.path.join(ROOT, "..", "shared", "corpus"))
    parser.add_argument("--columns", type=int, default=110)
    parser.add_argument("--lines", type=int, default=18)
    parser.add_argument("pictures", nargs="*", default=DEFAULT, metavar="NAME=COMMAND")
    options = parser.parse_args()
    folder = os.path.join(ROOT, "docs", "pictures")
    os.makedirs(folder, exist_ok=True)
    for picture in options.pictures:
        name, _, command = picture.partition("=")
        if not re.fullmatch(r"[a-z0-9-]+", name) or not command:
            parser.error(f"{picture!r} is not NAME=COMMAND")
        with bus(options.corpus) if "{bus}" in command else contextlib.nullcontext() as config:
            real = command.format(cbtap=options.cbtap, corpus=options.corpus, bus=config)
            shown = on_terminal(real, options.columns, options.lines)
        if not shown.strip():
            sys.exit(f"{command}: it shows nothing")
        typed = command.format(cbtap="cbtap", corpus="archive", bus="cbtap.conf")
        with open(os.path.join(folder, f"{name}.svg"), "w", encoding="utf-8") as f:
            f.write(svg(shown, typed, options.columns, options.lines))


if __name__ == "__main__":
    main()
