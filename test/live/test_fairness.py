"""Names that nobody answers for do not keep other mail waiting: a zone that says nothing, asked about thousands of names
of which a stranger can make as many as he likes; and many domains of one dead name server."""
from conftest import PATIENCE, wait_until
from sending import World

NAMES, DOMAINS, AT_ONCE = 3000, 500, 100


def test_silence_about_one_domain_stops_no_other():
    world = World(retry='"1h"', expire="3h")
    dead = [f"dead{i}.example" for i in range(DOMAINS)]
    world.names["silent"] = ["slow.example"] + dead
    good = world.host("good.example")
    slow = [f"x@h{i}.slow.example" for i in range(NAMES)] + [f"x@{domain}" for domain in dead]
    world.start()
    try:
        for i in range(0, len(slow), AT_ONCE):
            send_all(world, slow[i:i + AT_ONCE])
        world.send("good", "bob@good.example")
        wait_until(lambda: good.messages, 60 * PATIENCE)  # at the first attempt: the second is an hour away
    finally:
        world.stop()


def send_all(world, recipients):
    with world.tacit.connect() as c:
        c.helo()
        lines = [f"MAIL FROM:<{world.sender('slow')}>"] + [f"RCPT TO:<{r}>" for r in recipients] + ["DATA"]
        c.send("".join(line + "\r\n" for line in lines).encode())
        replies = [c.reply() for _ in lines]
        assert replies[-1].startswith("354"), replies
        c.send(b"Subject: a test\r\n\r\nhello\r\n.\r\n")
        assert c.reply().startswith("250")
