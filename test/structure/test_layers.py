"""The structure test of includes: a layer includes only what stands above it in its column, the pure column only itself,
no process sees another, and a library's headers stand only where they belong. Fails first on a tree that is made wrong, to show that it can."""
import re
import sys
import tempfile
from pathlib import Path

PURE = ["base", "codes", "mail", "smtp", "policy", "queue"]
WORLD = ["io", "spool", "directory", "deliver", "config", "role"]
PROCESSES = ["front", "keeper", "back", "carrier", "resolver", "master"]  # side by side; cli/ sees all
# Headers of libraries, and the layers that may include them.
LIBRARIES = {
    "uv.h": {"io"}, "openssl/": {"io"}, "seccomp.h": {"io"}, "systemd/": {"io"}, "microhttpd.h": {"io"},
    "unbound.h": {"io"}, "sqlite3.h": {"directory"}, "crypt.h": {"directory"}, "confuse.h": {"config"},
    "jansson.h": {"back", "cli"}, "idn2.h": {"mail"}, "unicase.h": {"mail"}, "uninorm.h": {"mail"},
    "unistr.h": {"mail"}, "libpsl.h": {"policy"},
}
# What a pure layer may have of the system: no files, sockets, clocks or processes.
SYSTEM = {"assert.h", "ctype.h", "errno.h", "inttypes.h", "limits.h", "stdarg.h", "stdbool.h", "stddef.h", "stdint.h",
          "stdio.h", "stdlib.h", "string.h", "xxhash.h", "arpa/inet.h", "netinet/in.h"}
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.M)


def allowed(layer):
    if layer in PURE:
        return set(PURE[:PURE.index(layer) + 1])
    if layer in WORLD:
        return set(PURE) | set(WORLD[:WORLD.index(layer) + 1])
    return set(PURE) | set(WORLD) | ({"cli", *PROCESSES} if layer == "cli" else {layer})


def faults(src):
    found = []
    for path in sorted(src.rglob("*.[chd]*")):
        if path.suffix not in (".c", ".h", ".def"):
            continue
        layer = path.relative_to(src).parts[0]
        for kind, name in INCLUDE.findall(path.read_text()):
            where = f"{path.relative_to(src)} includes {name}"
            if kind == '"':
                if name.split("/")[0] not in allowed(layer):
                    found.append(f"{where}: {layer}/ may not see it")
                elif not (src / name).exists() and not name.startswith("codes/"):
                    found.append(f"{where}: include by the path below src/")
                continue
            owners = [layers for prefix, layers in LIBRARIES.items() if name.startswith(prefix)]
            if owners and layer not in owners[0]:
                found.append(f"{where}: only {', '.join(sorted(owners[0]))} may")
            elif layer in PURE and not owners and name not in SYSTEM:
                found.append(f"{where}: {layer}/ is pure")
    return found


def self_test():
    with tempfile.TemporaryDirectory() as d:
        src = Path(d)
        for name, text in {"base/a.c": '#include "mail/b.h"\n', "mail/b.h": "#include <uv.h>\n",
                           "smtp/c.c": "#include <sys/socket.h>\n", "io/d.c": '#include "role/e.h"\n',
                           "role/e.h": '#include "base/a.h"\n', "front/f.c": '#include "back/g.h"\n'}.items():
            (src / name).parent.mkdir(exist_ok=True)
            (src / name).write_text(text)
        assert len(faults(src)) == 6, faults(src)


if __name__ == "__main__":
    self_test()
    wrong = faults(Path(sys.argv[1]))
    print("\n".join(wrong) or "every include goes one way")
    sys.exit(1 if wrong else 0)
