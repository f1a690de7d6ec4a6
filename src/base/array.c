/* array.c: see array.h. */
#include "base/array.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

bool array_room(void *address_of_array, size_t count, size_t *room, size_t element_size, size_t first)
{
    size_t larger = *room ? *room * 2 : first;
    void  *array, *moved;

    if (count < *room)
        return true;
    if (larger > SIZE_MAX / element_size) /* reallocarray would end a sanitized process, and no test makes it fail */
        return false;
    memcpy(&array, address_of_array, sizeof array);
    moved = realloc(array, larger * element_size);
    if (!moved)
        return false;
    memcpy(address_of_array, &moved, sizeof moved);
    *room = larger;
    return true;
}
