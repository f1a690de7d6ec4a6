/* nearest.c: the edit distance between short names (insert, remove, replace, swap of neighbours: Damerau's, in the form
 * that edits no place twice). A third of the name may be wrong, at least one letter; longer names than any of ours have
 * nothing near them, which also bounds the work. Letters of either case are equal. */
#include "base/nearest.h"

enum { NAME_MAX_LEN = 32 };

struct nearest nearest_to(struct str wanted) { return (struct nearest){.wanted = wanted}; }

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

static size_t edit_distance(struct str a, struct str b)
{
    size_t rows[3][NAME_MAX_LEN + 1]; /* the last two lines and the one in work, by turns */

    for (size_t j = 0; j <= b.len; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        size_t *now = rows[i % 3], *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];

        now[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            char x = char_lower(a.data[i - 1]), y = char_lower(b.data[j - 1]);

            now[j] = least(least(last[j], now[j - 1]) + 1, last[j - 1] + (x != y));
            if (i > 1 && j > 1 && x == char_lower(b.data[j - 2]) && y == char_lower(a.data[i - 2]))
                now[j] = least(now[j], before[j - 2] + 1);
        }
    }
    return rows[a.len % 3][b.len];
}

void nearest_offer(struct nearest *n, const char *name)
{
    struct str s = str_from(name);
    size_t     allowed = n->wanted.len / 3 ? n->wanted.len / 3 : 1, distance;

    if (!n->wanted.len || n->wanted.len > NAME_MAX_LEN || s.len > NAME_MAX_LEN)
        return;
    distance = edit_distance(n->wanted, s);
    if (distance <= allowed && distance < s.len && (!n->best || distance < n->distance)) {
        n->best = name;
        n->distance = distance;
    }
}
