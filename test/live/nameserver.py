"""A name server of the tests' own: Debian's unbound, unpacked, with one zone that is the whole world. tacit asks it as it
asks any resolver. It does what resolvers do to mail servers: it finds nothing, fails, refuses, says nothing, and takes an
answer for forged.

Everything lies in memory and answers at once; there are no other name servers, so no name outside the zone exists.
"""
import socket
import subprocess
from pathlib import Path

from conftest import free_port, wait_until
from tools import stop, unpacked_with

PACKAGES = ("unbound", "libevent-2.1-7", "libprotobuf-c1", "libpython3.11")


class NameServer:
    """`zone`: lines of a zone file whose origin is the root. `silent`: domains about which no question is answered;
    `failing` (SERVFAIL), `refused` (REFUSED); `forged`: what stands in the zone there is not signed as it should be.
    `log`: the questions are written down."""

    def __init__(self, directory, zone, silent=(), failing=(), refused=(), forged=(), log=True, port=None):
        self.dir = Path(directory) / "unbound"
        self.dir.mkdir()
        self.port = port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.program, self.env = unpacked_with("usr/sbin/unbound", *PACKAGES)
        self.process = None
        (self.dir / "zone").write_text("$ORIGIN .\n$TTL 300\n@ SOA ns.invalid. hostmaster.invalid. 1 3600 600 86400 5\n"
                                       f"@ NS ns.invalid.\nns.invalid. A 127.0.0.1\n{zone}\n")
        locally = "".join(f'local-zone: "{name}" {what}\n' for names, what in
                          ((silent, "always_deny"), (refused, "always_refuse")) for name in names)
        anchors = "".join(f'trust-anchor: "{name} DS 1 8 2 {"11" * 32}"\n' for name in forged)
        nobody = free_port()
        broken = "".join(f'forward-zone:\n name: "{name}"\n forward-addr: 127.0.0.1@{nobody}\n' for name in failing)
        (self.dir / "unbound.conf").write_text(f"""
server:
 interface: 127.0.0.1
 port: {self.port}
 access-control: 127.0.0.0/8 allow
 do-daemonize: no
 use-syslog: no
 logfile: "{self.dir}/log"
 log-queries: {'yes' if log else 'no'}
 log-time-ascii: no
 username: ""
 chroot: ""
 directory: "{self.dir}"
 pidfile: ""
 num-threads: 1
 module-config: "{'validator ' if forged else ''}iterator"
 unblock-lan-zones: yes
 local-zone: "test." nodefault
 do-not-query-localhost: no
 prefetch: no
{locally}{anchors}
remote-control:
 control-enable: no
auth-zone:
 name: "."
 zonefile: "{self.dir}/zone"
 for-downstream: no
 for-upstream: yes
 fallback-enabled: no
{broken}
""")

    def start(self):
        self.output = open(self.dir / "output", "wb")
        self.process = subprocess.Popen([self.program, "-c", str(self.dir / "unbound.conf"), "-d"], env=self.env,
                                        stdin=subprocess.DEVNULL, stdout=self.output, stderr=self.output,
                                        start_new_session=True)

        def answers():
            assert self.process.poll() is None, (self.dir / "output").read_text() + self.log()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.settimeout(0.5)
                try:
                    s.connect(("127.0.0.1", self.port))
                    s.send(bytes.fromhex("000101000001000000000000026e7307696e76616c69640000010001"))  # ns.invalid. A
                    return s.recv(512)
                except OSError:
                    return False
        wait_until(answers, 20)
        return self

    def log(self):
        path = self.dir / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def questions(self, name, kind):
        """How often it was asked."""
        return self.log().count(f" {name}. {kind} IN")

    def stop(self):
        if self.process:
            stop(self.process)
            self.output.close()
        self.process = None
