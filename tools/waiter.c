// # The waiter {#waiter}
//===========================================================================
//
// Of the three seconds from starting QEMU to a kernel's first instruction
// nearly all belong to the firmware, and it does the same every time. So we
// let it do that once. This program is started in the kernel's place, and
// does nothing but wait. While it waits, `snapshot.sh` takes a snapshot of
// the machine: memory, processor, devices. Each later run wakes that
// machine up with another kernel in its `-kernel` option; the waiter sees
// it, has the firmware load it, and starts it.
//
// The kernel notices no difference. The firmware is the real one, alive and
// waiting for its questions; it has only been asleep for a while, perhaps
// since last week.
//
// ## Asking QEMU {#waiter-ask}
//
// QEMU shows a machine its command line through a device, *fw_cfg* (QEMU,
// docs/specs/fw_cfg). Each item has a number. QEMU takes the kernel for
// Linux and offers it in two pieces, `SETUP` and `KERNEL`; put together
// they are the file.

// The firmware passes our two arguments in other registers than our
// compilers expect. Nothing here has to be relocated: no variable holds an
// address, and the compiler finds those that are `static` by their distance
// from the code. (The kernel has [more to do](#efi-start).)

#include <efi.h>

__asm__(".text\n"
        ".globl efi_start\n"
        "efi_start:\n"
        "    subq $8, %rsp\n"
        "    movq %rcx, %rdi\n"
        "    movq %rdx, %rsi\n"
        "    call efi_main\n"
        "    addq $8, %rsp\n"
        "    ret\n"
        ".section .reloc, \"a\"\n"
        "    .long 0, 10\n"
        "    .word 0\n"
        ".text\n");

enum fw_item {
    FW_KERNEL_SIZE = 0x08, FW_KERNEL = 0x11, FW_OPTIONS_SIZE = 0x14, FW_OPTIONS = 0x15,
    FW_SETUP_SIZE = 0x17, FW_SETUP = 0x18,
};

void cpu_outb(UINT16 port, UINT8 value)
{
    __asm__ volatile("outb %b0, %w1" : : "a"(value), "d"(port));
}

void cpu_outl(UINT16 port, UINT32 value)
{
    __asm__ volatile("outl %0, %w1" : : "a"(value), "d"(port) : "memory");
}

UINT32 big_endian(UINT32 x)
{
    return x << 24 | (x & 0xff00) << 8 | (x >> 8 & 0xff00) | x >> 24;
}

// We write the address of a request to the device, in two halves, all of it
// big-endian. With the second half QEMU copies the item to our memory,
// before the processor's next instruction.

#define FW_READ_ITEM (1 << 3 | 1 << 1)

struct fw_request {
    UINT32 control;
    UINT32 size;
    UINT32 address_high, address_low;
};

void fw_read(enum fw_item item, void *to, UINT32 size)
{
    volatile struct fw_request request;

    request.control = big_endian((UINT32)item << 16 | FW_READ_ITEM);
    request.size = big_endian(size);
    request.address_high = big_endian((UINT64)to >> 32);
    request.address_low = big_endian((UINT32)(UINT64)to);
    cpu_outl(0x514, big_endian((UINT64)&request >> 32));
    cpu_outl(0x518, big_endian((UINT32)(UINT64)&request));
}

UINT32 fw_size(enum fw_item item)
{
    UINT32 size = 0;

    fw_read(item, &size, sizeof size);
    return size;
}

// ## Waiting {#waiter-wait}
//
// How does the waiter know that it has been woken? Its own options are
// `wait for a kernel`; it looks about a thousand times a second whether
// they still are. If nobody comes for ten seconds or so, then whoever
// started us has died, and we leave too: a machine that waits keeps a
// processor busy.
//
// The firmware has a function that waits, but it looks at a clock, and when
// the machine wakes up that may be another one (`make bench` counts
// instructions instead of time). If it is behind, the function waits until
// it has caught up. So we read a port, which takes some time too.
//
// Somebody who has just made a snapshot wants to know whether it is any
// good. For that the waiter can be woken to start another waiter, with the
// options `leave at once`: it says that it is here, and leaves. The status
// that QEMU ends with is twice the number we write to port 0xf4, plus one.

#define LEAVE_WELL 2       /* QEMU ends with status 5 */
#define LEAVE_REFUSED 3    /* 7 */
#define LEAVE_ALONE 4      /* 9 */

static char options[1024]; /* of the kernel that QEMU offers now */
static UINT16 wide_options[1024];

int options_are(const char *text)
{
    UINT32 i, size = fw_size(FW_OPTIONS_SIZE);

    if (size >= sizeof options)
        size = sizeof options - 1;
    fw_read(FW_OPTIONS, options, size);
    options[size] = 0;
    for (i = 0; options[i] == text[i]; i++)
        if (!text[i])
            return 1;
    return 0;
}

void print(const char *text)
{
    for (; *text; text++)
        cpu_outb(0xe9, (UINT8)*text);
}

// ## Starting the kernel {#waiter-start}
//
// The firmware loads an image from memory as well as from a disk. It makes
// a copy, so we give our buffer back at once: the kernel is to find as much
// free memory as it would without us.

EFI_STATUS load_kernel(EFI_BOOT_SERVICES *boot, EFI_HANDLE us, EFI_HANDLE *kernel)
{
    UINT32 setup = fw_size(FW_SETUP_SIZE), rest = fw_size(FW_KERNEL_SIZE);
    UINTN pages = ((UINTN)setup + rest + 4095) / 4096;
    EFI_PHYSICAL_ADDRESS file = 0;
    EFI_STATUS status;

    status = uefi_call_wrapper(boot->AllocatePages, 4, AllocateAnyPages, EfiLoaderData,
                               pages, &file);
    if (status != EFI_SUCCESS)
        return status;
    fw_read(FW_SETUP, (void *)file, setup);
    fw_read(FW_KERNEL, (char *)file + setup, rest);
    status = uefi_call_wrapper(boot->LoadImage, 6, 0, us, NULL, (void *)file,
                               (UINTN)setup + rest, kernel);
    uefi_call_wrapper(boot->FreePages, 2, file, pages);
    return status;
}

void give_options(EFI_BOOT_SERVICES *boot, EFI_HANDLE kernel)
{
    EFI_GUID protocol = LOADED_IMAGE_PROTOCOL;
    EFI_LOADED_IMAGE *image = NULL;
    UINTN i;

    uefi_call_wrapper(boot->HandleProtocol, 3, kernel, &protocol, (void **)&image);
    for (i = 0; options[i]; i++)
        wide_options[i] = (UINT8)options[i];
    image->LoadOptions = wide_options;
    image->LoadOptionsSize = (UINT32)((i + 1) * sizeof *wide_options);
}

void cpu_rest(void)
{
    UINT8 value;
    int i;

    for (i = 0; i < 4000; i++)
        __asm__ volatile("inb $0x80, %0" : "=a"(value));
}

// The firmware's watchdog would reset the machine after five minutes, and
// they would be running while it sleeps.

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system)
{
    EFI_BOOT_SERVICES *boot = system->BootServices;
    EFI_HANDLE kernel = NULL;
    int rests;

    uefi_call_wrapper(boot->SetWatchdogTimer, 4, 0, 0, 0, NULL);
    print("waiting\n");
    if (options_are("leave at once"))
        cpu_outb(0xf4, LEAVE_WELL);
    for (rests = 0; options_are("wait for a kernel"); rests++) {
        cpu_rest();
        if (rests == 10000)
            cpu_outb(0xf4, LEAVE_ALONE);
    }
    if (load_kernel(boot, image, &kernel) == EFI_SUCCESS) {
        give_options(boot, kernel);
        uefi_call_wrapper(boot->StartImage, 3, kernel, NULL, NULL);
    }
    print("the firmware refuses this kernel\n");
    cpu_outb(0xf4, LEAVE_REFUSED);
    return EFI_LOAD_ERROR;
}
