/* control.c: message = kind, then the fields that the kind has; anything left over is an error. */
#include "role/control.h"

enum { NUMBER_MAX = 0xffff };

bool control_put(const struct control *c, struct buf *out)
{
    put_u8(out, (uint8_t)c->kind);
    switch (c->kind) {
    case CONTROL_LISTENER:
        put_var(out, c->number);
        break;
    case CONTROL_PEER:
        put_u8(out, (uint8_t)c->role);
        put_var(out, c->number);
        break;
    case CONTROL_LACKS:
        put_u8(out, (uint8_t)c->role);
        break;
    case CONTROL_DRAIN:
        put_var(out, c->grace_ms);
        break;
    case CONTROL_FAILED:
        put_u8(out, (uint8_t)c->class);
        put_str(out, c->text);
        break;
    case CONTROL_LOG:
    case CONTROL_START:
    case CONTROL_READY:
    case CONTROL_DRAINED:
        break;
    }
    return buf_ok(out);
}

bool control_get(struct str message, struct control *ret_control)
{
    struct reader  r = reader_of(message);
    struct control c = {.kind = (enum control_kind)get_u8(&r)};

    switch (c.kind) {
    case CONTROL_LISTENER:
        c.number = (unsigned)get_var_max(&r, NUMBER_MAX);
        break;
    case CONTROL_PEER:
        c.role = (enum role)get_u8_max(&r, ROLE_LAST);
        c.number = (unsigned)get_var_max(&r, NUMBER_MAX);
        break;
    case CONTROL_LACKS:
        c.role = (enum role)get_u8_max(&r, ROLE_LAST);
        break;
    case CONTROL_DRAIN:
        c.grace_ms = get_var(&r);
        break;
    case CONTROL_FAILED:
        c.class = (enum err_class)get_u8_max(&r, ERR_CONFIG);
        c.text = get_str(&r);
        break;
    case CONTROL_LOG:
    case CONTROL_START:
    case CONTROL_READY:
    case CONTROL_DRAINED:
        break;
    default:
        return false;
    }
    if (!reader_ended(&r))
        return false;
    *ret_control = c;
    return true;
}
