/* Content made 7-bit: what is changed, what is left, and what cannot be done. */
#include "mail/seven.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void assert_converted(const char *from, const char *to, size_t piece)
{
    struct arena      arena;
    struct mail_seven s;
    struct buf        out;
    const char       *why = "";

    arena_init(&arena, 4096, 1 << 20);
    buf_init(&out, 1 << 20);
    if (!mail_seven_init(&s, str_from(from), &arena, &why))
        fail_msg("%s: %s", from, why);
    assert_int_equal(mail_seven_size(&s), strlen(to));
    while (mail_seven_next(&s, piece, &out))
        ;
    assert_string_equal(out.data ? out.data : "", to);
    buf_done(&out);
    arena_done(&arena);
}

static void converts(const char *from, const char *to)
{
    assert_converted(from, to, 1);
    assert_converted(from, to, 7);
    assert_converted(from, to, 4096);
}

static void refuses(const char *from, const char *reason)
{
    struct arena      arena;
    struct mail_seven s;
    const char       *why = "";

    arena_init(&arena, 4096, 1 << 20);
    assert_false(mail_seven_init(&s, str_from(from), &arena, &why));
    assert_string_equal(why, reason);
    arena_done(&arena);
}

#define QP "Content-Transfer-Encoding: quoted-printable\r\n"

static void test_one_part(void **state)
{
    (void)state;
    converts("", "");
    converts("Subject: x\r\n\r\nplain = \x7f \r\n", "Subject: x\r\n\r\nplain = \x7f \r\n");
    converts("Subject: x\r\n\r\ncaf\xc3\xa9 = \r\n.\r\n\r\nx\t\r\nend ",
             "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n" QP
             "Subject: x\r\n\r\ncaf=C3=A9 =3D=20\r\n.\r\n\r\nx=09\r\nend=20");
    converts("Subject: x\r\n\r\ncaf\xe9\r\n",
             "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n" QP
             "Subject: x\r\n\r\ncaf=E9\r\n");
    converts(
        "MIME-Version: 1.0\r\nContent-type: text/plain;\r\n charset=latin1\r\ncontent-transfer-ENCODING:\r\n 8bit\r\n"
        "Subject: x\r\n\r\n\xe9\r\n",
        "MIME-Version: 1.0\r\nContent-type: text/plain;\r\n charset=latin1\r\n" QP "Subject: x\r\n\r\n=E9\r\n");
    converts("\r\n\xe9", "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n" QP "\r\n=E9");
    converts("no header \xe9\r\n",
             "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n" QP "\r\nno header =E9\r\n");
}

/* No line of an encoded part is longer than 76 columns, and none is broken that need not be. */
static void test_long_lines(void **state)
{
    char from[400] = "\r\n\xe9", to[600] = "";

    (void)state;
    memset(from + 3, 'x', 200);
    snprintf(to, sizeof to,
             "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n" QP
             "\r\n=E9%.72s=\r\n%.75s=\r\n%.53s",
             from + 3, from + 3, from + 3);
    converts(from, to);
}

static void test_multipart(void **state)
{
    (void)state;
    converts("MIME-Version: 1.0\r\nContent-Type: multipart/mixed; x=\"a;boundary=no\"; Boundary=\"b 1\"\r\n"
             "Content-Transfer-Encoding: 8bit\r\n\r\npre\xe9mble\r\n--b 1\r\n\r\nleft as it is \r\n--b 1 \r\n"
             "Content-Type: text/html\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xe9=\r\n--b 1x\r\n\r\n--b 1\r\n"
             "Content-Type: image/x\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--b 1--\r\nepi\xe9\r\n",
             "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; x=\"a;boundary=no\"; Boundary=\"b 1\"\r\n"
             "Content-Transfer-Encoding: 7bit\r\n\r\npre?mble\r\n--b 1\r\n\r\nleft as it is \r\n--b 1 \r\n"
             "Content-Type: text/html\r\n" QP "\r\n=E9=3D\r\n--b 1x\r\n\r\n--b 1\r\n"
             "Content-Type: image/x\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--b 1--\r\nepi?\r\n");
    /* A message within, of its own parts; the last boundary is missing. */
    converts("Content-Type: multipart/digest; boundary=o\r\n\r\n--o\r\nContent-Type: message/rfc822\r\n"
             "Content-Transfer-Encoding: 8bit\r\n\r\nContent-Type: multipart/alternative; "
             "boundary=i\r\n\r\n--i\r\n\r\n\xe9\r\n"
             "--i--\r\n--o\r\n\r\n\xe8",
             "Content-Type: multipart/digest; boundary=o\r\n\r\n--o\r\nContent-Type: message/rfc822\r\n"
             "Content-Transfer-Encoding: 7bit\r\n\r\nContent-Type: multipart/alternative; boundary=i\r\n\r\n--i\r\n" QP
             "\r\n=E9\r\n--i--\r\n--o\r\n" QP "\r\n=E8");
}

static void test_impossible(void **state)
{
    char deep[2000] = "";

    (void)state;
    refuses("Subject: \xc3\xa9\r\n\r\n\xc3\xa9\r\n", "a header in the message has raw UTF-8");
    refuses("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Disposition: x; "
            "filename=\xc3\xa9\r\n\r\nx\r\n--b--\r\n",
            "a header in the message has raw UTF-8");
    refuses("Content-Type: Multipart/Signed; boundary=b\r\n\r\n--b\r\n\r\n\xe9\r\n--b--\r\n",
            "the message is signed or encrypted, and converting it would break that");
    refuses("Content-Type: multipart/mixed\r\n\r\n\xe9", "a multipart of the message has no boundary");
    refuses("Content-Type: multipart/mixed; boundary=b\r\n\r\n\xe9", "a multipart of the message has no boundary");
    refuses("Content-Transfer-Encoding: base64\r\n\r\n\xe9", "a part of the message is not encoded as it says");
    refuses("Content-Transfer-Encoding: x-own\r\n\r\n\xe9", "a part of the message is not encoded as it says");
    refuses("Content-Type: message/partial\r\n\r\n\xe9", "the message holds another of a kind that cannot be encoded");
    for (size_t i = 0; i < 18; i++)
        strcat(deep, "Content-Type: message/rfc822\r\n\r\n");
    strcat(deep, "\r\n\xe9");
    refuses(deep, "the parts of the message are nested too deep");
}

/* More parts than can be remembered, and no memory for fewer. */
static void test_limits(void **state)
{
    struct arena      arena;
    struct mail_seven s;
    struct buf        content;
    const char       *why = "";

    (void)state;
    buf_init(&content, 1 << 20);
    buf_append_z(&content, "Content-Type: multipart/mixed; boundary=b\r\n\r\n");
    for (size_t i = 0; i < MAIL_SEVEN_EDITS; i++)
        buf_append_z(&content, "--b\r\n\r\n\xe9\r\n");
    arena_init(&arena, 4096, 1 << 20);
    assert_false(mail_seven_init(&s, buf_str(&content), &arena, &why));
    assert_string_equal(why, "the message has too many parts");
    arena_done(&arena);
    arena_init(&arena, 4096, 1000);
    assert_false(mail_seven_init(&s, buf_str(&content), &arena, &why));
    assert_string_equal(why, "no memory to convert the message");
    arena_done(&arena);
    buf_done(&content);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_part),   cmocka_unit_test(test_long_lines), cmocka_unit_test(test_multipart),
        cmocka_unit_test(test_impossible), cmocka_unit_test(test_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
