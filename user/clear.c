// ## clear {#user-clear}
//
// Tells the terminal to erase everything, and to begin again at the top.

#include "libc.h"

int main(void)
{
    print("\033[H\033[2J");
    return 0;
}
