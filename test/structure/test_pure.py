"""The structure test of system calls: the pure libraries import nothing but memory, strings and each other.

    test_pure.py CC LIBRARY...      (nm is asked; a library that imports anything else is named with the symbol)
"""
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ALLOWED = re.compile(r"""^(
    malloc|calloc|realloc|free|abort|qsort|bsearch|__assert_fail|__errno_location|_GLOBAL_OFFSET_TABLE_|
    __stack_chk_fail|__.*_chk|mem(cpy|move|set|cmp|chr|rchr|mem)|str(n?len|n?cmp|n?casecmp|n?cpy|chr|rchr|str|n?dup|spn|cspn|pbrk)|
    stpcpy|strtol|strtoul|strtoull|__isoc23_strtou?ll?|v?snprintf|__ctype_b_loc|tolower|toupper|strerrordesc_np|
    inet_(pton|ntop)|htons|ntohs|htonl|ntohl|XXH.*|idn2_.*|u(8|16|32)_.*|uninorm_.*|_?libunistring.*|uc_.*|psl_.*|
    __(asan|ubsan|sanitizer|sancov|lsan).*|__llvm.*|__gcov.*|__start_.*|__stop_.*|
    _edata|_end|__bss_start|__libc_.*_locale|gmtime_r
)$""", re.X)


def imports(library):
    text = subprocess.run(["nm", "-A", str(library)], capture_output=True, text=True, check=True).stdout
    defined, wanted = set(), set()
    for line in text.splitlines():
        parts = line.split()
        if len(parts) >= 2 and parts[-2] in ("U", "w"):
            wanted.add(parts[-1])
        elif len(parts) >= 3:
            defined.add(parts[-1])
    return defined, wanted


def faults(libraries):
    known, wanted = set(), {}
    for library in libraries:
        d, w = imports(library)
        assert d, f"{library} defines nothing"
        known |= d
        wanted[library] = w
    return [f"{Path(lib).name} imports {name}" for lib in libraries for name in sorted(wanted[lib] - known)
            if not ALLOWED.match(name)]


def self_test(cc):
    with tempfile.TemporaryDirectory() as d:
        source, obj, lib = Path(d) / "x.c", Path(d) / "x.o", Path(d) / "libx.a"
        source.write_text("#include <time.h>\n#include <unistd.h>\nlong f(void) { return time(0) + getpid(); }\n")
        subprocess.run([cc, "-c", "-o", str(obj), str(source)], check=True)
        subprocess.run(["ar", "rcs", str(lib), str(obj)], check=True)
        assert faults([lib]) == ["libx.a imports getpid", "libx.a imports time"], faults([lib])


if __name__ == "__main__":
    self_test(sys.argv[1])
    wrong = faults(sys.argv[2:])
    print("\n".join(wrong) or "the pure libraries import no system call")
    sys.exit(1 if wrong else 0)
