/* log.c: lines as text or JSON, collected and written once each round of the loop.
 *
 * A value is quoted as a JSON string unless it consists of characters that cannot mislead: no blanks, quotes, '=' or
 * backslashes, no control characters, nothing that changes the direction of text. So a line is one line, its keys are
 * ours, and the text form can be parsed by the same rules as JSON. Octets that are no UTF-8 are shown as \u00XX, and
 * NUL as U+2400, because many JSON readers stop at \u0000. Values are cut at VALUE_MAX and lines at LINE_MAX_OCTETS.
 *
 * syslog and journald's own protocol were rejected: standard error reaches both, and `tacit trace` needs the file. */
#include "role/log.h"

#include "codes/reading.h"

#include "base/buf.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    VALUE_MAX = 1000, /* octets of a value, before escaping */
    LINE_MAX_OCTETS = 16 * 1024,
    PENDING_MAX = 1024 * 1024, /* octets that wait for the end of the round */
    PENDING_EARLY = 64 * 1024, /* from here on they do not wait for it */
    PIECE = PIPE_BUF,          /* what a pipe takes without mixing it with the lines of other processes */
    KEY_SLOTS = 256,
    STUCK_MS = 100,
};

static const char *const level_names[] = {"debug", "info", "warning", "error"};
static const char *const keys[] = {
#define LOG_KEY(name, help) #name,
#include "role/log.def"
#undef LOG_KEY
};
enum { KEY_COUNT = sizeof keys / sizeof *keys };
static_assert(KEY_COUNT < KEY_SLOTS / 2, "the table of keys must stay sparse");

static struct {
    enum log_form  form;
    enum log_level least;
    char           role[32];
    int            file_fd;
    bool           is_open; /* between log_begin and log_end */
    bool           is_attached;
    bool           is_err_file; /* standard error is a plain file: no pieces */
    time_t         stamped;
    char           stamp[24]; /* of `stamped`, up to the seconds */
    struct buf     line, pending;
    uint64_t       lost;     /* lines */
    uint64_t       unread;   /* octets that standard error had no room for */
    bool           is_stuck; /* it had none when we last looked */
    unsigned char  slots[KEY_SLOTS];
} self = {.file_fd = -1, .least = LOG_LEVEL_INFO};

static unsigned key_hash(const char *key)
{
    unsigned h = 2166136261u;

    for (; *key; key++)
        h = (h ^ (unsigned char)*key) * 16777619u;
    return h ^ h >> 16;
}

/* 1-based number of the key, or 0. */
static unsigned key_find(const char *key)
{
    for (unsigned at = key_hash(key) % KEY_SLOTS;; at = (at + 1) % KEY_SLOTS)
        if (!self.slots[at] || strcmp(keys[self.slots[at] - 1], key) == 0)
            return self.slots[at];
}

void log_init(enum log_form form, enum log_level least, const char *role, int file_fd)
{
    struct stat st;

    self.form = form;
    self.least = least;
    snprintf(self.role, sizeof self.role, "%s", role);
    if (self.file_fd != file_fd)
        log_reopen(file_fd);
    self.is_err_file = fstat(STDERR_FILENO, &st) == 0 && S_ISREG(st.st_mode);
    if (self.line.max)
        return;
    buf_init(&self.line, LINE_MAX_OCTETS);
    buf_init(&self.pending, PENDING_MAX);
    for (unsigned i = 0; i < KEY_COUNT; i++) {
        unsigned at = key_hash(keys[i]) % KEY_SLOTS;

        while (self.slots[at])
            at = (at + 1) % KEY_SLOTS;
        self.slots[at] = (unsigned char)(i + 1);
    }
}

void log_reopen(int file_fd)
{
    log_flush();
    if (self.file_fd >= 0)
        close(self.file_fd);
    self.file_fd = file_fd;
}

static void flush_round(void *arg)
{
    (void)arg;
    log_flush();
}

void log_attach(struct io_loop *loop)
{
    io_loop_on_round(loop, flush_round, NULL);
    self.is_attached = true;
}

/* What cannot be written is gone: a full disk or a stuck reader must not stop the mail. */
static void write_out(int fd, struct str data)
{
    while (data.len > 0) {
        ssize_t n = write(fd, data.data, data.len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        data = str_skip(data, (size_t)n);
    }
}

/* Standard error may be a pipe that nobody reads any more. That is waited for once, and then not before there is room
 * again. */
static bool err_has_room(void)
{
    struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};

    self.is_stuck = poll(&p, 1, self.is_stuck ? 0 : STUCK_MS) == 0;
    return !self.is_stuck;
}

/* In pieces of whole lines, each small enough to stay together in a pipe that several processes write. */
static void write_pieces(int fd, struct str data)
{
    while (data.len > 0) {
        struct str piece = str_part(data, 0, PIECE);
        size_t     end = str_find_last_byte(piece, '\n');

        if (end == STR_NOT_FOUND)
            end = str_find_byte(data, '\n');
        if (end == STR_NOT_FOUND)
            end = data.len - 1;
        if (!err_has_room()) {
            self.unread += data.len;
            return;
        }
        write_out(fd, str_part(data, 0, end + 1));
        data = str_skip(data, end + 1);
    }
}

void log_flush(void)
{
    struct str data = buf_str(&self.pending);

    if (data.len == 0)
        return;
    if (self.is_err_file)
        write_out(STDERR_FILENO, data);
    else
        write_pieces(STDERR_FILENO, data);
    if (self.file_fd >= 0)
        write_out(self.file_fd, data);
    buf_shrink(&self.pending, PENDING_EARLY);
    if (self.lost) {
        uint64_t lost = self.lost;

        self.lost = 0;
        log_notice(LOG_LEVEL_WARNING, "%llu log lines were dropped: too many at once", (unsigned long long)lost);
    }
    if (self.unread && !self.is_stuck) {
        uint64_t unread = self.unread;

        self.unread = 0;
        log_notice(LOG_LEVEL_WARNING, "%llu octets of log are missing on standard error: nobody read it",
                   (unsigned long long)unread);
    }
}

static void put_time(struct buf *b)
{
    char            millis[5] = ".000Z";
    struct timespec now;
    long            ms;

    clock_gettime(CLOCK_REALTIME, &now);
    ms = now.tv_nsec / 1000000;
    if (now.tv_sec != self.stamped || !self.stamp[0]) {
        struct tm tm;

        gmtime_r(&now.tv_sec, &tm);
        strftime(self.stamp, sizeof self.stamp, "%Y-%m-%dT%H:%M:%S", &tm);
        self.stamped = now.tv_sec;
    }
    for (size_t i = sizeof millis - 1; i-- > 1; ms /= 10)
        millis[i] = (char)('0' + ms % 10);
    buf_append_z(b, self.stamp);
    buf_append(b, str_of(millis, sizeof millis));
}

static bool is_plain(struct str s)
{
    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len;) {
        unsigned char c = (unsigned char)s.data[i];
        uint32_t      code;
        size_t        len = 1;

        if (c >= 0x80) {
            len = str_utf8_point(str_skip(s, i), &code);
            if (len == 0 || point_misleads(code))
                return false;
        } else if (c <= ' ' || c == 0x7f || c == '"' || c == '=' || c == '\\') {
            return false;
        }
        i += len;
    }
    return true;
}

static void put_quoted(struct buf *b, struct str s)
{
    buf_append_byte(b, '"');
    for (size_t i = 0; i < s.len;) {
        unsigned char c = (unsigned char)s.data[i];
        uint32_t      code = c;
        size_t        len = 1;

        if (c >= 0x80)
            len = str_utf8_point(str_skip(s, i), &code);
        if (len == 0) {
            buf_printf(b, "\\u%04x", c);
            len = 1;
        } else if (c == '"' || c == '\\') {
            buf_append_byte(b, '\\');
            buf_append_byte(b, (char)c);
        } else if (c == '\r' || c == '\n' || c == '\t') {
            buf_append_z(b, c == '\r' ? "\\r" : c == '\n' ? "\\n" : "\\t");
        } else if (c == 0) {
            buf_append_z(b, "\\u2400");
        } else if (point_misleads(code)) {
            buf_printf(b, "\\u%04x", (unsigned)code);
        } else {
            buf_append(b, str_part(s, i, len));
        }
        i += len;
    }
    buf_append_byte(b, '"');
}

bool log_begin(enum log_level level, const char *kind)
{
    assert(!self.is_open && self.line.max);
    if (level < self.least)
        return false;
    self.is_open = true;
    buf_clear(&self.line);
    if (self.form == LOG_JSON)
        buf_append_z(&self.line, "{\"time\":\"");
    put_time(&self.line);
    buf_append_z(&self.line, self.form == LOG_JSON ? "\",\"level\":\"" : " ");
    buf_append_z(&self.line, level_names[level]);
    buf_append_z(&self.line, self.form == LOG_JSON ? "\",\"kind\":\"" : " ");
    buf_append_z(&self.line, kind);
    if (self.form == LOG_JSON)
        buf_append_byte(&self.line, '"');
    return true;
}

/* One key and its value; what does not fit in the line is left out whole. */
static void put(const char *key, struct str value, bool is_number)
{
    struct buf *b = &self.line;
    size_t      before = b->len;

    assert(key_find(key) != 0);
    if (!self.is_open)
        return;
    if (value.len > VALUE_MAX)
        value.len = VALUE_MAX;
    buf_append(b, self.form == LOG_JSON ? STR(",\"") : STR(" "));
    buf_append_z(b, key);
    buf_append(b, self.form == LOG_JSON ? STR("\":") : STR("="));
    if (is_number || (self.form == LOG_TEXT && is_plain(value)))
        buf_append(b, value);
    else
        put_quoted(b, value);
    if (!buf_ok(b) || b->len + 2 > LINE_MAX_OCTETS) {
        b->failed = false;
        buf_cut(b, before);
    }
}

void log_str(const char *key, struct str value) { put(key, value, false); }

void log_z(const char *key, const char *value) { put(key, str_from(value), false); }

void log_u64(const char *key, uint64_t value)
{
    char text[STR_U64_TEXT];

    put(key, str_from_u64(value, text), true);
}

static void put_vprintf(const char *key, const char *format, va_list args) __attribute__((format(printf, 2, 0)));

static void put_vprintf(const char *key, const char *format, va_list args)
{
    char text[VALUE_MAX + 1];

    vsnprintf(text, sizeof text, format, args);
    put(key, str_from(text), false);
}

void log_printf(const char *key, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (self.is_open)
        put_vprintf(key, format, args);
    else
        assert(key_find(key) != 0);
    va_end(args);
}

void log_end(void)
{
    if (!self.is_open)
        return;
    self.is_open = false;
    buf_append_z(&self.line, self.form == LOG_JSON ? "}\n" : "\n");
    if (!buf_append(&self.pending, buf_str(&self.line))) {
        self.pending.failed = false;
        self.lost++;
    }
    if (!self.is_attached || self.pending.len >= PENDING_EARLY)
        log_flush();
}

void log_meaning(unsigned code, struct str status, struct str text)
{
    struct codes_reading r;
    struct buf           reply;

    if (self.least > LOG_LEVEL_DEBUG)
        return;
    buf_init(&reply, CODES_READING_MAX);
    if (code && !str_starts(text, str_from((char[]){(char)('0' + code / 100), (char)('0' + code / 10 % 10),
                                                    (char)('0' + code % 10), 0})))
        buf_printf(&reply, "%u ", code);
    if (status.len && str_find(text, status) == STR_NOT_FOUND)
        buf_printf(&reply, "%.*s ", STR_ARG(status));
    buf_append(&reply, text);
    if (codes_read(buf_str(&reply), &r) && r.class >= 4)
        log_str("means", r.words.meaning);
    buf_done(&reply);
}

void log_notice(enum log_level level, const char *format, ...)
{
    va_list args;

    if (!log_begin(level, "notice"))
        return;
    log_z("role", self.role);
    va_start(args, format);
    put_vprintf("text", format, args);
    va_end(args);
    log_end();
}
