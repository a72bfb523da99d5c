"""Holding one thread of a process, and making it do a system call that it would not do: by ptrace(2), for tests only."""

import contextlib
import ctypes
import os
import platform

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = [ctypes.c_long] * 4
LIBC.ptrace.restype = ctypes.c_long
PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17
PTRACE_GETREGS, PTRACE_SETREGS, PTRACE_SYSCALL, PTRACE_O_TRACESYSGOOD = 12, 13, 24, 1
WALL = 0x40000000  # threads too
NAMES = ("r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss "
         "fs_base gs_base ds es fs gs").split()


def ptrace(request, thread, address=0, data=0):
    if LIBC.ptrace(request, thread, address, data) < 0:
        raise OSError(ctypes.get_errno(), f"ptrace {request}")


@contextlib.contextmanager
def held_thread(thread):
    """The thread with this ID stands still while the block runs; the others of its process go on."""
    ptrace(PTRACE_SEIZE, thread, 0, PTRACE_O_TRACESYSGOOD)
    try:
        ptrace(PTRACE_INTERRUPT, thread)
        os.waitpid(thread, WALL)
        yield
    finally:
        ptrace(PTRACE_DETACH, thread)


class Registers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in NAMES]


def system_call(thread, number, *arguments):
    """Lets a thread that waits in a system call do another one, and returns what the kernel answers: below zero an error. None when
    the kernel sends it a signal instead."""
    assert platform.machine() == "x86_64"
    while True:
        with held_thread(thread):
            before, changed = Registers(), Registers()
            ptrace(PTRACE_GETREGS, thread, 0, ctypes.addressof(before))
            if ctypes.c_longlong(before.orig_rax).value < 0:
                continue  # it happened to be elsewhere
            ctypes.pointer(changed)[0] = before
            # It stands behind the `syscall` instruction of two octets: do that once more, with another number.
            changed.rip -= 2
            changed.rax, changed.orig_rax = number, 2**64 - 1
            for name, value in zip(("rdi", "rsi", "rdx", "r10", "r8", "r9"), arguments):
                setattr(changed, name, value)
            ptrace(PTRACE_SETREGS, thread, 0, ctypes.addressof(changed))
            for _ in range(2):  # into the call, and out of it
                ptrace(PTRACE_SYSCALL, thread)
                os.waitpid(thread, WALL)
            ptrace(PTRACE_GETREGS, thread, 0, ctypes.addressof(changed))
            if changed.rax == number:
                return None  # not done: the kernel has put back what there was, and the signal is on its way
            ptrace(PTRACE_SETREGS, thread, 0, ctypes.addressof(before))
            return ctypes.c_longlong(changed.rax).value
