// ## reboot {#user-reboot}
//
// Starts the machine anew.

#include "libc.h"

int main(void)
{
    return complain("reboot: %s", reason(reboot(REBOOT_RESTART)));
}
