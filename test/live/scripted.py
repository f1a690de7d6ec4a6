"""Remote mail servers that say what a test wants them to say, and remember what they were told. Each host has an address
of the loopback of its own, 127.0.1.N, all the same port: the name server tells the one, the route's setting the other.

A script says what each question gets; what it leaves out is answered as an ordinary server does. A line of it is
  text        the reply; more lines are divided by "\\n", each with its code
  bytes       sent as they are, whatever they are
  LOSE        the connection ends
  cut(...)    bytes, and then the connection ends
  SILENCE     nothing, for ever
  a list      one of these each time that the host is asked; the last one stays
  a function  of the argument of the command, gives one of these
"""
import socket
import threading
import time

LOSE, SILENCE = object(), object()
ORDINARY = {"greeting": "220 {host} ESMTP", "ehlo": "250 {host}", "helo": "250 {host}", "lhlo": "250 {host}",
            "mail": "250 2.1.0 Ok", "rcpt": "250 2.1.5 Ok", "data": "354 Go ahead", "message": "250 2.0.0 Taken",
            "quit": "221 2.0.0 Bye", "rset": "250 2.0.0 Ok", "auth": "235 2.7.0 Ok", "noop": "250 2.0.0 Ok"}

AWAY = 10  # seconds that back may take to come again, where much ends in a short time
RECORDING = 2  # seconds that it may take, on a busy machine, until what a server answered is in back's lane


def cut(octets):
    return octets, LOSE


class Lost(Exception):
    """The script or the client ended the connection."""


class Message:
    """What a host took, or was about to take when it lost the connection (`answered` is False)."""

    def __init__(self, session, sender, recipients, content):
        self.session, self.sender, self.recipients, self.content = session, sender, recipients, content
        self.answered = False
        self.when = time.time()

    def answer_may_be_lost(self):
        """Nothing came after the answer to it, so nobody knows whether it was read."""
        return self.session.last is self

    def may_be_forgotten(self, killed):
        """The two who could learn of the answer were gone before it can have been written down: the carrier was killed soon
        after it, and back was too, or had been and was not there yet. `killed`: (role, when)."""
        since = {role: [when - self.when for r, when in killed if r == role] for role in ("carrier", "back")}
        return any(0 <= s < RECORDING for s in since["carrier"]) and any(-AWAY < s < RECORDING for s in since["back"])


class Host:
    """One server. `said`: the lines of each connection; `messages`: in the order of their coming."""

    def __init__(self, address, port, name="peer.example", extensions=(), lmtp=False, tls=None, **script):
        self.address, self.port, self.name, self.extensions, self.lmtp = address, port, name, extensions, lmtp
        self.tls = tls  # an ssl.SSLContext: STARTTLS is done
        self.script = script
        self.asked = {}
        self.said, self.messages = [], []
        self.connections = set()
        self.lock = threading.Lock()
        self.listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((address, port))
        self.listener.listen(128)
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections.add(connection)
                self.said.append([])
                session = Session(self, connection, self.said[-1])
            threading.Thread(target=session.run, daemon=True).start()

    def next_of(self, question, argument):
        what = self.script.get(question, ORDINARY.get(question, "502 5.5.1 No such command"))
        if isinstance(what, list):
            with self.lock:
                at = self.asked[question] = self.asked.get(question, -1) + 1
            what = what[min(at, len(what) - 1)]
        return what(argument) if callable(what) else what

    def lines(self):
        return [line for said in self.said for line in said]

    def stop(self):
        """And nobody is answered any more."""
        for s in [self.listener, *self.connections]:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()
        self.thread.join(5)


class Session:
    def __init__(self, host, connection, said):
        self.host, self.socket, self.said = host, connection, said
        self.buffer = b""
        self.last = None  # the message after which nothing came

    def more(self):
        data = self.socket.recv(65536)
        if not data:
            raise Lost
        self.buffer += data

    def line(self):
        while b"\n" not in self.buffer:
            self.more()
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.rstrip(b"\r").decode("utf-8", "surrogateescape")

    def octets(self, count):
        while len(self.buffer) < count:
            self.more()
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def text(self):
        lines = []
        while True:
            line = self.line()
            if line == ".":
                return "".join(x + "\r\n" for x in lines).encode("utf-8", "surrogateescape")
            lines.append(line[1:] if line.startswith(".") else line)

    def answer(self, question, argument=""):
        """Says what the script has; gives the first digit of it."""
        what = self.host.next_of(question, argument)
        if what is LOSE:
            raise Lost
        while what is SILENCE:
            self.more()
        if isinstance(what, tuple):
            self.socket.sendall(what[0])
            raise Lost
        if isinstance(what, bytes):
            self.socket.sendall(what)
            return what[:1].decode("latin-1")
        lines = what.format(host=self.host.name).split("\n")
        if question in ("ehlo", "lhlo") and what[0] == "2":
            lines += ["250 " + e for e in self.host.extensions]
        self.socket.sendall("".join(line[:3] + ("-" if line is not lines[-1] else " ") + line[4:] + "\r\n"
                                    for line in lines).encode())
        return what[0]

    def end_of_message(self, sender, recipients, content):
        """LMTP answers for each recipient."""
        message = self.last = Message(self, sender, recipients, content)
        with self.host.lock:
            self.host.messages.append(message)
        taken = [r for r in (recipients if self.host.lmtp else [sender]) if self.answer("message", r) == "2"]
        message.answered = True
        if not taken:
            with self.host.lock:
                self.host.messages.remove(message)
        elif self.host.lmtp:
            message.recipients = taken

    def talk(self):
        sender, recipients, chunks = "", [], b""
        self.answer("greeting")
        while True:
            line = self.line()
            self.said.append(line)
            self.last = None
            verb, _, argument = line.partition(" ")
            verb = verb.lower()
            if verb in ("mail", "rcpt"):
                argument = argument.partition(":")[2]
                path = argument[argument.find("<") + 1:argument.find(">")]
                if self.answer(verb, argument if verb == "mail" else path) != "2":
                    continue
                if verb == "mail":
                    sender, recipients, chunks = path, [], b""
                else:
                    recipients.append(path)
            elif verb == "data":
                if not recipients and "data" not in self.host.script:
                    self.socket.sendall(b"503 5.5.1 No recipients\r\n")
                elif self.answer("data") == "3":
                    self.end_of_message(sender, recipients, self.text())
            elif verb == "bdat":
                size = argument.split()
                chunks += self.octets(int(size[0]))
                if len(size) > 1:
                    self.end_of_message(sender, recipients, chunks)
                else:
                    self.socket.sendall(b"250 2.0.0 Ok\r\n")
            elif verb == "starttls" and self.host.tls:
                self.socket.sendall(b"220 2.0.0 Go ahead\r\n")
                self.socket = self.host.tls.wrap_socket(self.socket, server_side=True)
            else:
                more = self.answer(verb, argument)
                while verb == "auth" and more == "3":
                    self.said.append(self.line())
                    more = self.answer("auth, more", self.said[-1])
            if verb == "quit":
                raise Lost

    def run(self):
        try:
            self.talk()
        except (OSError, Lost):
            pass
        self.socket.close()
        with self.host.lock:
            self.host.connections.discard(self.socket)


class Hosts:
    """Hosts with one port between them, until stop()."""

    def __init__(self, port):
        self.port = port
        self.hosts = []

    def add(self, address=None, **script):
        """The next address, 127.0.1.1 and up, if none is named."""
        host = Host(address or f"127.0.1.{len(self.hosts) + 1}", self.port, **script)
        self.hosts.append(host)
        return host

    def stop(self):
        for host in self.hosts:
            host.stop()
