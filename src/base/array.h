/* array.h: arrays on the heap that grow as they are filled. */
#ifndef TACIT_BASE_ARRAY_H
#define TACIT_BASE_ARRAY_H

#include <stdbool.h>
#include <stddef.h>

/* Makes room for one more behind `count` elements: a full array doubles and may move, an empty one (NULL, room 0) gets
 * `first`. False: no memory, and it is as it was. The array is freed by free(). */
#define ARRAY_ROOM(array, count, room, first) array_room(&(array), (count), &(room), sizeof *(array), (first))

bool array_room(void *address_of_array, size_t count, size_t *room, size_t element_size, size_t first);

#endif
