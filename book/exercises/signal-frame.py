from check import Wrong, need

FIXED = 128 + 512 + 440     # what a function may use unasked, vector registers, signal_frame
LEAST, MOST = 16, 79        # for the alignment to 64 and 16, and what a call has pushed


def check(tree):
    said = tree.number("signal-frame.sum", "how many bytes the 128 that are left out and the "
                       "structures take together, without what the alignment takes")
    need(said == FIXED, f"signal-frame.sum is not {said}: below the stack pointer come 128 bytes, "
         "a struct fpu_state and a struct signal_frame, which begins with the return address. "
         "Print their sizes")
    for key, right, hint in (
            ("least", LEAST, "the vector registers begin at a multiple of 64; where may the frame "
             "begin, and how large is it?"),
            ("most", MOST, "by how many bytes can a stack pointer miss a multiple of 64?")):
        said = tree.number(f"signal-frame.{key}", f"the {key} that the alignment takes, whatever "
                           "the stack pointer was")
        need(said == right, f"signal-frame.{key} is not {said}: {hint}")
    said = tree.answer("signal-frame.measured", "what you have measured: the stack pointer of the "
                       "interrupted program, in hexadecimal, and by how many bytes that of the "
                       "handler is below it")
    try:
        before, distance = (int(word, 0) for word in said.split())
    except ValueError:
        raise Wrong(f"`{said}`, in answers.txt, should be two numbers, such as "
                    "`0x7fffffffe000 1000`")
    need(distance == FIXED + LEAST + before % 64, "signal-frame.measured: with a stack pointer of "
         f"{before:#x}, the handler does not begin {distance} bytes below it. On which line of "
         "signal_push() has f->rsp changed?")


# A program that sends itself a signal with each stack pointer that there is, modulo 128.
PROGRAM = r"""
#include "libc.h"

u64 before, inside, kept;

void handler(int signal);

__asm__(".globl handler\nhandler:\n movq %rsp, inside(%rip)\n ret\n");

static void tap(u64 down)
{
    long result;

    __asm__ volatile("movq %%rsp, kept(%%rip)\n subq %%rbx, %%rsp\n movq %%rsp, before(%%rip)\n"
                     "syscall\n movq kept(%%rip), %%rsp"
                     : "=a"(result) : "a"(SYS_KILL), "D"(getpid()), "S"(SIGUSR1), "b"(down)
                     : "rcx", "r11", "memory");
}

int main(void)
{
    u64 down, least = ~0UL, most = 0;

    signal_set(SIGUSR1, (vaddr)handler);
    for (down = 256; down < 384; down++) {
        tap(down);
        if (before - inside != FIXED + LEAST + before % 64) {
            say("wrong: %lu bytes below 0x%lx\n", before - inside, before);
            return done(1);
        }
        least = before - inside < least ? before - inside : least;
        most = before - inside > most ? before - inside : most;
    }
    if (least != FIXED + LEAST || most != FIXED + MOST)
        say("wrong: from %lu to %lu\n", least, most);
    done(0);
    print(CONTENT);
    return 0;
}
"""


def proof(tree):
    defined = f"#define FIXED {FIXED}UL\n#define LEAST {LEAST}UL\n#define MOST {MOST}UL\n"
    tree.judge(12, "hello", defined + PROGRAM)
