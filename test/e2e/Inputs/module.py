# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Edits and cuts up module files (docs/module-format.md) with a reader of FlatBuffers of a few lines.

module.py image M.v4m OUT.so        the ELF image of the first target
module.py cut HOW M.v4m OUT.v4m     the module without its executables; HOW: none (no images), empty (no bytes of code)
module.py path PATH M.v4m           what v4-dump --json says at a dotted PATH: targets.0.entries.*.launches.#
"""
import json
import struct
import subprocess
import sys

HEADER = 64
TARGETS, IMAGES, DATA = 4, 2, 2  # field numbers of Module, Target and Image in runtime/v4_module.fbs


class Module:
    def __init__(self, path):
        self.bytes = bytearray(open(path, "rb").read())
        assert self.bytes[:4] == b"V4CM", f"{path}: not a module"

    def u32(self, at):
        return struct.unpack_from("<I", self.bytes, at)[0]

    def follow(self, at):
        return at + self.u32(at)

    def root(self):
        return self.follow(HEADER)

    def field(self, table, number):
        """Where the field's value (or offset) is."""
        vtable = table - struct.unpack_from("<i", self.bytes, table)[0]
        at = 4 + 2 * number
        offset = struct.unpack_from("<H", self.bytes, vtable + at)[0] if at < self.u16(vtable) else 0
        return table + offset if offset else None

    def u16(self, at):
        return struct.unpack_from("<H", self.bytes, at)[0]

    def images(self):
        """Where the vector of the first target's images starts."""
        targets = self.follow(self.field(self.root(), TARGETS))
        target = self.follow(targets + 4)
        return self.follow(self.field(target, IMAGES))

    def image(self):
        return self.follow(self.images() + 4)

    def code(self):
        data = self.follow(self.field(self.image(), DATA))
        return data + 4, self.u32(data)

    def save(self, path):
        """With a right checksum, so that readers look further than that."""
        checksum = 0xCBF29CE484222325
        for byte in self.bytes[HEADER:]:
            checksum = (checksum ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
        struct.pack_into("<Q", self.bytes, 24, checksum)
        open(path, "wb").write(self.bytes)


def cut(how, path, out):
    module = Module(path)
    if how == "none":
        struct.pack_into("<I", module.bytes, module.images(), 0)
    else:
        start, size = module.code()
        module.bytes[start:start + size] = bytes(size)
    module.save(out)


def image(path, out):
    module = Module(path)
    start, size = module.code()
    open(out, "wb").write(module.bytes[start:start + size])


def at(value, parts):
    """Values at a path: '*' all elements, '#' the number of elements."""
    if not parts:
        yield value
    elif parts[0] == "*":
        for element in value:
            yield from at(element, parts[1:])
    elif parts[0] == "#":
        yield len(value)
    else:
        yield from at(value[int(parts[0])] if isinstance(value, list) else value[parts[0]], parts[1:])


def main(command, *arguments):
    if command == "path":
        dump = json.loads(subprocess.run(["v4-dump", arguments[1], "--json"], check=True, capture_output=True).stdout)
        for value in at(dump, arguments[0].split(".")):
            print(value if isinstance(value, str) else json.dumps(value))
    else:
        {"cut": cut, "image": image}[command](*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
