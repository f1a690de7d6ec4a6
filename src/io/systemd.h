/* systemd.h: what the service manager is told. Without one (NOTIFY_SOCKET is not set) nothing happens. */
#ifndef TACIT_IO_SYSTEMD_H
#define TACIT_IO_SYSTEMD_H

void io_service_ready(const char *status); /* after the start and after each reload; one line for people */
void io_service_reloading(void);
void io_service_stopping(void);
void io_service_forget(void); /* in a child process, which must not speak for the service */

#endif
