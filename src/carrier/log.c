/* log.c: one line for each connection to another server, also for one that did not come about, with what was
 * said last; and one for a domain whose DNS is odd. What became of each recipient is in back's lines. */
#include "role/log.h"
#include "carrier/carrier.h"

#include "queue/record.h"

void host_failure_set(struct host_failure *f, enum smtp_stage stage, uint16_t code, struct smtp_status status,
                      struct str text, struct str words)
{
    f->stage = stage;
    f->code = code;
    f->status = status;
    f->text_len = text.len < sizeof f->text ? text.len : sizeof f->text;
    f->words_len = words.len < sizeof f->words ? words.len : sizeof f->words;
    while (f->text_len < text.len && f->text_len && ((unsigned char)text.data[f->text_len] & 0xc0) == 0x80)
        f->text_len--; /* whole characters */
    memcpy(f->text, text.len ? text.data : "", f->text_len);
    memcpy(f->words, words.len ? words.data : "", f->words_len);
}

void carrier_log_connection(const struct session *s, const char *result, const struct host_failure *why)
{
    char id[MESSAGE_ID_TEXT + 1], status[SMTP_STATUS_TEXT];

    if (!log_begin(LOG_LEVEL_INFO, "connection"))
        return;
    if (s->carry) {
        message_id_text(s->carry->carriage.id, id);
        log_z("id", id);
        log_str("domain", s->carry->carriage.domain);
    }
    log_z("remote", s->host_text);
    if (s->address_text[0]) {
        log_z("address", s->address_text);
        log_u64("port", io_address_port(&s->target.address));
    }
    if (s->conn) {
        log_z("tls", "no");
        log_u64("messages", s->conn->messages);
        log_u64("count", s->conn->taken);
    }
    log_z("result", result);
    if (why) {
        if (why->code)
            log_u64("code", why->code);
        else
            log_str("status", smtp_status_text(why->status, status));
        log_str("reply", str_of(why->text, why->text_len));
        log_str("reason", str_of(why->words, why->words_len));
        log_meaning(why->code, smtp_status_text(why->status, status), str_of(why->text, why->text_len));
    }
    log_u64("ms", carrier_now_ms(s->carrier) - s->began_ms);
    log_end();
}

void carrier_log_route(const struct routing *r, const struct route_result *result)
{
    if (!(result->odd_null || result->aliases) || !log_begin(LOG_LEVEL_INFO, "route"))
        return;
    log_str("domain", str_skip(r->key, str_find_byte(r->key, ' ') + 1));
    log_z("reason", result->odd_null
                        ? "a null MX stands beside other hosts, and was passed over"
                        : "a mail host is an alias, which RFC 2181 does not allow; it was taken all the same");
    log_end();
}
