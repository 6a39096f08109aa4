import re

from check import need

STEPS = 167


def check(tree):
    tree.ask("heap-bug.check", "the function whose check notices first", "block_check_red_zone",
             "it is the first one below `called from`")
    tree.ask("heap-bug.blamed", "the function that its message blames", "heap_trial_step",
             "the message names who allocated the block, without being to blame")
    tree.ask("heap-bug.steps", "after how many steps the audit notices", str(STEPS),
             "let the trial print its steps, counted from 1; the audit belongs behind the step")
    tree.ask("heap-bug.assertion", "what the audit asserts there", "listed == count.free",
             "the panic's first line has it")
    tree.ask("heap-bug.writer", "the function that wrote the damage", "heap_remove",
             "make gdb CH=4: a watchpoint on the red zone of that block")
    said = tree.answer("heap-bug.pointer", "through which pointer it wrote, as it is written there")
    need(re.fullmatch(r"\(?(f->)?previous\)?(->next)?", said),
         f"heap-bug.pointer is not `{said}`: which pointer of f still led to a block that is in "
         "use now?")


def proof(tree):
    text = tree.read("rustica.c")
    text = text.replace("    block_check_poison(b);\n    if (f->next)\n",
                        "    f->next = NULL;\n    block_check_poison(b);\n    if (f->next)\n")
    _, said = tree.variant("bug", {"rustica.c": text}).boot(4)
    need(re.search(r"panic at .*: heap block .* was written past .*\(allocated by heap_trial_step.*"
                   r"\n.*\n +0x\w+  block_check_red_zone\+", said), said)
    step = "        heap_trial_step(&trial, &seed);\n"
    text = text.replace(step, step[:-2] + ', heap_audit(&heap), printf("step %lu\\n", i + 1);\n')
    _, said = tree.variant("bug", {"rustica.c": text}).boot(4)
    need(re.search(rf"^step {STEPS - 1}\n\n.*assertion failed: listed == count.free\n", said, re.M),
         said[-1000:])
