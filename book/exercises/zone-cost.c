/* chapters 1 to 3 */
/* flags: -fsanitize-coverage=trace-pc */

#include "check.h"

/* The compiler calls this for each stretch of code without a branch. */
static u64 steps;

void __attribute__((no_sanitize_coverage)) __sanitizer_cov_trace_pc(void)
{
    steps++;
}

/* A map of `count` pieces, alternately free and not, in some order. */
enum order { UPWARD, DOWNWARD, SHUFFLED };

static void make_map(u64 count, enum order order)
{
    struct efi_descriptor *d = (struct efi_descriptor *)host.map, swap;
    u64 i, j, seed = 1;

    host_reset(0);
    for (i = 0; i < count; i++)
        host_add_map(i % 16 ? EFI_CONVENTIONAL : EFI_MMIO, 2 * MIB + i * 64 * KIB, 16);
    for (i = 0; order == DOWNWARD && i < count / 2; i++)
        swap = d[i], d[i] = d[count - 1 - i], d[count - 1 - i] = swap;
    for (i = 0; order == SHUFFLED && i < count; i++) {
        j = i + host_below(&seed, count - i);
        swap = d[i], d[i] = d[j], d[j] = swap;
    }
}

static u64 cost(u64 count, enum order order)
{
    make_map(count, order);
    steps = 0;
    zone_build(&zones, &host.info, DIRECT_MAP_SIZE);
    need(zones.usable == 16 * (count - (count + 15) / 16), "of a map with %lu entries, %s, "
         "zone_build() finds %lu usable frames; it should be %lu", count,
         order == SHUFFLED ? "shuffled" : "in order", zones.usable,
         16 * (count - (count + 15) / 16));
    return steps;
}

/* Eight times as many entries cost n log n eleven times as much, and n * n sixty-four times. */
int main(void)
{
    static const char *const names[] = {"upward", "downward", "by chance"};
    u64 few, many;
    enum order order;

    for (order = UPWARD; order <= SHUFFLED; order++) {
        few = cost(250, order);
        many = cost(2000, order);
        need(many < 16 * few, "a map of 250 entries in the order %s takes %lu steps, one of 2000 "
             "takes %lu, which is %lu times as much; with n log n it would be eleven times",
             names[order], few, many, many / few);
    }
}
