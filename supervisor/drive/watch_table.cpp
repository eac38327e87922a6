#include "drive/watch_table.hpp"

#include <cstring>

#include "base/archive.hpp"

namespace runmain::drive {
namespace {

constexpr std::uint64_t kTableVersion = 2;
constexpr std::uint64_t kOdd1 = 0xd6e8feb86659fd93ULL;
constexpr std::uint64_t kOdd2 = 0xa0761d6478bd642fULL;

// Both halves of the 128-bit product, folded.
std::uint64_t fold(std::uint64_t a, std::uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64U);
}

}  // namespace

void ContentHash::add(std::string_view bytes) {
  size_ += bytes.size();
  std::uint64_t word = 0;
  for (; bytes.size() >= sizeof word; bytes.remove_prefix(sizeof word)) {
    std::memcpy(&word, bytes.data(), sizeof word);
    state_ = fold(state_ ^ word ^ kOdd1, kOdd2);
  }
  if (bytes.empty()) return;
  word = 0;
  std::memcpy(&word, bytes.data(), bytes.size());
  state_ = fold(state_ ^ word ^ kOdd1, kOdd2);
}

std::uint64_t ContentHash::value() const { return fold(state_ ^ kOdd2, size_ ^ kOdd1); }

bool is_at_or_below(std::string_view path, std::string_view folder) {
  if (folder == "/") return !path.empty() && path.front() == '/';
  return path.size() >= folder.size() && path.substr(0, folder.size()) == folder &&
         (path.size() == folder.size() || path[folder.size()] == '/');
}

std::string join_path(const std::string& folder, std::string_view name) {
  std::string path;
  path.reserve(folder.size() + 1 + name.size());
  path = folder;
  if (path.empty() || path.back() != '/') path += '/';
  path += name;
  return path;
}

std::pair<std::string, std::string> split_path(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {"/", path};
  return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

FileState* FileTable::find(const std::string& folder, const std::string& name) {
  const auto in = folders_.find(folder);
  if (in == folders_.end()) return nullptr;
  const auto file = in->second.files.find(name);
  return file == in->second.files.end() ? nullptr : &file->second;
}

bool FileTable::put(const std::string& folder, const std::string& name, const FileState& state) {
  if (FileState* known = find(folder, name); known != nullptr) {
    *known = state;
  } else {
    if (count_ >= max_) {
      truncated_ = true;
      return false;
    }
    folders_[folder].files.emplace(name, state);
    ++count_;
  }
  dirty_ = true;
  return true;
}

void FileTable::erase(const std::string& folder, const std::string& name) {
  const auto in = folders_.find(folder);
  if (in == folders_.end() || in->second.files.erase(name) == 0) return;
  --count_;
  dirty_ = true;
  if (in->second.files.empty()) folders_.erase(in);
}

std::vector<std::string> FileTable::folders_below(const std::string& path) const {
  std::vector<std::string> found;
  if (folders_.count(path) != 0) found.push_back(path);
  const std::string prefix = path == "/" ? path : path + '/';
  for (auto it = folders_.lower_bound(prefix); it != folders_.end(); ++it) {
    if (it->first.compare(0, prefix.size(), prefix) != 0) break;
    if (it->first != path) found.push_back(it->first);
  }
  return found;
}

void FileTable::set_services(std::vector<WatchedService> services) {
  if (services == services_) return;
  services_ = std::move(services);
  dirty_ = true;
}

std::string FileTable::save() {
  std::string out;
  BinaryWriter writer(out);
  writer.put_unsigned(kTableVersion);
  writer.put_unsigned(truncated_ ? 1 : 0);
  writer.put(services_);
  writer.put_unsigned(folders_.size());
  for (auto& [path, folder] : folders_) {
    writer.put(path);
    writer.put_unsigned(folder.files.size());
    for (auto& [name, state] : folder.files) {
      writer.put(name);
      writer.put(state);
    }
  }
  dirty_ = false;
  return out;
}

bool FileTable::restore(std::string_view bytes) {
  *this = FileTable(max_);
  BinaryReader reader(bytes);
  bool good = reader.get_unsigned() == kTableVersion;
  truncated_ = reader.get_unsigned() != 0;
  if (good) reader.get(services_);
  const std::uint64_t folders = good ? reader.get_unsigned() : 0;
  for (std::uint64_t i = 0; i < folders && reader.ok() && good; ++i) {
    std::string path;
    reader.get(path);
    const std::uint64_t files = reader.get_unsigned();
    for (std::uint64_t n = 0; n < files && reader.ok() && good; ++n) {
      std::string name;
      FileState state;
      reader.get(name);
      reader.get(state);
      good = reader.ok() && put(path, name, state);
    }
  }
  good = good && reader.ok() && reader.done();
  if (!good) *this = FileTable(max_);
  dirty_ = false;
  return good;
}

}  // namespace runmain::drive
