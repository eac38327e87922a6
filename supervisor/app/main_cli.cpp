// runmain: the command line.
#include "cli/parse.hpp"

int main(int argc, char** argv) { return runmain::cli::run(argc, argv); }
