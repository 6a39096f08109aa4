import re

from check import need

POISON = "0xdeadbeefdeadbeef"


def check(tree):
    said = tree.answer("vmo-move.writer", "the function that GDB names at the write (#0), or the "
                       "one that called it").rstrip("()")
    need(said in ("cpu_stosq", "block_poison", "heap_insert"), f"{said}() did not do it. Watch "
         "`slice->parent->root`, by its address, from before the array grows")
    tree.ask("vmo-move.value", "the word that it wrote there", POISON,
             "GDB says `New value`; print it with /x")
    tree.ask("vmo-move.pointer", "the field of the slice which leads to where the VMO was",
             "parent", "who remembers an address in the array that has moved?")


# What the exercise says, without a debugger.
PROGRAM = """
void check_main(void)
{
    struct vmo *array, *slice;

    ch05_init();
    array = heap_alloc_zeroed(&heap, 2 * sizeof *array);
    object_init(&array[0].object, &vmo_type);
    object_init(&array[1].object, &vmo_type);
    array[0].size = array[1].size = 4 * FRAME_SIZE;
    slice = vmo_slice(&array[1], 0, FRAME_SIZE);
    array = heap_realloc(&heap, array, 4 * sizeof *array);
    printf("check: moved %d, the slice sees 0x%lx\\n", slice->parent != &array[1],
           slice->parent->root);
}
"""


def proof(tree):
    moved = tree.variant("moved", {"rustica.c": tree.prefix(5) + PROGRAM})
    said = moved.boots(5, chNN="check")
    need(re.search(f"^check: moved 1, the slice sees {POISON}$", said, re.M), said)
