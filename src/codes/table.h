/* table.h: the tables that data/codes/generate.py makes, sorted by number; for codes.c. */
#ifndef TACIT_CODES_TABLE_H
#define TACIT_CODES_TABLE_H

#include "codes/codes.h"

extern const struct codes_basic    codes_basic_table[];
extern const size_t                codes_basic_table_len;
extern const struct codes_enhanced codes_enhanced_table[];
extern const size_t                codes_enhanced_table_len;

#endif
