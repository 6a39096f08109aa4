// ## poweroff {#user-poweroff}
//
// Switches the machine off. Only the superuser may, on Linux; on Rustica
// everybody is.

#include "libc.h"

int main(void)
{
    return complain("poweroff: %s", reason(reboot(REBOOT_POWER_OFF)));
}
