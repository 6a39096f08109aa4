import re

from check import STEADY, need


def check(tree):
    tree.ask("signal-race.first", "what the first of the two instructions does: the variable that "
             "it reads, or the system call that it makes", "ticks", "a tick that comes while the "
             "signal is blocked is not lost; when is its handler called, and who has looked "
             "before that?")
    tree.ask("signal-race.second", "the same about the second of the two", "pause",
             "who is asleep is woken by the tick, and who is on the way is not")
    said = re.search(r"signals: (\d+) ticks? of an alarm", tree.boots(12, **STEADY))
    need(said and said[1] == "4", "the third tick should come where it is lost, each time, and "
         "`make run CH=12` then counts 4; it counts " + (said[1] if said else "none at all"))
    said = tree.boots(14, typed="strace signals\n", **STEADY)
    calls = re.findall(r"^\[\d+\] (\w+)\(", said, re.M)
    alarm = [place for place, call in enumerate(calls) if call == "setitimer"]
    need(len(alarm) > 1, "the alarm should be set and stopped, as before: " + " ".join(calls))
    calls = calls[alarm[0] + 1:alarm[1]]
    ticks = [place for place, call in enumerate(calls) if call == "rt_sigreturn"]
    shown = "between the two calls of setitimer it makes these: " + " ".join(calls)
    need("rt_sigsuspend" not in calls, "the call that lets signals through and sleeps is still "
         f"there; {shown}")
    need("pause" in calls and "rt_sigprocmask" in calls,
         f"the two calls are not rt_sigprocmask and pause; {shown}")
    need(len(ticks) == 4, f"{len(ticks)} ticks return from their handler; {shown}")
    need(calls[ticks[2] - 1] != "pause", "the third tick wakes the program from pause; it should "
         f"come before that; {shown}")
    need("pause" in calls[ticks[2]:ticks[3]], f"the fourth tick is not waited for; {shown}")
