"""What is measured, and with what: processor time of a group of processes, system calls, memory, loads, the machine.

Processor time is that of a control group (version 2, or 1 with cpuacct) into which a server is started: it has every
process that the server ever made, also those that ended and whose parent did not wait for them. Where no group can be
made, the times of the server's processes that still run are added up from /proc/PID/stat with those of the children
they waited for; that misses what Exim's detached deliveries cost. Neither has the work of kernel threads (the
journal's, the disk's).
"""
import ctypes
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = Path(os.environ.get("TACIT_BUILD", str(ROOT / "build")))
os.environ.setdefault("TACIT", str(BUILD / "tacit"))
os.environ.setdefault("TACIT_TOOLS", str(BUILD / "tools"))
sys.path.insert(0, str(ROOT / "test" / "live"))

from conftest import wait_until  # noqa: E402
from tools import postfix_program  # noqa: E402

LOAD = BUILD / "bench" / "tacit-load"
LANE_BENCH = BUILD / "bench" / "tacit-lane-bench"
FILL = BUILD / "bench" / "tacit-fill"
TICK = os.sysconf("SC_CLK_TCK")
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def end_with_parent():
    """For Popen(preexec_fn=…): the process ends when the bench is killed."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def own_group(kind):
    """The control group in which the bench itself is, of version 2 ("") or of a controller of version 1."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, kinds, path = line.split(":", 2)
        if kind in kinds.split(","):
            return path
    return "/"


class Group:
    """The processes of one server."""

    def __init__(self, name):
        self.process = None  # Popen of the first process: for when there is no control group
        self.path = None
        for base, kind, counter in (("/sys/fs/cgroup", "", "cpu.stat"),
                                    ("/sys/fs/cgroup/cpuacct", "cpuacct", "cpuacct.usage")):
            home = Path(base + own_group(kind)) / "cgroup.procs"
            if home.exists():
                path = Path(base) / f"tacit-bench-{os.getpid()}-{name}"
                try:
                    path.mkdir()
                    self.path, self.counter, self.home = path, path / counter, home
                    break
                except OSError:
                    pass

    @contextmanager
    def entered(self):
        """What is started within belongs to the group."""
        if not self.path:
            yield
            return
        (self.path / "cgroup.procs").write_text(str(os.getpid()))
        try:
            yield
        finally:
            self.home.write_text(str(os.getpid()))

    def pids(self):
        if self.path:
            return [int(p) for p in (self.path / "cgroup.procs").read_text().split()]
        children = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
        found = [self.process.pid] if self.process else []
        for pid in found:
            found += children.get(pid, [])
        return found

    def cpu_us(self):
        """Processor time so far, of all that ever were in the group."""
        if self.path:
            text = self.counter.read_text()
            return int(text) / 1e3 if text.strip().isdigit() else float(re.search(r"usage_usec (\d+)", text)[1])
        ticks = 0
        for pid in self.pids():
            try:
                ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:15]))
            except OSError:
                pass
        return ticks * 1e6 / TICK

    def pss(self):
        """Octets of memory; what several processes share is counted once."""
        return sum(pss_of(pid) for pid in self.pids())

    def end(self):
        """Kills what is left, and waits until it is gone."""
        def gone():
            left = self.pids() if self.process or self.path else []
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            if self.process:
                self.process.poll()
            return not left or (not self.path and self.process.poll() is not None)
        wait_until(gone, 30)
        if self.path:
            wait_until(lambda: _removed(self.path), 30)
            self.path = None


def _removed(path):
    try:
        path.rmdir()
        return True
    except OSError:
        return False


def pss_of(pid):
    try:
        return int(re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1]) * 1024
    except (OSError, TypeError):
        return 0


# ---- system calls ----------------------------------------------------------------------------------------------------

SYNCS = ("fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "msync")


class Syscalls:
    """Counts the calls that make data durable, of all processes of a group, while it is entered. `opened_sync`: files
    opened with O_SYNC or O_DSYNC, which would need no further call."""

    def __init__(self, group, directory):
        self.group, self.file = group, Path(directory) / "strace"
        self.counts, self.opened_sync = {}, 0

    def __enter__(self):
        """A process that began while strace was about to take its parent is followed by nobody: then it is done anew."""
        for _ in range(10):
            self.attach()
            try:
                wait_until(lambda: all(traced(pid) for pid in self.group.pids()), 6)
                return self
            except AssertionError:
                self.detach()
        raise AssertionError("strace could not be attached to all processes")

    def attach(self):
        pids = [p for pid in self.group.pids() for p in ("-p", str(pid))]
        self.process = subprocess.Popen(
            ["strace", "-f", "-qq", "-e", "signal=none", "-e", f"trace={','.join(SYNCS)},openat", "-o", self.file,
             *pids], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, preexec_fn=end_with_parent)

    def detach(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)

    def __exit__(self, *_):
        self.detach()
        text = self.file.read_text(errors="replace")
        for name in SYNCS:
            n = len(re.findall(rf"^\d+ +{name}\(", text, re.M))
            if n:
                self.counts[name] = n
        self.opened_sync = len(re.findall(r"openat\(.*O_D?SYNC", text))
        self.file.unlink()


def traced(pid):
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            if "TracerPid:\t0\n" in (task / "status").read_text():
                return False
    except OSError:
        pass
    return True


# ---- loads -----------------------------------------------------------------------------------------------------------

def _run(command, env=None):
    """(output, seconds, µs of processor time) of a program that must succeed."""
    began = time.monotonic()
    p = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                         env=env, start_new_session=True, preexec_fn=end_with_parent)
    output = p.stdout.read()
    _, status, usage = os.wait4(p.pid, 0)
    took = time.monotonic() - began
    p.returncode = os.waitstatus_to_exitcode(status)
    if p.returncode != 0:
        raise RuntimeError(f"{Path(str(command[0])).name} ended with {p.returncode}: {output.strip()[-1000:]}")
    return output, took, (usage.ru_utime + usage.ru_stime) * 1e6


def tacit_load(port, messages, *, sessions=20, kept=1, pipeline=False, size=4096, to="u#@example.test", numbers=10,
               recipients=1, connecting=None, seconds=300):
    """Sends with bench/load.c; a dict of rate, µs of the generator per message, latencies in µs. After QUIT it closes
    without waiting, as Postfix' client does by default: Exim holds its 221 back for 200 ms unless the client closes."""
    command = [LOAD, "-m", messages, "-s", sessions, "-k", kept, "-l", size, "-t", to, "-n", numbers, "-r", recipients,
               "-T", seconds, "-f", "sender@load.example", "-pq" if pipeline else "-q",
               *(["-c", connecting] if connecting else []), f"127.0.0.1:{port}"]
    output, _, _ = _run(command)
    found = {k: float(v) for k, v in re.findall(
        r"(accepted|broken|per_second|seconds|p50|p99|own_cpu_us_per_message) +([\d.]+)", output)}
    if found["accepted"] != messages or found["broken"]:
        raise RuntimeError(f"not all messages were accepted: {output}")
    return {"messages": messages, "seconds": found["seconds"], "rate": found["per_second"],
            "generator_us": found["own_cpu_us_per_message"], "p50_us": found["p50"], "p99_us": found["p99"]}


def smtp_source(port, messages, *, sessions=20, kept=False, size=4096, to="u0@example.test"):
    """The same with Postfix' own generator. It tells no latencies, and its start is within the time."""
    program, env = postfix_program("smtp-source")
    _, took, cpu = _run([program, *(["-d"] if kept else []), "-s", sessions, "-m", messages, "-l", size,
                         "-f", "sender@load.example", "-t", to, f"127.0.0.1:{port}"], env)
    return {"messages": messages, "seconds": took, "rate": messages / took, "generator_us": cpu / messages}


def lane_bench(directory, seconds):
    """The disk by itself and the lane on it: {"disk": {...}, 1: {...}, 20: ..., …} with records/s and ms."""
    output, _, _ = _run([LANE_BENCH, directory, seconds])
    result = {}
    for what, records, syncs, p50, p99 in re.findall(
            r"^(.*?) +(\d+) records/s +(\d+) syncs/s +sync ms: median ([\d.]+), 99% ([\d.]+)", output, re.M):
        key = "disk" if what.startswith("disk") else re.search(r"\d+", what)[0]
        result[key] = {"records": float(records), "syncs": float(syncs), "p50_ms": float(p50), "p99_ms": float(p99)}
    return result


# ---- figures ---------------------------------------------------------------------------------------------------------

def summary(values):
    """Median and range of the rounds."""
    values = [v for v in values if v is not None]
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "rounds": len(values)}


def machine(directory):
    """What it was measured on."""
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    mounts = [line.split()[:3] for line in Path("/proc/mounts").read_text().splitlines()]
    path = str(Path(directory).resolve())
    inside = [m for m in mounts if path == m[1] or path.startswith(m[1].rstrip("/") + "/")]
    device, _, kind = max(inside, key=lambda m: len(m[1]))
    probe = Group("probe")
    source = f"the control group's {probe.counter.name}" if probe.path else "/proc/PID/stat, ten milliseconds at a time"
    probe.end()
    memory = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[1]) * 1024
    return {"cores": len(os.sched_getaffinity(0)), "cpu": cpu[1] if cpu else platform.machine(),
            "kernel": platform.release(), "file_system": kind, "device": Path(device).name, "memory": memory,
            "processor_time": source, "load_before": os.getloadavg()[0],
            "congestion": Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()}
