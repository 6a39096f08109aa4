import collections
import os
import re

from check import need

# The same on Rustica and on Linux, in a folder for it.
SCRIPT = r"""
echo "- tee"; echo hello | tee x y | wc -c
echo "- tee's files"; cat x y
for n in 3 1 2 10 2 3 3 -5 -7 b a 02; do echo $n; done | tee list >/dev/null
echo "- sort"; sort list
echo "- sort of its input"; cat list | sort
echo "- sort -n"; sort -n list
echo "- sort -r"; sort -r list
echo "- sort -rn"; sort -rn list
echo "- uniq"; uniq list
echo "- uniq of sorted lines"; sort list | uniq
echo "- uniq -c"; sort list | uniq -c
echo "- nothing"; sort </dev/null; uniq </dev/null; tee </dev/null
echo "- two files"; sort list x
echo "- a text"; sort README
echo "- the most frequent"; PIPELINE
"""


def check(tree):
    for name in "tee", "sort", "uniq":
        need((tree.root / "user" / f"{name}.c").exists(), f"there is no user/{name}.c so far")
    pipeline = tree.answer("proc-tee.pipeline", "the pipeline that finds the ten most frequent "
                           "words, with how often each occurs, in the file README")
    need("README" in pipeline, "proc-tee.pipeline: where does the text come from?")
    script = SCRIPT.replace("PIPELINE", pipeline)
    folder = tree.out / "proc-tee"
    folder.mkdir(exist_ok=True)
    text = tree.read("user/root/README")
    (folder / "README").write_text(text)
    (folder / "script").write_text("cd ${0%/*}\n" + script)
    os.environ["LC_ALL"] = "C"
    _, wanted = tree.run("sh", folder / "script")
    said = tree.boots(14, typed="cd /tmp\ncat </README >README\n" + script + "echo '- end'\n")
    wanted, got = sections(wanted), sections(said)
    most_frequent(text, wanted.get("the most frequent", []), "on Linux")
    for name, lines in wanted.items():
        need(lines == got.get(name), f"{name}: Linux says\n" + "\n".join(lines) +
             "\nand Rustica\n" + "\n".join(got.get(name, [])))


def sections(text):
    """{title: lines}, without the blanks that some put in front of numbers."""
    return {title: [line.strip() for line in lines.splitlines()]
            for title, lines in re.findall(r"^- (.*)\n((?:(?!- |init: |boot: ).*\n)*)", text, re.M)}


def most_frequent(text, lines, where):
    counts = collections.Counter(text.split())
    need(len(lines) == 10, f"{where}, your pipeline prints {len(lines)} lines:\n" +
         "\n".join(lines))
    for line in lines:
        found = re.fullmatch(r"(\d+) (\S+)", line)
        need(found and counts[found[2]] == int(found[1]),
             f"{where}, your pipeline prints `{line}`; that word occurs "
             f"{counts[found[2]] if found else 0} times")
    got = sorted((int(line.split()[0]) for line in lines), reverse=True)
    need(got == [count for _, count in counts.most_common(10)],
         f"{where}, your pipeline misses words that are more frequent")
