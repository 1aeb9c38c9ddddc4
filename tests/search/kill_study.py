"""Kills a study and its workers at random moments: `python kill_study.py FOLDER KILLS SEED`.

Coordinator and workers are forked off this process, which has loaded everything already, so that
many kills take little time. A study that ends all the same is followed by another one, each in a
folder of its own. At the end it prints how often a coordinator and how often a worker was killed.
"""

import os
import random
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

from synthetic_runner import make_study

from lsh_native.search.executors import local, worker
from lsh_native.search.executors.job import RunnerSource
from lsh_native.search.store import Store


class Forked:
    """What `subprocess.Popen` is to `Local`: a worker, forked instead of started anew."""

    def __init__(self, command, **options):
        read, self_write = os.pipe()
        self_read, write = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            os.dup2(read, 0)
            os.dup2(write, 1)
            os.closerange(3, 256)  # the pipes of others, and the store
            sys.stdin = os.fdopen(0)
            worker.main()
            os._exit(0)
        os.close(read)
        os.close(write)
        self.stdin, self.stdout = os.fdopen(self_write, "w"), os.fdopen(self_read)
        self.returncode = None

    def poll(self):
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self):
        while self.poll() is None:
            time.sleep(0.001)
        return self.returncode

    def kill(self):
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def live(folder):
    """Be a coordinator until the study ends."""
    settings = {"folder": str(folder), "pause": 0.02}
    source = RunnerSource("synthetic_runner:make", settings)
    with Store(folder / "study.db") as store:
        executor = local.Local(source, workers=2, threads=1)
        make_study(store, None, executor=executor).run(retries=sys.maxsize)


def finished_after(coordinator, seconds):
    """Wait, first for it to have a worker; whether the study ended meanwhile."""
    until = None
    while until is None or time.monotonic() < until:
        if os.waitpid(coordinator, os.WNOHANG)[0]:
            return True
        if until is None and workers_of(coordinator):
            until = time.monotonic() + seconds
        time.sleep(0.002)
    return False


def workers_of(coordinator):
    """The processes that a process has forked off."""
    pids = []
    for task in Path(f"/proc/{coordinator}/task").iterdir():
        with suppress(OSError):  # a thread that has ended since
            pids += [int(pid) for pid in (task / "children").read_text().split()]
    return pids


def main() -> None:
    folder, wanted, generator = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))
    local.subprocess = SimpleNamespace(Popen=Forked, PIPE=local.subprocess.PIPE)
    killed = {"coordinator": 0, "worker": 0}
    studies = 0
    finished = True
    while sum(killed.values()) < wanted:
        studies += finished
        place = folder / str(studies)
        place.mkdir(exist_ok=True)
        coordinator = os.fork()
        if not coordinator:
            live(place)
            os._exit(0)
        while not finished_after(coordinator, generator.uniform(0.005, 0.15)):
            who = generator.choice(("coordinator", "worker"))
            if who == "coordinator":
                os.kill(coordinator, signal.SIGKILL)
                killed[who] += 1
                os.waitpid(coordinator, 0)
                finished = False
                break
            workers = workers_of(coordinator)
            if workers:
                with suppress(ProcessLookupError):  # it has ended since
                    os.kill(generator.choice(workers), signal.SIGKILL)
                    killed[who] += 1
        else:
            finished = True
    print(killed["coordinator"], killed["worker"], studies)


if __name__ == "__main__":
    main()
