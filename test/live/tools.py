"""Programs that the live tests use and that must not be installed as services: unpacked from Debian's packages
into a directory of the build, without starting anything.
"""
import json
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from conftest import TOOLS, free_port, wait_until


def unpacked(package):
    """Directory with the unpacked Debian package."""
    target = TOOLS / package
    if not target.exists():
        TOOLS.mkdir(parents=True, exist_ok=True)
        work = TOOLS / f"{package}.tmp{os.getpid()}"
        work.mkdir()
        fetch = ["apt-get", "download", "-q", package]
        if subprocess.run(fetch, cwd=work, capture_output=True).returncode != 0:  # the lists may be old or missing
            subprocess.run(["apt-get", "update", "-q"], capture_output=True)
            r = subprocess.run(fetch, cwd=work, capture_output=True, text=True)
            assert r.returncode == 0, f"{package} cannot be fetched:\n{r.stdout}\n{r.stderr}"
        deb = next(work.glob("*.deb"))
        subprocess.run(["dpkg", "-x", str(deb), str(work / "root")], check=True)
        try:
            (work / "root").rename(target)
        except OSError:
            assert target.exists()  # another run was faster
        finally:
            shutil.rmtree(work)
    return target


def unpacked_with(program, package, *libraries):
    """(path, environment) of a program of an unpacked package, which needs libraries of others."""
    roots = [unpacked(p) for p in (package, *libraries)]
    places = [str(place.parent) for root in roots for place in sorted(root.glob("usr/lib/*-linux-gnu/*.so.*"))]
    return str(roots[0] / program), dict(os.environ, LD_LIBRARY_PATH=":".join(dict.fromkeys(places)))


def stop(process):
    """Ends a server that was started in a session of its own, if it runs."""
    if process and process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def postfix_program(name):
    """(path, environment) of a program of Postfix's package."""
    root = unpacked("postfix")
    env = dict(os.environ, LD_LIBRARY_PATH=str(root / "usr/lib/postfix"))
    return str(root / "usr/sbin" / name), env


class Postfix:
    """A Postfix of its own: configuration, queue, users and ports, in a mount namespace, loopback only."""

    def __init__(self, directory, relayhost, extra=""):
        if os.geteuid() != 0:
            pytest.skip("Postfix needs root")
        self.root = unpacked("postfix")
        self.dir = Path(directory) / "postfix"
        self.port = free_port()
        conf, queue, data = self.dir / "etc", self.dir / "queue", self.dir / "data"
        for d in (conf, queue, data):
            d.mkdir(parents=True)
        uid = 64980
        (self.dir / "passwd").write_text(Path("/etc/passwd").read_text() +
                                         f"tacitpf:x:{uid}:{uid}::/nonexistent:/bin/false\n")
        (self.dir / "group").write_text(Path("/etc/group").read_text() +
                                        f"tacitpf:x:{uid}:\ntacitpd:x:{uid + 1}:\n")
        os.chown(data, uid, uid)
        for parent in [self.dir, *self.dir.parents]:
            mode = parent.stat().st_mode & 0o7777
            if mode & 0o055 != 0o055:
                parent.chmod(mode | 0o055)
        (conf / "main.cf").write_text(f"""
compatibility_level = 3.6
mail_owner = tacitpf
setgid_group = tacitpd
queue_directory = {queue}
data_directory = {data}
command_directory = {self.root}/usr/sbin
daemon_directory = {self.root}/usr/lib/postfix/sbin
shlib_directory = {self.root}/usr/lib/postfix
meta_directory = {conf}
sendmail_path = {self.root}/usr/sbin/sendmail
import_environment = LD_LIBRARY_PATH MAIL_CONFIG TZ LANG=C
maillog_file_prefixes = {self.dir}
maillog_file = {self.dir}/maillog
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = postfix.example
mydestination =
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
relayhost = {relayhost}
alias_maps =
alias_database =
minimal_backoff_time = 2s
queue_run_delay = 2s
{extra}
""")
        services = [f"127.0.0.1:{self.port} inet n - n - - smtpd", "pickup unix n - n 60 1 pickup",
                    "cleanup unix n - n - 0 cleanup", "qmgr unix n - n 2 1 qmgr", "rewrite unix - - n - - trivial-rewrite",
                    "bounce unix - - n - 0 bounce", "defer unix - - n - 0 bounce", "trace unix - - n - 0 bounce",
                    "verify unix - - n - 1 verify", "flush unix n - n 1000? 0 flush",
                    "proxymap unix - - n - - proxymap", "smtp unix - - n - - smtp", "relay unix - - n - - smtp",
                    "error unix - - n - - error", "retry unix - - n - - error", "discard unix - - n - - discard",
                    "local unix - n n - - local", "virtual unix - n n - - virtual", "anvil unix - - n - 1 anvil",
                    "scache unix - - n - 1 scache", "postlog unix-dgram n - n - 1 postlogd"]
        (conf / "master.cf").write_text("\n".join(services) + "\n")
        for name in ("postfix-files", "postfix-script", "post-install", "dynamicmaps.cf"):
            for place in (self.root / "etc/postfix", self.root / "usr/lib/postfix/sbin", self.root / "usr/share/postfix"):
                if (place / name).exists():
                    shutil.copy(place / name, conf / name)
        for sub, owner in [("active", uid), ("bounce", uid), ("corrupt", uid), ("defer", uid), ("deferred", uid),
                           ("flush", uid), ("hold", uid), ("incoming", uid), ("private", uid), ("saved", uid),
                           ("trace", uid), ("maildrop", uid), ("public", uid), ("pid", 0)]:
            (queue / sub).mkdir()
            os.chown(queue / sub, owner, -1)
        for sub, mode in (("maildrop", 0o1730), ("public", 0o710)):
            os.chown(queue / sub, uid, uid + 1)
            (queue / sub).chmod(mode)
        self.process = None

    def start(self):
        script = (f"mount --bind {self.dir}/passwd /etc/passwd && mount --bind {self.dir}/group /etc/group && "
                  f"exec {self.root}/usr/lib/postfix/sbin/master -c {self.dir}/etc -d")
        env = dict(os.environ, LD_LIBRARY_PATH=str(self.root / "usr/lib/postfix"), MAIL_CONFIG=str(self.dir / "etc"))
        self.output = open(self.dir / "output", "wb")
        self.process = subprocess.Popen(["unshare", "-m", "sh", "-c", script], env=env, stdout=self.output,
                                        stderr=self.output, stdin=subprocess.DEVNULL, start_new_session=True)

        def listening():
            if self.process.poll() is not None:
                raise AssertionError(f"Postfix ended: {(self.dir / 'output').read_text()} {self.log()}")
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", self.port)) == 0
        wait_until(listening, 20)
        return self

    def log(self):
        path = self.dir / "maillog"
        return path.read_text(errors="replace") if path.exists() else ""

    def stop(self):
        stop(self.process)
        self.process = None




class Dovecot:
    """A Dovecot of its own that takes mail by LMTP into Maildirs, for `users` of any domain; loopback only. Its programs
    insist on places below /usr, so they are laid over it, in a mount namespace."""

    def __init__(self, directory, users):
        if os.geteuid() != 0:
            pytest.skip("Dovecot needs root")
        self.roots = [unpacked("dovecot-core"), unpacked("dovecot-lmtpd")]
        self.dir = Path(directory) / "dovecot"
        self.port = free_port()
        for name in ("run", "state", "mail"):
            (self.dir / name).mkdir(parents=True)
        self.dir.chmod(0o755)
        (self.dir / "mail").chmod(0o777)
        (self.dir / "users").write_text("".join(f"{u}::65534:65534::{self.dir}/mail/{u}::\n" for u in users))
        (self.dir / "dovecot.conf").write_text(f"""
base_dir = {self.dir}/run
state_dir = {self.dir}/state
protocols = lmtp
log_path = {self.dir}/log
ssl = no
default_internal_user = nobody
default_internal_group = nogroup
default_login_user = nobody
mail_location = maildir:~/
auth_username_format = %Ln
userdb {{
  driver = passwd-file
  args = {self.dir}/users
}}
passdb {{
  driver = passwd-file
  args = {self.dir}/users
}}
first_valid_uid = 1
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {self.port}
  }}
}}
service auth {{
  unix_listener auth-userdb {{
    mode = 0666
  }}
}}
""")
        self.process = None

    def start(self):
        layers = ":".join([*(f"{root}/usr" for root in self.roots), "/usr"])
        script = f"mount -t overlay overlay -o lowerdir={layers} /usr && exec /usr/sbin/dovecot -F -c {self.dir}/dovecot.conf"
        self.output = open(self.dir / "output", "wb")
        self.process = subprocess.Popen(["unshare", "-m", "sh", "-c", script], stdin=subprocess.DEVNULL,
                                        stdout=self.output, stderr=self.output, start_new_session=True)

        def listening():
            assert self.process.poll() is None, f"Dovecot ended: {(self.dir / 'output').read_text()} {self.log()}"
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", self.port)) == 0
        wait_until(listening, 20)
        return self

    def log(self):
        path = self.dir / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def mail(self, user):
        new = self.dir / "mail" / user / "new"
        return [p.read_bytes() for p in new.iterdir()] if new.is_dir() else []

    def stop(self):
        stop(self.process)
        self.process = None


def npm_modules(*names):
    """Directory below whose node_modules the npm packages "NAME@VERSION" are: versions that Debian's node can run."""
    where = TOOLS / "npm"
    where.mkdir(parents=True, exist_ok=True)

    def is_there(name):
        about = where / "node_modules" / name.split("@")[0] / "package.json"
        return about.exists() and json.loads(about.read_text())["version"] == name.split("@")[1]
    if not all(is_there(name) for name in names):
        quietly = ["--prefer-offline", "--no-audit", "--no-fund", "--no-save"]
        r = subprocess.run(["npm", "install", *quietly, "--prefix", str(where), *names], capture_output=True, text=True,
                           timeout=250)
        assert r.returncode == 0, f"{', '.join(names)} cannot be fetched:\n{r.stdout}\n{r.stderr}"
    return where
