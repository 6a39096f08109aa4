/* chapters 1 to 8 */

#include "check.h"

/* A list of two pieces in the program's memory. As soon as the kernel has read one of them,
   another thread makes it lead to the kernel. */
#define SECRET 0xffffffff80000000UL

static struct iovec list[2];
static char text[2][8] = {"first, ", "second."};
static bool attacking, fooled;
static u64 moved;

static u64 copy(void *to, const void *from, u64 size)
{
    u64 i;

    memcpy(to, from, size);
    for (i = 0; attacking && i < 2; i++)
        if ((u64)from < (u64)&list[i + 1] && (u64)from + size > (u64)&list[i])
            list[i].start = SECRET;
    return 0;
}

static s64 move(struct file *file, vaddr at, u64 size, u64 *offset)
{
    moved += size;
    fooled |= at >= USER_END;
    return (s64)size;
}

static void attack(u32 right)
{
    static const struct file_operations operations = {.read = move, .write = move};
    static struct object_type type = {.name = "check", .file = &operations};
    static struct file file;
    u64 offset = 0, i;

    object_init(&file.object, &type);
    object_get(&file.object);
    for (i = 0; i < 2; i++)
        list[i] = (struct iovec){(u64)text[i], sizeof text[i]};
    sys_transfer_pieces(&file, (vaddr)list, 2, right, &offset);
}

int main(void)
{
    sys.copy = copy;
    attack(RIGHT_WRITE);
    need(moved == sizeof text, "while nobody changes the list, sys_transfer_pieces() should move "
         "%lu bytes, not %lu", sizeof text, moved);
    attacking = true;
    attack(RIGHT_WRITE);
    attack(RIGHT_READ);
    need(fooled, "a second thread changes each description as soon as it has been read, and no "
         "address of the kernel's gets through: what is used is what has been checked");
}
