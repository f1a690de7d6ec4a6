/* tls.c: see tls.h. */
#include "io/tls.h"

#include "io/loop.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <time.h>

static bool wait_for(int fd, int why, uint64_t until)
{
    struct pollfd p = {.fd = fd, .events = why == SSL_ERROR_WANT_WRITE ? POLLOUT : POLLIN};
    uint64_t      now = io_clock_ms();

    return now < until && poll(&p, 1, (int)(until - now)) > 0;
}

static void date_put(const ASN1_TIME *time, char ret[32])
{
    struct tm t;

    *ret = 0;
    if (time && ASN1_TIME_to_tm(time, &t))
        strftime(ret, 32, "%Y-%m-%d", &t);
}

/* What a certificate holds may be anything: only what a name may have is shown. */
static void add(char text[IO_TLS_TEXT], const unsigned char *data, int len)
{
    size_t used = strlen(text);

    if (used && used + 2 < IO_TLS_TEXT)
        used += (size_t)snprintf(text + used, IO_TLS_TEXT - used, ", ");
    for (int i = 0; i < len && used + 1 < IO_TLS_TEXT; i++)
        text[used++] = data[i] > ' ' && data[i] < 127 ? (char)data[i] : '?';
    text[used < IO_TLS_TEXT ? used : IO_TLS_TEXT - 1] = 0;
}

static void read_names(X509 *certificate, struct io_tls_look *l)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);

    for (int i = 0; names && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

        if (name->type == GEN_DNS)
            add(l->names, ASN1_STRING_get0_data(name->d.dNSName), ASN1_STRING_length(name->d.dNSName));
    }
    GENERAL_NAMES_free(names);
    if (!*l->names) {
        char text[256] = "";

        if (X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, text, sizeof text) > 0)
            add(l->names, (const unsigned char *)text, (int)strlen(text));
    }
}

static void read_issuer(X509 *certificate, struct io_tls_look *l)
{
    static const int kinds[] = {NID_organizationName, NID_commonName};

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char text[256] = "";

        if (X509_NAME_get_text_by_NID(X509_get_issuer_name(certificate), kinds[i], text, sizeof text) > 0) {
            for (char *c = text; *c; c++)
                if ((unsigned char)*c < ' ' || (unsigned char)*c >= 127)
                    *c = '?';
            snprintf(l->issuer + strlen(l->issuer), IO_TLS_TEXT - strlen(l->issuer), "%s%s", *l->issuer ? ", " : "",
                     text);
        }
    }
}

static void look(SSL *ssl, const char *host, struct io_tls_look *l)
{
    X509 *certificate = SSL_get0_peer_certificate(ssl);
    long  verdict = SSL_get_verify_result(ssl);

    snprintf(l->protocol, sizeof l->protocol, "%s", SSL_get_version(ssl));
    snprintf(l->cipher, sizeof l->cipher, "%s", SSL_get_cipher_name(ssl));
    if (!certificate) {
        snprintf(l->problem, sizeof l->problem, "there is no certificate");
        return;
    }
    read_names(certificate, l);
    read_issuer(certificate, l);
    date_put(X509_get0_notBefore(certificate), l->from);
    date_put(X509_get0_notAfter(certificate), l->until);
    l->name_fits =
        host && (X509_check_host(certificate, host, 0, 0, NULL) == 1 || X509_check_ip_asc(certificate, host, 0) == 1);
    l->trusted = verdict == X509_V_OK;
    if (!l->trusted)
        snprintf(l->problem, sizeof l->problem, "%s", X509_verify_cert_error_string(verdict));
}

static bool shake(SSL *ssl, int fd, uint64_t until, struct err *err)
{
    for (;;) {
        int done = SSL_connect(ssl), why;

        if (done == 1)
            return true;
        why = SSL_get_error(ssl, done);
        if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) {
            const char *reason = ERR_reason_error_string(ERR_peek_last_error());

            return err_set(err, ERR_TEMPORARY, "no TLS came about: %s",
                           reason ? reason : "the server ended the connection");
        }
        if (!wait_for(fd, why, until))
            return err_set(err, ERR_TEMPORARY, "no TLS came about in time");
    }
}

static bool is_address(const char *host)
{
    struct in6_addr a;

    return inet_pton(AF_INET, host, &a) == 1 || inet_pton(AF_INET6, host, &a) == 1 || *host == '[';
}

bool io_tls_look(int fd, const char *host, struct str last, unsigned timeout_ms, struct io_tls_look *ret,
                 struct err *err)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL     *ssl = context ? SSL_new(context) : NULL;
    bool     ok = ssl && SSL_CTX_set_default_verify_paths(context) == 1 && SSL_set_fd(ssl, fd) == 1 &&
              (!host || is_address(host) || SSL_set_tlsext_host_name(ssl, host) == 1) /* RFC 6066 3 */;

    *ret = (struct io_tls_look){.trusted = false};
    if (!ok)
        err_set(err, ERR_LIMIT, "TLS cannot be set up: out of memory");
    else
        ok = shake(ssl, fd, io_clock_ms() + timeout_ms, err);
    if (ok) {
        look(ssl, host, ret);
        if (last.len)
            SSL_write(ssl, last.data, (int)last.len);
        SSL_shutdown(ssl);
    }
    SSL_free(ssl);
    SSL_CTX_free(context);
    return ok;
}
