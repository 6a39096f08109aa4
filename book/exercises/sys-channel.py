import re

from check import need

PROGRAM = r"""
#include "judged.h"

#define CREATE %d
#define SEND %d
#define RECEIVE %d

static long send(long end, const char *text, long handle)
{
    return syscall6(SEND, end, (long)text, (long)length(text), handle, 0, 0);
}

/* Receives a message, which must be this one; returns the handle that came with it. */
static long receive(long end, const char *text, const char *what)
{
    char bytes[64];
    u64 handle = 0;
    long n = syscall6(RECEIVE, end, (long)bytes, sizeof bytes, (long)&handle, 0, 0);

    if (n != (long)length(text))
        wrong(what, n);
    bytes[n] = 0;
    if (!equal(bytes, text))
        wrong(what, bytes[0]);
    return (long)handle;
}

static long vmo_move(long number, long h, char *byte)
{
    return syscall6(number, h, 0, (long)byte, 1, 0, 0);
}

int main(void)
{
    u64 end[2] = {0, 0}, other[2];
    char byte = 'v', got = 0, nothing[4];
    long vmo, sent, i;

    expect(syscall3(CREATE, (long)end, 0, 0), 0, "making a channel should return 0");
    if (!end[0] || !end[1] || end[0] == end[1])
        wrong("a channel should have two ends with different numbers", (long)end[0]);
    expect(syscall6(RECEIVE, (long)end[1], (long)nothing, 4, 0, 0, 0), -EAGAIN,
           "receiving where nothing has been sent should return -EAGAIN");
    for (i = 0; i < 3; i++) {
        expect(send((long)end[0], "one", 0), 0, "sending");
        expect(send((long)end[0], "three", 0), 0, "sending a second message");
        expect(send((long)end[1], "back", 0), 0, "sending in the other direction");
        expect(receive((long)end[1], "one", "the first message is not received as it was sent"),
               0, "a message without a handle brings one");
        receive((long)end[1], "three", "the second message is not received as it was sent");
        receive((long)end[0], "back", "a message in the other direction is not received");
    }
    vmo = syscall3(SYS_VMO_CREATE, 4096, 0, 0);
    vmo_move(SYS_VMO_WRITE, vmo, &byte);
    expect(syscall6(SEND, (long)end[0], 1, 10, vmo, 0, 0), -EFAULT,
           "sending from where nothing is mapped should return -EFAULT");
    expect(vmo_move(SYS_VMO_READ, vmo, &got), 0, "and the handle should stay with the sender");
    expect(send((long)end[0], "x", 999), -EBADF, "sending a handle that there is not");
    expect(send((long)end[0], "vmo", vmo), 0, "sending a handle");
    expect(vmo_move(SYS_VMO_READ, vmo, &got), -EBADF,
           "a handle that was sent should be gone from the sender's table");
    sent = receive((long)end[1], "vmo", "a message with a handle is not received");
    got = 0;
    expect(vmo_move(SYS_VMO_READ, sent, &got), 0, "reading by the handle that was received");
    expect(got, 'v', "the VMO that was received is another one");
    vmo = syscall3(SYS_HANDLE_DUPLICATE, sent, 1 | 8, 0);   /* to read and to duplicate */
    send((long)end[0], "r", vmo);
    vmo = receive((long)end[1], "r", "a message with a duplicate is not received");
    expect(vmo_move(SYS_VMO_WRITE, vmo, &byte), -EBADF,
           "a handle has got more rights on its way: writing by one that may only read");
    expect(syscall3(CREATE, (long)other, 0, 0), 0, "a second channel");
    expect(send((long)end[0], "end", (long)other[1]), 0, "sending an end of a channel");
    sent = receive((long)end[1], "end", "a message with an end of a channel is not received");
    send((long)other[0], "through", 0);
    receive(sent, "through", "what was sent into a channel whose end has moved");
    vmo = syscall3(SYS_VMO_CREATE, 4096, 0, 0);
    vmo_move(SYS_VMO_WRITE, vmo, &byte);
    send((long)end[0], "never received", vmo);
    syscall3(SYS_HANDLE_CLOSE, (long)other[0], 0, 0);
    expect(send(sent, "x", 0), -EPIPE, "sending to an end that is closed should return -EPIPE");
    print(CONTENT);
    return 0;
}
"""


def check(tree):
    calls = [tree.number(f"sys-channel.{name}", f"the number of the call that {what}")
             for name, what in (
                 ("create", "makes a channel; its argument is where to put the two numbers (u64)"),
                 ("send", "sends: an end, bytes, how many, a handle or 0"),
                 ("receive", "receives: an end, where to, how many at most, where to put the "
                             "handle's number (u64) or 0; it returns how many bytes came"))]
    text = tree.judge(8, "calls", PROGRAM % tuple(calls))
    need(re.search("^syscall: frames lost: 0, objects left: 0$", text, re.M),
         "a VMO was sent and never received, and both ends are closed; it is lost:\n" +
         text[-200:])
