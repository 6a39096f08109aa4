"""Tests of the exercises: the answer of each is accepted by its check, the tree as it is and
typical wrong answers are refused, each with the sentence that its patch announces.
"""

import pathlib
import re
import shutil
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
EXERCISES = ROOT / "book" / "exercises"
sys.path.append(str(ROOT / "tools"))

import check

ALL = check.exercises()

# What nobody's tree may be told who has changed nothing: then it is the check that is at fault.
BROKEN = "do not compile|crashed on the host|does not end|hangs|fails:|should end well"

UNCHECKED = [e.name for e in ALL if not e.function()]


def copy_tree(t, name, built):
    """A tree of its own, in which what does not change is built already."""
    tree = t.dir / name
    shutil.copytree(ROOT, tree, symlinks=True, ignore=shutil.ignore_patterns(
        "build", ".git", "answers.txt", "figures"))
    (tree / "build").mkdir()
    (tree / "build" / "warm").symlink_to(ROOT / "build" / "warm")
    if built.exists():
        shutil.copytree(built, tree / "build" / "check" / f"{built.parent.name}-{built.name}",
                        symlinks=True)
    return tree


def apply(t, tree, patch):
    """A line that surrounds a change may have become another one; with more of them, it might be
    put where it does not belong."""
    status, text = t.run("patch", "-s", "-p1", "-F1", "--no-backup-if-mismatch", cwd=tree,
                         stdin=patch)
    t.check(status == 0, f"{patch.name} has to be made anew for the present source:\n{text}")


def exercise(e, cc, built, t):
    """Each state of the tree counts as a test."""
    results = []

    def state(what, wanted, patch=None, proof=None):
        try:
            tree = copy_tree(t, what, built)
            if patch:
                apply(t, tree, patch)
            said = check.state(e, check.Tree(tree, cc))
            t.check(re.match(wanted, said, re.S), f"expected: {wanted}\ngot: {said}")
            if proof:
                proof(check.Tree(tree, cc))
            shutil.rmtree(tree)
            results.append((f"{t.name}/{what}", ""))
        except Exception as failure:
            results.append((f"{t.name}/{what}", str(failure) or repr(failure)))

    state("untouched", f"not yet: (?!.*({BROKEN}))")
    state("answer", r"solved\Z", EXERCISES / f"{e.name}.patch", e.function("proof"))
    wrong = sorted(EXERCISES.glob(f"{e.name}.wrong-*.patch"))
    for patch in wrong:
        refused = re.match(r"refused: (.*)", patch.read_text())[1]
        state(patch.name.split(".")[1], f"not yet: .*(?:{refused})", patch)
    results.append((f"{t.name}/wrong", "" if len(wrong) > 1 else "two wrong answers are too few"))
    return results


def whole(cc, t):
    """What `make check` prints, of the tree as it is, solved, broken and asked for nonsense."""
    tree = copy_tree(t, "tree", pathlib.Path("nothing"))
    status, text = t.run("python3", "tools/check.py", f"CC={cc}", "1", cwd=tree)
    for e in ALL:
        if e.chapter == 1:
            t.expect(rf"^ 1  {e.name} +level {e.level}  (not yet: |no check yet$)", text)
    t.expect(r"^0 of \d+ solved", text)
    t.check(status == 1, f"status {status}")
    apply(t, tree, EXERCISES / "boot-hex.patch")
    status, text = t.run("python3", "tools/check.py", "boot-hex", cwd=tree)
    t.expect(r"^ 1  boot-hex +level 1  solved$", text)
    t.check(status == 0, f"status {status}")
    (tree / "rustica.c").write_text("mistake\n" + (tree / "rustica.c").read_text())
    t.expect(r"not yet: chapters .* do not compile:\n(?s:.*)mistake", t.run(
        "python3", "tools/check.py", "boot-hex", cwd=tree)[1])
    status, text = t.run("python3", "tools/check.py", "nonsense", cwd=tree)
    t.check(status == 1, f"status {status}")
    t.expect("no exercise is called nonsense", text)
    for e in ALL:
        t.expect(rf"^ +{e.chapter}  {e.name}$", text)
