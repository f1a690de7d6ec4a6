/* test_back_recall.c: an operator changes messages that the carrier has: what was not begun is called back, what is
 * being sent goes on to its end, and the operator hears which it was. */
#include "back_world.h"

#include <sys/socket.h>
#include <sys/un.h>

/* ---- the operator ---- */

static int        control = -1;
static struct buf answer;

/* One request on the control socket. */
static void order(const char *request)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int                listener = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(a.sun_path, sizeof a.sun_path, "%s/control.sock", root);
    unlink(a.sun_path);
    CHECK(bind(listener, (struct sockaddr *)&a, sizeof a) == 0 && listen(listener, 1) == 0);
    back_control_listen(back, listener);
    control = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(connect(control, (struct sockaddr *)&a, sizeof a) == 0);
    CHECK(write(control, request, strlen(request)) > 0 && write(control, "\n", 1) == 1);
    buf_done(&answer);
    buf_init(&answer, 1 << 16);
}

static void read_answer(void *arg)
{
    char    piece[4096];
    ssize_t n;

    (void)arg;
    CHECK(io_wall_ms() < deadline_ms);
    while ((n = recv(control, piece, sizeof piece, MSG_DONTWAIT)) > 0)
        CHECK(buf_append(&answer, str_of(piece, (size_t)n)));
    if (n == 0)
        io_loop_stop(context.loop);
}

/* Waits for all of the answer. */
static bool answered(const char *what)
{
    struct io_timer *timer = io_timer_new(context.loop, read_answer, NULL);

    deadline_ms = io_wall_ms() + 20000;
    io_timer_start(timer, 10, 10);
    io_loop_run(context.loop);
    io_timer_free(timer);
    if (!has(buf_str(&answer), what))
        fprintf(stderr, "%.*s\n", STR_ARG(buf_str(&answer)));
    return has(buf_str(&answer), what);
}

/* A message is with the carrier, which is silent. */
static void begin_with(const char *const *to)
{
    begin("");
    carrier_begin(true);
    send_mail(CLASS_RELAY, "sender", to, 0);
    settle();
}

static void take_back(const struct given *g) { put_back(g, 0); }

static void take_back_two(const struct given *g)
{
    if (str_eq(g->c.domain, STR("two.test")))
        put_back(g, 0);
    else
        defer_it(g);
}

/* ---- cases ---- */

static void in_line(void)
{
    begin_with(TO("a@one.test"));
    on_cancel = take_back;
    order("{\"command\":\"queue.remove\",\"all\":true}");
    CHECK(answered("\"done\":true}") && cancelled_count == 1);
    CHECK(!back->queue.messages && !back->carry.messages.used && given_count == 1 && recorded_count == 0);
}

static void being_sent(void)
{
    begin_with(TO("a@one.test"));
    on_cancel = accept_it;
    order("{\"command\":\"queue.remove\",\"all\":true}");
    CHECK(answered("\"failed\":\"it was being sent; it ended as delivered\"") && !back->queue.messages);
}

static void some_of_it(void)
{
    begin_with(TO("a@one.test", "b@two.test", "c@two.test"));
    on_cancel = take_back_two;
    order("{\"command\":\"queue.hold\",\"all\":true}");
    CHECK(answered("\"done\":true,\"sent\":\"it was being sent; it ended as put off\"") && cancelled_count == 2);
    pass(200);
    CHECK(given_count == 2 && queue_find(&back->queue, message_id)->flags & PROGRESS_HELD);
    order("{\"command\":\"queue.release\",\"all\":true}");
    CHECK(answered("\"done\":true}"));
    order("{\"command\":\"queue.retry\",\"all\":true}"); /* else its time is that of the recipient that was put off */
    CHECK(answered("\"done\":true}"));
    settle();
    CHECK(given_count == 4 && given[2].c.recipient_count + given[3].c.recipient_count == 3);
}

static void another_way(void)
{
    begin_with(TO("a@one.test"));
    on_cancel = take_back;
    order("{\"command\":\"queue.reroute\",\"all\":true,\"via\":\"smtp:192.0.2.9:25\"}");
    CHECK(answered("\"done\":true}"));
    settle();
    CHECK(given_count == 2 && str_eq(given[1].c.via, STR("smtp:192.0.2.9:25")));
}

/* Nobody waits for it any more when it comes back: it goes on. */
static void operator_leaves(void)
{
    begin_with(TO("a@one.test"));
    order("{\"command\":\"queue.remove\",\"all\":true}");
    pass(200);
    CHECK(cancelled_count == 1 && given_count == 1);
    close(control);
    pass(200);
    take_back(&given[0]);
    on_given = accept_it;
    settle();
    CHECK(given_count == 2 && !back->queue.messages);
}

/* It came back, and the operator has left before anything was done to it. */
static void operator_leaves_late(void)
{
    begin_with(TO("a@one.test", "b@two.test"));
    order("{\"command\":\"queue.hold\",\"all\":true}");
    pass(100);
    take_back(given_to("one.test"));
    pass(100);
    CHECK(cancelled_count == 2 && given_count == 2);
    close(control);
    on_given = accept_it;
    accept_it(given_to("two.test"));
    settle();
    CHECK(given_count == 3 && !back->queue.messages);
}

/* It came back, and is not changed after all: it goes on at once, and not before. */
static void for_nothing(void)
{
    struct back_recall *r;

    begin_with(TO("a@one.test"));
    on_cancel = take_back;
    r = recall_begin(back, message_id);
    recall_ask(r);
    pass(200);
    CHECK(cancelled_count == 1 && given_count == 1 && !queue_find(&back->queue, message_id)->out);
    on_given = accept_it;
    recall_end(r);
    settle();
    CHECK(given_count == 2 && !back->queue.messages);
}

/* It comes back when its time is over: it is held all the same, and not given up. */
static void too_old(void)
{
    struct str text, to;

    begin("queue { expire = \"1s\" }");
    carrier_begin(true);
    send_mail(CLASS_RELAY, "sender", TO("a@one.test"), 0);
    settle();
    pass(1200);
    on_cancel = take_back;
    order("{\"command\":\"queue.hold\",\"all\":true}");
    CHECK(answered("\"done\":true}") && reports(&text, &to) == 0);
    CHECK(queue_find(&back->queue, message_id)->flags & PROGRESS_HELD);
}

static void carrier_ends(void)
{
    begin_with(TO("a@one.test"));
    order("{\"command\":\"queue.remove\",\"all\":true}");
    pass(100);
    io_ipc_free(carrier);
    CHECK(answered("\"done\":true,\"sent\":\"it was being sent; it ended as lost: it may have been delivered\""));
    CHECK(!back->queue.messages);
}

static void not_for_a_retry(void)
{
    begin_with(TO("a@one.test"));
    order("{\"command\":\"queue.retry\",\"all\":true}");
    CHECK(answered("\"done\":true}") && cancelled_count == 0);
}

CASE(in_line)
CASE(being_sent)
CASE(some_of_it)
CASE(another_way)
CASE(operator_leaves)
CASE(operator_leaves_late)
CASE(for_nothing)
CASE(too_old)
CASE(carrier_ends)
CASE(not_for_a_retry)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_line),         cmocka_unit_test(test_being_sent),
        cmocka_unit_test(test_some_of_it),      cmocka_unit_test(test_another_way),
        cmocka_unit_test(test_operator_leaves), cmocka_unit_test(test_operator_leaves_late),
        cmocka_unit_test(test_for_nothing),     cmocka_unit_test(test_too_old),
        cmocka_unit_test(test_carrier_ends),    cmocka_unit_test(test_not_for_a_retry),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
