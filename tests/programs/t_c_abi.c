/* t_c_abi: the C header from C, linked with the shared library only. Run unsupervised it checks what every
 * program may rely on, and exits with 0, or with the line that did not hold. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "child_runtime/child_runtime.h"
#include "child_runtime/current.h"
#include "child_runtime/propagation.h"
#include "child_runtime/trace.h"

#define HOLD(condition)                                       \
  do {                                                        \
    if (!(condition)) {                                       \
      fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
      return 1;                                               \
    }                                                         \
  } while (0)

static int drains = 0;
static void on_drain(void* data, uint32_t budget_ms) {
  if (data == &drains && budget_ms == 0) ++drains;
}

/* Whether a library is mapped into this process. */
static int is_mapped(const char* name) {
  char line[4096];
  int found = 0;
  FILE* maps = fopen("/proc/self/maps", "r");
  if (maps == NULL) return -1;
  while (fgets(line, sizeof line, maps) != NULL) found = found || strstr(line, name) != NULL;
  fclose(maps);
  return found;
}

/* One header, for a carrier in C. */
struct header {
  const char* name;
  char value[RUNMAIN_TRACEPARENT_SIZE + 1];
};

static int get_header(void* data, const char* name, size_t index, struct runmain_text* value) {
  struct header* header = data;
  if (index > 0 || strcmp(name, header->name) != 0) return 0;
  value->data = header->value;
  value->size = strlen(header->value);
  return 1;
}

static int set_header(void* data, const char* name, struct runmain_text value) {
  struct header* header = data;
  if (strcmp(name, header->name) != 0 || value.size >= sizeof header->value) return -ENOSPC;
  memcpy(header->value, value.data, value.size);
  header->value[value.size] = 0;
  return 0;
}

static int check_propagation(void) {
  static const char parent[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  struct header in = {"traceparent", {0}};
  struct header out = {"traceparent", {0}};
  struct runmain_carrier carrier = {NULL, get_header, set_header};
  struct runmain_span_context span;
  const uint32_t formats = runmain_propagators();

  memset(&span, 0, sizeof span);
  HOLD(formats == (RUNMAIN_PROPAGATE_TRACECONTEXT | RUNMAIN_PROPAGATE_BAGGAGE));
  memcpy(in.value, parent, sizeof parent);
  carrier.data = &in;
  HOLD(runmain_extract(formats, &carrier, &span, NULL, NULL) == RUNMAIN_EXTRACTED_SPAN);
  carrier.data = &out;
  HOLD(runmain_inject(formats, &carrier, &span, NULL, NULL) == 0);
  HOLD(strcmp(out.value, parent) == 0);
  HOLD(runmain_current() == NULL && runmain_swap_current(NULL) == NULL);
  return 0;
}

int main(void) {
  struct runmain_socket sockets[4];
  struct runmain_role role;
  struct runmain_counters counters;
  struct runmain_span* span;
  uint32_t ticket;

  HOLD(runmain_serve() == RUNMAIN_UNSUPERVISED);
  HOLD(runmain_serving() == 1);
  HOLD(runmain_get_role(&role) == -ENOENT);
  HOLD(runmain_scrub_environment() == -EPERM);
  HOLD(runmain_listeners(sockets, 4) == 0);
  HOLD(runmain_listener("http") == -1);
  HOLD(runmain_ready() == 0 && runmain_status("serving") == 0 && runmain_heartbeat() == 0);
  HOLD(runmain_channel_fd() == -1 && runmain_dispatch() == -ENOTCONN);
  HOLD(runmain_start_listener_thread() == -ENOTCONN);
  ticket = runmain_request_begin();
  runmain_get_counters(&counters);
  HOLD(counters.in_flight == 1 && counters.done == 0);
  HOLD(runmain_on_drain(on_drain, &drains) == 0 && drains == 0 && runmain_draining() == 0);
  runmain_drain_requested_by_signal();
  runmain_drain_requested_by_signal();
  HOLD(drains == 1 && runmain_draining() == 1);
  runmain_request_end(ticket);
  runmain_request_end(ticket);
  runmain_get_counters(&counters);
  HOLD(counters.in_flight == 0 && counters.done == 1);
  HOLD(runmain_stopping() == 0 && runmain_drained() == 0);
  span = runmain_span_start_current(NULL, "work", 4, NULL);
  runmain_span_set(span, "key", 3, "value", 5);
  HOLD(span != NULL && runmain_span_is_recording(span) == 0 && runmain_current() == NULL);
  runmain_span_finish(span);
  HOLD(runmain_telemetry_init("t_c_abi.c", 1) == -ENOTCONN && runmain_force_flush() == 0);
  HOLD(strlen(runmain_version()) > 0);
  HOLD(check_propagation() == 0);
  HOLD(is_mapped("libchild_runtime.so.0") == 1);
#ifndef T_SANITIZED /* sanitizers bring the C++ run time along */
  HOLD(is_mapped("libstdc++") == 0);
#endif
  return 0;
}
