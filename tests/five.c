/*
 * A kernel that finds five levels of page tables, as the firmware of very large machines
 * leaves them. tests/run.py puts this file in the place of efi_main.c, which it contains as
 * prologue.c. Before the prologue does its work we switch to five levels, by its own means;
 * the firmware lives on under them and does not notice.
 */

#define efi_main efi_main_of_the_kernel
#include "prologue.c"
#undef efi_main

static struct {
    EFI_HANDLE image;
    EFI_SYSTEM_TABLE *system;
    u16 pad[3], gdt_limit;       /* as sgdt stores it, and lgdt wants it */
    u64 gdt_base;
    u64 code_segment, data_segment;
} five;

/* With the firmware's own segments again, whose handlers of interrupts want them. */
void five_restore_segments(const void *gdt, u64 code, u64 data);

__asm__(".text\n"
        "five_restore_segments:\n"
        "    lgdt (%rdi)\n"
        "    movw %dx, %ds\n"
        "    movw %dx, %ss\n"
        "    popq %rax\n"
        "    pushq %rsi\n"
        "    pushq %rax\n"
        "    .byte 0x48, 0xcb\n"); /* lretq */

static void five_go_on(void)
{
    five_restore_segments(&five.gdt_limit, five.code_segment, five.data_segment);
    __asm__ volatile("sti");
    if (!(cpu_read_cr4() & CR4_LA57))
        efi_fail("there are no five levels.");
    efi_print("five levels\r\n");
    efi_main_of_the_kernel(five.image, five.system);
}

void efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system)
{
    u64 *root, old;
    u8 *stack;

    efi.system = system;
    efi.boot = system->BootServices;
    five.image = image;
    five.system = system;
    if (!(cpu_cpuid(7, 0).ecx >> 16 & 1))
        efi_fail("the processor knows no five levels.");
    root = efi_alloc_pages(1, EfiLoaderData);
    stack = efi_alloc_pages(16, EfiLoaderData);
    efi_make_low_page();
    __asm__ volatile("mov %%cr3, %0" : "=r"(old));
    __asm__ volatile("sgdt (%0)" : : "r"(&five.gdt_limit) : "memory");
    __asm__ volatile("mov %%cs, %0" : "=r"(five.code_segment));
    __asm__ volatile("mov %%ds, %0" : "=r"(five.data_segment));
    root[0] = old | PTE_PRESENT | PTE_WRITE;
    cpu_cli();
    efi_enter_low(efi.low, (paddr)root, (vaddr)stack + 16 * FRAME_SIZE, (vaddr)five_go_on, NULL);
}
