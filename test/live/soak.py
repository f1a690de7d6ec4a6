"""Kills random processes under mixed load for many rounds, and accounts for every message: mixed.py says how.

Not part of the suite: make soak, with SOAK_SECONDS=… (default 120) and SOAK_SEED=… to do the same again. Every half
minute the load pauses and everything is counted, so that a run can last for days.
"""
import collections
import os
import shutil
import sys
import tempfile
import time

from conftest import Tacit
from mixed import Load, World, counts

SECONDS = float(os.environ.get("SOAK_SECONDS", "120"))
SEED = int(os.environ.get("SOAK_SEED", str(int(time.time()))))
LOAD_SECONDS = 30


def run(world):
    total = collections.Counter()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        load = Load(world, total["loads"])
        try:
            world.disturb_for(seconds=min(LOAD_SECONDS, max(5.0, end - time.monotonic())))
            time.sleep(1)
        finally:
            load.stop()
        world.settle()
        world.account(load.sent)
        world.restart("stop")  # what is known must stand on the disk
        world.settle()
        world.account(load.sent)
        world.forget()
        total["loads"] += 1
        total["messages"] += len(load.sent)
        total["accepted"] += sum(s.answer == 250 for s in load.sent)
        print(f"{world.rounds} rounds; {counts(load.sent)}", flush=True)
    print(f"{total['messages']} messages, {total['accepted']} accepted: none lost, none twice; "
          f"{world.rounds} disturbances: " + ", ".join(f"{n} {what}" for what, n in sorted(world.done.items())), flush=True)
    print(world.empties(), flush=True)
    world.t.stop()
    world.t.check_log()


def main():
    directory = tempfile.mkdtemp(prefix="tacit-soak-")
    os.chmod(directory, 0o755)
    print(f"seed {SEED}, {SECONDS:.0f} s, {directory}", flush=True)
    world = World(lambda **settings: Tacit(directory, **settings), SEED)
    try:
        run(world)
    except BaseException as e:
        print(str(e)[-3000:])
        print(f"seed {SEED}, kept: {directory}", flush=True)
        if world.t.process and world.t.process.poll() is None:
            world.t.process.terminate()
            world.t.process.wait(60)
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
