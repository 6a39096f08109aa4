// ## true {#user-true}
//
// Succeeds. On some systems this program has had bugs, and a copyright.

#include "user.h"

int main(void)
{
    return 0;
}
