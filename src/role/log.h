/* log.h: one line for each finished session, transaction and attempt, and for events of the processes themselves.
 *
 * Text:  2026-11-21T10:12:17.123Z info transaction session=… id=… client=192.0.2.1 from=<a@b> …
 * JSON:  {"time":"…","level":"info","kind":"transaction","session":"…",…}
 * The same keys in both. Text values with blanks, quotes, '=' or control characters are quoted as JSON strings, so no
 * client can forge a line. Lines collect in memory and go out once each round of the loop, to standard error and to
 * data/log/tacit.log (which `tacit trace` reads). Lower layers never log. */
#ifndef TACIT_ROLE_LOG_H
#define TACIT_ROLE_LOG_H

#include "base/str.h"
#include "io/loop.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR };
enum log_form { LOG_TEXT, LOG_JSON };

void log_init(enum log_form form, enum log_level least, const char *role, int file_fd /* or -1 */);
void log_reopen(int file_fd);          /* takes it, closes the old one: rotation */
void log_attach(struct io_loop *loop); /* from now on lines go out at the end of a round */
void log_flush(void);

/* log_begin(LOG_LEVEL_INFO, "session"); log_str("client", …); log_end(); — false when the level is not written; the
 * calls up to log_end then do nothing. Keys stand in log.def; a key that does not is a bug (asserted). */
bool log_begin(enum log_level level, const char *kind);
void log_str(const char *key, struct str value);
void log_z(const char *key, const char *value);
void log_u64(const char *key, uint64_t value);
void log_printf(const char *key, const char *format, ...) __attribute__((format(printf, 2, 3)));
void log_end(void);
/* Key means: what a reply of failure means, by its numbers and words (codes/reading.h). Only where the level is debug.
 * Any of the three may be missing: 0, empty. */
void log_meaning(unsigned code, struct str status, struct str text);

/* A sentence about the process itself: kind "notice", key text. */
void log_notice(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
