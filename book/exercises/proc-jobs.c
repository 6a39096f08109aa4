/* chapters 1 to 11 */

#include "check.h"

static int sent;

static void note(u32 group, int signal)
{
    sent = group == 7 ? signal : -1;
}

int main(void)
{
    tty.group = 7;
    tty.signal = note;
    tty_input('x');
    tty_input(26);
    need(sent == SIGTSTP, "^Z should send SIGTSTP, %d, to the group that has the terminal; it "
         "sends %d", SIGTSTP, sent);
    need(tty.ready == tty.end, "what was typed before ^Z should be gone");
    tty.termios.key[VSUSP] = 0;
    sent = 0;
    tty_input(26);
    need(!sent, "^Z sends a signal although a program has said that no key shall");
}
