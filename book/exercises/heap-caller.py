import re

from check import need

# Two functions that allocate and free; what they hold then, they know by themselves.
PROGRAM = """
void *check_held[2][40];
u64 check_sum[2];

void no_inline check_one(u64 i, u64 size) { check_held[0][i] = heap_alloc(&heap, size); }
void no_inline check_other(u64 i, u64 size) { check_held[1][i] = heap_alloc(&heap, size); }

void check_main(void)
{
    u64 seed = %d, i, size, who;

    ch04_init();
    for (i = 0; i < 80; i++) {
        who = i %% 2;
        size = 1 + pmm_random(&seed) %% 20000;
        check_sum[who] += size;
        who ? check_other(i / 2, size) : check_one(i / 2, size);
        if (pmm_random(&seed) %% 3 == 0) {
            heap_free(&heap, check_held[who][i / 2]);
            check_sum[who] -= size;
        }
    }
    printf("check: the table\\n");
    %s;
    printf("check: %%lu and %%lu\\n", check_sum[0], check_sum[1]);
}
"""


def check(tree):
    name = tree.answer("heap-caller.function", "the name of the function that prints your table, "
                       "which takes nothing or the heap's address").rstrip("()")
    text = tree.prefix(4)
    found = re.search(rf"^void (?:no_inline )?{re.escape(name)}\((void|.*\*\w*)\)\n{{", text, re.M)
    need(found, f"chapters 1 to 4 have no function `void {name}(void)` or `void {name}(struct heap "
                "*h)`")
    call = f"{name}({'' if found[1] == 'void' else '&heap'})"
    for seed in 1, 2:
        judge(tree, text + PROGRAM % (seed, call))


def judge(tree, text):
    said = tree.variant("caller", {"rustica.c": text}).boots(4, chNN="check")
    table = said[said.index("check: the table"):said.index("check: ", said.index("the table"))]
    sums = re.search(r"^check: (\d+) and (\d+)$", said, re.M).groups()
    for function, held in zip(("check_one", "check_other"), sums):
        rows = re.findall(rf"^.*\b{function}\b.*$", table, re.M)
        need(len(rows) == 1, f"{function}() holds memory, by one call, and so belongs into one row "
                             f"of the table, not {len(rows)}:\n{table}")
        need(re.search(rf"(?<![\w.]){held}(?![\w.])", rows[0]),
             f"{function}() holds {held} bytes, as it asked for them; your table says\n{rows[0]}")
