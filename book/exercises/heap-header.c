/* chapters 1 to 4 */

#include "check.h"

int main(void)
{
    u64 size, used;
    u8 *one, *other;

    host_machine(32 * MIB);
    heap = (struct heap){.pmm = &pmm};
    for (size = 100; size < 2000; size += 37) {
        one = heap_alloc(&heap, size);
        other = heap_alloc(&heap, size);
        used = (u64)(other > one ? other - one : one - other);
        need(used <= align_up(size + 16 + HEAP_RED_ZONE, 16), "a block for %lu bytes takes %lu; "
             "with a header of 16 bytes and the red zone it would be %lu", size, used,
             align_up(size + 16 + HEAP_RED_ZONE, 16));
        need((u64)one % 16 == 0, "a block for %lu bytes is not at a multiple of 16", size);
        heap_free(&heap, one);
        heap_free(&heap, other);
        heap_trim(&heap);
    }
}
