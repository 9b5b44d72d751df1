"""The rows of actinic-benches, done by Ray: the same work, with the same arguments and checks.

usage: ray_work.py NAME...   (WORK_DIR: a short path for its files; WORK_QUICK=1: a smoke run)
Prints  ROW<TAB>name<TAB>value . Run by `actinic-benches --ray`; each section has a process of its own.
"""

import os
import statistics
import subprocess
import sys
import time

ROOT = os.environ["WORK_DIR"]
QUICK = bool(os.environ.get("WORK_QUICK"))
TMP = ROOT + "/t"  # Ray puts unix sockets below it, whose paths are bounded
os.environ.update(
    RAY_USAGE_STATS_ENABLED="0",
    RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",  # the one switch that makes Ray advertise 127.0.0.1
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
    HOME=ROOT + "/home",  # Ray writes an auth token to ~/.ray
    RAY_AUTH_MODE="token",
)
now = time.perf_counter
size = lambda full, quick: quick if QUICK else full


def emit(name, values):
    values = values if isinstance(values, list) else [values]
    print("ROW", name, statistics.median(values), sep="\t", flush=True)


def secs(work):
    t = now()
    work()
    return now() - t


def rate(name, work, count):
    """Operations a second: the median of three runs of a second."""
    work()
    out = []
    for _ in range(size(3, 1)):
        n, t = 0, now()
        while now() - t < size(1.0, 0.01):
            work()
            n += count
        out.append(n / (now() - t))
    if name:
        emit(name, out)
    return statistics.median(out)


def latency(name, work):
    for _ in range(20):
        work()
    n, p50, p99 = size(400, 20), [], []
    for _ in range(size(3, 1)):
        s = sorted(secs(work) * 1e6 for _ in range(n))
        p50.append(s[n // 2])
        p99.append(s[n * 99 // 100])
    emit(name + "_p50", p50)
    emit(name + "_p99", p99)


def start(**kw):
    import ray

    ray.init("local", _node_ip_address="127.0.0.1", _temp_dir=TMP, log_to_driver=False, **kw)

    @ray.remote
    def warm():
        time.sleep(0.3)

    ray.get([warm.remote() for _ in range(4)])
    return ray


# ---- processes, through /proc
def descendants(root):
    kids = {}
    for p in filter(str.isdigit, os.listdir("/proc")):
        try:
            parent = int(open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        kids.setdefault(parent, []).append(int(p))
    todo, out = [root], []
    while todo:
        below = kids.get(todo.pop(), [])
        out += below
        todo += below
    return out


def mem(pid, key):
    try:
        for line in open(f"/proc/{pid}/smaps_rollup"):
            if line.startswith(key + ":"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


def cpu(pids):
    total = 0
    for p in pids:
        for t in os.listdir(f"/proc/{p}/task") if os.path.isdir(f"/proc/{p}/task") else []:
            try:
                total += int(open(f"/proc/{p}/task/{t}/schedstat").read().split()[0])
            except OSError:
                pass
    return total / 1e9


# ---- sections
def tasks(wants):
    ray = start()

    @ray.remote
    def echo(x):
        return x

    @ray.remote(num_cpus=0)
    class Client:
        def tasks(self, n):
            return sum(ray.get([echo.remote(x) for x in range(n)]))

    def burst(n):
        assert ray.get([echo.remote(x) for x in range(n)]) == list(range(n))

    if wants("tasks_async_10k"):
        rate("tasks_async_10k", lambda: burst(size(10000, 100)), size(10000, 100))
    if wants("tasks_async_100k") or wants("cost_100k"):
        n = size(100000, 200)
        took = secs(lambda: burst(n))
        emit("tasks_async_100k", n / took)
        emit("cost_100k", took / n * 1e6)
    if wants("task_sync"):
        latency("task_sync", lambda: ray.get(echo.remote(1)))
    if wants("two_clients"):
        clients, n = [Client.remote() for _ in range(2)], size(2000, 50)

        def submit(some):
            assert ray.get([c.tasks.remote(n) for c in some]) == [n * (n - 1) // 2] * len(some)

        submit(clients)
        one = rate(None, lambda: submit(clients[:1]), n)
        two = rate("two_clients", lambda: submit(clients), 2 * n)
        emit("two_clients_times", two / one)
    for name, n, reps in (("cost_1k", 1000, 5), ("cost_10k", 10000, 3)):
        if wants(name):
            n, reps = size(n, n // 100), size(reps, 1)
            emit(name, [secs(lambda: burst(n)) / n * 1e6 for _ in range(reps)])
    emit("shutdown", secs(ray.shutdown) * 1e3)


def actors(wants):
    ray = start()

    @ray.remote(num_cpus=0)
    class Echo:
        def echo(self, x):
            return x

    @ray.remote(num_cpus=0)
    class AsyncEcho:
        async def echo(self, x):
            return x

    @ray.remote(num_cpus=0)
    class Caller:
        def calls(self, servers, n):
            return sum(ray.get([s.echo.remote(x) for s in servers for x in range(n)]))

    n = size(10000, 100)

    def calls(actor):
        assert ray.get([actor.echo.remote(x) for x in range(n)]) == list(range(n))

    a = Echo.remote()
    ray.get(a.echo.remote(1))
    if wants("actor_async"):
        rate("actor_async", lambda: calls(a), n)
    if wants("actor_sync"):
        latency("actor_sync", lambda: ray.get(a.echo.remote(1)))
    if wants("async_actor"):
        b = AsyncEcho.remote()
        rate("async_actor_async", lambda: calls(b), n)
        latency("async_actor_sync", lambda: ray.get(b.echo.remote(1)))
    if wants("nn"):
        servers, callers, m = [Echo.remote() for _ in range(2)], [Caller.remote() for _ in range(2)], size(1000, 50)

        def all_():
            assert ray.get([c.calls.remote(servers, m) for c in callers]) == [m * (m - 1)] * 2

        one = rate(None, lambda: calls(a), n)
        both = rate("nn_async", all_, 4 * m)
        emit("nn_times", both / one)
    ray.shutdown()


def small(wants):
    ray = start()

    @ray.remote
    def echo(x):
        return x

    @ray.remote
    def total(*values):
        return sum(values)

    @ray.remote
    def outer(n):
        return sum(ray.get([echo.remote(x) for x in range(n)]))

    @ray.remote
    def holder(n):
        return [ray.put(x) for x in range(n)]

    if wants("get_small"):
        ref = ray.put(7)
        rate("get_small", lambda: ray.get(ref), 1)
    if wants("put_small"):
        rate("put_small", lambda: ray.put(7), 1)
    if wants("wait_1k"):

        def wait_1k():
            todo, first = [echo.remote(x) for x in range(size(1000, 50))], True
            while todo:
                _, todo = ray.wait(todo, fetch_local=first)
                first = False

        rate("wait_1k", wait_1k, 1)
    n, reps = size(10000, 100), size(3, 1)
    for kind in ("objects", "results"):
        if wants(f"10k_{kind}"):
            refs = [ray.put(x) if kind == "objects" else echo.remote(x) for x in range(n)]
            ray.wait(refs, num_returns=n)
            emit(f"got_10k_{kind}", [secs(lambda: ray.get(refs)) * 1e3 for _ in range(reps)])

            def pass_all():
                assert ray.get(total.remote(*refs)) == n * (n - 1) // 2

            emit(f"args_10k_{kind}", [secs(pass_all) * 1e3 for _ in range(reps)])
            del refs
    if wants("holder_10k"):
        h = holder.remote(n)
        rate("holder_10k", lambda: ray.get(h), 1)
    if wants("nested"):

        def nested():
            assert ray.get([outer.remote(10) for _ in range(5)]) == [45] * 5

        nested()
        emit("nested", [secs(nested) * 1e3 for _ in range(size(5, 1))])
    ray.shutdown()


def memory(wants):
    ray = start()

    @ray.remote
    def echo(x):
        return x

    @ray.remote
    def hold(path):
        while os.path.exists(path):
            time.sleep(0.002)

    n, gate = size(100000, 200), ROOT + "/gate"
    ray.get([echo.remote(x) for x in range(1000)])
    before = mem(os.getpid(), "Rss")
    open(gate, "w").close()
    held = [hold.remote(gate) for _ in range(int(ray.cluster_resources()["CPU"]))]
    time.sleep(0.2)
    refs = [echo.remote(x) for x in range(n)]
    time.sleep(0.5)
    emit("memory_100k", (mem(os.getpid(), "Rss") - before) * (1 << 20) / n)
    os.unlink(gate)
    ray.get(held + refs)
    ray.shutdown()


def idle(wants):
    ray = start(num_cpus=1)

    @ray.remote(num_cpus=0)
    class Echo:
        def pid(self):
            return os.getpid()

    if wants("idle"):
        time.sleep(size(8, 0))
        pids = descendants(os.getpid()) + [os.getpid()]
        emit("idle_pss", sum(mem(p, "Pss") for p in pids))
        c, t = cpu(pids), now()
        time.sleep(size(8, 0.1))
        emit("idle_cpu", 100 * (cpu(pids) - c) / (now() - t))
    if wants("actor"):
        n = size(50, 2)
        t = now()
        batch = [Echo.remote() for _ in range(n)]
        pids = ray.get([a.pid.remote() for a in batch])
        emit("actors_50", (now() - t) * 50 / n)
        assert len(set(pids)) == n
        time.sleep(size(2, 0))
        emit("actor_pss", sum(mem(p, "Pss") for p in pids) / n)
    ray.shutdown()


BOOT = """
import time; t=time.perf_counter()
import ray
ray.init("local", _node_ip_address="127.0.0.1", _temp_dir={tmp!r}, log_to_driver=False)
@ray.remote
def echo(x): return x
assert ray.get(echo.remote(1)) == 1
print("BOOT", (time.perf_counter()-t)*1e3)
"""


def boot(wants):
    out = []
    for _ in range(size(3, 1)):
        done = subprocess.run([sys.executable, "-c", BOOT.format(tmp=TMP)], capture_output=True, text=True)
        out.append(float(done.stdout.split("BOOT ")[-1].split()[0]))
    emit("boot", out)


SECTIONS = {
    tasks: ("tasks_async", "task_sync", "two_clients", "cost_", "shutdown"),
    actors: ("actor_async", "actor_sync", "async_actor", "nn_"),
    small: ("get_small", "put_small", "wait_1k", "got_10k", "args_10k", "holder_10k", "nested"),
    memory: ("memory_",),
    idle: ("idle_", "actors_50", "actor_pss"),
    boot: ("boot",),
}

if __name__ == "__main__":
    if sys.argv[1] == "--section":
        names = sys.argv[3:]
        section = next(s for s in SECTIONS if s.__name__ == sys.argv[2])
        section(lambda part: any(part in name for name in names))
    else:
        for section, parts in SECTIONS.items():
            names = [n for n in sys.argv[1:] if n.startswith(parts)]
            if names:
                subprocess.run([sys.executable, __file__, "--section", section.__name__, *names])
