# SPDX-License-Identifier: MIT
"""Says which allocation of a cbtap-failing fails, and tells where it was."""
import mmap
import os
import struct
import subprocess

SITES_MAX = 8192
OBJECT = 4 * 8
SITES = OBJECT + 64
BYTES = SITES + 8 * SITES_MAX
EVER = 2**64 - 1


class Allocations:
    """The plan of failing.h, in a file that the program maps, too. One for each program that runs at a time."""

    def __init__(self, path, program):
        self.path = str(path)
        self.program = program
        self.env = {"CBTAP_ALLOC_CONTROL": self.path}
        with open(self.path, "wb") as f:
            f.truncate(BYTES)
        with open(self.path, "r+b") as f:
            self.memory = mmap.mmap(f.fileno(), BYTES)

    def _get(self, index):
        return struct.unpack_from("<Q", self.memory, 8 * index)[0]

    def _set(self, index, value):
        struct.pack_into("<Q", self.memory, 8 * index, value)

    calls = property(lambda self: self._get(0))
    failed = property(lambda self: self._get(3))

    def fail(self, first, last=None):
        """Calls are counted anew; number `first` fails, and all up to `last`. 0: none."""
        self._set(1, 0)
        self._set(0, 0)
        self._set(3, 0)
        self._set(2, first if last is None else last)
        self._set(1, first)

    def place(self, number):
        """The address of a call, relative to its object; 0 for those that there is no room to note."""
        return struct.unpack_from("<Q", self.memory, SITES + 8 * (number - 1))[0] if number <= SITES_MAX else 0

    def numbers(self, exhaustive, known=()):
        """The calls so far: all, or the first and the last from each place in the code, known places left out."""
        if exhaustive:
            return list(range(1, self.calls + 1))
        places = {}
        for number in range(1, self.calls + 1):
            places.setdefault(self.place(number), []).append(number)
        return sorted({n for place, calls in places.items() if place not in known for n in (calls[0], calls[-1])})

    def where(self, number):
        """For people: function and line of a call that failed."""
        site = self.place(number)
        library = self.memory[OBJECT:SITES].split(b"\0")[0].decode()
        text = f"{library}+{site:#x}"
        if not library:
            text = subprocess.run(["addr2line", "-fspe", self.program, hex(site - 1)], capture_output=True, text=True,
                                  check=False).stdout.strip()
        return f"allocation {number} of {self.calls} ({text})"

    def close(self):
        self.memory.close()


class Preloaded(Allocations):
    """The calls of the libraries whose names begin with one of these words, in a cbtap as it is."""

    def __init__(self, path, program, preload, libraries):
        super().__init__(path, program)
        self.env |= {"LD_PRELOAD": preload, "CBTAP_ALLOC_LIBRARIES": libraries}
