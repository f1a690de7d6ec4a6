/* fuzz_directory_line.c: octets as a line of a directory's text file. An entry that is taken and may be kept is written
 * as a line that reads the same. */
#include "fuzz.h"

#include "directory/backend.h"
#include "directory/file_text.h"

static void same(const struct directory_entry *a, const struct directory_entry *b)
{
    must(a->kind == b->kind && str_eq(a->local, b->local) && str_eq(a->domain, b->domain));
    must(a->disabled == b->disabled && a->closed == b->closed && a->show_members == b->show_members);
    must(a->quota == b->quota && str_eq(a->password, b->password) && str_eq(a->owner, b->owner));
    must(a->kind != ENTRY_MOVED || a->moved == b->moved);
    must(a->target_count == b->target_count);
    for (size_t i = 0; i < a->target_count; i++)
        must(str_eq(a->targets[i], b->targets[i]));
}

static void write_and_read_again(const struct directory_entry *entry, struct str comment, struct arena *arena)
{
    struct directory_entry again;
    struct buf             line;
    struct str             comment_again;
    bool                   has_entry;

    buf_init(&line, 1 << 20);
    must(directory_line_format(entry, comment, &line));
    must(str_find_byte(buf_str(&line), '\n') == line.len - 1);
    must(directory_line_parse(str_of(line.data, line.len - 1), arena, &has_entry, &again, &comment_again, NULL));
    must(has_entry && str_eq(comment, comment_again));
    same(entry, &again);
    buf_done(&line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str             line = str_of((const char *)data, size), comment;
    struct directory_entry entry;
    struct arena           arena;
    bool                   has_entry;

    if (size > 65536 || str_find_byte(line, '\n') != STR_NOT_FOUND)
        return 0;
    arena_init(&arena, 4096, 8 << 20);
    if (directory_line_parse(line, &arena, &has_entry, &entry, &comment, NULL) && has_entry &&
        directory_entry_check(&entry, NULL))
        write_and_read_again(&entry, comment, &arena);
    arena_done(&arena);
    return 0;
}
