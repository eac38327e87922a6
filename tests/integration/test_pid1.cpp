// runmain as pid 1 of a container: a pid namespace of its own, no terminal, stdin closed.
#include <signal.h>
#include <unistd.h>

#include "support/catch.hpp"
#include "support/supervised.hpp"

using namespace runmain::test;

namespace {

// What the namespace runs: `script` with runmain as pid 1. unshare(1) kills all of it if we die.
Ran in_namespace(const std::string& script) {
  return run({"unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc", "sh",
              "-c", "exec " + script});
}

std::string serve(const Folder& folder, const std::string& command) {
  const std::string bin = RUNMAIN_BIN_DIR;
  return bin + "/runmain serve --runtime-dir " + folder.file("run") + " --state-dir " + folder.file("state") +
         " --workers 2 --listen 127.0.0.1:0 --ready after:10ms -- " + command;
}

}  // namespace

TEST_CASE("as pid 1 with closed stdin it serves, reaps strangers silently, and TERM ends it with 0") {
  Folder folder;
  // Each worker leaves a stranger behind, whose status must mean nothing to anybody.
  folder.write("idle.sh",
               "#!/bin/sh\n(sh -c 'exit 3' &)\ntrap 'echo drained; exit 0' TERM\n"
               "echo \"first is $(cat /proc/1/comm)\"\n"
               "if test $RUNMAIN_WORKER = 1; then (while ! test -e ready; do :; done; kill -TERM 1) & fi\n"
               "touch up.$RUNMAIN_WORKER\n"
               "while :; do if test -e up.0 -a -e up.1; then touch ready; fi; done\n");
  const Ran ran =
      in_namespace("sh -c 'cd " + folder.path() + " && exec " + serve(folder, "sh idle.sh") + " <&-'");
  INFO(ran.out);
  CHECK(ran.status == 0);
  CHECK(ran.out.find("first is runmain-keeper") != std::string::npos);
  CHECK(ran.out.find("drained") != std::string::npos);
  CHECK(ran.out.find("status 3") == std::string::npos);
}

TEST_CASE("as pid 1 it ends with 1 when every slot has failed for good") {
  Folder folder;
  folder.write("supervisor.toml",
               "[runmain]\nmode = \"prod\"\n[service.web]\ncommand = \"false\"\nworkers = 2\n"
               "restart = { burst = 2, initial = \"10ms\" }\n");
  const std::string bin = RUNMAIN_BIN_DIR;
  const Ran ran = in_namespace(bin + "/runmain up -c " + folder.file("supervisor.toml") + " --runtime-dir " +
                               folder.file("run") + " --state-dir " + folder.file("state"));
  INFO(ran.out);
  CHECK(ran.status == 1);
}
