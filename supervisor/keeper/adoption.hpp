// The adoption table: what the next runmain has to know of this one if the keeper is killed. A file of the
// state folder, of the keeper alone.
//
// Invariant: a table is read exactly or not at all: a checksum is over every byte, and a version that is not
// next to ours, a torn file or one of another boot is an Error, never a guess. The file has two sides, which
// are written in turns, so that a whole table stands there whenever the keeper dies. Fields have names
// (base/named_archive.hpp), as programs of the last and the next version read it. What it says is a claim
// until the living processes have proved it (survivors.hpp). Non-goal: a file that survives a crash of the
// machine; nothing that it tells of would.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ids.hpp"
#include "base/result.hpp"
#include "keeper/listener_messages.hpp"
#include "os/linux/fd.hpp"
#include "os/linux/other_process.hpp"

namespace runmain::keeper {

inline constexpr std::size_t kAdoptionMax = 16U << 20U;  // bytes

struct ChildOnRecord {
  ChildKey key;
  std::string service;
  os::ProcessName main;
  os::ProcessName first;  // leader of the session and group
  std::uint64_t tag = 0;
  bool alive = false;
  bool keep = false;                   // outlives the keeper
  std::vector<std::string> listeners;  // ids
  std::uint64_t pipe = 0;              // inode of its output; 0: not captured, or a pty
  std::string notify;                  // abstract name of its notify socket, without '@'
  std::uint64_t mailbox = 0;           // its inode; 0: none
  std::uint64_t wake = 0;              // eventfd-id (proc(5)) of what wakes the mailbox's reader; 0: unknown
  std::uint32_t claims = 0;            // of the mailbox
  std::uint16_t port = 0;              // of its service's slot 0, where that was chosen; 0: it was not
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("service", service);
    a("main", main);
    a("first", first);
    a("tag", tag);
    a("alive", alive);
    a("keep", keep);
    a("listeners", listeners);
    a("pipe", pipe);
    a("notify", notify);
    a("mailbox", mailbox);
    a("wake", wake);
    a("claims", claims);
    a("port", port);
  }
};

struct ListenerOnRecord {
  std::string id;
  OpenListener address;    // as it was asked for …
  std::uint16_t port = 0;  // … and the port that it got
  std::string bound;
  std::uint64_t inode = 0;
  std::uint64_t cookie = 0;
  std::string group;  // empty: none
  std::uint32_t slot = 0;
  std::uint64_t file_device = 0;  // of the file that a unix socket has; 0 both: it is not ours to remove
  std::uint64_t file_inode = 0;
  template <class A>
  void fields(A& a) {
    a("id", id);
    a("address", address);
    a("port", port);
    a("bound", bound);
    a("inode", inode);
    a("cookie", cookie);
    a("group", group);
    a("slot", slot);
    a("file_device", file_device);
    a("file_inode", file_inode);
  }
};

struct GroupOnRecord {
  std::string id;
  std::vector<std::uint32_t> order;  // of its slots, as the kernel has them
  bool known = true;
  template <class A>
  void fields(A& a) {
    a("id", id);
    a("order", order);
    a("known", known);
  }
};

struct AdoptionTable {
  std::string boot;    // os::boot_identity()
  std::string config;  // path of the configuration
  os::ProcessName keeper;
  os::ProcessName head;       // that ends, or has ended, by itself …
  os::ProcessName observer;   // … as does this one
  os::ProcessName unread_of;  // a keeper before this one whose unread output nobody has taken yet
  std::string secret;
  std::uint64_t serial = 0;      // of two tables in a file the greater one counts
  std::uint64_t tags_begin = 0;  // every tag that was given lies in [tags_end, tags_begin)
  std::uint64_t tags_end = 0;
  std::vector<ChildOnRecord> children;
  std::vector<ListenerOnRecord> listeners;
  std::vector<GroupOnRecord> groups;
  template <class A>
  void fields(A& a) {
    a("boot", boot);
    a("config", config);
    a("keeper", keeper);
    a("head", head);
    a("observer", observer);
    a("unread_of", unread_of);
    a("secret", secret);
    a("serial", serial);
    a("tags_begin", tags_begin);
    a("tags_end", tags_end);
    a("children", children);
    a("listeners", listeners);
    a("groups", groups);
  }
};

// Output that was taken from a child's pipe and is in no log: left by the head that outlived its keeper.
struct Unread {
  ChildKey key;
  bool in_line = false;  // it begins inside a line that was split
  std::string bytes;
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("in_line", in_line);
    a("bytes", bytes);
  }
};
struct UnreadOutput {
  os::ProcessName keeper;  // that was
  std::vector<Unread> streams;
  template <class A>
  void fields(A& a) {
    a("keeper", keeper);
    a("streams", streams);
  }
};

// The bytes of a file with either of the two. On failure `message` says what is wrong with them, as in "it is
// torn".
std::string to_record(const AdoptionTable& table);
std::string to_record(const UnreadOutput& unread);
Result<AdoptionTable> parse_adoption(std::string_view bytes);
Result<UnreadOutput> parse_unread(std::string_view bytes);

// The keeper's table on its disk. To write it where it stands costs a copy; a new file under the old name
// would wait for the disk (ext4 writes its data out before the rename), with each start of a child.
class AdoptionFile {
 public:
  // `ours`: what is there is ours already; of a keeper that was upgraded.
  explicit AdoptionFile(std::string path = {}, bool ours = false) : path_(std::move(path)), ours_(ours) {}

  const std::string& path() const { return path_; }
  bool written() const { return static_cast<bool>(fd_); }  // by this one
  bool ours() const { return ours_; }                      // what is there
  // Makes the file, 0600, in place of what is there, if that is none of this one (or somebody has moved it).
  // Gives the table its serial. On failure what was there is whole.
  Result<void> write(AdoptionTable& table);
  void remove();

 private:
  bool is_there() const;
  Result<void> begin(std::string_view bytes);

  std::string path_;
  bool ours_ = false;
  os::UniqueFd fd_;
  std::uint64_t serial_ = 0;
};
// The newest whole table of a file. Error code ENOENT: there is no file.
Result<AdoptionTable> read_adoption(const std::string& path);

// Replaces the file by a new one, 0600.
Result<void> write_record(const std::string& path, std::string_view bytes);
// Of a regular file that is ours. Error code ENOENT: there is none.
Result<std::string> read_record(const std::string& path);

// Beside the adoption table.
inline std::string unread_path(const std::string& adoption) { return adoption + ".unread"; }

}  // namespace runmain::keeper
