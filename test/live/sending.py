"""A small world for tests of sending: a name server, remote hosts that follow scripts, and one tacit that sends to them.
Many cases share one server; each has a domain, a sender alice+CASE@example.test, and so reports of its own.

Made whole before the server starts: first the hosts and the zone, then start().
"""
import email
import email.policy
import os
import re
import shutil
import tempfile
import time

from conftest import PATIENCE, Tacit, free_port, wait_until
from nameserver import NameServer
from scripted import Hosts

EXTRA = """
relay {{ networks = {{"127.0.0.1"}} }}
dns {{ server = "{dns}"  validate = false }}
route "*" {{ port = {port}  connect_timeout = "1s" }}
queue {{ retry = {{{retry}}}  local_retry = {{{retry}}}  expire = "{expire}"  expire_report = "{expire}"  delay_notice = {delay} }}
{more}
"""


class World:
    def __init__(self, retry='"500ms", "1s"', expire="6s", delay="0", more="", zone="", extra_global='grace = "3s"', **settings):
        self.dir = tempfile.mkdtemp(prefix="tacit-live-")
        os.chmod(self.dir, 0o755)
        self.port = free_port()
        self.hosts = Hosts(self.port)
        self.zone = [zone]
        self.names = dict(silent=[], failing=[], refused=[], forged=[])
        self.settings = dict(settings, extra_global=extra_global)
        self.queue = dict(retry=retry, expire=expire, delay=delay, more=more)
        self.tacit = self.dns = None
        self.seen = {}

    # -- making it --------------------------------------------------------------------------------------------------
    def host(self, *domains, name=None, address=None, preference=10, **script):
        """A server; each of `domains` has it as an MX."""
        name = name or f"mx{len(self.hosts.hosts) + 1}.hosts.example"
        host = self.hosts.add(address, name=name, **script)
        self.zone.append(f"{name}. {'AAAA' if ':' in host.address else 'A'} {host.address}")
        self.zone += [f"{domain}. MX {preference} {name}." for domain in domains]
        return host

    def start(self):
        self.dns = NameServer(self.dir, "\n".join(self.zone), **self.names).start()
        extra = EXTRA.format(dns=self.dns.address, port=self.port, **self.queue)
        self.tacit = Tacit(self.dir, extra=extra, **self.settings)
        self.tacit.start()
        self.tacit.user("add", "alice@example.test")
        return self

    def stop(self, failed=False):
        try:
            if self.tacit:
                self.tacit.stop()
                self.tacit.check_log()
        finally:
            if failed and self.tacit:
                print(self.tacit.log()[-6000:])
            if self.tacit and self.tacit.process:
                self.tacit.kill_all()
            self.hosts.stop()
            if self.dns:
                self.dns.stop()
            shutil.rmtree(self.dir, ignore_errors=True)

    # -- using it ---------------------------------------------------------------------------------------------------
    def send(self, case, *recipients, content=b"Subject: a test\r\n\r\nhello\r\n", mail="", rcpt="", answer="250"):
        """From alice+CASE, by a client that may relay; gives the final reply."""
        with self.tacit.connect() as c:
            c.helo()
            for line in [f"MAIL FROM:<{self.sender(case)}>{mail}"] + [f"RCPT TO:<{r}>{rcpt}" for r in recipients]:
                reply = c.cmd(line)
                if not reply.startswith("250"):
                    break
            else:
                c.cmd("DATA")
                c.send((b"\n" + content).replace(b"\n.", b"\n..")[1:] + b".\r\n")
                reply = c.reply()
            assert reply.startswith(answer), reply
            return reply

    @staticmethod
    def sender(case):
        return f"alice+{case}@example.test"

    def reports(self, case):
        """The reports that the sender of a case has got."""
        new = self.tacit.maildir("alice") / "new"
        for path in new.iterdir() if new.is_dir() else ():
            if path.name not in self.seen:
                self.seen[path.name] = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        return [m for m in self.seen.values() if f"+{case}@" in (m["To"] or "")]

    def report(self, case, timeout=60.0):
        """The one report, when it has come."""
        wait_until(lambda: self.reports(case), timeout * PATIENCE)
        [report] = self.reports(case)
        return Report(report)

    def row(self, case):
        """The message in the queue; None: it is not there any more."""
        rows = [r for r in self.tacit.queue() if r["sender"] == self.sender(case)]
        assert len(rows) < 2, rows
        return rows[0] if rows else None

    def gone(self, case, timeout=60.0):
        wait_until(lambda: not self.row(case), timeout * PATIENCE, 0.2)


class Report:
    """A report, for people (`words`) and for programs (`recipients`, by address)."""

    def __init__(self, message):
        assert message.get_content_type() == "multipart/report", message
        parts = list(message.iter_parts())
        self.message = message
        self.words = parts[0].get_content()
        groups = parts[1].get_payload()
        if parts[1].get_content_subtype() == "global-delivery-status":  # RFC 6533; Python takes it for one message
            text = groups[0].as_bytes(policy=email.policy.default.clone(utf8=True)).decode()
            groups = [email.message_from_string(group, policy=email.policy.default) for group in text.split("\n\n")]
        self.recipients = {g["Final-Recipient"].partition(";")[2].strip(): g for g in groups if g["Final-Recipient"]}

    def status(self, address):
        return self.recipients[address]["Status"]

    def diagnostic(self, address):
        return re.sub(r"\s+", " ", self.recipients[address]["Diagnostic-Code"] or "")
