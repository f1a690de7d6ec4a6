/* systemd.c: sd_notify, and nothing else of systemd. */
#include "io/systemd.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>
#include <time.h>

void io_service_ready(const char *status) { sd_notifyf(0, "READY=1\nSTATUS=%s", status); }

void io_service_reloading(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000);
}

void io_service_stopping(void) { sd_notify(0, "STOPPING=1"); }

void io_service_forget(void) { unsetenv("NOTIFY_SOCKET"); }
