/* Names and bounds of the contract between runmain and the program that it serves. The whole text is in
 * docs/contract.md. C, so that every part of child_runtime can use it. */
#ifndef RUNMAIN_CHILD_PROTOCOL_H
#define RUNMAIN_CHILD_PROTOCOL_H

#define RUNMAIN_ENV_TOKEN "RUNMAIN_TOKEN"     /* 1:SERVICE:SLOT:GENERATION:NONCE:PID */
#define RUNMAIN_ENV_HELD "RUNMAIN_HELD"       /* PID:START:NONCE of who has wiped the nonce */
#define RUNMAIN_ENV_CHANNEL "RUNMAIN_CHANNEL" /* socket path, or @abstract */
#define RUNMAIN_ENV_SERVICE "RUNMAIN_SERVICE"
#define RUNMAIN_ENV_WORKER "RUNMAIN_WORKER" /* slot */
#define RUNMAIN_ENV_GENERATION "RUNMAIN_GENERATION"
#define RUNMAIN_ENV_INSTANCE_ID "RUNMAIN_INSTANCE_ID"
#define RUNMAIN_ENV_PID "RUNMAIN_PID"             /* of a hook or look: the worker's main process */
#define RUNMAIN_ENV_HUNG_PID "RUNMAIN_HUNG_PID"   /* the same, of a hook only */
#define RUNMAIN_ENV_HANG_KIND "RUNMAIN_HANG_KIND" /* how that one hangs */
#define RUNMAIN_ENV_REASON "RUNMAIN_REASON"       /* start, change, crash, scale, recycle */
#define RUNMAIN_ENV_ADOPT "RUNMAIN_ADOPT" /* the listeners' addresses, where adopt = true; with commas */
#define RUNMAIN_ENV_ADOPT_COOKIES "RUNMAIN_ADOPT_COOKIES" /* SO_COOKIE of each, hexadecimal */
#define RUNMAIN_ENV_AUTO "RUNMAIN_AUTO" /* 1: Python and Node are instrumented as they are */
#define RUNMAIN_ENV_BROWSER                                                                                 \
  "RUNMAIN_BROWSER"                           /* a script that reloads pages, where the service asks for it \
                                               */
#define RUNMAIN_ENV_CHANGED "RUNMAIN_CHANGED" /* a file with the changed paths, one a line */

#define RUNMAIN_CHANNEL_VERSION 1
#define RUNMAIN_CHANNEL_LINE_MAX 4096 /* bytes, newline included */
#define RUNMAIN_LISTEN_FDS_START 3    /* sd_listen_fds(3) */

/* Channel: SOCK_STREAM, JSON objects, one a line.
 * child to us:
 *   {"v":1,"claim":{"nonce":"…","pid":123,"runtime":"cpp","version":"0.1.0","explicit":false}}
 *   {"v":1,"sockets":{"nonce":"…","pid":123}}    the listeners, without a claim
 *   {"v":1,"ready":true}  {"v":1,"drained":true}  {"v":1,"stopping":true}  {"v":1,"status":"…"}
 *   {"v":1,"requests":{"done":1234,"in_flight":5}}
 * us to child:
 *   {"v":1,"role":{"service":"web","slot":0,"generation":3,"instance_id":"…",
 *                  "listeners":[{"name":"http","address":"127.0.0.1:8000","kind":"tcp"}],
 *                  "mailbox":true}}
 *        with one fd for each listener, in order, by SCM_RIGHTS on the first byte of the line; with
 *        "mailbox":true two more may come: the mailbox (mailbox.h), and the eventfd that wakes its reader.
 *        If they did not come there is none. What else comes is closed.
 *   {"v":1,"mailbox":{"path":"/proc/1/fd/9","claim":0}}
 *        behind the role, for who cannot receive fds: where the mailbox is, and how often it was given before
 *   {"v":1,"sockets":[{"name":"http","address":"127.0.0.1:8000","kind":"tcp"}]}
 *        with one fd for each, as above; then the connection is closed
 *   {"v":1,"refused":{"why":"…"}}
 *   {"v":1,"drain":{"budget_ms":10000}}
 * Unknown keys are ignored on both sides; a line without a known key is ignored and counted. */

#endif
