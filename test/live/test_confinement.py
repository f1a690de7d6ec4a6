"""What each role cannot do, tried from inside it (confined.c), and what the system says of the running processes. Once as
root, with a user for each role, and once as an ordinary user, to whom every file here belongs: there Landlock alone
stands before them.
"""
import os
import pwd
import shutil
import signal
import sqlite3
import stat
import subprocess
from pathlib import Path

import pytest

import conftest
from conftest import PATIENCE, wait_until
from test_front import is_sanitized

CONFINED = os.environ["TACIT_CONFINED"]
SANITIZED = is_sanitized()
ORDINARY = 61500  # nobody's number
ROOT = os.geteuid() == 0
WHO = ["root", "ordinary user"] if ROOT else ["ordinary user"]
ROLES = ["front-0", "front-1", "keeper-0", "back-0", "resolver-0", "carrier-0"]

# What must come of a deed: for all roles, or for those named first and then for the rest.
KILLED, DENIED, ABSENT, OK, REFUSED, ALLOWED = "killed", "EACCES", "ENOSYS", "ok", "ECONNREFUSED", "EBADF"
FRONT_0, FRONT_1, KEEPER, BACK, RESOLVER, CARRIER = ({r} for r in ROLES)
DEEDS = {
    "read_database": (KEEPER, OK, DENIED),
    "read_key": DENIED,
    "read_mail": (BACK, OK, DENIED),
    "list_mail": (BACK, OK, DENIED),
    "read_log": DENIED,
    "list_data": DENIED,
    "list_spool": (BACK, OK, DENIED),
    "write_lane_0": (BACK, OK, DENIED),
    "write_lane_1": (FRONT_0 | BACK, OK, DENIED),
    "write_lane_2": (FRONT_1 | BACK, OK, DENIED),
    "read_lane_1": (FRONT_0 | BACK, OK, DENIED),
    "read_lane_2": (FRONT_1 | BACK, OK, DENIED),
    "read_configuration": DENIED,
    "read_users": DENIED,
    "read_program": DENIED,
    "read_master": DENIED,
    "make_in_data": DENIED,
    "make_outside": DENIED,
    "make_mailbox": (BACK, OK, KILLED),
    "unlink_mail": (FRONT_0 | FRONT_1, DENIED, (BACK, OK, KILLED)),
    "cut_file": (RESOLVER | CARRIER, KILLED, ALLOWED),
    "socket_inet": (RESOLVER | CARRIER, OK, KILLED),
    "socket_unix": (CARRIER, "EAFNOSUPPORT", KILLED),
    "operate": (CARRIER, "EAFNOSUPPORT", KILLED),
    "connect": (RESOLVER | CARRIER, ALLOWED, KILLED),
    "connect_to_name_server": (RESOLVER | CARRIER, REFUSED, KILLED),
    "connect_elsewhere": (RESOLVER, DENIED, (CARRIER, REFUSED, KILLED)),
    "connect_with_data": (RESOLVER, "EOPNOTSUPP", (CARRIER, REFUSED, KILLED)),
    "connect_with_data_by_sendto": (CARRIER, REFUSED, KILLED),
    "memory_file": (BACK, OK, KILLED),
    "bind": (RESOLVER, ALLOWED, KILLED),
    "accept": (FRONT_0 | FRONT_1 | BACK, ALLOWED, KILLED),
    "bind_tcp": (RESOLVER, DENIED, KILLED),
    **dict.fromkeys("""chmod chown link symlink make_device change_root change_dir open_by_handle
        execute execute_at fork new_namespace unshare read_memory signal_master map_to_execute map_then_execute
        become_root filter core_limit masters_limit
        socket_netlink socket_packet connect_by_multipath_tcp connect_by_smc listen socket_filter
        terminal owner_signal mount keys bpf perf fault_handler watch_files shared_memory""".split(), KILLED),
    # A sanitized program traces itself at its end.
    **({} if SANITIZED else dict.fromkeys(["trace", "signal_thread", "dump"], KILLED)),
    **dict.fromkeys(["clone3", "io_uring", "unknown"], ABSENT),
    **dict.fromkeys(["thread", "map", "time"], OK),
}
# Master binds, forks, executes and changes users; these it must not.
MASTERS = {
    **dict.fromkeys("""new_namespace change_root open_by_handle make_device unshare read_memory mount keys bpf perf
        fault_handler""".split(), KILLED),
    **({} if SANITIZED else {"trace": KILLED}),
    "core_limit": "EPERM",
}


def expected(rule, role):
    if isinstance(rule, str):
        return rule
    named, of_named, of_others = rule
    return of_named if role in named else expected(of_others, role)


class Confined(conftest.Tacit):
    """A server with the library in it, started by root or by an ordinary user."""

    def __init__(self, directory, who, **settings):
        super().__init__(directory, **settings)
        self.ordinary = who == "ordinary user" and ROOT
        # An ordinary user may not reach the directory in which we were built.
        self.program = self.dir / "tacit"
        self.library = self.dir / "confined.so"
        shutil.copy(conftest.TACIT, self.program)
        shutil.copy(CONFINED, self.library)
        self.environment = {}
        self.own()

    def own(self):
        if self.ordinary:
            for path in [self.dir, *self.dir.rglob("*")]:
                os.chown(path, ORDINARY, ORDINARY, follow_symlinks=False)

    def popen(self, args, **kw):
        identity = dict(user=ORDINARY, group=ORDINARY, extra_groups=[]) if self.ordinary else {}
        return subprocess.Popen([self.program, *args, "--config", str(self.conf)], cwd=self.dir, **identity, **kw)

    def start(self, **environment):
        self.own()
        env = dict(os.environ, LD_PRELOAD=str(self.library), CONFINED_DATA=str(self.data),
                   CONFINED_CONFIG=str(self.conf), CONFINED_MAIL=str(self.dir / "data/mail/example.test/eve/new/1"),
                   CONFINED_MAILBOX=str(self.dir / "data/mail/example.test/made"))
        env["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        env.update({k: str(v) for k, v in environment.items()})
        self.log_file = open(self.log_path, "ab")
        seen = self.log_path.stat().st_size
        self.process = self.popen(["serve"], env=env, stdout=self.log_file, stderr=self.log_file,
                                  stdin=subprocess.DEVNULL, start_new_session=True)

        def is_ready():
            assert self.process.poll() is None, f"the server ended:\n{self.log()}"
            return "ready: listening" in self.log()[seen:]
        wait_until(is_ready, 30 * PATIENCE)
        return self

    def run(self, *args, check=True, **kw):
        p = self.popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        out, err = p.communicate(timeout=60)
        assert not check or p.returncode == 0, out + err
        return subprocess.CompletedProcess(args, p.returncode, out, err)

    def deliver(self, subject="confined"):
        with self.connect() as c:
            c.helo()
            reply = c.message("s@client.example", "alice@example.test",
                              f"Subject: {subject}\r\n\r\nx\r\n".encode())
        assert reply.startswith("250"), reply
        wait_until(lambda: any(subject.encode() in m for m in self.mail("alice")), 20 * PATIENCE)


@pytest.fixture
def make_confined(make_tacit):
    made, dirs = [], []

    def make(who, **settings):
        import tempfile
        directory = tempfile.mkdtemp(prefix="tacit-live-")
        os.chmod(directory, 0o755)
        dirs.append(directory)
        settings.setdefault("extra_global", "fronts = 2")
        made.append(Confined(directory, who, **settings))
        return made[-1]

    yield make
    try:
        for t in made:
            t.stop()
        for t in made:
            t.check_log()
    finally:
        for t in made:
            print(f"---- log of the server in {t.dir}\n{t.log()[-4000:]}")
        for d in dirs:
            shutil.rmtree(d, ignore_errors=True)


def pids(t):
    """{"front-0": pid, …}"""
    found = {}
    for role, pid in t.roles():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except FileNotFoundError:  # it has ended since: a reload does that
            continue
        if b"--index" in words:
            found[f"{role}-{words[words.index(b'--index') + 1].decode()}"] = pid
    return found


def status(path):
    return dict(line.split(":\t", 1) for line in (path / "status").read_text().splitlines() if ":\t" in line)


@pytest.mark.parametrize("who", WHO)
def test_what_is_tried_from_inside(make_confined, who):
    t = make_confined(who)
    mailbox = t.dir / "data/mail/example.test/eve/new"
    mailbox.mkdir(parents=True)
    for role in ["", *ROLES]:
        (mailbox / f"1{role}").write_text("Subject: private\n\n")
    if ROOT and not t.ordinary:
        (t.data / "mail").chmod(0o700)
        for path in [t.data / "mail", *(t.data / "mail").rglob("*")]:
            os.chown(path, 60603, 60603)
    t.start()  # both lanes, the database and the log are there when the deeds are tried
    t.stop()
    report = t.dir / "report"
    t.start(CONFINED_REPORT=report)
    seen = {tuple(line.split()[:2]): line.split()[2] for line in report.read_text().splitlines()}
    wrong = [f"{role}: {deed}: {seen.get((role, deed))}, not {expected(rule, role)}"
             for role in ROLES for deed, rule in DEEDS.items() if seen.get((role, deed)) != expected(rule, role)]
    wrong += [f"master: {deed}: {seen.get(('master', deed))}, not {what}" for deed, what in MASTERS.items()
              if seen.get(("master", deed)) != what]
    assert not wrong, "\n".join(wrong)
    assert {deed for _, deed in seen} >= set(DEEDS)
    t.user("add", "alice@example.test")
    t.deliver()


@pytest.mark.parametrize("who", WHO)
def test_a_carrier_that_needs_unix_sockets(make_confined, who):
    """The control socket is its maker's: where all are one user, permissions do not keep the carrier from it."""
    t = make_confined(who, extra='route "lists.example" { via = "lmtp:unix:/nowhere/lmtp" }')
    report = t.dir / "report"
    t.start(CONFINED_REPORT=report)
    seen = {tuple(line.split()[:2]): line.split()[2] for line in report.read_text().splitlines()}
    assert seen["carrier-0", "socket_unix"] == OK
    assert seen["carrier-0", "operate"] == (DENIED if ROOT and not t.ordinary else OK)


@pytest.mark.parametrize("who", WHO)
def test_what_the_system_says_of_the_processes(make_confined, who):
    t = make_confined(who).start()
    t.user("add", "alice@example.test")
    t.deliver()  # work threads run now
    assert f"all processes but master are confined: {'users 6060' if not t.ordinary and ROOT else 'one user'}" in t.log()
    running = pids(t)
    assert set(running) == set(ROLES)
    uids = set()
    for role, pid in running.items():
        proc = Path(f"/proc/{pid}")
        for task in (proc / "task").iterdir():
            s = status(task)
            assert (s["NoNewPrivs"], s["Seccomp"]) == ("1", "2"), role
            for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
                assert int(s[name], 16) == 0, (role, name)
            assert 0 not in map(int, s["Uid"].split() + s["Gid"].split()) or not ROOT
        uids.add(s["Uid"])
        core = next(line for line in (proc / "limits").read_text().splitlines() if line.startswith("Max core file"))
        assert core.split()[4:6] == ["0", "0"]
        if ROOT and not SANITIZED:  # its memory is not for others of its user: the system keeps it for root
            assert (proc / "mem").stat().st_uid == 0, role
    assert len(uids) == (5 if ROOT and not t.ordinary else 1)
    master = status(Path(f"/proc/{t.process.pid}"))
    assert (master["NoNewPrivs"], master["Seccomp"]) == ("1", "2")
    assert int(master["CapEff"], 16) == (0x4fb if ROOT and not t.ordinary else 0)


@pytest.mark.skipif(not ROOT, reason="needs root")
def test_users_alone_keep_roles_apart(make_confined):
    """Without Landlock, by permissions: what each number may open."""
    t = make_confined("root").start()
    t.user("add", "alice@example.test")
    t.deliver()
    message = next((t.maildir("alice") / "new").iterdir())
    segment = next(p for n in (1, 2) for p in (t.data / f"spool/lane-0{n}").glob("*.seg"))
    for path, may in [(t.data / "directory.db", 60602), (t.data / "keys/secret", 60602), (message, 60603)]:
        for uid in (60601, 60602, 60603):
            r = subprocess.run(["cat", str(path)], user=uid, group=uid, extra_groups=[], capture_output=True)
            assert (r.returncode == 0) == (uid == may), (path, uid)
    r = subprocess.run(["cat", str(segment)], user=60602, group=60602, extra_groups=[], capture_output=True)
    assert r.returncode != 0


def test_a_forbidden_call_ends_the_process_and_is_seen(make_confined):
    t = make_confined(WHO[0])
    trigger = t.dir / "trigger"
    trigger.write_text("x")
    t.start(CONFINED_TRIGGER=trigger)
    t.user("add", "alice@example.test")
    with pytest.raises((EOFError, ConnectionError)):
        t.connect()
    trigger.write_text("-")
    wait_until(lambda: "was ended for a forbidden system call" in t.log(), 10 * PATIENCE)
    wait_until(lambda: set(pids(t)) == set(ROLES), 10 * PATIENCE)
    t.deliver()


@pytest.mark.parametrize("version", [0, 1, 2, 3, 4, 5, 6])
def test_older_kernels(make_confined, version):
    t = make_confined("ordinary user").start(CONFINED_LANDLOCK=version)
    t.user("add", "alice@example.test")
    t.deliver()
    said = [line for line in t.log().splitlines() if "are confined" in line]
    assert len(said) == 1
    if version == 0:
        assert " warning " in said[0] and "no Landlock (needs Linux 5.13" in said[0]
    elif version == 1:
        assert " warning " in said[0] and "for back no Landlock" in said[0]
    else:
        assert " info " in said[0] and f"Landlock {version}" in said[0]


@pytest.mark.skipif(not ROOT, reason="needs root")
def test_a_directory_that_only_root_may_enter(make_confined):
    t = make_confined("root")
    t.dir.chmod(0o700)
    t.start()
    t.user("add", "alice@example.test")
    t.deliver()
    assert "only root may enter" in t.log()
    for pid in pids(t).values():
        s = status(Path(f"/proc/{pid}"))
        assert (s["Uid"].split()[0], int(s["CapEff"], 16), s["Seccomp"]) == ("0", 0, "2")
    t.stop()
    t.dir.chmod(0o755)  # and when others may, all is theirs
    t.start()
    t.deliver("again")
    t.stop()
    t.dir.chmod(0o700)  # and back
    t.start()
    t.deliver("once more")


@pytest.mark.skipif(not ROOT, reason="needs root")
def test_users_that_are_made_later(make_confined):
    t = make_confined("root").start()
    t.user("add", "alice@example.test")
    t.deliver()
    t.stop()
    names = dict(front="daemon", keeper="bin", back="mail", resolver="games", carrier="news")
    t.write_config(extra="users { %s }" % "  ".join(f'{k} = "{v}"' for k, v in names.items()))
    t.start()
    t.deliver("again")
    assert {role: int(status(Path(f"/proc/{pid}"))["Uid"].split()[0]) for role, pid in t.roles()} == {
        role: pwd.getpwnam(name).pw_uid for role, name in names.items()}
    left = [p for p in t.data.rglob("*") if p.lstat().st_uid in range(60601, 60604)]
    assert not left, left


@pytest.mark.parametrize("who", WHO)
def test_a_database_put_in_place_of_another(make_confined, who):
    t = make_confined(who, extra='relay { networks = {"127.0.0.0/8"} }').start()
    t.user("add", "alice@example.test")
    with t.connect() as c:
        c.helo()
        assert c.cmd("RCPT TO:<x@y>").startswith("503")
        assert c.cmd("VRFY alice@example.test").startswith("250")
        assert c.cmd("VRFY bob@example.test").startswith("550")
        t.user("add", "bob@example.test")
        new = t.data / "restored.db"
        with sqlite3.connect(t.data / "directory.db") as old, sqlite3.connect(new) as to:
            old.backup(to)
        t.user("remove", "bob@example.test")
        old = (t.data / "directory.db").stat()
        os.chown(new, old.st_uid, old.st_gid)
        new.chmod(stat.S_IMODE(old.st_mode))
        for suffix in ("-wal", "-shm"):
            Path(str(t.data / "directory.db") + suffix).unlink(missing_ok=True)
        new.rename(t.data / "directory.db")
        # Asked again when the keeper is back; 451 if another one ended a moment ago.
        wait_until(lambda: c.cmd("VRFY bob@example.test").startswith("250"), 10 * PATIENCE, step=0.5)
    assert "starts over to open it anew" in t.log()
    assert t.log().count("keeper-0 ended with status 1") == 1


def test_a_reload_confines_as_the_start_does(make_confined):
    t = make_confined(WHO[0]).start()
    t.user("add", "alice@example.test")
    before = pids(t)
    os.kill(t.process.pid, signal.SIGHUP)
    wait_until(lambda: "reloaded: listening" in t.log(), 20 * PATIENCE)
    wait_until(lambda: len(pids(t)) == len(before) and not set(pids(t).values()) & set(before.values()), 20 * PATIENCE)
    for role, pid in pids(t).items():
        s = status(Path(f"/proc/{pid}"))
        assert (s["NoNewPrivs"], s["Seccomp"], int(s["CapEff"], 16)) == ("1", "2", 0), role
    t.deliver()


@pytest.mark.parametrize("who", WHO)
def test_mailboxes_outside_data(make_confined, who):
    t = make_confined(who)
    t.write_config(text=f"""
hostname = "mx.example.test"
data = "data"
listen mx {{ address = "127.0.0.1:{t.mx}" }}
domain "example.test" {{ directory = "file:people/users"  deliver = "maildir:{t.dir}/boxes/{{domain}}/{{local}}" }}
""")
    t.maildir = lambda local, domain="example.test": t.dir / "boxes" / domain / local
    t.start()
    t.user("add", "alice@example.test")  # replaces the file, which the keeper reads again
    t.deliver()
    link = t.dir / "boxes/example.test/linked"
    link.symlink_to(t.dir / "elsewhere")
    (t.dir / "elsewhere").mkdir()
    (t.dir / "elsewhere").chmod(0o777)
    t.user("add", "linked@example.test")
    with t.connect() as c:
        c.helo()
        assert c.message("s@client.example", "linked@example.test").startswith("250")
    wait_until(lambda: "rcpt=linked@example.test" in t.log(), 10 * PATIENCE)
    attempt = next(line for line in t.log().splitlines() if "rcpt=linked@example.test" in line)
    assert "result=deferred" in attempt and "Permission denied" in attempt
    assert not list((t.dir / "elsewhere").iterdir())
