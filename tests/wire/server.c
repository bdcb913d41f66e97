/*
 * An ioreq server in C, written from docs/wire.md alone: one port with an interrupt.
 *
 * A write to the port raises an ISA interrupt request; a read returns the complement of what was written and lets the
 * line fall. Writes are posted, so both ways of the wire are here: the vCPU's slot and the buffered ring.
 *
 *     server DOMAIN-SOCKET PORT IRQ
 *
 * It ends with 0 when the domain ends, and with 1 and a line when something is not as the document says.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { PAGE = 4096, MAX_MESSAGE = 65536, MAX_FDS = 253, MAX_VCPUS = 128 };
enum { STATE_NONE, STATE_READY, STATE_INPROCESS, STATE_RESP_READY };
enum { FLAG_POINTER = 0x10, FLAG_READ = 0x20, FLAGS = 0x70 };
enum { TYPE_PIO = 0, TYPE_INVALIDATE = 8 };
enum { SLOTS = 511, MODULUS = 2 * SLOTS };

/* Each as docs/wire.md has it, to the byte; x86 and arm64 are little-endian. */
struct ioreq {
    uint64_t addr, data;
    uint32_t count, size;
    uint32_t vp_eport;
    uint16_t pad;
    uint8_t state; /* 3..0, and data_is_ptr 4, dir 5, df 6 */
    uint8_t type;
};

struct buffered_page {
    uint32_t read_pointer, write_pointer;
    uint64_t slot[SLOTS];
};

struct event_page {
    uint32_t pending[512], mask[512];
};

_Static_assert(sizeof(struct ioreq) == 32, "struct ioreq");
_Static_assert(sizeof(struct buffered_page) == PAGE, "struct buffered_iopage");
_Static_assert(sizeof(struct event_page) == PAGE, "event page");

static int control, vcpus, id;
static int vcpu_bell[MAX_VCPUS];   /* theirs: we ring */
static int server_bell[MAX_VCPUS]; /* ours: the core rings, a bell a vCPU */
static int ring_bell;              /* ours: posted writes */
static struct ioreq *ioreqs;
static struct buffered_page *ring;
static struct event_page *events;
static uint64_t port, irq;
static uint8_t latch;
static bool reset_wanted;

static void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "server.c: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    exit(1);
}

/* The domain socket: one JSON object a packet. What is looked for in a reply is a name with its value. */

static char message[MAX_MESSAGE + 1];
static int received[MAX_FDS], received_count;

static bool says(const char *what)
{
    char wanted[64];
    snprintf(wanted, sizeof wanted, "\"said\":\"%s\"", what);
    return strstr(message, wanted) != NULL;
}

static long number(const char *name)
{
    char wanted[64];
    snprintf(wanted, sizeof wanted, "\"%s\":", name);
    const char *at = strstr(message, wanted);
    if (at == NULL)
        die("no %s in %s", name, message);
    return strtol(at + strlen(wanted), NULL, 10);
}

static void receive(void)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(MAX_FDS * sizeof(int))];
    } ancillary;
    struct iovec vector = {message, MAX_MESSAGE};
    struct msghdr header = {.msg_iov = &vector,
                            .msg_iovlen = 1,
                            .msg_control = &ancillary,
                            .msg_controllen = sizeof ancillary};
    ssize_t length;
    do
        length = recvmsg(control, &header, MSG_CMSG_CLOEXEC);
    while (length < 0 && errno == EINTR);
    if (length <= 0)
        die("the core is gone");
    message[length] = 0;
    received_count = 0;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(&header); part; part = CMSG_NXTHDR(&header, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        received_count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(received, CMSG_DATA(part), received_count * sizeof(int));
    }
}

/* An event may come at any time, between an op and its reply too. Whether `message` is one. */
static bool event(void)
{
    if (says("shutdown"))
        exit(0);
    if (says("reset"))
        reset_wanted = true;
    else if (!says("isa_irq_level") && !says("pci_intx_level"))
        return false;
    return true;
}

/* Perform an op, and leave its reply in `message` and `received`. */
static void call(const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (send(control, text, length, MSG_NOSIGNAL) != length)
        die("cannot send %s", text);
    do
        receive();
    while (event());
    if (says("error"))
        die("%s: %s", text, message);
}

static void *map(int fd)
{
    void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED)
        die("cannot map: %s", strerror(errno));
    return page;
}

static void attach(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        die("%s is too long", path);
    strcpy(address.sun_path, path);
    control = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (control < 0 || connect(control, (struct sockaddr *)&address, sizeof address) < 0)
        die("cannot connect to %s: %s", path, strerror(errno));

    call("{\"op\":256,\"version\":%d,\"program\":\"server.c\"}", WIRE_VERSION);
    vcpus = number("vcpus");
    if (!says("domain") || vcpus < 1 || vcpus > MAX_VCPUS || received_count != 2 + vcpus)
        die("hello: %s with %d descriptors", message, received_count);
    close(received[0]); /* guest RAM: nothing here needs it */
    close(received[1]); /* the pins: they belong to the interrupt controller's server */
    memcpy(vcpu_bell, received + 2, vcpus * sizeof(int));

    call("{\"op\":1}");
    id = number("id");
    call("{\"op\":2,\"id\":%d}", id);
    if (received_count != 3 + vcpus + 1)
        die("get_ioreq_server_info: %d descriptors", received_count);
    ioreqs = map(received[0]);
    ring = map(received[1]);
    events = map(received[2]);
    memcpy(server_bell, received + 3, vcpus * sizeof(int));
    ring_bell = received[3 + vcpus];

    call("{\"op\":3,\"id\":%d,\"space\":0,\"first\":%d,\"last\":%d,\"posted\":true}", id, (int)port, (int)port);
    call("{\"op\":5,\"id\":%d,\"enabled\":true}", id);
}

/* Event channels. We never poll, so our ports stay unmasked. */

static void clear(unsigned which, int bell)
{
    uint64_t rung;
    if (read(bell, &rung, sizeof rung) < 0 && errno != EAGAIN)
        die("doorbell: %s", strerror(errno));
    __atomic_store_n(&events->pending[which], 0, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* look for work after this, never before */
}

static void send_event(unsigned which, int bell)
{
    const uint64_t one = 1;
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* the work, before pending is looked at */
    if (__atomic_load_n(&events->pending[which], __ATOMIC_RELAXED))
        return;
    __atomic_store_n(&events->pending[which], 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* pending, before mask is looked at */
    if (__atomic_load_n(&events->mask[which], __ATOMIC_RELAXED))
        return;
    if (write(bell, &one, sizeof one) < 0 && errno != EAGAIN)
        die("doorbell: %s", strerror(errno));
}

/* The device. */

static void drive(bool level)
{
    call("{\"op\":9,\"irq\":%d,\"level\":%s}", (int)irq, level ? "true" : "false");
}

static void device_write(uint64_t address, uint64_t value)
{
    if (address != port)
        return;
    latch = value;
    drive(true);
}

static uint64_t device_read(uint64_t address)
{
    if (address != port)
        return 0xFF;
    drive(false);
    return (uint8_t)~latch;
}

/* Posted writes, oldest first. A slot is free again, and the write counts as performed, when read_pointer passes it. */
static void drain(void)
{
    uint32_t at = __atomic_load_n(&ring->read_pointer, __ATOMIC_RELAXED);
    for (;;) {
        uint32_t end = __atomic_load_n(&ring->write_pointer, __ATOMIC_ACQUIRE);
        if (end >= MODULUS || at >= MODULUS)
            die("the ring's pointers are %u and %u", at, end);
        if (at == end)
            return;
        uint64_t entry = ring->slot[at % SLOTS];
        unsigned size = 1u << (entry >> 10 & 3);
        if ((entry & 0xFF) == TYPE_PIO && size == 1)
            device_write(entry >> 12 & 0xFFFFF, entry >> 32 & 0xFF);
        at = (at + (size == 8 ? 2 : 1)) % MODULUS;
        __atomic_store_n(&ring->read_pointer, at, __ATOMIC_RELEASE);
    }
}

static void answer(int vcpu)
{
    struct ioreq *slot = &ioreqs[vcpu];
    uint8_t flags = __atomic_load_n(&slot->state, __ATOMIC_ACQUIRE);
    if ((flags & 0x0F) != STATE_READY)
        return; /* events are sent without a request as well */
    __atomic_store_n(&slot->state, (flags & FLAGS) | STATE_INPROCESS, __ATOMIC_RELAXED);
    drain(); /* what was posted before it */
    const struct ioreq request = *slot;
    uint64_t data = UINT64_MAX; /* what nobody answers */
    if (request.type == TYPE_PIO && request.size == 1 && request.count == 1 && !(flags & FLAG_POINTER)) {
        if (flags & FLAG_READ)
            data = device_read(request.addr);
        else
            device_write(request.addr, request.data & 0xFF);
    }
    slot->data = data;
    __atomic_store_n(&slot->state, (flags & FLAGS) | STATE_RESP_READY, __ATOMIC_RELEASE);
    send_event(2 + 2 * vcpu, vcpu_bell[vcpu]);
}

static void serve(void)
{
    struct pollfd waiting[2 + MAX_VCPUS] = {{control, POLLIN, 0}, {ring_bell, POLLIN, 0}};
    for (int vcpu = 0; vcpu < vcpus; vcpu++)
        waiting[2 + vcpu] = (struct pollfd){server_bell[vcpu], POLLIN, 0};
    for (;;) {
        if (poll(waiting, 2 + vcpus, -1) < 0 && errno != EINTR)
            die("poll: %s", strerror(errno));
        if (waiting[0].revents) {
            receive();
            if (!event())
                die("the core says %s", message);
        }
        if (waiting[1].revents & POLLIN) {
            clear(1 + 2 * vcpus, ring_bell);
            drain();
        }
        for (int vcpu = 0; vcpu < vcpus; vcpu++) {
            if (waiting[2 + vcpu].revents & POLLIN) {
                clear(1 + 2 * vcpu, server_bell[vcpu]);
                answer(vcpu);
            }
        }
        if (reset_wanted) { /* maybe heard of in the middle of a call */
            reset_wanted = false;
            latch = 0;
            drive(false);
            call("{\"op\":259}");
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 4)
        die("give DOMAIN-SOCKET PORT IRQ");
    port = strtoul(argv[2], NULL, 0);
    irq = strtoul(argv[3], NULL, 0);
    attach(argv[1]);
    serve();
}
