/* host-cflags: -fvisibility=hidden -no-pie -Wl,--unresolved-symbols=ignore-all */

/* Chapters 9 to 14, as far as they need no processor: the audits, which must see what is
   wrong; signals, their notes and the limits. */

#include "host.h"

#define THREADS 6

static struct thread thread[THREADS];
static struct process *process[THREADS];
static struct wait_queue door, window;

static void do_nothing(void)
{
}

/* Process 1 and its children. The first runs, two are ready, three sleep: two in the same
   queue, and two of the three with a time. */
static void start(void)
{
    u64 i;

    host_machine(32 * MIB);
    heap = (struct heap){.pmm = &pmm};
    vmo = (struct vmo_state){.revoke = as_revoke};
    vmo.zero = pmm_alloc_zeroed(&pmm, ZONE_USER, 'Z');
    host.info.root = pmm_alloc_zeroed(&pmm, ZONE_KERNEL, 'T');
    as = (struct as_state){.flush = as_flush};
    libc_memset(thread, 0, sizeof thread);
    libc_memset(&stacks, 0, sizeof stacks);
    door = window = (struct wait_queue){NULL, NULL};
    sched = (struct sched_state){.threads = THREADS};
    for (i = 0; i < THREADS; i++) {
        process[i] = heap_alloc_zeroed(&heap, sizeof *process[i]);
        object_init(&process[i]->object, &process_type);
        process[i]->program.space = as_create();
        assert(process[i]->program.space);
        process[i]->pid = ++sched.last_pid;
        process[i]->threads = &thread[i];
        process_set_parent(process[i], i ? process[0] : NULL);
        tree_insert(&sched.processes, tree_end(sched.processes, 1), 1, &process[i]->by_pid, 0);
        thread[i].process = process[i];
        thread[i].context.program = &process[i]->program;
        stacks.used[0] |= 1UL << 2 * i;
    }
    cpu_boot.context = &thread[0].context;
    queue_append(&sched.ready, &thread[1]);
    queue_append(&sched.ready, &sched.boot);
    queue_append(&sched.ready, &thread[2]);
    for (i = 3; i < THREADS; i++) {
        thread[i].queue = i < 5 ? &door : &window;
        queue_append(thread[i].queue, &thread[i]);
    }
    thread[3].timer.ring = thread[5].timer.ring = sched_time_out;
    timer_set(&thread[3].timer, 200);
    timer_set(&thread[5].timer, 100);
}

/* ---- Audits ------------------------------------------------------------- */

static char walked[16];

static void walk_one(void)
{
    strcat(walked, "1");
}

static void walk_two(void)
{
    strcat(walked, "2");
}

static void test_all_audits(void **state)
{
    static struct audit one = {"one", walk_one, NULL}, two = {"two", walk_two, NULL};

    (void)state;
    start();
    audits = (struct audit_state){.on = false};
    audit_add(&one);
    audit_add(&two);
    audit_now();
    expect_text(walked, "", "what is walked without the option");
    audits.on = true;
    audit_now();
    audit_now();
    expect_text(walked, "1212", "what is walked with the option");
    audit_report();
    expect_text(host_output.text, "audit: walked 2 times: one two\n", "the report");
}

/* What is planted must be found, and what is not planted must not. */
#define expect_found(plant) \
    do { \
        start(); \
        sched_audit(); \
        plant; \
        expect_panic(sched_audit(), "assertion failed"); \
    } while (0)

static void test_threads(void **state)
{
    (void)state;
    expect_found(queue_append(&sched.ready, thread_current()));
    expect_found(queue_append(&sched.ready, &thread[4]));   /* also at the door */
    expect_found(queue_append(&window, &thread[1]));        /* ready, and at the window */
    expect_found(queue_remove(&sched.ready, &thread[1]));   /* nowhere */
    expect_found(queue_remove(&sched.ready, &sched.boot));
    expect_found(queue_remove(&door, &thread[3]));          /* sleeps nowhere */
    expect_found(thread[4].queue = NULL);
    expect_found(thread[4].queue = &window);
    expect_found(thread[4].next = &thread[3]);              /* a circle */
    expect_found(thread[2].next = &thread[1]);
    expect_found(sched.ready.last = &thread[1]);
    expect_found(thread[1].timer.time = 1);                 /* ready, but waits for a time */
    expect_found(thread[5].timer.time = 300);               /* not in order */
    expect_found(thread[4].timer.time = 300);               /* not in the tree */
    expect_found(timer_cancel(&thread[3].timer); thread[3].timer.time = 7);
    expect_found(thread[3].timer.ring = NULL);
    start();
    timer_set(&thread[4].timer, 100);                       /* for the same time as thread 5 */
    expect_true(timer_first() == &thread[5].timer, "who was first is the first to be called");
    expect_found(sched.threads++);
    expect_found(stacks.used[1] = 1);
    expect_found(process[2]->threads = NULL);
    expect_found(process[2]->pid = 1);
    expect_found(process[2]->parent = process[1]);
    expect_found(process[0]->children[1] = process[0]->children[0]);
    expect_found(process[0]->children[0] = process[3]);     /* one is missing before it */
    expect_found(stacks.lowest = 2);                        /* slot 1 is free */
    expect_found(process[2]->object.references = 0);
    expect_found(thread[2].process = process[3]);
    expect_found(process[4]->program.space->root = host.info.root;
                 process_set_parent(process[4], process[3]);
                 queue_remove(&door, &thread[3]); process[3]->threads = NULL;
                 sched.threads--);                          /* an orphan */
    expect_found(*(u64 *)boot_physical(process[4]->program.space->root + 8) =
                     (u64)process[4]->program.space->root | PTE_PRESENT | PTE_USER);
}

static struct node *home, *room;

static struct node *make(struct node *directory, const char *name, u32 mode)
{
    struct node *n = node_create(mode, &rd_operations);

    expect_equal(node_attach(directory, name, n), 0, "making %s", name);
    return n;
}

static struct entry *nth(const struct node *directory, u64 n)
{
    struct entry *e = entry_after(directory, 0);

    while (n--)
        e = entry_next(e);
    return e;
}

/* Two files and a directory, and in that a file and another directory. */
static void start_files(void)
{
    start();
    node_type.live = 0;
    sys.tsc_per_second = 1000000000;
    vfs = (struct vfs_state){.last_place = 2};
    vfs.root = node_create(S_IFDIR | 0755, &rd_operations);
    vfs.root->links = 1;
    make(vfs.root, "one", S_IFREG);
    home = make(vfs.root, "home", S_IFDIR);
    make(vfs.root, "two", S_IFREG);
    make(home, "three", S_IFREG);
    room = make(home, "room", S_IFDIR);
    process[1]->directory = room;
}

#define expect_seen(plant) \
    do { \
        start_files(); \
        vfs_audit(); \
        plant; \
        expect_panic(vfs_audit(), "assertion failed"); \
    } while (0)

static void test_files(void **state)
{
    (void)state;
    expect_seen(home->parent = NULL);
    expect_seen(home->parent = room);
    expect_seen(room->parent = vfs.root);
    expect_seen(nth(vfs.root, 0)->node->parent = home);   /* of a file */
    expect_seen(nth(home, 1)->node = home);                 /* a circle */
    expect_seen(libc_memcpy(nth(vfs.root, 2)->name, "one", 3)); /* a name twice */
    expect_seen(tree_remove(&home->names, &nth(home, 0)->by_name)); /* in one tree only */
    expect_seen(tree_remove(&home->places, &nth(home, 0)->by_place));
    expect_seen(home->entry = nth(home, 0));
    expect_seen(nth(vfs.root, 0)->name[1] = '/');
    expect_seen(nth(vfs.root, 0)->name[0] = 0);
    expect_seen(nth(vfs.root, 0)->name[0] = '.'; nth(vfs.root, 0)->name[1] = 0);
    expect_seen(nth(vfs.root, 0)->place = 99);
    expect_seen(nth(vfs.root, 0)->place = vfs.last_place);
    expect_seen(home->links++);
    expect_seen(vfs.root->links--);
    expect_seen(nth(home, 0)->node->links = 0);
    expect_seen(nth(home, 0)->node->links = 2);         /* with one reference */
    expect_seen(nth(home, 0)->node->mode = S_IFDIR);
    expect_seen(room->mode = S_IFREG);
    expect_seen(process[1]->directory = nth(home, 0)->node);
    expect_seen(node_type.live = 2);
}

/* ---- Signals ------------------------------------------------------------ */

static struct signal_state *signals;

static void start_signals(void)
{
    start();
    signals = process[1]->signals = signal_create(process[1]);
    thread[1].blocked = ~0UL;
}

static void send(int signal, u64 value)
{
    const struct signal_info info = {.signal = signal, .value = value};

    signal_send_info(process[1], &info);
}

static void test_notes(void **state)
{
    struct signal_info info;
    u64 blocks, i;

    (void)state;
    start_signals();
    blocks = heap.blocks;
    for (i = 1; i <= 3; i++)
        send(SIGUSR1, i), send(40, i), send(SIGKILL, i);
    expect_equal(signals->sent.count, 5, "notes: one for each old signal, three for the new one");
    expect_equal(signal_take(process[1]->threads, ~0UL, &info), SIGKILL, "the first to be taken");
    expect_equal(signal_take(process[1]->threads, signal_bit(40), &info), 40, "one of a set");
    expect_equal(info.value, 1, "the oldest");
    signals->action[SIGUSR1].handler = SIG_IGN;
    expect_equal(signal_take(process[1]->threads, ~0UL, &info), 40, "past one that does nothing");
    expect_equal(info.value, 2, "the next");
    expect_equal(signals->sent.pending, signal_bit(40), "what is still pending");
    signal_forget(&signals->sent, ~0UL);
    expect_equal(heap.blocks, blocks, "blocks when all is forgotten");
    expect_equal(signals->sent.pending | signals->sent.count, 0, "what is left");
    timer_set(&signals->alarm, 50);
    expect_true(timer_first() == &signals->alarm, "an alarm is set");
    signal_end(&process[1]->program);
    expect_true(timer_first() == &thread[5].timer, "no alarm is left when its process has ended");
    expect_equal(heap.blocks, blocks - 1, "nor what it stood in");
}

static void test_lost_notes(void **state)
{
    struct signal_info info;
    u64 i, blocks;

    (void)state;
    start_signals();
    blocks = heap.blocks;
    heap.fail_in = 1;
    send(40, 7);
    heap.fail_in = 0;
    expect_equal(signal_take(process[1]->threads, ~0UL, &info), 40, "it comes without memory");
    expect_equal(info.value, 0, "without its reason");
    for (i = 0; i < 2 * NOTES_MAX; i++)
        send(40, i);
    expect_equal(signals->sent.count, NOTES_MAX, "notes of very many");
    for (i = 0; signal_take(process[1]->threads, ~0UL, &info); i++)
        expect_equal(info.value, i, "note %lu", i);
    expect_equal(i, NOTES_MAX, "signals taken");
    expect_equal(heap.blocks, blocks, "blocks when all are taken");
}

/* ---- Processes ---- */

/* A session of process 1, with its children in two groups; one has signals pending. */
static void start_processes(void)
{
    u64 i;

    start_files();
    for (i = 0; i < THREADS; i++) {
        process[i]->session = 1;
        process[i]->group = i < 3 ? 1 : 4;
        process[i]->signals = signal_create(process[i]);
        process[i]->executed = nth(vfs.root, 0)->node;
        process[i]->executed->writers--;
    }
    signals = process[1]->signals;
    thread[1].blocked = signal_bit(40);
    send(40, 1), send(40, 2);
    tty.session = 1;
}

static void audit_three(void)
{
    signal_audit();
    proc_audit();
    shell_audit();
}

#define expect_noticed(plant) \
    do { \
        start_processes(); \
        audit_three(); \
        plant; \
        expect_panic(audit_three(), "assertion failed"); \
    } while (0)

static void test_processes(void **state)
{
    (void)state;
    expect_noticed(process[4]->session = 5);
    expect_noticed(process[2]->parent = NULL);
    expect_noticed(thread[2].context.attention = true);
    expect_noticed(thread[1].blocked = 0);
    expect_noticed(thread[1].blocked |= signal_bit(SIGKILL));
    expect_noticed(signals->sent.pending = 0);
    expect_noticed(signals->sent.count++);
    expect_noticed(signals->sent.notes->next->next = signals->sent.notes);
    expect_noticed(signals->sent.notes->info.signal = 41);
    expect_noticed(signals->process = process[2]);
    expect_noticed(signals->alarm.ring = sched_time_out);
    expect_noticed(tty.session = 3);
    expect_noticed(tty.session = 99);
    expect_noticed(process[5]->executed = NULL);
    expect_noticed(nth(vfs.root, 0)->node->writers = 1);
    tty.session = 0;
}

/* ---- Limits ------------------------------------------------------------- */

static void test_limits(void **state)
{
    const struct limit new = {5, 10}, many = {5, HANDLES_MAX + 1};
    u64 blocks;

    (void)state;
    start();
    blocks = heap.blocks;
    expect_equal(limit_of(process[1], RLIMIT_STACK)->now, USER_STACK_SIZE, "the usual stack");
    expect_equal(limit_set(process[1], RLIMIT_NOFILE, &many), -EPERM, "too many descriptors");
    heap.fail_in = 1;
    expect_equal(limit_set(process[1], RLIMIT_STACK, &new), -ENOMEM, "without memory");
    heap.fail_in = 0;
    expect_equal(heap.blocks, blocks, "blocks after failures");
    expect_equal(limit_set(process[1], RLIMIT_STACK, &new), 0, "a new limit");
    expect_equal(limit_of(process[1], RLIMIT_STACK)->now, 5, "it is that");
    expect_equal(limit_of(process[2], RLIMIT_STACK)->now, USER_STACK_SIZE, "another's is not");
    expect_equal(limit_copy(process[2], process[1]), 0, "inherited");
    expect_equal(limit_of(process[2], RLIMIT_STACK)->most, 10, "the child's");
    expect_true(process[1]->limits != process[2]->limits, "each has its own");
    expect_equal(limit_copy(process[4], process[3]), 0, "the usual ones, inherited");
    expect_true(!process[4]->limits, "take no memory");
}

/* ---- Another file system -------------------------------------------------- */

/* Each number is a file, which is made when somebody asks for it; nothing can be changed. */
static int number_find(struct node *directory, const char *name, struct node **n)
{
    static const struct node_operations operations = {.read = NULL};

    (void)directory;
    *n = name[0] >= '0' && name[0] <= '9' ? node_create(S_IFREG | 0444, &operations) : NULL;
    if (*n)
        (*n)->system = 2;
    return 0;
}

static const struct node_operations number_operations = {.find = number_find};

/* Whoever finds a node gives it back, and between two file systems nothing is moved. */
static void test_systems(void **state)
{
    struct node *numbers, *n, *file;
    struct walk from, to;
    u64 live, references;

    (void)state;
    start_files();
    numbers = node_create(S_IFDIR | 0555, &number_operations);
    numbers->system = 2;
    expect_equal(node_attach(vfs.root, "numbers", node_get(numbers)), 0, "mounting");
    live = node_type.live;
    references = numbers->object.references + vfs.root->object.references;
    expect_equal(vfs_find(vfs.root, "/numbers/7", true, &n), 0, "finding");
    expect_equal(node_type.live, live + 1, "a node while somebody has it");
    node_put(n);
    expect_equal(vfs_find(vfs.root, "/numbers/x", true, &n), -ENOENT, "finding nothing");
    expect_equal(vfs_find(vfs.root, "/numbers/7/8", true, &n), -ENOTDIR, "a file as a directory");
    expect_equal(vfs_find(vfs.root, "/numbers/./../numbers/7", true, &n), 0, "by a detour");
    node_put(n);
    expect_equal(node_type.live, live, "nodes when nobody has any");
    expect_equal(numbers->object.references + vfs.root->object.references, references,
                 "references to the directories on the way");
    file = make(vfs.root, "file", S_IFREG | 0644);
    expect_equal(vfs_walk(&to, vfs.root, "/numbers/x", false), 0, "to nothing");
    expect_equal(vfs_make(&to, S_IFREG | 0644, NULL), -EROFS, "making a file");
    expect_equal(vfs_link(file, &to), -EXDEV, "a link from there to here");
    expect_equal(vfs_walk(&from, vfs.root, "/file", false), 0, "to a file");
    expect_equal(vfs_rename(&from, &to), -EXDEV, "moving it there");
    walk_end(&from);
    expect_equal(vfs_walk(&from, vfs.root, "/numbers/7", false), 0, "to a number");
    expect_equal(vfs_rename(&from, &to), -EROFS, "renaming a number");
    expect_equal(vfs_link(from.node, &to), -EROFS, "a second name for it");
    expect_equal(vfs_remove(&from, false), -EROFS, "removing it");
    walk_end(&to);
    expect_equal(vfs_walk(&to, vfs.root, "/new", false), 0, "to nothing, here");
    expect_equal(vfs_rename(&from, &to), -EXDEV, "moving a number here");
    walk_end(&to);
    walk_end(&from);
    node_put(numbers);
}

/* What a walk follows links by is given back, however it ends. */
static void test_links(void **state)
{
    static const char *const paths[] = {"/in/one", "/one", "/in/x/y", "/in", "/two/in/two/in/one"};
    struct node *n;
    u64 blocks, live, i;
    int error;

    (void)state;
    start_files();
    expect_equal(rd_make(vfs.root, "in", S_IFLNK, "/", &n), 0, "a link to the root");
    node_put(n);
    expect_equal(rd_make(vfs.root, "circle", S_IFLNK, "in/circle", &n), 0, "a circle");
    node_put(n);
    blocks = heap.blocks, live = node_type.live;
    for (i = 0; i < array_count(paths); i++) {
        error = vfs_find(vfs.root, paths[i], true, &n);
        if (!error)
            node_put(n);
        expect_equal(heap.blocks, blocks, paths[i]);
        expect_equal(node_type.live, live, paths[i]);
    }
    expect_equal(vfs_find(vfs.root, "/circle/x", true, &n), -ELOOP, "in circles");
    expect_equal(heap.blocks, blocks, "blocks after that");
}

static struct node *listed;
static u64 gone;

/* Somebody removes all that has been told, the last of it too. */
static bool remove_told(void)
{
    u64 told = gone ? 256 : 253;

    for (; told; told--, gone++)
        entry_remove(listed, nth(listed, 0));
    for (told = 0; told < 300; told++)                      /* and what it was is overwritten */
        memset(heap_alloc(&heap, sizeof(struct entry)), 0xee, sizeof(struct entry));
    return false;
}

#define ENTRIES 600UL

/* A listing that pauses goes on behind what was told, though that is gone. */
static void test_listing(void **state)
{
    static u8 bytes[64 * KIB];
    struct file *file;
    u64 i, at, count = 0;
    char name[16];
    s64 size;

    (void)state;
    start_files();
    listed = make(vfs.root, "many", S_IFDIR | 0755);
    for (i = 0; i < ENTRIES; i++) {
        snprintf(name, sizeof name, "%lu", i);
        make(listed, name, S_IFREG | 0644);
    }
    file = (struct file *)file_create(listed, 0);
    sys.pause = remove_told;
    gone = 0;
    while ((size = file_list(file, (vaddr)bytes, sizeof bytes)) > 0)
        for (at = 0; at < (u64)size; at += ((struct directory_entry *)(bytes + at))->length)
            count++;
    sys.pause = sys_never;
    expect_equal(size, 0, "the end of the listing");
    expect_equal(count, ENTRIES + 2, "entries, of which some went while others were told");
    object_put(&file->object);
}

/* Files leave something to those who would remove them. */
static void test_reserve(void **state)
{
    static u8 bytes[64 * KIB];
    struct node *n;
    u64 offset;
    s64 written = 1;

    (void)state;
    start_files();
    n = make(vfs.root, "long", S_IFREG | 0644);
    for (offset = 0; written > 0; offset += (u64)written)
        written = rd_write(n, offset, (vaddr)bytes, sizeof bytes);
    expect_equal(written, -ENOSPC, "when nearly all memory is full");
    expect_true(pmm.free[ZONE_USER] >= RD_RESERVE - sizeof bytes / FRAME_SIZE,
                "frames left: %lu", pmm.free[ZONE_USER]);
}

/* ---- When memory is gone -------------------------------------------------- */

static void give(struct process *p, u64 pages)
{
    struct vmo *v = vmo_create(pages * FRAME_SIZE);
    u64 i;

    for (i = 0; i < pages; i++)
        expect_equal(vmo_write(v, i * FRAME_SIZE, "x", 1), 0, "page %lu", i);
    expect_equal(as_map(p->program.space, 0x400000, pages * FRAME_SIZE, PF_R | PF_W, v, 0), 0,
                 "mapping %lu pages", pages);
    vmo_put(v);
}

/* Process 1, a shell, a job of the shell's, and three whose parent is the job or process 1. */
static void start_family(struct process *parent)
{
    u64 i;

    start_processes();
    process[1]->session = process[1]->pid;
    process_set_parent(process[2], process[1]);
    for (i = 3; i < 6; i++)
        process_set_parent(process[i], parent);
}

static bool is_doomed(const struct process *p)
{
    return p->signals->sent.pending & signal_bit(SIGKILL);
}

static void test_relief(void **state)
{
    (void)state;
    start_family(process[2]);
    give(process[4], 200);
    expect_true(relief_choose() == process[4], "one of many has nearly everything: process %u",
                relief_choose()->pid);
    start_family(process[2]);
    give(process[2], 5), give(process[3], 8), give(process[4], 9), give(process[5], 8);
    expect_true(relief_choose() == process[2], "many have a little: process %u",
                relief_choose()->pid);
    expect_equal(relief_end(process[2]), 4, "processes of that family");
    expect_true(is_doomed(process[2]) && is_doomed(process[3]) && is_doomed(process[5]),
                "they are ended");
    expect_true(!is_doomed(process[1]) && !is_doomed(process[0]), "and not who started them");
    start_family(process[0]);
    give(process[1], 60), give(process[3], 10);
    expect_true(relief_choose() == process[3], "before a shell anybody: process %u",
                relief_choose()->pid);
    start_family(process[0]);
    give(process[0], 100), give(process[1], 1000);
    expect_true(relief_choose() == process[2], "what a shell has started: process %u",
                relief_choose()->pid);
}

/* ---- Watching ----------------------------------------------------------- */

static u64 way_in;

static void take_msr(u32 number, u64 value)
{
    if (number == MSR_LSTAR)
        way_in = value;
}

/* The slower way in is used exactly as long as somebody is watched. */
static void test_traced(void **state)
{
    struct trap_frame f = {0};

    (void)state;
    host_replace(cpu_wrmsr, take_msr);
    start_processes();
    cpu_boot.context = &thread[1].context;
    sys_trace(&f);
    expect_equal(way_in, (u64)trace_entry, "when somebody is watched");
    process[2]->program.traced = true;
    trace_end(&process[3]->program);
    expect_equal(way_in, (u64)trace_entry, "when another one has ended");
    trace_end(&process[1]->program);
    expect_equal(way_in, (u64)trace_entry, "when one of two has ended");
    process[1]->program.traced = false;
    trace_end(&process[2]->program);
    expect_equal(way_in, (u64)sys_entry, "when the last one has ended");
}

/* ---- What takes long ----------------------------------------------------- */

static u64 pauses;

static bool count_pause(void)
{
    pauses++;
    return false;
}

#define MUCH (16 * PORTION)

#define expect_pauses(call, what) \
    do { \
        pauses = 0; \
        expect_equal(call, MUCH, "bytes moved: " what); \
        expect_true(pauses >= 15 && pauses <= 16, "pauses in 16 portions: " what ": %lu", pauses); \
    } while (0)

/* Whoever moves much pauses once for each portion, and moves all of it. */
static void test_pauses(void **state)
{
    static u8 bytes[MUCH];
    struct vmo *v;
    struct node *n;
    struct trap_frame f = {.rdi = (u64)bytes, .rsi = MUCH};
    u64 i;

    (void)state;
    start();
    v = vmo_create(MUCH);
    n = node_create(S_IFREG | 0644, &rd_operations);
    sys.pause = count_pause;
    for (i = 0; i < MUCH; i++)
        bytes[i] = (u8)(i * 7 >> 3);
    expect_pauses(vmo_transfer(v, 0, (vaddr)bytes, MUCH, RIGHT_WRITE), "to a VMO");
    expect_pauses(rd_write(n, 0, (vaddr)bytes, MUCH), "to a file");
    libc_memset(bytes, 0, sizeof bytes);
    expect_pauses(vmo_transfer(v, 0, (vaddr)bytes, MUCH, RIGHT_READ), "from a VMO");
    for (i = 0; i < MUCH; i++)
        expect_equal(bytes[i], (u8)(i * 7 >> 3), "byte %lu of the VMO", i);
    libc_memset(bytes, 0, sizeof bytes);
    expect_pauses(rd_read(n, 0, (vaddr)bytes, MUCH), "from a file");
    for (i = 0; i < MUCH; i++)
        expect_equal(bytes[i], (u8)(i * 7 >> 3), "byte %lu of the file", i);
    expect_pauses(zero_read(NULL, 0, (vaddr)bytes, MUCH), "from /dev/zero");
    expect_pauses(sys_getrandom(&f), "random");
    sys.pause = sys_never;
}

/* ---- What sigreturn believes ---------------------------------------------- */

static struct fpu_state loaded;

static void take_fpu(struct fpu_state *s)
{
    loaded = *s;
}

/* To load a bit of MXCSR that there is not would be an exception, in ring 0, on a real
   processor; QEMU loads anything. */
static void test_mxcsr(void **state)
{
    static struct signal_frame frame;
    static struct fpu_state forged;
    struct trap_frame f = {.rsp = (u64)&frame + 8};
    u64 bit;

    (void)state;
    start_signals();
    cpu_boot.context = &thread[1].context;
    fpu_init();
    expect_true(fpu_mxcsr_mask & 0x1f80 && !(fpu_mxcsr_mask & ~0xfffffU), "the mask: 0x%x",
                fpu_mxcsr_mask);
    frame.context.rip = 0x400000;
    frame.context.fpu = (u64)&forged;
    for (bit = 0; bit < 32; bit++) {
        forged.mxcsr = 1U << bit;
        sys_sigreturn(&f);
        expect_equal(loaded.mxcsr, 1U << bit & fpu_mxcsr_mask, "bit %lu of MXCSR", bit);
        f.rsp = (u64)&frame + 8;
    }
}

static int setup(void **state)
{
    host_watch_memory();
    host_replace(cpu_invlpg, do_nothing);
    host_replace(cpu_write_cr3, do_nothing);
    host_replace(cpu_fxrstor, take_fpu);
    return host_setup(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_audits), cmocka_unit_test(test_threads),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_notes), cmocka_unit_test(test_lost_notes),
        cmocka_unit_test(test_processes), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_pauses), cmocka_unit_test(test_systems),
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_listing), cmocka_unit_test(test_reserve),
        cmocka_unit_test(test_relief),
        cmocka_unit_test(test_traced),
        cmocka_unit_test(test_mxcsr)};

    return cmocka_run_group_tests(tests, setup, host_teardown);
}
