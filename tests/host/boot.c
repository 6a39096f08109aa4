/* host-cflags: -fvisibility=hidden -no-pie -Wl,--unresolved-symbols=ignore-all */

/* Chapter 1: printing, parsing what others wrote, and the last words. */

#include "host.h"

/* ---- printf ------------------------------------------------------------- */

/* Formats once with each library. Values that a format does not use do no harm; an
   int is passed as 64 bits, so that its upper half is rubbish. */
#define compare_format(format, ...) \
    do { \
        char ours[512], theirs[512]; \
        int got = rustica_snprintf(ours, sizeof ours, format, __VA_ARGS__); \
        int expected = libc_snprintf(theirs, sizeof theirs, format, __VA_ARGS__); \
        expect_text(ours, theirs, "format \"%s\"", format); \
        expect_equal(got, expected, "result of format \"%s\"", format); \
    } while (0)

static const char *const flag_texts[] = {"", "-", "0", "-0", "0-", "--", "00"};
static const char *const width_texts[] = {"", "1", "2", "5", "19", "20", "21", "40", "*"};
static const char *const precision_texts[] = {"", ".", ".0", ".1", ".2", ".5", ".20", ".33", ".*"};
static const int stars[] = {0, 1, -1, 3, -3, 20, 33, -40};

static const u64 values[] = {
    0, 1, 9, 10, 15, 16, 99, 100, 255, 256, 4095, 65536, 2147483647, 2147483648, 4294967295,
    4294967296, 9999999999, 0x7fffffffffffffff, 0x8000000000000000, 0x8000000000000001,
    0xffffffff80000000, 0xffffffff00000001, 0x1234567800000000, 0xdeadbeefcafebabe,
    18446744073709551614UL, 18446744073709551615UL};

static void compare_number(const char *format, u64 value, bool star_width, bool star_precision)
{
    u64 i, j;

    if (!star_width && !star_precision) {
        compare_format(format, value);
        return;
    }
    for (i = 0; i < array_count(stars); i++) {
        if (star_width != star_precision) {
            compare_format(format, stars[i], value);
            continue;
        }
        for (j = 0; j < array_count(stars); j++)
            compare_format(format, stars[i], stars[j], value);
    }
}

static void test_printf_numbers(void **state)
{
    static const char *const letters[] = {"d", "i", "u", "x", "ld", "li", "lu", "lx",
                                          "zd", "zu", "zx", "lld", "llu", "llx"};
    char format[64];
    u64 flags, width, precision, letter, value;

    (void)state;
    for (flags = 0; flags < array_count(flag_texts); flags++)
        for (width = 0; width < array_count(width_texts); width++)
            for (precision = 0; precision < array_count(precision_texts); precision++)
                for (letter = 0; letter < array_count(letters); letter++) {
                    libc_snprintf(format, sizeof format, "[%%%s%s%s%s]", flag_texts[flags],
                                  width_texts[width], precision_texts[precision],
                                  letters[letter]);
                    for (value = 0; value < array_count(values); value++)
                        compare_number(format, values[value], width_texts[width][0] == '*',
                                       strchr(precision_texts[precision], '*') != NULL);
                }
}

static void test_printf_texts(void **state)
{
    static const char *const texts[] = {"", "a", "ab", "hello", "a rather long text, to be cut"};
    char format[64], letter[64];
    u64 flags, width, precision, i, j, k;

    (void)state;
    for (flags = 0; flags < 2; flags++)
        for (width = 0; width < array_count(width_texts); width++)
            for (precision = 0; precision < array_count(precision_texts); precision++) {
                bool star_width = width_texts[width][0] == '*';
                bool star_precision = strchr(precision_texts[precision], '*') != NULL;

                libc_snprintf(format, sizeof format, "[%%%s%s%ss]", flag_texts[flags],
                              width_texts[width], precision_texts[precision]);
                libc_snprintf(letter, sizeof letter, "[%%%s%sc]", flag_texts[flags],
                              width_texts[width]);
                for (i = 0; i < array_count(texts); i++)
                    for (j = 0; j < array_count(stars); j++)
                        for (k = 0; k < array_count(stars); k++) {
                            if (star_width && star_precision)
                                compare_format(format, stars[j], stars[k], texts[i]);
                            else if (star_width || star_precision)
                                compare_format(format, stars[j], texts[i]);
                            else
                                compare_format(format, texts[i]);
                            if (star_width)
                                compare_format(letter, stars[j], 'A' + (int)k);
                            else
                                compare_format(letter, 'A' + (int)k);
                        }
            }
}

static void test_printf_pointers(void **state)
{
    u64 i;
    char text[64];

    (void)state;
    for (i = 1; i < array_count(values); i++) {
        compare_format("[%p]", (void *)values[i]);
        compare_format("[%30p]", (void *)values[i]);
        compare_format("[%-30p]", (void *)values[i]);
    }
    rustica_snprintf(text, sizeof text, "%p", NULL);
    expect_text(text, "0x0", "a null pointer");
}

static void test_printf_mixture(void **state)
{
    const char *lonely = "%", *unknown = "a%qb%-5", *volatile nothing = NULL;
    char text[64];

    (void)state;
    compare_format("%s", "");
    compare_format("no conversion%s", "");
    compare_format("%d%%%d%c%s%lx%%", -1, 2, 'x', "yz", 0xabcUL);
    compare_format("%d %ld %d %ld %d %ld %d %ld %d %ld", 1, 2L, 3, 4L, 5, 6L, 7, 8L, 9, 10L);
    compare_format("%*d|%-*d|%.*d|%*.*d", 5, 1, 5, 2, 5, 3, 8, 5, 4);
    compare_format("%c%c", 0x141, -1);
    expect_equal(rustica_snprintf(text, sizeof text, lonely, 0), 0,
                 "a lonely percent sign: length");
    expect_text(text, "", "a lonely percent sign");
    rustica_snprintf(text, sizeof text, unknown, 0);
    expect_text(text, "a%qb", "an unknown letter is shown as it is");
    rustica_snprintf(text, sizeof text, "%s", nothing);
    expect_text(text, "(null)", "a null text");
}

/* A text that ends at the end of its memory, without a zero byte. */
static void test_printf_unterminated(void **state)
{
    char text[64], wanted[64];
    int length;

    (void)state;
    for (length = 0; length <= 20; length++) {
        char *block = malloc((size_t)length + (length == 0));

        libc_memset(block, 'u', (size_t)length);
        rustica_snprintf(text, sizeof text, "<%.*s>", length, block);
        libc_snprintf(wanted, sizeof wanted, "<%.*s>", length, block);
        expect_text(text, wanted, "%d bytes without an end", length);
        free(block);
    }
}

static void test_printf_truncates(void **state)
{
    const char *format = "%s, %08lx and %-10d|";
    char whole[64], *room;
    int length = libc_snprintf(whole, sizeof whole, format, "text", 0xbeefUL, -42), got;
    u64 size, kept, i;

    (void)state;
    for (size = 0; size < 40; size++) {
        room = malloc(64);
        libc_memset(room, '#', 64);
        got = rustica_snprintf(room, size, format, "text", 0xbeefUL, -42);
        expect_equal(got, length, "result with room for %lu", size);
        kept = size == 0 ? 0 : size - 1 < (u64)length ? size - 1 : (u64)length;
        expect_equal(libc_memcmp(room, whole, kept), 0, "the first %lu bytes", kept);
        if (size)
            expect_equal(room[kept], 0, "the end, with room for %lu", size);
        for (i = size ? kept + 1 : 0; i < 64; i++)
            expect_equal(room[i], '#', "byte %lu with room for %lu", i, size);
        free(room);
    }
}

/* C11, 7.21.6.5: with a size of 0 nothing is written, and the buffer may be null. */
static void test_printf_measures(void **state)
{
    (void)state;
    host_reset(0);
    expect_equal(rustica_snprintf(NULL, 0, "%d", 12345), 5, "length of 12345");
    expect_text(host_output.text, "", "what snprintf(NULL, 0, ...) prints on the consoles");
}

static char second_text[64];

static void second_put(char c)
{
    char one[2] = {c, 0};

    strcat(second_text, one);
}

static void test_printf_consoles(void **state)
{
    static struct console second = {"second", second_put, NULL};

    (void)state;
    host_reset(0);
    expect_equal(rustica_printf("one %d\n", 1), 6, "what printf() returns");
    boot_add_console(&second);
    rustica_printf("two\n");
    expect_text(host_output.text, "one 1\ntwo\n", "the first console");
    expect_text(second_text, "two\n", "the second console");
    boot.consoles = NULL;
    expect_equal(rustica_printf("nobody listens"), 14, "what printf() returns without a console");
}

/* What was printed is kept, too, in a ring. */
static void test_log(void **state)
{
    u64 i, wanted;

    (void)state;
    host_reset(0);
    boot.consoles = NULL;
    rustica_printf("first");
    expect_equal(libc_memcmp(boot.log, "first", 5), 0, "the log's first bytes");
    expect_equal(boot.log_end, 5, "the log's length");
    for (i = 0; i < 5000; i++)
        rustica_printf("%08lx", i);
    expect_equal(boot.log_end, 40005, "the log's length");
    for (i = boot.log_end - BOOT_LOG_SIZE; i < boot.log_end; i++) {
        wanted = (u64)"0123456789abcdef"[(i - 5) / 8 >> 4 * (7 - (i - 5) % 8) & 15];
        expect_equal(boot.log[i % BOOT_LOG_SIZE], wanted, "byte %lu of what was printed", i);
    }
}

/* ---- Sizes -------------------------------------------------------------- */

/* The text is the size rounded down: to whole numbers of the next smaller unit, and
   these to tenths, shown below 100. */
static void check_size(u64 bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    struct size_text text = boot_size(bytes);
    char wanted[32];
    int unit = 0;
    u64 whole, tenths, smaller;

    while (unit < 6 && bytes >> 10 * unit >= 1024)
        unit++;
    whole = bytes >> 10 * unit;
    smaller = unit ? bytes >> 10 * (unit - 1) & 1023 : 0;
    tenths = smaller * 10 / 1024;
    if (tenths && whole < 100)
        libc_snprintf(wanted, sizeof wanted, "%lu.%lu %s", whole, tenths, units[unit]);
    else
        libc_snprintf(wanted, sizeof wanted, "%lu %s", whole, units[unit]);
    expect_text(text.s, wanted, "boot_size(%lu)", bytes);
}

static void test_size(void **state)
{
    u64 seed = 1, i, shift;

    (void)state;
    for (i = 0; i < 5000; i++)
        check_size(i);
    for (shift = 0; shift < 64; shift++)
        for (i = 0; i < 200; i++) {
            check_size((1UL << shift) + i - 100);
            check_size(host_random(&seed) >> shift);
        }
    check_size(~0UL);
}

static void test_parse_size(void **state)
{
    static const struct {
        const char *text;
        u64 size;
    } cases[] = {
        {"0", 0}, {"1", 1}, {"10", 10}, {"4096", 4096}, {"1K", 1024}, {"64M", 64 * MIB},
        {"5G", 5 * GIB}, {"0064M", 64 * MIB}, {"65535G", 65535 * GIB},
        {"", 0}, {"K", 0}, {"M", 0}, {"much", 0}, {"1m", 0}, {"1KB", 0}, {"1 ", 0}, {" 1", 0},
        {"-1", 0}, {"+1", 0}, {"1.5M", 0}, {"0x10", 0}, {"1KK", 0}, {"12a", 0}, {"1T", 0},
        {"64MM", 0}, {"M64", 0}, {"9/", 0}, {"9:", 0}};
    u64 i;

    (void)state;
    for (i = 0; i < array_count(cases); i++)
        expect_equal(boot_parse_size(cases[i].text), cases[i].size, "size \"%s\"",
                     cases[i].text);
}

/* What is too large for a machine must not come out as something small: it is either
   refused or at least as large as the direct map. */
static void test_parse_size_overflow(void **state)
{
    static const char *const texts[] = {
        "17179869185G", "99999999999999G", "18446744073709551615", "18446744073709551616",
        "18446744073709551617", "36893488147419103233K", "17592186044417M", "70368744177664G",
        "70368744177665M", "70368744177663G", "340282366920938463463374607431768211457",
        "111111111111111G", "562949953421312G", "18014398509481985K"};
    u64 i, size;

    (void)state;
    for (i = 0; i < array_count(texts); i++) {
        size = boot_parse_size(texts[i]);
        expect_true(size == 0 || size >= DIRECT_MAP_SIZE,
                    "size \"%s\" is refused or huge; got 0x%lx", texts[i], size);
    }
}

/* ---- Options ------------------------------------------------------------ */

static void split(const char *text)
{
    host_reset(0);
    libc_snprintf(host.info.options, sizeof host.info.options, "%s", text);
    boot_split_options();
}

static void check_option(const char *line, const char *name, const char *value)
{
    const char *got = boot_option(name);

    expect_equal(got != NULL, value != NULL, "option %s in \"%s\" is there", name, line);
    if (value)
        expect_text(got, value, "option %s in \"%s\"", name, line);
}

static void test_options(void **state)
{
    static const struct {
        const char *line, *name, *value;
        u32 count;
    } cases[] = {
        {"", "a", NULL, 0}, {"    ", "a", NULL, 0}, {"a", "a", "", 1}, {"a", "A", NULL, 1},
        {"a", "aa", NULL, 1}, {"aa", "a", NULL, 1}, {"a=b", "a", "b", 1}, {"a=", "a", "", 1},
        {"a= b", "a", "", 2}, {"a= b", "b", "", 2}, {"a=b=c", "a", "b=c", 1},
        {"a==b", "a", "=b", 1}, {"a==", "a", "=", 1}, {"=b", "", "b", 1}, {"=", "", "", 1},
        {"  a=1   b=2  ", "b", "2", 2}, {"a=1 a=2", "a", "2", 2}, {"a=1 a", "a", "", 2},
        {"mem=64M map", "mem", "64M", 2}, {"mem=64M map", "map", "", 2}};
    u64 i;

    (void)state;
    for (i = 0; i < array_count(cases); i++) {
        split(cases[i].line);
        expect_equal(boot.option_count, cases[i].count, "options in \"%s\"", cases[i].line);
        check_option(cases[i].line, cases[i].name, cases[i].value);
    }
}

static void test_options_too_many(void **state)
{
    char line[256], name[16];
    int count, i;

    (void)state;
    for (count = 14; count < 20; count++) {
        line[0] = 0;
        for (i = 0; i < count; i++)
            sprintf(line + libc_strlen(line), "o%d=%d ", i, i);
        split(line);
        expect_equal(boot.option_count, count < 16 ? count : 16, "options of %d", count);
        for (i = 0; i < count; i++) {
            sprintf(name, "o%d", i);
            sprintf(line, "%d", i);
            check_option("too many", name, i < 16 ? line : NULL);
        }
        expect_equal(strstr(host_output.text,
                            "too many options, ignored from here: o16=16") != NULL,
                     count > 16, "a complaint about %d options", count);
    }
}

/* As long as can be: the last byte of the array is the zero. */
static void test_options_full(void **state)
{
    char line[BOOT_OPTIONS_MAX];

    (void)state;
    libc_memset(line, 'x', sizeof line);
    line[sizeof line - 1] = 0;
    line[1] = '=';
    split(line);
    check_option("full", "x", line + 2);
}

static void random_options(u64 round)
{
    u64 seed = round, length = host_below(&seed, 30), i;
    char line[32], copy[32], *word, *value, *rest;
    u32 count = 0;

    for (i = 0; i < length; i++)
        line[i] = "ab=  "[host_below(&seed, 5)];
    line[length] = 0;
    split(line);
    strcpy(copy, line);
    for (word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        value = strchr(word, '=');
        if (value)
            *value++ = 0;
        expect_true(count < boot.option_count, "round %lu: options in \"%s\"", round, line);
        expect_text(boot.option[count].name, word, "name %u in \"%s\"", count, line);
        expect_text(boot.option[count].value, value ? value : "", "value %u in \"%s\"", count,
                    line);
        count++;
    }
    expect_equal(boot.option_count, count, "round %lu: options in \"%s\"", round, line);
}

static void test_options_random(void **state)
{
    u64 round;

    (void)state;
    for (round = 0; round < host_rounds(50000); round++)
        random_options(round);
    host_proof("executions", round);
}

static int provoked;

static void provoke_nothing(void)
{
    provoked++;
}

static void test_options_unknown(void **state)
{
    static struct provocation harmless = {"harmless", provoke_nothing, NULL};
    static struct provocation other = {"other", provoke_nothing, NULL};

    (void)state;
    split("colour=green known");
    boot_option("known");
    boot_check_options();
    expect_text(host_output.text, "boot: unknown option \"colour\" ignored\n", "the complaint");
    split("provoke=harmless");
    boot_add_provocation(&harmless);
    boot_add_provocation(&other);
    expect_panic(boot_check_options(), "nobody noticed provoke=harmless");
    expect_equal(provoked, 1, "provocations");
    split("provoke=sleep");
    boot_add_provocation(&harmless);
    boot_add_provocation(&other);
    boot_check_options();
    expect_equal(provoked, 1, "provocations");
    expect_text(host_output.text, "boot: nothing to provoke by the name \"sleep\"; there is "
                "other harmless\n", "the complaint");
}

/* ---- Bytes and strings -------------------------------------------------- */

static void check_move(u64 from, u64 to, u64 n)
{
    u8 ours[128], theirs[128];
    u64 i;

    for (i = 0; i < sizeof ours; i++)
        ours[i] = theirs[i] = (u8)(i * 7 + 1);
    expect_equal(rustica_memmove(ours + to, ours + from, n) - (void *)ours, to,
                 "what memmove returns");
    libc_memmove(theirs + to, theirs + from, n);
    expect_equal(libc_memcmp(ours, theirs, sizeof ours), 0, "memmove of %lu from %lu to %lu",
                 n, from, to);
    if (from + n <= to || to + n <= from) {
        rustica_memcpy(ours + to, ours + from, n);
        expect_equal(libc_memcmp(ours, theirs, sizeof ours), 0, "memcpy of %lu from %lu to %lu",
                     n, from, to);
    }
}

static void test_memory(void **state)
{
    u8 ours[64], theirs[64];
    u64 from, to, n;

    (void)state;
    for (from = 0; from < 40; from++)
        for (to = 0; to < 40; to++)
            for (n = 0; n < 80; n++)
                check_move(from, to, n);
    for (from = 0; from < 20; from++)
        for (n = 0; n < 40; n++) {
            libc_memset(ours, 1, sizeof ours);
            libc_memset(theirs, 1, sizeof theirs);
            expect_equal((u8 *)rustica_memset(ours + from, (int)(0x1f0 + n), n) - ours, from,
                         "what memset returns");
            libc_memset(theirs + from, (int)(0x1f0 + n), n);
            expect_equal(libc_memcmp(ours, theirs, sizeof ours), 0, "memset of %lu at %lu", n,
                         from);
        }
}

static int sign(int n)
{
    return n < 0 ? -1 : n > 0;
}

static void test_compare(void **state)
{
    u8 a[24], b[24];
    u64 seed = 1, i, n, round;

    (void)state;
    for (round = 0; round < 20000; round++) {
        n = host_below(&seed, sizeof a + 1);
        for (i = 0; i < sizeof a; i++)
            a[i] = b[i] = (u8)host_random(&seed);
        b[host_below(&seed, sizeof b)] = (u8)host_random(&seed);
        expect_equal(sign(rustica_memcmp(a, b, n)), sign(libc_memcmp(a, b, n)), "memcmp of %lu", n);
    }
    expect_equal(rustica_strlen(""), 0, "strlen of nothing");
    expect_equal(rustica_strlen("four"), 4, "strlen of four");
    expect_true(string_equal("", ""), "\"\" equals \"\"");
    expect_true(string_equal("ab", "ab"), "ab equals ab");
    expect_true(!string_equal("ab", "abc"), "ab equals not abc");
    expect_true(!string_equal("abc", "ab"), "abc equals not ab");
    expect_true(!string_equal("ab", "ac"), "ab equals not ac");
}

static void test_bits(void **state)
{
    u64 seed = 1, word, i;

    (void)state;
    for (i = 0; i < 10000; i++) {
        word = host_random(&seed) >> i % 64 << (i / 64) % 64;
        if (!word)
            continue;
        expect_equal(cpu_bsf(word), __builtin_ctzl(word), "the lowest bit of 0x%lx", word);
        expect_equal(cpu_bsr(word), 63 - __builtin_clzl(word), "the highest bit of 0x%lx", word);
    }
}

/* ---- ACPI --------------------------------------------------------------- */

#define ACPI_PAGES 16

static paddr acpi_at[256];
static u64 acpi_tables;

/* Memory of 16 pages of which those in `pages`, a bit each, are in the map; reading
   another one is an error that the sanitizer sees. */
static void acpi_memory(u64 pages)
{
    u64 i;

    host_reset(ACPI_PAGES * FRAME_SIZE);
    libc_memset(host.arena, 0, host.size);
    acpi_tables = 0;
    for (i = 0; i < ACPI_PAGES; i++) {
        host_add_map(pages >> i & 1 ? EFI_ACPI_RECLAIM : EFI_MMIO, i * FRAME_SIZE, 1);
        if (!(pages >> i & 1))
            ASAN_POISON_MEMORY_REGION(host.arena + i * FRAME_SIZE, FRAME_SIZE);
    }
}

static void acpi_forget(void)
{
    ASAN_UNPOISON_MEMORY_REGION(host.arena, host.size);
}

static struct acpi_header *acpi_put(paddr at, const char *signature, u32 length)
{
    struct acpi_header *table = boot_physical(at);

    libc_memcpy(table->signature, signature, 4);
    table->length = length;
    if (acpi_tables < array_count(acpi_at))
        acpi_at[acpi_tables++] = at;
    return table;
}

/* Makes the bytes of what lies at `at` add up to zero, by its byte number `n`. */
static void acpi_balance(paddr at, u64 size, u64 n)
{
    u8 sum = 0;
    u64 i;

    if (at >= host.size || size > host.size - at || n >= size)
        return;
    for (i = 0; i < size; i++)
        sum += host.arena[at + i];
    host.arena[at + n] -= sum;
}

/* The checksums of all that was put there, when nothing is added to it any more. */
static void acpi_seal(void)
{
    u64 i;

    for (i = 0; i < acpi_tables; i++)
        acpi_balance(acpi_at[i], ((struct acpi_header *)boot_physical(acpi_at[i]))->length, 9);
    acpi_balance(host.info.acpi, 20, 8);
    acpi_balance(host.info.acpi, 36, 32);
}

/* A root pointer of revision `revision` at `at`, for the list at `list`. */
static void acpi_put_root(paddr at, u8 revision, paddr list)
{
    u8 *root = boot_physical(at);
    u32 narrow = (u32)list;

    host.info.acpi = at;
    root[15] = revision;
    libc_memcpy(root + 16, &narrow, 4);
    if (revision >= 2)
        libc_memcpy(root + 24, &list, 8);
}

static void acpi_put_entry(paddr list, u64 width, u64 n, paddr table)
{
    libc_memcpy((u8 *)boot_physical(list) + 36 + n * width, &table, width);
}

static void test_acpi_finds(void **state)
{
    u64 width;

    (void)state;
    for (width = 4; width <= 8; width += 4) {
        acpi_memory(0xffff);
        acpi_put_root(0x1010, width == 8 ? 2 : 0, 0x2003);
        acpi_put(0x2003, width == 8 ? "XSDT" : "RSDT", 36 + 3 * (u32)width);
        acpi_put_entry(0x2003, width, 0, 0x3000);
        acpi_put_entry(0x2003, width, 1, 0x3111);
        acpi_put_entry(0x2003, width, 2, 0x3222);
        acpi_put_entry(0x2003, width, 3, 0x3333);
        acpi_put(0x3000, "APIC", 44);
        acpi_put(0x3111, "FACP", 44);
        acpi_put(0x3222, "HPET", 44);
        acpi_put(0x3333, "MCFG", 44);
        acpi_seal();
        expect_equal((u8 *)acpi_find("APIC") - host.arena, 0x3000, "APIC, width %lu", width);
        expect_equal((u8 *)acpi_find("FACP") - host.arena, 0x3111, "FACP, width %lu", width);
        expect_equal((u8 *)acpi_find("HPET") - host.arena, 0x3222, "HPET, width %lu", width);
        expect_true(acpi_find("MCFG") == NULL, "MCFG, which is behind the end");
        expect_true(acpi_find("WAET") == NULL, "WAET, which is not there");
        acpi_forget();
    }
}

/* One thing wrong at a time: nothing found, nothing read that is not memory. */
static void test_acpi_refuses(void **state)
{
    static const struct {
        const char *what;
        u64 pages;
        paddr root, list, table;
        u32 list_length, table_length;
    } cases[] = {
        {"all right", 0xffff, 0x1000, 0x2000, 0x3000, 44, 64},
        {"no root pointer", 0xffff, 0, 0x2000, 0x3000, 44, 64},
        {"root pointer outside", 0xfffd, 0x1000, 0x2000, 0x3000, 44, 64},
        {"root pointer across the edge", 0xfffb, 0x1ff0, 0x3000, 0x4000, 44, 64},
        {"root pointer far outside", 0xffff, 1UL << 50, 0x2000, 0x3000, 44, 64},
        {"no list", 0xffff, 0x1000, 0, 0x3000, 44, 64},
        {"list outside", 0xfffb, 0x1000, 0x2000, 0x3000, 44, 64},
        {"list's header across the edge", 0xfff7, 0x1000, 0x2ff0, 0x4000, 44, 64},
        {"list longer than memory", 0xfffb, 0x3000, 0x1fb0, 0x4000, 4096, 64},
        {"list of length -1", 0xffff, 0x1000, 0x2000, 0x3000, ~0U, 64},
        {"list of length 0", 0xffff, 0x1000, 0x2000, 0x3000, 0, 64},
        {"list shorter than its header", 0xffff, 0x1000, 0x2000, 0x3000, 35, 64},
        {"list of half an entry", 0xffff, 0x1000, 0x2000, 0x3000, 43, 64},
        {"entry of 0", 0xffff, 0x1000, 0x2000, 0, 44, 64},
        {"entry outside", 0xfff7, 0x1000, 0x2000, 0x3000, 44, 64},
        {"entry far outside", 0xffff, 0x1000, 0x2000, ~0UL, 44, 64},
        {"table across the edge", 0xffef, 0x1000, 0x2000, 0x3fd0, 44, 64},
        {"list lists itself", 0xffff, 0x1000, 0x2000, 0x2000, 44, 64}};
    u64 i;

    (void)state;
    for (i = 0; i < array_count(cases); i++) {
        acpi_memory(0xffff);
        if (cases[i].table < host.size && cases[i].table)
            acpi_put(cases[i].table, "FACP", cases[i].table_length);
        if (cases[i].list) {
            acpi_put(cases[i].list, "XSDT", cases[i].list_length);
            acpi_put_entry(cases[i].list, 8, 0, cases[i].table);
        }
        if (cases[i].root < host.size && cases[i].root)
            acpi_put_root(cases[i].root, 2, cases[i].list);
        else
            host.info.acpi = cases[i].root;
        acpi_seal();
        for (u64 page = 0; page < ACPI_PAGES; page++)
            if (!(cases[i].pages >> page & 1)) {
                ((struct efi_descriptor *)host.map)[page].type = EFI_MMIO;
                ASAN_POISON_MEMORY_REGION(host.arena + page * FRAME_SIZE, FRAME_SIZE);
            }
        expect_equal(acpi_find("FACP") != NULL, i == 0, "a table found (%s)", cases[i].what);
        acpi_forget();
    }
}

/* A bit that has changed anywhere is seen, in the root pointer, the list and the table. */
static void test_acpi_checksums(void **state)
{
    static const struct {
        paddr at;
        u64 size;
    } parts[] = {{0x1000, 36}, {0x2000, 44}, {0x3000, 64}};
    u64 i, bit;

    (void)state;
    acpi_memory(0xffff);
    acpi_put_root(0x1000, 2, 0x2000);
    acpi_put(0x2000, "XSDT", 44);
    acpi_put_entry(0x2000, 8, 0, 0x3000);
    acpi_put(0x3000, "FACP", 64);
    acpi_seal();
    for (i = 0; i < array_count(parts); i++)
        for (bit = 0; bit < 8 * parts[i].size; bit++) {
            expect_true(acpi_find("FACP") != NULL, "the table, undamaged");
            host.arena[parts[i].at + bit / 8] ^= (u8)(1 << bit % 8);
            expect_true(acpi_find("FACP") == NULL, "part %lu with bit %lu changed is believed", i,
                        bit);
            host.arena[parts[i].at + bit / 8] ^= (u8)(1 << bit % 8);
        }
    acpi_forget();
}

/* The map may be odd, too. */
static void test_acpi_map(void **state)
{
    static const u64 strides[] = {0, 1, 8, 32, 39};
    u64 i;

    (void)state;
    alarm(20);
    acpi_memory(0xffff);
    expect_true(boot_is_mapped(0x1000, 0x1000), "a page that is mapped");
    expect_true(!boot_is_mapped(0x1000, 0x1001), "a page that is mapped, and a byte more");
    expect_true(!boot_is_mapped(0x1fff, 2), "two bytes at the end of a page");
    expect_true(!boot_is_mapped(0x10000, 1), "a byte behind the memory");
    expect_true(!boot_is_mapped(0x1000, ~0UL), "a page that is mapped, and all others");
    ((struct efi_descriptor *)host.map)[15].start = DIRECT_MAP_SIZE - FRAME_SIZE;
    ((struct efi_descriptor *)host.map)[15].pages = 2;
    expect_true(boot_is_mapped(DIRECT_MAP_SIZE - 1, 1), "the last byte of the direct map");
    expect_true(!boot_is_mapped(DIRECT_MAP_SIZE - 1, 2), "a byte behind it");
    expect_true(!boot_is_mapped(DIRECT_MAP_SIZE, 1), "memory behind it");
    host.info.map_size = 39;
    expect_true(!boot_is_mapped(0, 1), "by a descriptor that is cut off");
    host.info.map_size = 0;
    expect_true(!boot_is_mapped(0, 1), "by an empty map");
    for (i = 0; i < array_count(strides); i++) {
        host.info.map_size = 40;
        host.info.map_stride = strides[i];
        boot_is_mapped(0x100000, 1);    /* comes to an end */
    }
    alarm(0);
    acpi_forget();
}

static paddr random_pointer(u64 *seed)
{
    switch (host_below(seed, 8)) {
    case 0: return host_random(seed);
    case 1: return 0;
    case 2: return host_below(seed, ACPI_PAGES + 1) * FRAME_SIZE - host_below(seed, 100);
    default: return host_below(seed, ACPI_PAGES * FRAME_SIZE);
    }
}

static u32 random_length(u64 *seed)
{
    static const u32 lengths[] = {0, 35, 36, 37, 40, 44, 64, 65, 100, 4096, 0xffffffff};

    return host_below(seed, 2) ? lengths[host_below(seed, array_count(lengths))]
                               : (u32)host_below(seed, 3 * FRAME_SIZE);
}

/* Rubbish, in which everything points somewhere. The pages outside the map are filled
   first and forbidden then. */
static void random_tables(u64 round)
{
    u64 seed = round, pages = host_random(&seed) | host_random(&seed), i, value;
    paddr at;

    acpi_memory(0xffff);
    for (i = 0; i < 200; i++) {
        at = host_below(&seed, host.size - 64);
        value = random_pointer(&seed);
        if (host_below(&seed, 3) == 0)
            acpi_put(at, host_below(&seed, 2) ? "FACP" : "_S5_\x12", random_length(&seed));
        else
            libc_memcpy(boot_physical(at), &value, host_below(&seed, 2) ? 4 : 8);
    }
    at = random_pointer(&seed);
    if (at < host.size - 64)
        acpi_put_root(at, (u8)host_below(&seed, 4), random_pointer(&seed));
    host.info.acpi = at;
    if (host_below(&seed, 8))
        acpi_seal();
    for (i = 0; i < ACPI_PAGES; i++)
        if (!(pages >> i & 1)) {
            ((struct efi_descriptor *)host.map)[i].type = EFI_MMIO;
            ASAN_POISON_MEMORY_REGION(host.arena + i * FRAME_SIZE, FRAME_SIZE);
        }
    acpi_find("FACP");
    acpi_power_off();
    acpi_forget();
}

/* ---- Switching off ------------------------------------------------------ */

static struct {
    u16 control;         /* what the control register reads */
    bool stubborn;       /* ACPI mode cannot be enabled */
    u32 bytes, words;    /* written */
    u16 byte_port, byte, word_port[4], word[4];
} power;

static u16 power_inw(u16 port)
{
    (void)port;
    return power.control;
}

static void power_outb(u16 port, u8 value)
{
    power.bytes++;
    power.byte_port = port;
    power.byte = value;
    power.control |= !power.stubborn;
}

static void power_outw(u16 port, u16 value)
{
    power.word_port[power.words % 4] = port;
    power.word[power.words++ % 4] = value;
}

static void test_acpi_random(void **state)
{
    u64 round;

    (void)state;
    host_watch_memory();
    host_replace(cpu_inw, power_inw);
    host_replace(cpu_outw, power_outw);
    host_replace(cpu_outb, power_outb);
    power.control = 1;
    for (round = 0; round < host_rounds(3000); round++)
        random_tables(round);
    host_proof("executions", round);
}

static void power_tables(const char *aml, u64 aml_length, u32 fadt_length)
{
    struct acpi_fadt *fadt;
    struct acpi_header *dsdt;

    acpi_memory(0xffff);
    acpi_put_root(0x1000, 2, 0x2000);
    acpi_put(0x2000, "XSDT", 44);
    acpi_put_entry(0x2000, 8, 0, 0x4000 - sizeof *fadt);
    fadt = (struct acpi_fadt *)acpi_put(0x4000 - sizeof *fadt, "FACP", fadt_length);
    fadt->dsdt = 0x4000;
    fadt->smi_command = 0xb2;
    fadt->acpi_enable = 0xe1;
    fadt->pm1a_control = 0x604;
    fadt->pm1b_control = 0x704;
    dsdt = acpi_put(0x4000, "DSDT", (u32)(sizeof *dsdt + 40 + aml_length));
    libc_memcpy((u8 *)dsdt + sizeof *dsdt + 20, aml, aml_length);
    libc_memset(&power, 0, sizeof power);
    acpi_seal();
}

static struct acpi_fadt *power_fadt(void)
{
    return (struct acpi_fadt *)(host.arena + 0x4000) - 1;
}

static void test_power_off(void **state)
{
    struct acpi_fadt *fadt;

    (void)state;
    power_tables("\x08_S5_\x12\x06\x04\x0a\x05\x0a\x06", 12, sizeof *fadt);
    power.control = 0x8204;
    expect_true(acpi_power_off(), "there is a way to switch off");
    expect_equal(power.bytes, 1, "ACPI mode was asked for");
    expect_equal(power.byte_port, 0xb2, "port of the request");
    expect_equal(power.byte, 0xe1, "value of the request");
    expect_equal(power.words, 4, "registers written");
    expect_equal(power.word_port[0], 0x604, "the first register");
    expect_equal(power.word_port[1], 0x704, "the second register");
    expect_equal(power.word[0], 0x8205 | 5 << 10, "what is written to the first");
    expect_equal(power.word[1], 0x8205 | 6 << 10, "what is written to the second");
    expect_equal(power.word[2], 0x8205 | 5 << 10 | 1 << 13, "and then to the first");
    expect_equal(power.word[3], 0x8205 | 6 << 10 | 1 << 13, "and then to the second");

    power_tables("\x08_S5_\x12\x06\x04\x00\x00\x00\x00", 12, sizeof *fadt);
    power.control = 1 | 3 << 10;
    acpi_power_off();
    expect_equal(power.bytes, 0, "in ACPI mode already: requests");
    expect_equal(power.word[0], 1, "code 0, written");
    expect_equal(power.word[2], 1 | 1 << 13, "code 0, at last");

    power_tables("\x08_S5_\x12\x06\x04\x0a\x07\x0a\x05", 12, sizeof *fadt);
    power.stubborn = true;
    acpi_power_off();
    expect_equal(power.words, 4, "registers written although ACPI mode does not come");
    acpi_forget();
}

/* The longer forms of the table's fields count where they are given; a register that is
   not in a port does not. A table of the first version has none of them. */
static void test_power_off_longer(void **state)
{
    struct acpi_fadt *fadt;

    (void)state;
    power_tables("\x08_S5_\x12\x06\x04\x0a\x05\x0a\x05", 12, sizeof *fadt);
    fadt = power_fadt();
    fadt->dsdt = 0x123;
    fadt->x_dsdt = 0x4000;
    fadt->x_pm1a_control = (struct acpi_register){1, 16, 0, 2, 0x1804};
    fadt->x_pm1b_control = (struct acpi_register){0, 16, 0, 2, 0xfed00000};
    acpi_seal();
    acpi_power_off();
    expect_equal(power.word_port[0], 0x1804, "the longer register");
    expect_equal(power.word_port[1], 0x704, "the shorter one, as the longer is in memory");

    power_tables("\x08_S5_\x12\x06\x04\x0a\x05\x0a\x05", 12, 116);
    acpi_power_off();
    expect_equal(power.words, 4, "with a table of the first version: registers written");

    power_tables("\x08_S5_\x12\x06\x04\x0a\x05\x0a\x05", 12, sizeof *fadt);
    fadt = power_fadt();
    fadt->flags = 1 << 20;
    fadt->sleep_control = (struct acpi_register){1, 8, 0, 1, 0x605};
    acpi_seal();
    acpi_power_off();
    expect_equal(power.words, 0, "with reduced hardware: words written");
    expect_equal(power.byte_port, 0x605, "its register");
    expect_equal(power.byte, 5 << 2 | 1 << 5, "what is written to it");
    acpi_forget();
}

static void test_power_off_impossible(void **state)
{
    (void)state;
    power_tables("no such object here", 19, sizeof(struct acpi_fadt));
    expect_true(!acpi_power_off(), "without the object there is no way");
    expect_equal(power.words, 0, "without the object: registers written");
    power_tables("\x08_S5_\x12\x06\x04\x0a\x05\x0a\x05", 12, sizeof(struct acpi_fadt));
    power_fadt()->pm1a_control = 0;
    acpi_seal();
    acpi_power_off();
    expect_equal(power.words, 0, "without a register: registers written");
    host.info.acpi = 0;
    acpi_power_off();
    expect_equal(power.words, 0, "without ACPI: registers written");
    acpi_forget();
}

/* A FADT that says it is shorter than what we read from it, at the end of memory. */
static void test_power_off_short_fadt(void **state)
{
    (void)state;
    power_tables("\x08_S5_\x12\x06\x04\x0a\x05\x0a\x05", 12, sizeof(struct acpi_fadt));
    acpi_put_entry(0x2000, 8, 0, 0x5000 - 40);
    acpi_put(0x5000 - 40, "FACP", 40);
    acpi_seal();
    ((struct efi_descriptor *)host.map)[5].type = EFI_MMIO;
    ASAN_POISON_MEMORY_REGION(host.arena + 0x5000, FRAME_SIZE);
    acpi_power_off();
    expect_equal(power.words, 0, "with a FADT of 40 bytes: registers written");
    acpi_forget();
}

static void test_sleep_code(void **state)
{
    static const char aml[] = "\x5b\x80xx\x08_S5_\x12\x06\x04\x0a\x05\x0a\x06";
    struct acpi_header *dsdt;
    u64 length, before;

    (void)state;
    for (before = 0; before < 50; before++)
        for (length = 0; length < sizeof *dsdt + before + sizeof aml + 3; length++) {
            u8 *block = malloc(length < sizeof *dsdt ? sizeof *dsdt : length), code[2];
            bool found;

            libc_memset(block, 'x', length);
            dsdt = (struct acpi_header *)block;
            if (length > sizeof *dsdt + before)
                libc_memcpy(block + sizeof *dsdt + before, aml,
                            length - sizeof *dsdt - before < sizeof aml - 1
                                ? length - sizeof *dsdt - before : sizeof aml - 1);
            dsdt->length = (u32)length;
            found = acpi_sleep_codes(dsdt, code);
            if (length < sizeof *dsdt + before + sizeof aml - 1)
                expect_true(!found, "code in a table cut off after %lu", length);
            else
                expect_true(found && code[0] == 5 && code[1] == 6,
                            "codes in a table cut off after %lu", length);
            free(block);
        }
}

/* ---- Traps -------------------------------------------------------------- */

static struct table_pointer loaded_gdt, loaded_idt;
static u16 loaded_tr;
static void take_gdt(const struct table_pointer *p) { loaded_gdt = *p; }
static void take_idt(const struct table_pointer *p) { loaded_idt = *p; }
static void take_tr(u16 selector) { loaded_tr = selector; }
static void do_nothing(void) { }
static u64 loaded_gs;
static void take_msr(u32 msr, u64 value) { loaded_gs = msr == 0xc0000101 ? value : loaded_gs; }
static u32 interrupts_off;
static void count_cli(void) { interrupts_off++; }
static u64 read_cr0(void) { return 0x80000011; }
static u64 read_cr2(void) { return 0x123456789000; }

static void replace_processor(void)
{
    host_replace(cpu_lgdt, take_gdt);
    host_replace(cpu_lidt, take_idt);
    host_replace(cpu_ltr, take_tr);
    host_replace(cpu_load_segments, do_nothing);
    host_replace(cpu_wrmsr, take_msr);
    host_replace(cpu_cli, count_cli);
    host_replace(cpu_read_cr0, read_cr0);
    host_replace(cpu_read_cr2, read_cr2);
    host_replace(cpu_read_cr3, read_cr0);
    host_replace(cpu_read_cr4, read_cr0);
}

static void test_segments(void **state)
{
    struct cpu_local *c = &cpu_boot;
    u64 base, i;

    (void)state;
    replace_processor();
    cpu_init_segments(c);
    expect_equal(loaded_gdt.base, (u64)c->gdt, "the table's address");
    expect_equal(loaded_gdt.limit, sizeof c->gdt - 1, "the table's limit");
    expect_equal(loaded_tr, SEGMENT_TSS, "the task register");
    for (i = 1; i < 6; i++)
        expect_equal(c->gdt[i] >> 47 & 1, 1, "descriptor %lu is present", i);
    expect_equal(c->gdt[SEGMENT_KERNEL_CODE / 8] >> 45 & 3, 0, "ring of the kernel's code");
    expect_equal(c->gdt[SEGMENT_USER_CODE / 8] >> 45 & 3, 3, "ring of a program's code");
    expect_equal(c->gdt[SEGMENT_USER_DATA / 8] >> 45 & 3, 3, "ring of a program's data");
    expect_equal(c->gdt[SEGMENT_KERNEL_CODE / 8] >> 53 & 3, 1, "the kernel's code is of 64 bits");
    expect_equal(c->gdt[SEGMENT_USER_CODE / 8] >> 53 & 3, 1, "a program's code is of 64 bits");
    base = (c->gdt[5] >> 16 & 0xffffff) | (c->gdt[5] >> 56 & 0xff) << 24 | c->gdt[6] << 32;
    expect_equal(base, (u64)&c->tss, "address of the task-state segment");
    expect_equal((c->gdt[5] & 0xffff) | (c->gdt[5] >> 32 & 0xf0000), sizeof c->tss - 1,
                 "limit of the task-state segment");
    expect_equal(sizeof c->tss, 104, "size of the task-state segment (SDM 3A, 8.7)");
    expect_true(c->self == c && loaded_gs == (u64)c, "GS leads to the processor's own data");
    for (i = 0; i < 3; i++)
        expect_true(c->tss.ist[i] % 16 == 0 && c->tss.ist[i] > (u64)c->emergency_stack[i] &&
                    c->tss.ist[i] <= (u64)c->emergency_stack[i + 1],
                    "emergency stack %lu", i);
}

/* Each stub pushes a zero if the processor pushes nothing, then its number, and
   jumps to the common part. */
static void check_stub(u64 vector)
{
    static const u64 with_error = 1UL << 8 | 0x1f << 10 | 1 << 17 | 1 << 21 | 3 << 29;
    struct idt_gate *gate = &cpu.idt[vector];
    u8 *code = (u8 *)(gate->offset_low | (u64)gate->offset_middle << 16 |
                      (u64)gate->offset_high << 32);
    s32 far;

    expect_equal(gate->selector, SEGMENT_KERNEL_CODE, "segment of gate %lu", vector);
    expect_equal(gate->flags, vector == 3 || vector == 4 ? 0xee : 0x8e, "flags of gate %lu",
                 vector);
    expect_equal(gate->ist, vector == 8 ? 1 : vector == 2 ? 2 : vector == 18 ? 3 : 0,
                 "stack of gate %lu", vector);
    if (vector > 31 || !(with_error >> vector & 1)) {
        expect_equal(code[0] << 8 | code[1], 0x6a00, "vector %lu: push of 0", vector);
        code += 2;
    }
    libc_memcpy(&far, code + 1, 4);
    expect_equal(code[0], vector < 128 ? 0x6a : 0x68, "vector %lu: push", vector);
    expect_equal(vector < 128 ? code[1] : (u64)far, vector, "vector %lu: the number pushed",
                 vector);
    code += vector < 128 ? 2 : 5;
    libc_memcpy(&far, code + 1, 4);
    code += code[0] == 0xe9 ? 5 + far : 2 + (s8)code[1];
    extern u8 trap_entry[];
    expect_equal((u64)code, (u64)trap_entry, "vector %lu: where it jumps", vector);
}

static void test_gates(void **state)
{
    u64 vector;

    (void)state;
    replace_processor();
    cpu_init_traps();
    expect_equal(loaded_idt.base, (u64)cpu.idt, "the table's address");
    expect_equal(loaded_idt.limit, 256 * 16 - 1, "the table's limit");
    for (vector = 0; vector < TRAP_VECTORS; vector++)
        check_stub(vector);
}

static struct trap_frame *handled;

static void handle(struct trap_frame *f)
{
    handled = f;
}

static void check_report(u64 vector, u64 error, const char *part)
{
    struct trap_frame frame = {.vector = vector, .error = error, .rip = 0xabcdef, .r15 = 0x1515};

    host_reset(0);
    host.info.stack_top = KERNEL_STACKS + 16 * FRAME_SIZE;
    expect_exit(trap_dispatch(&frame), 1);
    expect_true(strstr(host_output.text, part), "report of vector %lu, error 0x%lx has \"%s\": %s",
                vector, error, part, host_output.text);
    expect_true(strstr(host_output.text, "0x0000000000abcdef"), "the report names the place");
    expect_true(strstr(host_output.text, "r15 0000000000001515"), "the report shows registers");
}

static void test_reports(void **state)
{
    struct trap_frame frame = {.vector = 3};

    (void)state;
    replace_processor();
    cpu.handler[3] = handle;
    trap_dispatch(&frame);
    expect_equal((u64)handled, (u64)&frame, "the handler's argument");
    cpu.handler[3] = NULL;
    check_report(0, 0, "*** exception 0, #DE divide error, error code 0x0");
    check_report(255, 0, "*** exception 255, unexpected interrupt");
    check_report(14, 0, "attempt to read 0x123456789000, which is not mapped\n");
    check_report(14, 2, "attempt to write 0x123456789000, which is not mapped\n");
    check_report(14, 3, "attempt to write 0x123456789000, which is mapped but forbids it\n");
    check_report(14, 0x11, "attempt to execute 0x123456789000, which is mapped but forbids it\n");
    check_report(14, 9, "which is mapped but forbids it (reserved bit set in a table)");
    check_report(13, 0x28, "concerns entry 5 of the GDT\n");
    check_report(13, 0x2b, "concerns entry 5 of the IDT, event from outside\n");
    check_report(10, 0x1c, "concerns entry 3 of the LDT\n");
    boot.panics = 1;
    host_forget_output();
    expect_exit(trap_dispatch(&frame), 1);
    expect_text(host_output.text, "", "a report while reporting");
}

static void test_panic(void **state)
{
    char text[300], *at;

    (void)state;
    replace_processor();
    host_reset(0);
    expect_panic(assert(1 + 1 == 3), "assertion failed: 1 + 1 == 3");
    expect_panic(panic("%s %d", "number", 7), "number 7");
    expect_text(host_output.text, "", "what a panic prints that the hook has taken");
    boot.panic_hook = NULL;
    interrupts_off = 0;
    expect_exit(boot_panic("file.c", 12, "so %s", "it is"), 1);
    expect_equal(interrupts_off, 1, "interrupts were switched off, times");
    at = strstr(host_output.text, "\n*** panic at file.c:12: so it is\n");
    expect_true(at == host_output.text, "the message of a panic: %s", host_output.text);
    host_forget_output();
    expect_exit(boot_panic("file.c", 13, "again"), 1);
    expect_text(host_output.text, "", "a panic while panicking");
    host_reset(0);
    libc_memset(text, 'x', sizeof text);
    text[299] = 0;
    expect_panic(boot_panic("file.c", 14, "%s", text), "xxxx");
    expect_equal(libc_strlen(host_end.message), 255, "length of a long message");
    host_reset(0);
    expect_exit(boot_refuse("%d apples", 5), 1);
    expect_text(host_output.text, "Rustica cannot run here: 5 apples\n", "a refusal");
}

/* Addresses become names by the image's symbol table, which here is a small one. */
static struct {
    struct elf_symbol symbol[5];
    char names[64];
} symbols = {
    {{0, 0, 0, 0, 0, 0}, {1, 0, 0, 1, 0x100, 0}, {6, 0, 0, 1, 0x200, 0}, {11, 0, 0, 0, 0x240, 0},
     {21, 0, 0, 1, 0x180, 0}},
    "\0main\0trap\0undefined\0early"};

static u64 fake_dynamic(u64 tag)
{
    return tag == DT_SYMTAB ? (u64)symbols.symbol : tag == DT_STRTAB ? (u64)symbols.names : 0;
}

static u64 no_dynamic(u64 tag)
{
    (void)tag;
    return 0;
}

static void test_where(void **state)
{
    static const struct {
        vaddr address;
        const char *name;
    } cases[] = {
        {KERNEL_BASE + 0x100, "main+0x0"}, {KERNEL_BASE + 0x17f, "main+0x7f"},
        {KERNEL_BASE + 0x180, "early+0x0"}, {KERNEL_BASE + 0x1ff, "early+0x7f"},
        {KERNEL_BASE + 0x200, "trap+0x0"}, {KERNEL_BASE + 0x2ff, "trap+0xff"},
        {KERNEL_BASE + 0xff, "?"}, {KERNEL_BASE + 0x300, "?"}, {KERNEL_BASE - 1, "?"},
        {0, "?"}, {DIRECT_MAP, "?"}, {~0UL, "?"}};
    u64 i;

    (void)state;
    host_reset(0);
    host.info.image.size = 0x300;
    host_replace(boot_dynamic, fake_dynamic);
    for (i = 0; i < array_count(cases); i++)
        expect_text(boot_where(cases[i].address).s, cases[i].name, "the place of 0x%lx",
                    cases[i].address);
    boot_print_address(KERNEL_BASE + 0x200, false);
    expect_text(host_output.text, "  0xffffffff80000200  trap+0x0\n", "an address as printed");
    host_forget_output();
    boot_print_address(KERNEL_BASE + 0x200, true);
    expect_text(host_output.text, "  0xffffffff80000200  early+0x7f\n", "a return address");
    host_replace(boot_dynamic, no_dynamic);
    expect_text(boot_where(KERNEL_BASE + 0x104).s, "?", "a place, without a symbol table");
}

static void test_guard(void **state)
{
    (void)state;
    host_reset(0);
    host.info.stack_top = KERNEL_STACKS + FRAME_SIZE + KERNEL_STACK_SIZE;
    expect_true(!trap_hit_guard(KERNEL_STACKS - 1), "below the guard page");
    expect_true(trap_hit_guard(KERNEL_STACKS), "the first byte of the guard page");
    expect_true(trap_hit_guard(KERNEL_STACKS + FRAME_SIZE - 1), "the last byte of the guard page");
    expect_true(!trap_hit_guard(KERNEL_STACKS + FRAME_SIZE), "the stack");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_printf_numbers), cmocka_unit_test(test_printf_texts),
        cmocka_unit_test(test_printf_pointers), cmocka_unit_test(test_printf_mixture),
        cmocka_unit_test(test_printf_unterminated), cmocka_unit_test(test_printf_truncates),
        cmocka_unit_test(test_printf_measures), cmocka_unit_test(test_printf_consoles),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_size), cmocka_unit_test(test_parse_size),
        cmocka_unit_test(test_parse_size_overflow), cmocka_unit_test(test_options),
        cmocka_unit_test(test_options_too_many), cmocka_unit_test(test_options_full),
        cmocka_unit_test(test_options_random), cmocka_unit_test(test_options_unknown),
        cmocka_unit_test(test_memory), cmocka_unit_test(test_compare),
        cmocka_unit_test(test_bits), cmocka_unit_test(test_acpi_finds),
        cmocka_unit_test(test_acpi_refuses), cmocka_unit_test(test_sleep_code),
        cmocka_unit_test(test_acpi_checksums),
        cmocka_unit_test(test_segments), cmocka_unit_test(test_gates),
        cmocka_unit_test(test_reports), cmocka_unit_test(test_panic),
        cmocka_unit_test(test_where), cmocka_unit_test(test_guard),
        /* from here on memcpy() and friends are the C library's */
        cmocka_unit_test(test_acpi_random), cmocka_unit_test(test_power_off),
        cmocka_unit_test(test_power_off_longer),
        cmocka_unit_test(test_power_off_impossible),
        cmocka_unit_test(test_acpi_map), cmocka_unit_test(test_power_off_short_fadt)};

    return host_run(tests);
}
