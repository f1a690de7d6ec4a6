/* contacts_list.c: see contacts_list.h. A list is read whole, and its domains are gathered on the way. */
#include "cli/contacts_list.h"
#include "base/array.h"
#include "cli/csv.h"

#include "io/file.h"
#include "io/loop.h"

#include <stdlib.h>
#include <unistd.h>

enum { FILE_MAX = 512 << 20, ROWS_MAX = 5000000, ARENA_CHUNK = 1 << 20 };

struct reading {
    struct contacts_list *list;
    struct cli           *cli;
    const struct config  *config;
    const char           *named; /* column; or NULL */
    size_t                column;
};

static bool has_address(const struct csv_row *row)
{
    for (size_t i = 0; i < row->count; i++)
        if (str_find_byte(row->cells[i], '@') != STR_NOT_FOUND)
            return true;
    return false;
}

static bool find_column(const struct csv_row *head, struct str name, size_t *ret_column)
{
    for (size_t i = 0; i < head->count; i++)
        if (str_eq_nocase(str_trim(head->cells[i]), name)) {
            *ret_column = i;
            return true;
        }
    return false;
}

/* Where the addresses stand, and whether the first row only names the columns. False: said why. */
static bool choose_column(struct reading *r, const struct csv_row *first, bool *ret_is_head)
{
    static const char *const usual[] = {"email", "e-mail", "email address", "e-mail address", "mail", "address"};
    const char              *named = r->named;
    uint64_t                 number;

    *ret_is_head = !has_address(first);
    r->column = 0;
    if (named && find_column(first, str_from(named), &r->column)) {
        *ret_is_head = true;
        return true;
    }
    if (named && str_to_u64(str_from(named), CSV_CELLS_MAX, &number) && number) {
        r->column = (size_t)number - 1;
        return true;
    }
    if (named) {
        cli_fail(r->cli, "the list has no column \"%s\"", named);
        return false;
    }
    for (size_t i = 0; *ret_is_head && i < sizeof usual / sizeof *usual; i++)
        if (find_column(first, str_from(usual[i]), &r->column))
            break;
    return true;
}

static struct domain_check *domain_of(struct reading *r, struct str name)
{
    struct domain_check *d = map_get(&r->list->by_name, name);

    if (d)
        return d;
    if (!ARRAY_ROOM(r->list->domains, r->list->domain_count, r->list->domain_room, 1024))
        return NULL;
    d = arena_new(&r->list->arena, struct domain_check);
    if (!d)
        return NULL;
    d->name = name;
    if (!map_put(&r->list->by_name, name, d))
        return NULL;
    return r->list->domains[r->list->domain_count++] = d;
}

static bool add_row(struct reading *r, size_t line, struct str text)
{
    struct mail_address_error error;
    struct contacts_row       row = {.line = (uint32_t)line, .text = text};

    if (r->list->count == ROWS_MAX || !ARRAY_ROOM(r->list->rows, r->list->count, r->list->room, 1024))
        return false;
    if (!text.len) {
        row.wrong = "there is none";
    } else if (!mail_address_parse(text, true, &r->list->arena, &row.address, &error)) {
        row.wrong = error.reason;
        if (error.fault == MAIL_ADDRESS_NO_MEMORY)
            return false;
    } else if (!config_domain_find(r->config, row.address.domain)) {
        row.domain = domain_of(r, row.address.domain);
        if (!row.domain)
            return false;
    }
    r->list->rows[r->list->count++] = row;
    return true;
}

static bool read_list(struct reading *r)
{
    struct csv     csv;
    struct csv_row row;
    struct err     err;
    enum csv_read  read;
    bool           is_head = false;

    if (!csv_begin(&csv, buf_str(&r->list->text), &err)) {
        cli_fail_err(r->cli, &err);
        return false;
    }
    for (size_t i = 0; (read = csv_next(&csv, &r->list->arena, &row, &err)) == CSV_ROW; i++) {
        struct str cell;

        if (i == 0 && !choose_column(r, &row, &is_head))
            return false;
        if ((i == 0 && is_head) || (row.count == 1 && !str_trim(row.cells[0]).len))
            continue;
        cell = r->column < row.count ? str_trim(row.cells[r->column]) : STR("");
        if (!add_row(r, csv.line, cell)) {
            cli_fail(r->cli, "line %zu: out of memory; divide the list", csv.line);
            return false;
        }
    }
    if (read == CSV_BAD)
        cli_fail_err(r->cli, &err);
    return read == CSV_END;
}

static bool read_file(struct reading *r, const char *name)
{
    struct err err;
    bool       ok = strcmp(name, "-") == 0 ? io_fd_read_all(STDIN_FILENO, "standard input", &r->list->text, &err)
                                           : io_file_read_all(name, &r->list->text, &err);

    if (!ok)
        cli_fail_err(r->cli, &err);
    return ok;
}

bool contacts_list_read(struct contacts_list *l, struct cli *cli, const struct config *config, const char *file,
                        const char *column)
{
    struct reading r = {.list = l, .cli = cli, .config = config, .named = column};

    return read_file(&r, file) && read_list(&r);
}

void contacts_list_init(struct contacts_list *l)
{
    uint64_t seed;

    *l = (struct contacts_list){.rows = NULL};
    io_random(&seed, sizeof seed);
    arena_init(&l->arena, ARENA_CHUNK, SIZE_MAX);
    buf_init(&l->text, FILE_MAX);
    map_init(&l->by_name, seed);
}

void contacts_list_done(struct contacts_list *l)
{
    map_done(&l->by_name);
    free(l->domains);
    free(l->rows);
    buf_done(&l->text);
    arena_done(&l->arena);
}
