# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A run that fails leaves position and logits as they were, and the slot takes nothing until it is emptied.

failed_run.py LIBRARY MODULE CHECKPOINT SCRATCH_FILE

MODULE, for the emulator, has a race in its first kernel. Uses the C interface: v4-run ends with the first failure.
"""
import ctypes
import os
import sys

library, module_path, checkpoint, scratch = sys.argv[1:]
lib = ctypes.CDLL(library)
lib.v4_status_message.restype = ctypes.c_char_p
lib.v4_session_position.restype = ctypes.c_uint64
lib.v4_session_logits.restype = ctypes.c_void_p
ENVIRONMENT = 3


class ModuleOptions(ctypes.Structure):  # v4_module_options
    _fields_ = [("struct_size", ctypes.c_size_t), ("device", ctypes.c_char_p)]


def call(name, *arguments):
    """The code and message of a call."""
    function = getattr(lib, name)
    function.restype = ctypes.c_void_p
    status = ctypes.c_void_p(function(*arguments))
    if not status.value:
        return 0, ""
    code, message = lib.v4_status_code(status), lib.v4_status_message(status).decode()
    lib.v4_status_free(status)
    return code, message


def make(name, *arguments):
    handle = ctypes.c_void_p()
    outcome = call(name, *arguments, ctypes.byref(handle))
    assert outcome == (0, ""), outcome
    return handle


def append():
    return call("v4_session_append", session, slot, (ctypes.c_int32 * 2)(1, 2), ctypes.c_size_t(2))


options = ModuleOptions(ctypes.sizeof(ModuleOptions), b"emu")
module = make("v4_module_load", module_path.encode(), ctypes.byref(options))
weights = make("v4_weights_load", module, checkpoint.encode(), None)
session = make("v4_session_create", module, weights, None)
slot = ctypes.c_uint32(0)
for _ in range(2):
    code, message = append()
    assert code == ENVIRONMENT and "the emulator found a fault" in message and "race on" in message, (code, message)
    assert lib.v4_session_position(session, slot) == 0 and not lib.v4_session_logits(session, slot)
    for outcome in (append(), call("v4_session_step", session, (ctypes.c_int32 * 1)(1), ctypes.c_size_t(1)),
                    call("v4_session_save", session, slot, scratch.encode())):
        assert outcome[0] == ENVIRONMENT and "is lost since a run failed" in outcome[1], outcome
    assert not os.path.exists(scratch)
    assert call("v4_session_reset", session, slot) == (0, "")
