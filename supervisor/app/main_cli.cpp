// runmain: the command line.
#include "cli/parse.hpp"
#include "os/linux/fd.hpp"

int main(int argc, char** argv) {
  runmain::os::fill_stdio();
  return runmain::cli::run(argc, argv);
}
