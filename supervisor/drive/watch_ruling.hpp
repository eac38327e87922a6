// Whether a path is ignored, and by which rule: the lists that judge the entries of one folder, the strongest
// first. The first list with a rule that matches decides.
//
//   the service's own `ignore` > .git and its like > .ignore > .gitignore > info/exclude > global > built in
//
// Invariant: what is below an ignored folder is ignored, whatever a rule says of it (gitignore(5)); whoever
// asks a chain has asked for the folders above. Thread: one. Non-goal: reading files.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "drive/watch_ignore_files.hpp"

namespace runmain::drive {

struct Ruling {
  bool ignored = false;
  const IgnoreList* list = nullptr;  // where the deciding rule is; nullptr: no rule matches
  const IgnoreRule* rule = nullptr;
};

class RuleChain {
 public:
  void add(const IgnoreList& list, std::size_t base) { links_.push_back({&list, base}); }
  std::vector<IgnoreLink>& links() { return links_; }

  // `path` is an entry of the chain's folder.
  Ruling judge(std::string_view path, bool is_folder) const;

 private:
  std::vector<IgnoreLink> links_;
};

}  // namespace runmain::drive
