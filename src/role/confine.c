/* confine.c: which files a role needs, from the configuration.
 *
 *   front     its own lane
 *   keeper    its databases, file by file, that of contacts too; for file: directories, which are replaced as a whole,
 *             the folder to read
 *   back      the spool, and the roots of the mailboxes
 *   resolver  nothing: what it reads it has read before; TCP to name servers' ports
 *   carrier   nothing: contents come as descriptors from back; TCP to any port. Unix sockets only where mail goes to
 *             one: Landlock cannot say to which, and ours are Unix sockets too
 *
 * Landlock grants trees and cannot take a part out again. `data` itself is therefore given to nobody (unless mailboxes
 * or a file: directory lie right in it), and the keeper cannot open a database that was put in place of its own: it
 * ends, and the one that master starts can (keeper.c). */
#include "role/confine.h"
#include "role/role.h"

#include "io/net.h"
#include "io/sandbox.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ARENA_CHUNK = 4096, ARENA_MAX = 64 << 20, PATHS_OF_DIRECTORY = 3, PORTS_MAX = 2, DNS_PORT = 53 };

struct paths {
    struct sandbox_path *items;
    size_t               count;
    struct arena         arena;
};

static void add(struct paths *p, struct str path, unsigned access)
{
    for (size_t i = 0; i < p->count; i++) /* domains mostly share them */
        if (str_eq(str_from(p->items[i].path), path))
            return;
    if (path.data)
        p->items[p->count++] = (struct sandbox_path){path.data, access};
}

static void add_database(struct paths *p, struct str path)
{
    static const char *const suffixes[PATHS_OF_DIRECTORY] = {"", "-wal", "-shm"};

    for (size_t i = 0; i < PATHS_OF_DIRECTORY; i++)
        add(p, arena_printf(&p->arena, "%.*s%s", STR_ARG(path), suffixes[i]), SANDBOX_READ | SANDBOX_WRITE);
}

static void add_directory(struct paths *p, const struct config *config, const char *spec)
{
    struct str rest = str_from(spec), kind = str_cut(&rest, ':');
    struct str path = config_path(config->data, rest, &p->arena);
    size_t     slash = str_find_last_byte(path, '/');

    if (str_eq(kind, STR("sqlite")))
        add_database(p, path);
    else if (slash != STR_NOT_FOUND)
        add(p, arena_printf(&p->arena, "%.*s", (int)(slash ? slash : 1), path.data), SANDBOX_READ);
}

static size_t name_server_ports(const struct config *config, uint16_t ports[PORTS_MAX])
{
    struct io_address address[2];
    size_t            count = 0;

    ports[0] = DNS_PORT;
    if (io_address_parse(str_from(config->dns.server), address, 2, &count, NULL) && count == 1)
        ports[1] = (uint16_t)io_address_port(&address[0]);
    return count == 1 ? 2 : 1;
}

static void collect(struct paths *p, const struct config *config, enum role role, unsigned lane)
{
    const unsigned files = SANDBOX_READ | SANDBOX_WRITE | SANDBOX_MAKE;

    if (role == ROLE_FRONT)
        add(p, role_lane_dir(config, lane, &p->arena), files);
    else if (role == ROLE_BACK)
        add(p, arena_printf(&p->arena, "%s/spool", config->data), files);
    else if (role == ROLE_KEEPER)
        add_database(p, config_contacts_path(config, &p->arena));
    for (size_t i = 0; i < config->domain_count; i++)
        if (role == ROLE_KEEPER)
            add_directory(p, config, config->domains[i].directory);
        else if (role == ROLE_BACK)
            add(p, role_mail_root(config, &config->domains[i], &p->arena), files | SANDBOX_DIRS);
}

bool confine_user(const struct config *config, enum role role, struct err *err)
{
    struct users users;
    char         warning[USERS_TEXT]; /* master's to say */

    return users_find(config, &users, warning, err) && users_become(&users, role, err) &&
           sandbox_drop_capabilities(err) && sandbox_harden(err);
}

bool confine_role(const struct config *config, enum role role, unsigned lane, struct err *err)
{
    static const enum sandbox_profile profiles[] = {[ROLE_FRONT] = SANDBOX_FRONT,
                                                    [ROLE_KEEPER] = SANDBOX_KEEPER,
                                                    [ROLE_BACK] = SANDBOX_BACK,
                                                    [ROLE_RESOLVER] = SANDBOX_RESOLVER,
                                                    [ROLE_CARRIER] = SANDBOX_CARRIER};
    struct paths         p = {.items = calloc((config->domain_count + 1) * PATHS_OF_DIRECTORY, sizeof *p.items)};
    struct sandbox_needs needs = {.profile = profiles[role], .any_port = role == ROLE_CARRIER};
    uint16_t             ports[PORTS_MAX];
    bool                 ok;

    if (!p.items)
        return err_set_os(err, ENOMEM, "confinement");
    arena_init(&p.arena, ARENA_CHUNK, ARENA_MAX);
    tzset(); /* the C library reads the time zone when it is first asked for a date */
    collect(&p, config, role, lane);
    needs.paths = p.items;
    needs.path_count = p.count;
    if (role == ROLE_CARRIER && config_uses_sockets(config))
        needs.profile = SANDBOX_CARRIER_SOCKETS;
    if (role == ROLE_RESOLVER) {
        needs.ports = ports;
        needs.port_count = name_server_ports(config, ports);
    }
    ok = sandbox_confine(&needs, err);
    arena_done(&p.arena);
    free(p.items);
    return ok;
}

bool confine_describe(const struct users *users, char ret_text[CONFINE_TEXT])
{
    const struct sandbox_kernel kernel = sandbox_kernel();
    char                        landlock[160], who[96] = "one user for all";

    if (kernel.landlock >= SANDBOX_LANDLOCK_MOVES)
        snprintf(landlock, sizeof landlock, "Landlock %u", kernel.landlock);
    else
        snprintf(landlock, sizeof landlock, "%s Landlock (%s)", kernel.landlock ? "for back no" : "no",
                 kernel.landlock ? "needs Linux 5.19" : "needs Linux 5.13, and \"landlock\" in its setting lsm=");
    if (users->separate)
        snprintf(who, sizeof who, "users %u, %u, %u, %u, %u", users->of[ROLE_FRONT].uid, users->of[ROLE_KEEPER].uid,
                 users->of[ROLE_BACK].uid, users->of[ROLE_RESOLVER].uid, users->of[ROLE_CARRIER].uid);
    snprintf(ret_text, CONFINE_TEXT, "all processes but master are confined: %s, no privileges, %s, %s", who,
             kernel.has_seccomp ? "seccomp" : "no seccomp (the kernel has none)", landlock);
    return kernel.has_seccomp && kernel.landlock >= SANDBOX_LANDLOCK_MOVES;
}
