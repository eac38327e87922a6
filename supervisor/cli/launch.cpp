#include "cli/launch.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string_view>

#include "base/named_archive.hpp"
#include "cli/programs.hpp"
#include "control/instance.hpp"

namespace runmain::cli {
namespace {

// A runmain that was started with another environment has its lock in another folder.
Result<void> check_not_elsewhere(const control::Folders& folders) {
  for (const std::string& runtime :
       control::runtime_candidates(folders, control::Environment::of_process())) {
    if (runtime == folders.runtime) continue;
    const pid_t holder = control::lock_holder(runtime + "/lock");
    if (holder == 0) continue;
    const std::string who = holder > 0 ? " (pid " + std::to_string(holder) + ")" : "";
    return Error{
        "already running" + who, {}, "see it with `runmain status`, end it with `runmain down`", EWOULDBLOCK};
  }
  return {};
}

// A journal is of one run: the one before is kept beside it. What is no journal is left alone.
Result<void> move_old_journal(const std::string& path, int fd) {
  constexpr std::string_view kBegin = R"({"v":1,"type":"journal.header")";
  const auto first = os::pread_some(fd, kBegin.size(), 0);
  if (!first.ok()) return first.error();
  if (first->empty()) return {};
  if (*first != kBegin)
    return Error{"--journal " + path + " is not a journal", {}, "name another file", EINVAL};
  if (rename(path.c_str(), (path + ".1").c_str()) != 0) return Error::from_errno("rename " + path, errno);
  return {};
}

Result<os::UniqueFd> open_file(const std::string& path) {
  os::UniqueFd fd(open(path.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0600));
  struct stat st {};
  if (!fd || fstat(fd.get(), &st) != 0) return Error::from_errno("--journal " + path, errno);
  if (!S_ISREG(st.st_mode)) return Error{"--journal " + path + " is not a regular file", {}, {}, EINVAL};
  return fd;
}

Result<os::UniqueFd> open_journal(const std::string& path) {
  const auto old = open_file(path);
  if (!old.ok()) return old.error();
  const auto moved = move_old_journal(path, old->get());
  if (!moved) return moved.error();
  return open_file(path);
}

// What keeper and head get as arguments: app/main_keeper.cpp and app/options.hpp say what they mean.
std::vector<std::string> keeper_arguments(const Launch& launch, const std::string& head) {
  std::vector<std::string> argv{"runmain-keeper",
                                "--control-fd",
                                std::to_string(launch.control.get()),
                                "--channel-fd",
                                std::to_string(launch.channel.get()),
                                "--lock-fd",
                                std::to_string(launch.lock.get())};
  if (launch.journal) {
    argv.emplace_back("--journal-fd");
    argv.push_back(std::to_string(launch.journal.get()));
  }
  argv.insert(argv.end(), {"--adoption", launch.folders.adoption(), "--", head});
  return argv;
}

void add_head_arguments(std::vector<std::string>& argv, const Options& options, const Launch& launch,
                        core::Mode mode) {
  for (const std::string& arg :
       {std::string("--config"), launch.folders.config, std::string("--mode"),
        std::string(mode == core::Mode::prod ? "prod" : "dev"), std::string("--runtime-dir"),
        launch.folders.runtime, std::string("--state-dir"), launch.folders.state})
    argv.push_back(arg);
  if (options.detach) argv.emplace_back("--detached");
  for (const std::string& service : options.services) {
    argv.emplace_back("--only");
    argv.push_back(service);
  }
}

// A new file each time: what stands there under that name is not written through.
Result<void> write_desired(const std::string& path, const core::Desired& desired) {
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return Error::from_errno("unlink " + path, errno);
  const os::UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return Error::from_errno("open " + path, errno);
  return os::pwrite_all(fd.get(), to_named(desired), 0);
}

Result<void> open_sockets(Launch& launch) {
  auto control_socket = control::listen_at(launch.folders.control(), 0600);
  if (!control_socket.ok()) return control_socket.error();
  launch.control = std::move(*control_socket);
  // Children of other users reach the channel; a claim is proved by more than being able to connect.
  auto channel_socket = control::listen_at(launch.folders.channel(), 0666);
  if (!channel_socket.ok()) return channel_socket.error();
  launch.channel = std::move(*channel_socket);
  return {};
}

}  // namespace

Result<Launch> prepare_launch(const Options& options, core::Mode mode, const core::Desired* desired) {
  const auto keeper = find_program("runmain-keeper");
  if (!keeper.ok()) return keeper.error();
  const auto head = find_program("runmain-supervisor");
  if (!head.ok()) return head.error();
  const auto config = control::real_config(options.file);
  if (!config.ok()) return config.error();
  const auto env = control::Environment::of_process();
  Launch launch;
  launch.keeper = *keeper;
  launch.folders = control::folders_of(*config, options.runtime_dir, options.state_dir, env);
  auto made = control::make_folders(launch.folders, env);
  if (!made && options.command == "serve" && !launch.folders.state_given) {
    // In a read-only container what must be writable is the runtime folder alone.
    launch.folders.state = launch.folders.runtime + "/state";
    launch.folders.state_given = true;
    made = control::make_folders(launch.folders, env);
  }
  if (!made) return made.error();
  auto lock = control::take_lock(launch.folders.lock());
  if (!lock.ok()) return lock.error();
  launch.lock = std::move(*lock);
  const auto alone = check_not_elsewhere(launch.folders);
  if (!alone) return alone.error();
  if (!options.journal.empty()) {
    auto journal = open_journal(options.journal);
    if (!journal.ok()) return journal.error();
    launch.journal = std::move(*journal);
  }
  const auto sockets = open_sockets(launch);
  if (!sockets) return sockets.error();
  launch.argv = keeper_arguments(launch, *head);
  add_head_arguments(launch.argv, options, launch, mode);
  if (desired == nullptr) return launch;
  const auto written = write_desired(launch.folders.desired(), *desired);
  if (!written) return written.error();
  launch.argv.insert(launch.argv.end(), {"--desired", launch.folders.desired()});
  return launch;
}

Error become_keeper(Launch& launch) {
  const auto written = control::write_holder(launch.lock.get(), getpid());
  if (!written) return written.error();
  for (const int fd : {launch.lock.get(), launch.control.get(), launch.channel.get(), launch.journal.get()}) {
    if (fd < 0) continue;
    const auto kept = os::set_cloexec(fd, false);
    if (!kept) return kept.error();
  }
  std::vector<char*> argv;
  for (std::string& arg : launch.argv) argv.push_back(arg.data());
  argv.push_back(nullptr);
  execv(launch.keeper.c_str(), argv.data());
  return Error::from_errno("execute " + launch.keeper, errno);
}

}  // namespace runmain::cli
