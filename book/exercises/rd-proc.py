import re

from check import need

TYPED = r"""
cd /proc && echo "- entered"
echo "- init"; cat 1
sleep 30 & sleeper=$!
sleep 0.3
echo "- sleeper $sleeper"; cat $sleeper
echo "- self"; sh -c 'exec cat /proc/$$'
echo "- list"; ls
kill $sleeper; wait
echo "- after its end"; cat $sleeper || echo gone
echo "- list again"; ls
echo "- twice"; cat 1 1
echo "- writing"; echo x >1 || echo refused
echo "- end"
"""


def check(tree):
    text = tree.boots(14, typed=TYPED)
    part = {title: lines.strip() for title, lines in
            re.findall(r"^- (.*)\n((?:(?!- ).*\n)*)", text, re.M)}
    need("entered" in part, "there is no directory /proc")
    need("end" in part, f"the shell does not come to its end:\n{text[-1000:]}")
    need("init" in part["init"], f"/proc/1 does not tell the name init, but `{part['init']}`")
    number = next(title.split()[1] for title in part if title.startswith("sleeper"))
    asleep, self = part[f"sleeper {number}"], part["self"]
    need("sleep" in asleep, f"/proc/{number} does not tell the name sleep, but `{asleep}`")
    need("cat" in self, f"a cat that reads its own file does not find its name, but `{self}`")
    state = {name: re.sub(rf"\S*\b{name}\b|\b\d+\b", "", said).split() for name, said in
             (("init", part["init"]), ("sleep", asleep), ("cat", self))}
    need(state["init"] == state["sleep"], "init waits and sleep sleeps, but their states differ: "
         f"`{part['init']}` and `{asleep}`")
    need(state["cat"] != state["sleep"], f"a cat that reads is not in the state of who sleeps: "
         f"`{self}` and `{asleep}`")
    listed = part["list"].split()
    need("1" in listed and number in listed, f"ls lists `{' '.join(listed)}`; 1 and {number} "
         "should be among them")
    need(part["after its end"].endswith("gone"), f"process {number} has ended, and its file is "
         f"still there: `{part['after its end']}`")
    need(number not in part["list again"].split(), f"process {number} has ended, and ls still "
         "lists it")
    need(part["twice"].count("init") == 2, "a file that is read twice tells something else the "
         f"second time: `{part['twice']}`")
