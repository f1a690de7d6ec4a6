/* contacts.h: what the files of `tacit contacts` share. */
#ifndef TACIT_CLI_CONTACTS_H
#define TACIT_CLI_CONTACTS_H

#include "cli/cli.h"

#include "config/config.h"
#include "directory/contacts.h"

#include <jansson.h>

enum { CONTACTS_ARENA_CHUNK = 64 << 10, CONTACTS_TIME_TEXT = 20, CONTACTS_WORDS = 600 };

/* Opens the server's memory. False: said why; or *ret_contacts is NULL, because nothing was remembered yet. */
bool     contacts_cli_open(struct cli *cli, unsigned flags, struct contacts **ret_contacts);
/* What the rules let be known now: nothing that is older than contacts.keep. */
uint64_t contacts_cli_since(const struct config *config);

/* contacts_row.c: "2026-11-21T10:48:21Z"; 0 ms gives nothing. */
void    contacts_time_text(uint64_t ms, char ret_text[CONTACTS_TIME_TEXT + 1]);
/* One sentence for people without a full stop; cut to CONTACTS_WORDS. */
void    contacts_words(const struct contact *c, struct buf *out);
/* A row of the export, with its line end, and the row that names the columns. */
bool    contacts_csv_head(struct buf *out);
bool    contacts_csv_row(const struct contact *c, struct buf *out);
json_t *contacts_json(const struct contact *c); /* the same columns */
json_t *contacts_json_text(struct str text);    /* octets that are no UTF-8 become '?' */

extern const struct cli_command contacts_check_command;

#endif
