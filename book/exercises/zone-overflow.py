from check import need

ALL = 1 << 64
TOP = 1 << 46           # what the direct map reaches


def check(tree):
    start, end = numbers(tree, "range", "where a range of a zone starts and ends, as in "
                         "`0x100000 0x200000`")
    at, pages = numbers(tree, "descriptor", "where a descriptor of the firmware's map starts, and "
                        "how many pages it has, as in `0x180000 16`")
    need(0 <= start < end <= TOP and start % 4096 == end % 4096 == 0,
         "no zone has a range from 0x%x to 0x%x" % (start, end))
    need(0 <= at < ALL and 0 <= pages < 1 << 52, "a descriptor has numbers of 64 bits, and one of "
         "2^52 pages or more is no memory at all; `zone_audit_range()` leaves it out")
    size = pages << 12
    right = size and at < end and start < at + size
    naive = at < end and start < (at + size) % ALL
    need(right != naive, f"here the naive version is right: the range "
         f"{'overlaps' if right else 'does not overlap'} the descriptor, and it says so. What "
         "becomes of a sum that is too large for 64 bits?")


def numbers(tree, key, wanted):
    said = tree.answer(f"zone-overflow.{key}", wanted)
    try:
        one, other = (int(word, 0) for word in said.split())
    except ValueError:
        need(False, f"zone-overflow.{key} is {wanted}, not `{said}`")
    return one, other
