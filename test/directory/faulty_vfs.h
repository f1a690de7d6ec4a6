/* faulty_vfs.h: SQLite's calls to the system fail when a test says so: the `fail_at`th of them and `fail_count` - 1
 * more, with the code `with`. */
#ifndef TACIT_TEST_FAULTY_VFS_H
#define TACIT_TEST_FAULTY_VFS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <sqlite3.h>

struct faulty_file {
    sqlite3_file  base;
    sqlite3_file *real; /* behind this */
};

static sqlite3_vfs       *real_vfs, faulty_vfs;
static sqlite3_io_methods faulty_methods;
static unsigned           calls, hits, fail_at, fail_count;
static int                with;

static bool hit(void)
{
    calls++;
    if (!fail_at || calls < fail_at || calls - fail_at >= fail_count)
        return false;
    hits++;
    return true;
}

static void arm(unsigned at, unsigned count, int code)
{
    calls = hits = 0;
    fail_at = at;
    fail_count = count;
    with = code;
}

#define REAL(file) (((struct faulty_file *)(file))->real)
#define FAULTY(name, parameters, arguments) \
    static int f_##name parameters { return hit() ? with : REAL(file)->pMethods->x##name arguments; }
FAULTY(Read, (sqlite3_file * file, void *data, int len, sqlite3_int64 at), (REAL(file), data, len, at))
FAULTY(Write, (sqlite3_file * file, const void *data, int len, sqlite3_int64 at), (REAL(file), data, len, at))
FAULTY(Truncate, (sqlite3_file * file, sqlite3_int64 size), (REAL(file), size))
FAULTY(Sync, (sqlite3_file * file, int flags), (REAL(file), flags))
FAULTY(FileSize, (sqlite3_file * file, sqlite3_int64 *size), (REAL(file), size))
FAULTY(Lock, (sqlite3_file * file, int level), (REAL(file), level))
FAULTY(ShmMap, (sqlite3_file * file, int page, int size, int extend, void volatile **ret),
       (REAL(file), page, size, extend, ret))

static int f_Close(sqlite3_file *file)
{
    int code = REAL(file)->pMethods->xClose(REAL(file));

    sqlite3_free(REAL(file));
    return code;
}
static int f_Unlock(sqlite3_file *file, int level) { return REAL(file)->pMethods->xUnlock(REAL(file), level); }
static int f_CheckReservedLock(sqlite3_file *file, int *ret)
{
    return REAL(file)->pMethods->xCheckReservedLock(REAL(file), ret);
}
static int f_FileControl(sqlite3_file *file, int what, void *arg)
{
    return REAL(file)->pMethods->xFileControl(REAL(file), what, arg);
}
static int f_SectorSize(sqlite3_file *file) { return REAL(file)->pMethods->xSectorSize(REAL(file)); }
static int f_DeviceCharacteristics(sqlite3_file *file)
{
    return REAL(file)->pMethods->xDeviceCharacteristics(REAL(file));
}
static int f_ShmLock(sqlite3_file *file, int offset, int count, int flags)
{
    if ((flags & SQLITE_SHM_LOCK) && hit())
        return with == SQLITE_FULL ? SQLITE_BUSY : with;
    return REAL(file)->pMethods->xShmLock(REAL(file), offset, count, flags);
}
static void f_ShmBarrier(sqlite3_file *file) { REAL(file)->pMethods->xShmBarrier(REAL(file)); }
static int  f_ShmUnmap(sqlite3_file *file, int remove) { return REAL(file)->pMethods->xShmUnmap(REAL(file), remove); }

static int f_Open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *ret_flags)
{
    struct faulty_file *f = (struct faulty_file *)file;
    int                 code;

    (void)vfs;
    f->base.pMethods = NULL;
    if (hit())
        return SQLITE_CANTOPEN;
    f->real = sqlite3_malloc(real_vfs->szOsFile);
    if (!f->real)
        return SQLITE_NOMEM;
    code = real_vfs->xOpen(real_vfs, name, f->real, flags, ret_flags);
    if (code == SQLITE_OK)
        f->base.pMethods = &faulty_methods;
    else
        sqlite3_free(f->real);
    return code;
}

static void vfs_begin(void)
{
    real_vfs = sqlite3_vfs_find(NULL);
    faulty_vfs = *real_vfs;
    faulty_vfs.zName = "faulty";
    faulty_vfs.szOsFile = sizeof(struct faulty_file);
    faulty_vfs.xOpen = f_Open;
    faulty_methods = (sqlite3_io_methods){.iVersion = 2,
                                          .xClose = f_Close,
                                          .xRead = f_Read,
                                          .xWrite = f_Write,
                                          .xTruncate = f_Truncate,
                                          .xSync = f_Sync,
                                          .xFileSize = f_FileSize,
                                          .xLock = f_Lock,
                                          .xUnlock = f_Unlock,
                                          .xCheckReservedLock = f_CheckReservedLock,
                                          .xFileControl = f_FileControl,
                                          .xSectorSize = f_SectorSize,
                                          .xDeviceCharacteristics = f_DeviceCharacteristics,
                                          .xShmMap = f_ShmMap,
                                          .xShmLock = f_ShmLock,
                                          .xShmBarrier = f_ShmBarrier,
                                          .xShmUnmap = f_ShmUnmap};
    assert_int_equal(sqlite3_vfs_register(&faulty_vfs, 1), SQLITE_OK);
}

static void vfs_end(void)
{
    sqlite3_vfs_unregister(&faulty_vfs);
    assert_int_equal(sqlite3_vfs_register(real_vfs, 1), SQLITE_OK);
}

#endif
