/* chapters 1 to 6 */

/* The first argument is a program. Prints the numbers of all reasons that any change of one
   byte gives, then a line with the verdict on each of the other files. */

#include "check.h"

static struct vmo *read_file(const char *path)
{
    static u8 bytes[4 * MIB];
    FILE *file = fopen(path, "rb");
    u64 size = fread(bytes, 1, sizeof bytes, file);

    fclose(file);
    return elf_file(bytes, bytes + size);
}

/* Behind the headers elf_check() never looks. */
static void change_each_byte(struct vmo *file)
{
    static bool given[ELF_REASONS];
    static struct elf_image image;
    u64 at, value;
    u8 old, new;

    for (at = 0; at < file->size && at < 1024; at++) {
        vmo_read(file, at, &old, 1);
        for (value = 0; value < 256; value++) {
            new = (u8)value;
            vmo_write(file, at, &new, 1);
            given[elf_check(file, &image)] = true;
        }
        vmo_write(file, at, &old, 1);
    }
    for (at = 0; at < ELF_REASONS; at++)
        if (given[at])
            say("%lu ", at);
}

int main(int count, char **names)
{
    static struct elf_image image;
    u64 i;

    host_machine(64 * MIB);
    heap = (struct heap){.pmm = &pmm};
    change_each_byte(read_file(names[1]));
    for (i = 2; i < (u64)count; i++)
        say("\n%d", elf_check(read_file(names[i]), &image));
    say("\n");
}
