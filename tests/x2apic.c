/*
 * A kernel that finds its local APIC in the newer form, as a firmware may leave it. Like
 * five.c, this takes the place of efi_main.c, which it contains as prologue.c.
 */

#define efi_main efi_main_of_the_kernel
#include "prologue.c"
#undef efi_main

void efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system)
{
    efi.system = system;
    efi.boot = system->BootServices;
    if (!(cpu_cpuid(1, 0).ecx >> 21 & 1))
        efi_fail("this processor has no x2APIC.");
    cpu_wrmsr(0x1b, cpu_rdmsr(0x1b) | 1 << 11 | 1 << 10);
    efi_print("x2APIC\r\n");
    efi_main_of_the_kernel(image, system);
}
