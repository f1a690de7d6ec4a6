"""What was measured, as text: the same tables on the terminal and in doc/performance.md, and the plots.

    report.py [results.json] writes the tables between the markers <!-- bench:NAME --> and <!-- /bench --> of
    doc/performance.md, and the plots beside it."""
import json
import re
import sys
from pathlib import Path

import plot

ROOT = Path(__file__).resolve().parents[1]
DOC = ROOT / "doc" / "performance.md"
RESULTS = ROOT / "build" / "bench-results" / "results.json"
BASE = "Postfix"  # what ratios compare with


def num(s):
    """A median with its range."""
    return f"{plot.figure(s['median'])} ({plot.figure(s['low'])}–{plot.figure(s['high'])})" if s else "–"


def ratio(s, base):
    return f"{s['median'] / base['median']:.2f}" if s and base else "–"


def thousandfold(s):
    """Milliseconds as microseconds."""
    return {k: v * 1000 for k, v in s.items()}


def get(tree, *words):
    for word in words:
        tree = (tree or {}).get(str(word))
    return tree


def server(r, name):
    """The name; of one that answers 250 before the disk was asked for anything, also that."""
    return f"{name} (no sync)" if not get(r, "syncs", name, "accept", "1") and name != "smtp-sink" else name


def busy(m):
    return "; **the machine was busy: these figures are provisional**" if m["load_before"] > m["cores"] / 2 else ""


def octets(n):
    for unit in ("", " KiB", " MiB"):
        if abs(n) < 10240 or unit == " MiB":
            return f"{n:,.0f}{unit}"
        n /= 1024
    return ""


# ---- tables: name -> (heading, columns, rows) ------------------------------------------------------------------------

def machine(r):
    m = r["machine"]
    disk = r["disk"]["disk"]
    rows = [["processor", f"{m['cores']} × {m['cpu']}"], ["kernel", m["kernel"]],
            ["file system", f"{m['file_system']} on {m['device']}"], ["memory", octets(m["memory"])],
            ["TCP congestion control", m["congestion"]], ["processor time from", m["processor_time"]],
            ["load before the start", f"{m['load_before']:.2f}" + busy(m)],
            ["fdatasync of one page, median of a round", num(disk["p50_ms"]) + " ms"],
            ["… its 99th percentile", num(disk["p99_ms"]) + " ms"]]
    rows += [["versions", ", ".join(f"{n}: {v}" for n, v in r["versions"].items() if n != "smtp-sink")],
             ["run", f"{r['when']}, commit {r['commit']}, {r['rounds']} rounds, BENCH={r['mode']}, "
                     f"{r['minutes']:.0f} minutes"]]
    return "The machine", ["", ""], rows


def lane(r):
    rows = [[f"lane, batches of {n}", num(s["records"]), num(s["syncs"]), num(s["p50_ms"]), num(s["p99_ms"])]
            for n, s in sorted(((k, s) for k, s in r["disk"].items() if k != "disk"), key=lambda kv: int(kv[0]))]
    s = r["disk"]["disk"]
    rows.insert(0, ["one page, overwritten", num(s["records"]), num(s["syncs"]), num(s["p50_ms"]), num(s["p99_ms"])])
    return "The disk, and the spool's lane on it (4 KiB)", ["", "records/s", "syncs/s", "median ms", "99 % ms"], rows


def accept(r):
    rows = []
    for shape, what in (("each", "a connection each"), ("kept", "connections kept")):
        for generator in ("tacit-load", "smtp-source"):
            base = get(r, "accept", BASE, shape, generator)
            for name, peer in r["accept"].items():
                s = get(peer, shape, generator)
                if not s:
                    continue
                rows.append([what, generator, server(r, name), num(s["rate"]), ratio(s["rate"], get(base, "rate")),
                             num(s["cpu_us"]), num(s["generator_us"])])
    return ("Accepting, 4 KiB, 20 sessions",
            ["work", "generator", "server", "messages/s", "× Postfix", "server µs each", "generator µs each"], rows)


def maildir(r):
    base = get(r, "maildir", BASE)
    return ("Into ten Maildirs, 4 KiB, 20 sessions, connections kept, until all are there",
            ["server", "messages/s", "× Postfix", "server µs each", "accepted/s meanwhile"],
            [[server(r, n), num(s["rate"]), ratio(s["rate"], get(base, "rate")), num(s["cpu_us"]),
              num(s["accepted_rate"])] for n, s in r["maildir"].items()])


def relay(r):
    base = get(r, "relay", BASE)
    return ("On to another server, 4 KiB, smtp-source with 20 sessions, until smtp-sink has taken all",
            ["server", "messages/s", "× Postfix", "server µs each", "generator µs each", "sink µs each"],
            [[server(r, n), num(s["rate"]), ratio(s["rate"], get(base, "rate")), num(s["cpu_us"]),
              num(s["generator_us"]), num(s["sink_us"])] for n, s in r.get("relay", {}).items()])


def destinations(r):
    return ("One message to each of many destinations",
            ["destinations", "dead", "s until the living have theirs", "messages/s", "server µs each"],
            [[f"{s['destinations']:,}", f"{s['dead']:,}", f"{s['seconds']:.2f}", plot.figure(s["rate"]),
              plot.figure(s["cpu_us"])] for s in r.get("destinations", [])])


def syncs(r):
    rows = []
    for name, works in r["syncs"].items():
        for work, row in works.items():
            told = [", ".join(f"{n:.2f} {call}" for call, n in row[k].items()) or "none" for k in ("1", "20")]
            rows.append([name, work, *told])
    return "Calls that make it durable, for each message", ["server", "work", "1 session", "20 sessions"], rows


def configured(r):
    return ("What was configured", ["server", "work", ""],
            [[name, work, text] for name, works in r["configured"].items() for work, text in works.items()])


def pipelined(r):
    rows = []
    for sessions, batch in (("100", "100"), ("200", "200")):
        group = get(r, "disk", batch, "records")
        for name, peer in r.get("pipelined", {}).items():
            s = peer[sessions]
            rows.append([sessions, name, num(s["rate"]), ratio(s["rate"], group), num(s["cpu_us"]),
                         num(s["generator_us"])])
    return ("Pipelined, 4 KiB", ["sessions", "server", "messages/s", "× lane's batches of as many", "server µs each",
                                 "generator µs each"], rows)


def latency(r):
    disk = r["disk"]["disk"]
    rows = [["the disk's fdatasync", "", *(num(thousandfold(disk[p])) for p in ("p50_ms", "p99_ms"))]]
    for name, peer in r.get("latency", {}).items():
        rows += [[name, sessions, num(s["p50_us"]), num(s["p99_us"])] for sessions, s in peer.items()]
    return "From the end of DATA to its reply", ["", "clients", "median µs", "99 % µs"], rows


def idle(r):
    return ("Idle sessions (greeted, EHLO said)",
            ["server", "sessions", "octets each", "server without them", "µs to open each"],
            [[s["server"], f"{s['sessions']:,}", octets(s["each"]), octets(s["before"]), plot.figure(s["us_each"])]
             for s in r["idle"]])


def growth_queue(r):
    return ("A queue found at the start",
            ["messages", "greets clients after s", "queue known after s", "back's memory", "octets each"],
            [[f"{s['messages']:,}", f"{s['greeted_s']:.2f}", f"{s['known_s']:.2f}", octets(s["back_octets"]),
              "–" if s["octets_each"] is None else f"{s['octets_each']:.0f}"] for s in r["growth"]["queue"]])


def growth_operations(r):
    rows = r["growth"]["operations"]
    return ("Commands about one domain of a queue with twenty messages for each, and about all of it: seconds",
            ["messages", *rows[0]["each"], "search of all texts", "hold all: said how many", "hold all: done"],
            [[f"{s['messages']:,}", *(f"{v:.2f}" for v in s["each"].values()), f"{s['search']:.1f}", f"{s['told']:.2f}",
              f"{s['done']:.0f}"] for s in rows])


def growth_recipients(r):
    return ("Recipients of a message", ["recipients", "messages/s", "server µs each message", "each recipient"],
            [[f"{s['recipients']:,}", plot.figure(s["rate"]), plot.figure(s["cpu_us"]),
              plot.figure(s["cpu_us"] / s["recipients"])] for s in r["growth"]["recipients"]])


def growth_domains(r):
    return ("Configured domains", ["domains", "ready s", "memory, all processes", "server µs each message"],
            [[f"{s['domains']:,}", f"{s['ready_s']:.2f}", octets(s["octets"]), plot.figure(s["cpu_us"])]
             for s in r["growth"]["domains"]])


def growth_entries(r):
    return ("Entries of the directory, asked for at each RCPT",
            ["directory", "entries", "keeper's memory", "server µs each message"],
            [[s["kind"], f"{s['entries']:,}", octets(s["keeper_octets"]), plot.figure(s["cpu_us"])]
             for s in r["growth"]["entries"]])


TABLES = {f.__name__: f for f in (machine, lane, configured, syncs, accept, maildir, relay, destinations, pipelined,
                                  latency, idle, growth_queue, growth_operations, growth_recipients, growth_domains,
                                  growth_entries)}


def terminal(r):
    out = []
    for table in TABLES.values():
        heading, columns, rows = table(r)
        widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
        out.append(f"\n{heading}")
        out += ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
                for row in [columns, *rows] if any(row)]
    return "\n".join(out) + "\n"


def markdown(heading, columns, rows):
    return "\n".join([f"**{heading}**", "", "| " + " | ".join(columns) + " |", "|" + "---|" * len(columns),
                      *("| " + " | ".join(row) + " |" for row in rows)])


# ---- plots -----------------------------------------------------------------------------------------------------------

def plots(r, directory):
    """Writes bench-*.svg; gives their names."""
    works = ["accepted, connections kept", "accepted, a connection each", "into Maildirs"]

    def of_each(what):
        return [(server(r, n), [*(get(r, "accept", n, shape, "tacit-load", what) for shape in ("kept", "each")),
                                get(r, "maildir", n, what)]) for n in r["accept"] if n != "smtp-sink"]

    drawn = {"bench-accept": plot.bars("20 sessions, 4 KiB", "messages a second", of_each("rate"), works),
             "bench-cpu": plot.bars("Processor time of the server for each message", "µs", of_each("cpu_us"), works)}
    if r.get("latency"):
        disk = thousandfold(r["disk"]["disk"]["p50_ms"])
        drawn["bench-latency"] = plot.bars("From the end of DATA to its reply", "µs", [
            ("the disk", [disk, None])] + [(f"{n}, {sessions}", [s["p50_us"], s["p99_us"]])
                                          for n, peer in r["latency"].items() for sessions, s in peer.items()],
            ["median", "99 %"])
    queue = [s for s in r["growth"]["queue"] if s["messages"]]
    drawn["bench-queue"] = plot.lines("A queue found at the start", "messages", "seconds, MiB", [
        ("clients greeted, s", [(s["messages"], s["greeted_s"]) for s in queue]),
        ("queue known, s", [(s["messages"], s["known_s"]) for s in queue]),
        ("back's memory, MiB", [(s["messages"], s["back_octets"] / 1048576) for s in queue])])
    for name, svg in drawn.items():
        (Path(directory) / f"{name}.svg").write_text(svg)
    return list(drawn)


def write_doc(r, doc=DOC):
    text = doc.read_text()

    def fill(match):
        name = match[1]
        if name == "plots":
            body = "\n".join(f"![{p}]({p}.svg)" for p in plots(r, doc.parent))
        else:
            body = markdown(*TABLES[name](r))
        return f"<!-- bench:{name} -->\n{body}\n<!-- /bench -->"
    doc.write_text(re.sub(r"<!-- bench:(\w+) -->\n.*?<!-- /bench -->", fill, text, flags=re.S))


if __name__ == "__main__":
    write_doc(json.loads(Path(sys.argv[1] if len(sys.argv) > 1 else RESULTS).read_text()))
