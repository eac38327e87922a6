// `explain` where nothing runs: the configuration's rules, by the watcher's own look-up.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "cli/sentences.hpp"
#include "run_cli.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::cli;

namespace {

namespace fs = std::filesystem;

struct Project {
  Project() {
    std::string name = (fs::temp_directory_path() / "runmain-explain-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    path = fs::canonical(name).string();
    fs::create_directories(path + "/src/gen");
    fs::create_directories(path + "/.git");
    write("supervisor.toml",
          "[service.web]\ncommand = \"true\"\nwatch = { paths = [\"src\"], ignore = [\"*.bak\"] }\n"
          "[service.css]\ncommand = \"true\"\nwatch = { paths = [\".\"], include = [\"*.css\"] }\n"
          "[service.db]\ncommand = \"true\"\n");
    write(".gitignore", "# none\n\n*.o\ngen/\n");
  }
  ~Project() {
    std::error_code failed;
    fs::remove_all(path, failed);
  }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(path + "/" + name) << text;
  }
  // What is said of a path, the project's own path cut away.
  std::string explain(const std::string& name, int exit) const {
    const Ran ran = run_cli(
        {"explain", path + "/" + name, "-c", path + "/supervisor.toml", "--runtime-dir", path + "/none"});
    CHECK(ran.exit == exit);
    CHECK(ran.err.empty());
    std::string out = ran.out;
    for (std::size_t at = 0; (at = out.find(path + "/", at)) != std::string::npos;)
      out.erase(at, path.size() + 1);
    return out;
  }
  std::string path;
};

}  // namespace

TEST_CASE("explain tells for every service whether a change reloads it, and which rule says so") {
  const Project project;
  CHECK(project.explain("src/a.css", 0) ==
        "src/a.css: watched: reloads web\nsrc/a.css: watched: reloads css\nsrc/a.css: db: watches nothing\n");
  CHECK(project.explain("src/a.o", 1) ==
        "src/a.o: web: ignored by .gitignore:3: *.o\nsrc/a.o: css: ignored by .gitignore:3: *.o\n"
        "src/a.o: db: watches nothing\n");
  CHECK(project.explain("src/gen/deep/a.py", 1) ==
        "src/gen/deep/a.py: web: ignored by .gitignore:4: gen/\n"
        "src/gen/deep/a.py: css: ignored by .gitignore:4: gen/\nsrc/gen/deep/a.py: db: watches nothing\n");
  CHECK(project.explain("src/a.bak", 1) ==
        "src/a.bak: web: ignored by its own `ignore`: *.bak\nsrc/a.bak: css: no include glob matches\n"
        "src/a.bak: db: watches nothing\n");
  CHECK(project.explain("README", 1) ==
        "README: web: not below a watched path\nREADME: css: no include glob matches\n"
        "README: db: watches nothing\n");
  CHECK(project.explain("src/node_modules/x/y.js", 1) ==
        "src/node_modules/x/y.js: web: ignored by the built-in rule `node_modules`\n"
        "src/node_modules/x/y.js: css: ignored by the built-in rule `node_modules`\n"
        "src/node_modules/x/y.js: db: watches nothing\n");
  CHECK(project.explain("src/.git/HEAD", 1).find("web: ignored by the built-in rule `.git`\n") !=
        std::string::npos);
  CHECK(
      project.explain("src/x.db-wal", 1).find("ignored by the built-in rule `sqlite journals`: *.db-wal\n") !=
      std::string::npos);
}

TEST_CASE("a folder is explained as such, whether it is there, or a slash says so") {
  const Project project;
  CHECK(project.explain("src", 0).find("src: watched: reloads web\n") == 0);
  CHECK(project.explain("src/gen", 1).find("web: ignored by .gitignore:4: gen/\n") != std::string::npos);
  CHECK(project.explain("src/venv/", 1).find("web: ignored by the built-in rule `venv`\n") !=
        std::string::npos);
  CHECK(project.explain("src/venv", 0).find("src/venv: watched: reloads web\n") == 0);
}

TEST_CASE("explain gives programs the rule in parts, and shortens what is below the current folder") {
  const Project project;
  const Ran ran = run_cli({"explain", "--json", project.path + "/src/a.o", "-c",
                           project.path + "/supervisor.toml", "--runtime-dir", project.path + "/none"});
  CHECK(ran.exit == 1);
  const auto answer = control::Json::parse(ran.out);
  const auto& said = answer["paths"][0]["services"][0];
  CHECK(said["service"] == "web");
  CHECK(said["reloads"] == false);
  CHECK(said["verdict"] == "ignored");
  CHECK(said["file"] == project.path + "/.gitignore");
  CHECK(said["line"] == 3);
  CHECK(said["rule"] == "*.o");
  CHECK(explain_text(answer, project.path).find("src/a.o: web: ignored by .gitignore:3: *.o\n") == 0);
}

TEST_CASE("explain without a path, or with a configuration that has faults, exits 2") {
  CHECK(run_cli({"explain"}).exit == kUsage);
  const Project project;
  project.write("supervisor.toml", "[service.web]\n");
  CHECK(run_cli({"explain", "x", "-c", project.path + "/supervisor.toml", "--runtime-dir", project.path})
            .exit == kUsage);
}
