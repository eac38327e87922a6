// `runmain replay`: feeds a journal to the core alone; it must reach the same states.
#include <cstdio>
#include <fstream>

#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "core/machine.hpp"
#include "drive/journal.hpp"

namespace runmain::cli {
namespace {

std::string hex(std::uint64_t value) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
}

std::string text_of(const std::string& path, std::uint64_t line_number) {
  std::ifstream file(path);
  std::string line;
  for (std::uint64_t i = 0; i < line_number && std::getline(file, line); ++i) continue;
  return line;
}

void show_difference(const std::string& path, std::uint64_t line, const drive::JournalEntry& entry,
                     std::uint64_t reached, Terminal& terminal) {
  complain(terminal, Error{std::string(core::type_name(entry.event)) + " leads to state " + hex(reached) +
                               ", the journal has " + hex(*entry.digest),
                           path + ":" + std::to_string(line)});
  terminal.err << harmless(text_of(path, line)) << '\n';
}

int run_replay(const Options& options, Terminal& terminal) {
  auto journal = drive::JournalReader::open(options.journal);
  if (!journal.ok()) {
    complain(terminal, journal.error());
    return kUsage;
  }
  core::Machine machine(journal->header().seed);
  core::Output output;
  std::uint64_t events = 0;
  std::uint64_t compared = 0;
  for (;;) {
    auto entry = journal->next();
    if (!entry.ok()) {
      complain(terminal, entry.error());
      return kServiceFailed;
    }
    if (!*entry) break;
    output.clear();
    // A cold start forgets what was, and counts anew.
    if (std::holds_alternative<core::Adopted>((*entry)->event))
      machine = core::Machine(journal->header().seed);
    machine.handle((*entry)->event, (*entry)->mono, output);
    ++events;
    if (!(*entry)->digest) continue;
    ++compared;
    const std::uint64_t reached = machine.digest();
    if (reached == *(*entry)->digest) continue;
    show_difference(options.journal, events + 1, **entry, reached, terminal);  // the header is line 1
    return kServiceFailed;
  }
  terminal.out << "ok: " << events << " events, " << compared << " states compared"
               << (journal->torn() ? "; the last line is torn and does not count" : "") << '\n';
  return kClean;
}

}  // namespace

void add_replay(CLI::App& app, Options& options) {
  CLI::App* command =
      add_command(app, options, "replay", "Feed a journal to the core alone and compare",
                  "  runmain up --journal run.journal\n  runmain replay run.journal", run_replay);
  command->add_option("JOURNAL", options.journal, "what `up --journal` wrote")->required()->type_name("");
}

}  // namespace runmain::cli
