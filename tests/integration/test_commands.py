"""Every command beside Redis: tables of cases in RESP2 and RESP3, compared byte by byte."""

import cases
import generated_cases
import harness
from harness import same


def compare_all(t, all_cases):
    all_cases = list(all_cases)
    # Under an LFU policy Redis answers OBJECT FREQ and IDLETIME as a server with TinyLFU does.
    redis, hearth = t.redis(maxmemory_policy="allkeys-lfu"), t.hearth()
    if t.stands_in():
        hearth.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lfu")
    wrong = []
    for resp3 in (False, True):
        found = cases.compare(redis, hearth, all_cases, resp3)
        wrong += ["RESP%d %s" % (3 if resp3 else 2, text) for text in found]
    if wrong:
        shown = "\n".join(wrong[:60])
        raise AssertionError("%d cases differ, the first are:\n%s" % (len(wrong), shown))
    t.note("%d cases, %d commands, twice" % (len(all_cases), sum(
        len(c.commands) for c in all_cases)))  # fmt: skip


def test_strings(t):
    compare_all(t, cases.load("strings"))


def test_keys(t):
    compare_all(t, cases.load("keys"))


def test_server(t):
    compare_all(t, cases.load("server"))


def _generated(function):
    def test(t):
        compare_all(t, function())

    test.__doc__ = function.__doc__
    return harness.limit(300)(test)


for _function in generated_cases.ALL:
    globals()["test_" + _function.__name__] = _generated(_function)


def test_random_key_is_fair(t):
    """RANDOMKEY returns every key of a small database sooner or later, and only those."""
    hearth = t.hearth()
    with hearth.connect() as c:
        keys = {b"k%d" % i for i in range(10)}
        c.ok("MSET", *[w for k in keys for w in (k, b"v")])
        seen = {c.ok("RANDOMKEY") for _ in range(1000)}
        same(keys, seen, "keys seen in 1000 draws")
