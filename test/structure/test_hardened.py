"""The structure test of the built program: what makes a mistake in it harder to use is really there.

    test_hardened.py CC fortified|plain PROGRAM LIBRARY...

The program: position-independent, its tables read-only before it runs (RELRO, all symbols bound at once), no memory that
can be written and executed, no path of its own for libraries, stack protector, and fortified calls where the build has
them (a sanitized one has not). The libraries: on x86-64 every object is fit for CET (the linker drops the mark from the
program as long as the C library's start files lack it). Fails first on a program made wrong, to show that it can.
"""
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path


def tell(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def program_faults(program, fortified):
    head, dynamic = tell("readelf", "-hW", program), tell("readelf", "-dW", program)
    segments, imports = tell("readelf", "-lW", program), tell("nm", "-D", "--undefined-only", program)
    flags = re.search(r"\(FLAGS_1\).*", dynamic)
    now = flags.group() if flags else ""
    loads = re.findall(r"^\s+(?:LOAD|GNU_STACK)\s.*?\s([RWE ]{3})\s+0x\w+$", segments, re.M)
    checks = {
        "not position-independent": re.search(r"Type:\s+DYN", head) and "PIE" in now,
        "symbols are bound late": "NOW" in now,
        "no RELRO": "GNU_RELRO" in segments,
        "memory to write and to execute": len(loads) > 2 and not any("W" in f and "E" in f for f in loads),
        "relocations in the code": "TEXTREL" not in dynamic,
        "a path of its own for libraries": "RPATH" not in dynamic and "RUNPATH" not in dynamic,
        "no stack protector": "__stack_chk_fail" in imports,
        "no fortified calls": not fortified or re.search(r"__\w+_chk@", imports),
        "a call without a length": not re.search(r" (gets|sprintf|vsprintf|strcat)@", imports),
    }
    return [what for what, right in checks.items() if not right]


def library_faults(library):
    if platform.machine() != "x86_64":
        return []
    objects = re.split(r"^File: ", tell("readelf", "-nW", library), flags=re.M)[1:]
    return [o.splitlines()[0] for o in objects if "IBT, SHSTK" not in o] or ([] if objects else [f"{library} is empty"])


def self_test(cc):
    with tempfile.TemporaryDirectory() as d:
        source, program, obj, lib = (str(Path(d) / n) for n in ("x.c", "x", "x.o", "x.a"))
        Path(source).write_text("#include <stdio.h>\nint main(int c, char **v) { char b[9]; sprintf(b, v[c - 1]); puts(b); }\n")
        subprocess.run([cc, "-w", "-O0", "-U_FORTIFY_SOURCE", "-fno-stack-protector", "-fno-pie", "-no-pie", "-Wl,-z,lazy",
                        "-Wl,-z,norelro", "-Wl,-z,execstack", "-Wl,-rpath,/nowhere", "-o", program, source], check=True)
        found = program_faults(program, True)
        assert len(found) == 8, found  # all but relocations in the code
        subprocess.run([cc, "-w", "-fcf-protection=none", "-c", "-o", obj, source], check=True)
        subprocess.run(["ar", "rcs", lib, obj], check=True)
        assert platform.machine() != "x86_64" or len(library_faults(lib)) == 1, library_faults(lib)


if __name__ == "__main__":
    self_test(sys.argv[1])
    program, libraries = sys.argv[3], sys.argv[4:]
    wrong = [f"{Path(program).name}: {what}" for what in program_faults(program, sys.argv[2] == "fortified")]
    wrong += [f"{name} is not fit for CET" for library in libraries for name in library_faults(library)]
    print("\n".join(wrong) or "the program is hardened")
    sys.exit(1 if wrong else 0)
