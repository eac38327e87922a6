/* What the environment says of the listeners. It is read once: programs clear their environment before they
 * bind. */
#include <arpa/inet.h>
#include <string.h>

#include "adopt.h"
#include "child_runtime/protocol.h"

const char* adopt_variable(char* const* environment, const char* name) {
  const size_t length = strlen(name);
  for (; environment != NULL && *environment != NULL; ++environment) {
    if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=')
      return *environment + length + 1;
  }
  return NULL;
}

/* "8000" up to `end`; 0: no port. */
static uint16_t read_port(const char* text, const char* end) {
  unsigned long port = 0;
  if (text == end || end - text > 5) return 0;
  for (; text < end; ++text) {
    if (*text < '0' || *text > '9') return 0;
    port = port * 10 + (unsigned long)(*text - '0');
  }
  return port > 0xffff ? 0 : (uint16_t)port;
}

/* "127.0.0.1", "::1" or "fe80::1%eth0", whose interface is left out: one port of two interfaces is in doubt
 * only if both are there. */
static int read_host(const char* text, size_t length, struct in6_addr* out) {
  char host[INET6_ADDRSTRLEN];
  const char* scope = memchr(text, '%', length);
  struct in_addr v4;
  if (scope != NULL) length = (size_t)(scope - text);
  if (length == 0 || length >= sizeof host) return 0;
  memcpy(host, text, length);
  host[length] = '\0';
  if (inet_pton(AF_INET6, host, out) == 1) return 1;
  if (inet_pton(AF_INET, host, &v4) != 1) return 0;
  memset(out, 0, sizeof *out);
  out->s6_addr[10] = out->s6_addr[11] = 0xff;
  memcpy(out->s6_addr + 12, &v4, sizeof v4);
  return 1;
}

/* "127.0.0.1:8000", "[::1]:8000", "udp:127.0.0.1:53". */
static int read_listener(const char* text, const char* end, struct adopt_listener* out) {
  const char* colon = end;
  out->type = SOCK_STREAM;
  if (end - text > 4 && strncmp(text, "udp:", 4) == 0) {
    out->type = SOCK_DGRAM;
    text += 4;
  }
  while (colon > text && colon[-1] != ':') --colon;
  if (colon == text) return 0;
  out->address.port = read_port(colon, end);
  end = colon - 1;
  if (end > text && *text == '[' && end[-1] == ']') {
    ++text;
    --end;
  }
  return out->address.port != 0 && read_host(text, (size_t)(end - text), &out->address.host);
}

/* Hexadecimal, up to a comma or the end; 0: none. */
static uint64_t read_cookie(const char** at) {
  uint64_t cookie = 0;
  const char* text = *at;
  for (; *text != '\0' && *text != ','; ++text) {
    const char c = *text;
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0 || cookie >> 60 != 0) return 0;
    cookie = cookie << 4 | (uint64_t)digit;
  }
  *at = *text == ',' ? text + 1 : text;
  return cookie;
}

/* Of "1:SERVICE:SLOT:GENERATION:NONCE:PID" the last but one. One of dashes alone was wiped. */
static void read_nonce(const char* token, char* out, size_t size) {
  const char* end = token != NULL ? strrchr(token, ':') : NULL;
  const char* begin = end;
  if (end == NULL) return;
  while (begin > token && begin[-1] != ':') --begin;
  if (begin == token || (size_t)(end - begin) >= size || strspn(begin, "-") == (size_t)(end - begin)) return;
  for (const char* c = begin; c < end; ++c) {
    if (*c == '"' || *c == '\\' || (unsigned char)*c < ' ') return; /* it becomes a text of JSON */
  }
  memcpy(out, begin, (size_t)(end - begin));
  out[end - begin] = '\0';
}

int adopt_read_config(char* const* environment, struct adopt_config* out) {
  const char* text = adopt_variable(environment, RUNMAIN_ENV_ADOPT);
  const char* cookies = adopt_variable(environment, RUNMAIN_ENV_ADOPT_COOKIES);
  const char* channel = adopt_variable(environment, RUNMAIN_ENV_CHANNEL);
  int known = 0;
  memset(out, 0, sizeof *out);
  if (text == NULL || cookies == NULL) return 0;
  while (*text != '\0' && out->count < ADOPT_LISTENERS_MAX) {
    struct adopt_listener* listener = &out->listeners[out->count++];
    const size_t length = strcspn(text, ",");
    listener->cookie = read_cookie(&cookies);
    /* What is not understood, such as a unix socket, keeps its place and is never adopted. */
    if (!read_listener(text, text + length, listener)) listener->cookie = 0;
    if (listener->cookie != 0) known = 1;
    text += text[length] == ',' ? length + 1 : length;
  }
  if (channel != NULL && strlen(channel) < sizeof out->channel) strcpy(out->channel, channel);
  read_nonce(adopt_variable(environment, RUNMAIN_ENV_TOKEN), out->nonce, sizeof out->nonce);
  return known;
}
