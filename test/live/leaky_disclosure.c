/* leaky_disclosure.c: src/policy/disclosure.c with two mistakes put in, for a program of its own, tacit-leaky. The test
 * of times must find both; it could not be trusted otherwise.
 *
 *   - At RCPT the front asks the keeper for everybody, says the constant reply all the same, and takes
 *     TACIT_LEAK_NS nanoseconds longer where the mailbox exists.
 *   - Back does not even out its work: only what is delivered is written. */
#pragma GCC diagnostic ignored "-Wmissing-prototypes" /* of the honest ones, and of those below */
#define disclosure_may_ask_rcpt honest_may_ask_rcpt
#define disclosure_rcpt honest_rcpt
#define disclosure_evens_work honest_evens_work
#include "policy/disclosure.c"
#undef disclosure_may_ask_rcpt
#undef disclosure_rcpt
#undef disclosure_evens_work

#include <stdlib.h>
#include <time.h>

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

bool disclosure_may_ask_rcpt(enum client_class class) { return class != CLASS_BLOCKED; }

bool disclosure_evens_work(enum client_class class)
{
    (void)class;
    return false;
}

struct smtp_reply disclosure_rcpt(const struct disclosure_config *c, enum client_class class, bool is_local,
                                  enum told told, const struct mail_address *address,
                                  const struct mail_address *moved_to, bool smtputf8, size_t accepted_before,
                                  struct arena *arena)
{
    const char *leak = getenv("TACIT_LEAK_NS");
    uint64_t    until = now_ns() + (leak ? strtoull(leak, NULL, 10) : 0);

    while (told == TOLD_EXISTS && now_ns() < until)
        ;
    return honest_rcpt(c, class, is_local, told, address, moved_to, smtputf8, accepted_before, arena);
}
