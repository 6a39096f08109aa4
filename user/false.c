// ## false {#user-false}
//
// Fails, reliably.

#include "user.h"

int main(void)
{
    return 1;
}
