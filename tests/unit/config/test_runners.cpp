// Command lines in, choices out: what `runmain dev` knows of programs that serve.
#include "config/runner_words.hpp"
#include "config/runners.hpp"
#include "support/catch.hpp"

namespace runmain::config {
namespace {

Argv words(const std::string& line) {
  Argv out;
  for (const std::string_view word : words_of(line)) out.emplace_back(word);
  return out;
}

// A launcher's text, which has many lines, is LINES.
std::string joined(const Argv& argv) {
  std::string out;
  for (const std::string& word : argv)
    out += (out.empty() ? "" : " ") + (word.find('\n') == std::string::npos ? word : "LINES");
  return out;
}

std::string env_of(const Runner& runner, const std::string& name) {
  for (const auto& [known, value] : runner.env) {
    if (known == name) return value;
  }
  return "unset";
}

struct Case {
  std::string command;
  std::string name;
  std::string argv;
  std::string listen;  // held for it
  int port = -1;       // that it binds by itself
};

void check(const Case& c, const RunnerFacts& facts = {}, const RunnerAsked& asked = {}) {
  INFO(c.command);
  const Runner runner = choose_runner(words(c.command), facts, asked);
  CHECK(runner.name == c.name);
  CHECK(joined(runner.argv) == c.argv);
  CHECK(runner.listen == c.listen);
  CHECK((runner.port ? int{*runner.port} : -1) == c.port);
}

TEST_CASE("servers that take a socket get it, at the address that they would have bound") {
  const std::vector<Case> cases{
      {"uvicorn app:app", "uvicorn", "uvicorn app:app --fd {fd}", "127.0.0.1:8000"},
      {"uvicorn app:app --port 9000 --host 0.0.0.0 --reload --reload-dir src", "uvicorn",
       "uvicorn app:app --fd {fd}", "0.0.0.0:9000"},
      {"uvicorn app:app --host=::1 --reload-include=*.html", "uvicorn", "uvicorn app:app --fd {fd}",
       "[::1]:8000"},
      {"python3 -u -m uvicorn app:app --reload", "uvicorn",
       "python3 -u -c LINES -m uvicorn app:app --fd {fd}", "127.0.0.1:8000"},
      {".venv/bin/gunicorn -w 2 -b 0.0.0.0:80 --reload app:app", "gunicorn",
       ".venv/bin/gunicorn -w 2 app:app", "0.0.0.0:80"},
      {"gunicorn --bind=unix:web.sock app:app", "gunicorn", "gunicorn app:app", "unix:web.sock"},
      {"gunicorn app:app", "gunicorn", "gunicorn app:app", "127.0.0.1:8000"},
      {"hypercorn --bind localhost:9 app:app --reload", "hypercorn", "hypercorn app:app --bind fd://{fd}",
       "localhost:9"},
      {"daphne -p 81 proj.asgi:app", "daphne", "daphne proj.asgi:app --fd {fd}", "127.0.0.1:81"},
      {"flask run", "flask", "flask run --no-reload", "127.0.0.1:5000"},
      {"flask --app x --debug run -p 5001 -h0.0.0.0 --reload", "flask",
       "flask --app x --debug run -p 5001 -h0.0.0.0 --no-reload", "0.0.0.0:5001"},
      {"python -m flask run", "flask", "python -c LINES -m flask run --no-reload", "127.0.0.1:5000"},
      {"uv run flask run", "flask", "uv run python -c LINES -p flask run --no-reload", "127.0.0.1:5000"},
      {"env A=1 poetry run uvicorn app:app", "uvicorn",
       "env A=1 poetry run python -c LINES -p uvicorn app:app --fd {fd}", "127.0.0.1:8000"},
      {"python -m fastapi dev", "fastapi", "python -c LINES -m fastapi dev --no-reload", "127.0.0.1:8000"}};
  for (const Case& c : cases) check(c);
}

TEST_CASE("programs that bind by themselves keep their port, and their reloader is off") {
  const std::vector<Case> cases{
      {"python manage.py runserver", "manage.py", "python manage.py runserver --noreload", "", 8000},
      {"./manage.py runserver 0.0.0.0:81 --noreload", "manage.py",
       "./manage.py runserver 0.0.0.0:81 --noreload", "", 81},
      {"python manage.py runserver 9000", "manage.py", "python manage.py runserver 9000 --noreload", "",
       9000},
      {"fastapi dev main.py --port 81", "fastapi", "fastapi dev main.py --port 81 --no-reload", "", 81},
      {"granian --interface asgi app:app --reload", "granian", "granian --interface asgi app:app", "", 8000},
      {"waitress-serve --listen=*:81 app:app", "waitress-serve", "waitress-serve --listen=*:81 app:app", "",
       81},
      {"python -m http.server 81", "http.server", "python -m http.server 81", "", 81},
      {"node --watch --watch-path=src server.js --watch", "node", "node server.js --watch", ""},
      {"node -r ./setup --watch server.js", "node", "node -r ./setup server.js", ""},
      {"tsx watch src/main.ts", "tsx", "tsx src/main.ts", ""},
      {"npx vite --port 81", "vite", "npx vite --port 81", "", 81},
      {"next dev", "next", "next dev", "", 3000},
      {"bundle exec rails s -p 81", "rails", "bundle exec rails s -p 81", "", 81},
      {"php -S localhost:81", "php", "php -S localhost:81", "", 81},
      {"bun --hot server.ts", "bun", "bun server.ts", ""},
      {"go run .", "go", "go run .", ""},
      {"cargo run --release", "cargo", "cargo run --release", ""}};
  for (const Case& c : cases) check(c);
}

TEST_CASE("a watcher is left out and what it would start is run") {
  const std::vector<Case> cases{
      {"nodemon app.js", "node", "node app.js", ""},
      {"nodemon -w src --ext js,ts --delay 1 --inspect app.js --port=3000 -q", "node",
       "node --inspect app.js --port=3000", ""},
      {"npx nodemon -r dotenv/config app.mjs", "node", "node -r dotenv/config app.mjs", ""},
      {"nodemon app.js -- -w x", "node", "node app.js -w x", ""},
      {"npx nodemon src/app.ts", "ts-node", "npx ts-node src/app.ts", ""},
      {"nodemon --exec tsx src/app.ts", "tsx", "tsx src/app.ts", ""},
      {"nodemon --exec node", "node", "node", ""},
      {"env A=1 nodemon app.py", "", "env A=1 python app.py", ""},
      {"watchmedo auto-restart -d . --pattern=*.py --recursive -- celery -A proj worker", "celery",
       "celery -A proj worker", ""},
      {"watchmedo auto-restart -R python manage.py runserver", "manage.py",
       "python manage.py runserver --noreload", "", 8000}};
  for (const Case& c : cases) check(c);
  const auto texts = [](const Argv& argv) { return choose_runner(argv, {}, {}); };
  CHECK(joined(texts({"watchfiles", "--filter", "python", "uvicorn app:app --port 81", "src"}).argv) ==
        "uvicorn app:app --fd {fd}");
  CHECK(texts({"watchfiles", "uvicorn app:app --port 81"}).listen == "127.0.0.1:81");
  CHECK(joined(texts({"poetry", "run", "watchfiles", "hypercorn app:app"}).argv) ==
        "poetry run hypercorn app:app --bind fd://{fd}");
  CHECK(joined(texts({"python", "-m", "watchfiles", "./serve.sh"}).argv) == "./serve.sh");
  CHECK(texts({"watchfiles", "./serve.sh"}).promise == "watchfiles itself is left out");
  CHECK(texts({"watchfiles", "uvicorn app:app --reload"}).promise ==
        "watchfiles itself is left out, its own --reload is off");
  CHECK(texts({"nodemon", "--exec", "node --watch", "app.js"}).argv == Argv{"node", "app.js"});
  CHECK(script_of({"watchfiles", "python app.py"}) == "app.py");
  CHECK(console_script_of({"watchfiles", "flask run"}) == "flask");
  CHECK(package_script_of({"watchfiles", "npm run dev"}) == "dev");
  CHECK(name_of_command({"watchfiles", "python server.py", "src"}) == "server");
}

TEST_CASE("a watcher of which it cannot be said what it would start is left as it is") {
  const std::vector<Argv> lines{{"nodemon"},
                                {"nodemon", "--inspect"},
                                {"nodemon", "--config", "x.json", "app.js"},
                                {"nodemon", "--cwd", "src", "app.js"},
                                {"nodemon", "--exec", "tsc && node app.js"},
                                {"nodemon", "--exec", "run {{filename}}", "app.js"},
                                {"nodemon", "--exec"},
                                {"nodemon", "--version"},
                                {"watchfiles", "package.main"},
                                {"watchfiles", "--args", "x", "python app.py"},
                                {"watchfiles", "--unheard-of", "python app.py"},
                                {"watchfiles", "python 'open"},
                                {"watchfiles"},
                                {"watchmedo", "shell-command", "x"},
                                {"watchmedo"},
                                {"watchexec", "node", "app.js"}};
  for (const Argv& argv : lines) {
    INFO(joined(argv));
    const Runner runner = choose_runner(argv, {}, {});
    CHECK(runner.argv == argv);
    CHECK(runner.promise.find("watches by itself, too") != std::string::npos);
  }
  RunnerFacts facts;
  facts.has_nodemon_file = true;
  facts.script = "from flask import Flask\napp = Flask(__name__)\napp.run()\n";
  CHECK(choose_runner(words("nodemon app.py"), facts, {}).argv == words("nodemon app.py"));
  CHECK(choose_runner({"watchfiles", "python app.py"}, facts, {}).listen == "127.0.0.1:5000");
}

TEST_CASE("opentelemetry-instrument is a wrapper with flags of its own") {
  const std::vector<Case> cases{
      {"opentelemetry-instrument flask run", "flask", "opentelemetry-instrument flask run --no-reload",
       "127.0.0.1:5000"},
      {"opentelemetry-instrument --traces_exporter console --service_name=x uvicorn app:app --reload",
       "uvicorn",
       "opentelemetry-instrument --traces_exporter console --service_name=x uvicorn app:app --fd {fd}",
       "127.0.0.1:8000"},
      {"uv run opentelemetry-instrument python -m flask run", "flask",
       "uv run opentelemetry-instrument python -c LINES -m flask run --no-reload", "127.0.0.1:5000"},
      {"opentelemetry-instrument python manage.py runserver", "manage.py",
       "opentelemetry-instrument python manage.py runserver --noreload", "", 8000},
      {"opentelemetry-instrument --version", "", "opentelemetry-instrument --version", ""},
      {"opentelemetry-instrument --service_name x", "", "opentelemetry-instrument --service_name x", ""},
      {"opentelemetry-instrument", "", "opentelemetry-instrument", ""}};
  for (const Case& c : cases) check(c);
  RunnerFacts facts;
  facts.program = "/venv/bin/flask";
  facts.interpreter = {"/venv/bin/python"};
  CHECK(console_script_of(words("opentelemetry-instrument flask run")) == "flask");
  CHECK(joined(choose_runner(words("opentelemetry-instrument flask run"), facts, {}).argv) ==
        "opentelemetry-instrument /venv/bin/python -c LINES /venv/bin/flask run --no-reload");
  CHECK(name_of_command(words("opentelemetry-instrument python server.py")) == "server");
}

TEST_CASE("celery has no socket, and only its main process is told to stop") {
  const Runner celery = choose_runner(words("celery -A proj worker -c 4"), {}, {});
  CHECK(celery.name == "celery");
  CHECK(joined(celery.argv) == "celery -A proj worker -c 4");
  CHECK(celery.own_workers == "--concurrency 4");
  CHECK(celery.stop_main);
  CHECK_FALSE(celery.takes_socket);
  CHECK(describe(celery, {"celery", {}, {}}) == "celery: restarted at each change");
  CHECK(choose_runner(words("python -m celery -A proj beat"), {}, {}).name == "celery");
  CHECK(choose_runner(words("celery -A proj inspect active"), {}, {}).name.empty());
  CHECK_FALSE(choose_runner(words("uvicorn a:b"), {}, {}).stop_main);
}

TEST_CASE("uWSGI speaks on our socket what it would have spoken on its own") {
  const std::string stops = " --need-app --hook-master-start=unix_signal:15 gracefully_kill_them_all";
  const std::vector<Case> cases{
      {"uwsgi --http :9000 --module app:app --py-autoreload=1", "uwsgi",
       "uwsgi --module app:app --master" + stops + " --http-socket fd://{fd}", "0.0.0.0:9000"},
      {"uwsgi --http-socket=127.0.0.1:81 -w app --master", "uwsgi",
       "uwsgi -w app --master" + stops + " --http-socket fd://{fd}", "127.0.0.1:81"},
      {"uwsgi -s 127.0.0.1:3031 -w app", "uwsgi", "uwsgi -w app --master" + stops + " --socket fd://{fd}",
       "127.0.0.1:3031"},
      {"uwsgi app.ini", "uwsgi", "uwsgi app.ini --master" + stops, ""},
      {"uwsgi --http-socket fd://{fd} -w app", "uwsgi",
       "uwsgi --http-socket fd://{fd} -w app --master" + stops, ""}};
  for (const Case& c : cases) check(c);
  const Runner several = choose_runner(words("uwsgi --http :80 --socket 127.0.0.1:81 -w a"), {}, {});
  CHECK_FALSE(several.takes_socket);
  CHECK(several.listen.empty());
  CHECK(choose_runner(words("uwsgi --http :80 -w a --py-autoreload 1"), {}, {}).promise ==
        "its own --py-autoreload is off");
  CHECK(choose_runner(words("uwsgi --http :80 -w a"), {}, {}).promise.empty());
  CHECK(choose_runner(words("uwsgi --http :80 -w a"), {}, {}).stop_main);
}

TEST_CASE("a program that is not known is left as it is, whatever its words look like") {
  for (const std::string line : {"./server --port 81 --reload", "flask routes", "python manage.py migrate",
                                 "python -c pass", "python script.py --reload", "fastapi --help",
                                 "sh -c true", "vitest --watch", "npm test", "python"}) {
    INFO(line);
    const Runner runner = choose_runner(words(line), {}, {});
    CHECK(runner.name.empty());
    CHECK(joined(runner.argv) == line);
    CHECK(runner.listen.empty());
    CHECK_FALSE(runner.port);
    CHECK(runner.env.empty());
  }
  CHECK(choose_runner({}, {}, {}).argv.empty());
  CHECK(choose_runner({""}, {}, {}).name.empty());
}

TEST_CASE("the environment says where it listens, and its flags overrule") {
  RunnerFacts facts;
  facts.env = {
      {"FLASK_RUN_PORT", "81"}, {"FLASK_RUN_HOST", "0.0.0.0"}, {"PORT", "82"}, {"UVICORN_PORT", "x"}};
  CHECK(choose_runner(words("flask run"), facts, {}).listen == "0.0.0.0:81");
  CHECK(choose_runner(words("flask run -p 83"), facts, {}).listen == "0.0.0.0:83");
  CHECK(choose_runner(words("gunicorn app:app"), facts, {}).listen == "0.0.0.0:82");
  CHECK(choose_runner(words("node server.js"), facts, {}).port == 82);
  CHECK(choose_runner(words("uvicorn app:app"), facts, {}).listen == "127.0.0.1:8000");
}

TEST_CASE("gunicorn's file of settings says where it listens and how many it makes, and its flags overrule") {
  RunnerFacts facts;
  facts.env = {{"PORT", "82"}, {"WEB_CONCURRENCY", "3"}};
  facts.settings = "import os\nbinder = 3\nbind = '127.0.0.1:8123'  # ours\nworkers = 2\n";
  const Runner runner = choose_runner(words("gunicorn app:app"), facts, {});
  CHECK(runner.listen == "127.0.0.1:8123");
  CHECK(runner.own_workers == "its file of settings (workers = 2)");
  CHECK(choose_runner(words("gunicorn -b :9 app:app"), facts, {}).listen == "127.0.0.1:9");
  CHECK(choose_runner(words("gunicorn -w 1 app:app"), facts, {}).own_workers.empty());
  facts.settings = "bind = \"unix:web.sock\"\nworkers = 1\n";
  CHECK(choose_runner(words("gunicorn app:app"), facts, {}).listen == "unix:web.sock");
  CHECK(choose_runner(words("gunicorn app:app"), facts, {}).own_workers.empty());
  facts.settings = "bind = os.environ['X'] + \":80\"\nworkers = cpus() * 2 + 1\n";
  const Runner computed = choose_runner(words("gunicorn app:app"), facts, {});
  CHECK(computed.listen.empty());
  CHECK_FALSE(computed.takes_socket);
  CHECK(computed.own_workers == "its file of settings (workers = …)");
  RunnerAsked asked;
  asked.listen = true;
  CHECK(choose_runner(words("gunicorn app:app"), facts, asked).takes_socket);
  CHECK(choose_runner(words("uvicorn app:app"), facts, {}).listen == "127.0.0.1:8000");
}

TEST_CASE("where gunicorn's settings are") {
  CHECK(settings_of(words("gunicorn app:app")) == "gunicorn.conf.py");
  CHECK(settings_of(words("python -m gunicorn -c conf/g.py app:app")) == "conf/g.py");
  CHECK(settings_of(words("gunicorn --config=file:g.py app:app")) == "g.py");
  CHECK(settings_of(words("gunicorn -c python:settings app:app")).empty());
  CHECK(settings_of(words("uvicorn app:app")).empty());
}

TEST_CASE("--port makes it bind by itself, and tells it in its own words") {
  RunnerAsked asked;
  asked.port = 81;
  const std::vector<Case> cases{
      {"uvicorn app:app --port 9", "uvicorn", "uvicorn app:app --port {port}", "", 81},
      {"flask run", "flask", "flask run --no-reload --port {port}", "", 81},
      {"gunicorn -b 0.0.0.0:9 app:app", "gunicorn", "gunicorn app:app --bind 0.0.0.0:{port}", "", 81},
      {"python manage.py runserver 0.0.0.0:9", "manage.py",
       "python manage.py runserver 0.0.0.0:{port} --noreload", "", 81},
      {"python manage.py runserver", "manage.py", "python manage.py runserver --noreload {port}", "", 81},
      {"php -S localhost:9 -t www", "php", "php -S localhost:{port} -t www", "", 81},
      {"vite", "vite", "vite --port {port}", "", 81},
      {"node server.js", "node", "node server.js", "", 81},
      {"./server {port}", "", "./server {port}", "", 81}};
  for (const Case& c : cases) check(c, {}, asked);
  CHECK(env_of(choose_runner(words("flask run"), {}, asked), "WERKZEUG_RUN_MAIN") == "unset");
}

TEST_CASE("Flask gets its socket by variables, both or neither") {
  const Runner runner = choose_runner(words("flask run --debug"), {}, {});
  CHECK(runner.takes_socket);
  CHECK(env_of(runner, "WERKZEUG_RUN_MAIN") == "true");
  CHECK(env_of(runner, "WERKZEUG_SERVER_FD") == "3");
  CHECK(env_of(runner, "FLASK_RUN_RELOAD") == "0");
}

TEST_CASE("a script that calls app.run() of Flask is known by its text") {
  RunnerFacts facts;
  facts.script =
      "from flask import Flask\napp = Flask(__name__)\napp.run(debug = True,\n  port=5001, host='0.0.0.0')\n";
  const Runner runner = choose_runner(words("python app.py"), facts, {});
  CHECK(runner.name == "flask app.run");
  CHECK(runner.listen == "0.0.0.0:5001");
  CHECK(env_of(runner, "WERKZEUG_SERVER_FD") == "3");
  REQUIRE(runner.argv.size() == 4);
  CHECK(runner.argv[1] == "-c");
  CHECK(runner.argv[3] == "app.py");
  CHECK(runner.promise == "its own reloader is off");
  CHECK(joined(choose_runner(words("./app.py"), facts, {}).argv) == "./app.py");
  CHECK(choose_runner(words("./app.py"), facts, {}).promise.empty());
  CHECK(choose_runner(words("uv run python -u app.py x"), facts, {}).argv[4] == "-c");
  CHECK(joined(choose_runner(words("uv run app.py x"), facts, {}).argv) == "uv run python -c LINES app.py x");
  CHECK(joined(choose_runner(words("env A=1 ./app.py"), facts, {}).argv) == "env A=1 ./app.py");
  facts.script = "import flask\napp = flask.Flask(__name__)\napp.run()\n";
  CHECK(choose_runner(words("python app.py"), facts, {}).listen == "127.0.0.1:5000");
  CHECK(choose_runner(words("./app.py"), facts, {}).promise.empty());
  facts.script = "import subprocess\nsubprocess.run(['ls'])\n";
  CHECK(choose_runner(words("python app.py"), facts, {}).name.empty());
  facts.script =
      "app = Flask('a')\nsubprocess.run(['ls'], port=1)\nif a:\n  app.run('0.0.0.0', 81, True, x=f(1, 2))\n";
  CHECK(choose_runner(words("python app.py"), facts, {}).listen == "0.0.0.0:81");
  for (const std::string call :
       {"host=os.environ.get('HOST', '::1'), debug=True", "port=int(os.environ.get('PORT', 5000))",
        "**options", "HOST, 80", "host='a' if b else 'c'", "debug=True,  # port=1\n port=2"}) {
    facts.script = "app = Flask('a')\napp.run(" + call + ")\n";
    const Runner computed = choose_runner(words("python app.py"), facts, {});
    CHECK(computed.listen.empty());
    CHECK(computed.env.empty());
    CHECK(computed.argv.size() == 4);  // the launcher turns the reloader off all the same
  }
  CHECK(script_of(words("python -u app.py x")) == "app.py");
  CHECK(script_of(words("./app.py")) == "./app.py");
  CHECK(script_of(words("python -m app")).empty());
  CHECK(script_of(words("node app.js")).empty());
}

TEST_CASE("a console script is run by its own interpreter, through the launcher") {
  RunnerFacts facts;
  facts.program = "/venv/bin/flask";
  facts.interpreter = {"/venv/bin/python", "-s"};
  CHECK(console_script_of(words("flask run")) == "flask");
  CHECK(console_script_of(words("env A=1 .venv/bin/uvicorn a:b")) == ".venv/bin/uvicorn");
  for (const std::string line : {"python -m flask run", "uv run flask run", "env PATH=/x flask run",
                                 "gunicorn a:b", "./server", "flask routes", ""}) {
    INFO(line);
    CHECK(console_script_of(words(line)).empty());
  }
  const Runner flask = choose_runner(words("env A=1 flask run"), facts, {});
  CHECK(joined(flask.argv) == "env A=1 /venv/bin/python -s -c LINES /venv/bin/flask run --no-reload");
  CHECK(flask.argv[5].find("SIGTERM") != std::string::npos);
  RunnerFacts shim = facts;
  shim.is_shim = true;
  shim.interpreter = {"/shims/python3"};
  CHECK(joined(choose_runner(words(".pyenv/shims/flask run"), shim, {}).argv) ==
        "/shims/python3 -c LINES -p flask run --no-reload");
  const Runner fastapi = choose_runner(words("fastapi dev main.py"), facts, {});
  CHECK(fastapi.listen == "127.0.0.1:8000");
  CHECK(fastapi.how == "fd 3");
  CHECK(fastapi.promise == "its own --reload is off");
  const Runner alone = choose_runner(words("fastapi dev main.py"), {}, {});
  CHECK(alone.port == 8000);
  CHECK(alone.promise.find("would take a socket") != std::string::npos);
  RunnerAsked asked;
  asked.port = 81;
  CHECK(joined(choose_runner(words("flask run"), facts, asked).argv) ==
        "flask run --no-reload --port {port}");
}

TEST_CASE("the interpreter of a console script is in its first lines") {
  const auto of = [](const char* text) { return joined(interpreter_of(text)); };
  CHECK(of("#!/venv/bin/python3.12\nimport sys\n") == "/venv/bin/python3.12");
  CHECK(of("#! /usr/bin/python3 -sP\n") == "/usr/bin/python3 -sP");
  CHECK(of("#!/usr/bin/env python3\n") == "python3");
  CHECK(of("#!/bin/sh\n'''exec' \"/with blank/python\" \"$0\" \"$@\"\n' '''\n") == "/with blank/python");
  CHECK(of("#!/bin/sh\n'''exec' /long/python3 \"$0\" \"$@\"\n' '''\n") == "/long/python3");
  for (const char* text :
       {"", "#!", "#!/bin/sh\nexec python x\n", "#!/usr/bin/env bash\n", "#!/usr/bin/env -S python x\n",
        "ELF", "import sys\n", "#!/bin/sh\n'''exec' \"/open/python"}) {
    INFO(text);
    CHECK(of(text).empty());
  }
}

TEST_CASE("npm run is what package.json says; only its environment can be changed") {
  CHECK(package_script_of(words("npm run dev")) == "dev");
  CHECK(package_script_of(words("yarn dev")) == "dev");
  CHECK(package_script_of(words("npm start")) == "start");
  CHECK(package_script_of(words("npm install")).empty());
  CHECK(package_script_of(words("npm")).empty());
  CHECK(package_script_of(words("npm run")).empty());
  RunnerFacts facts;
  facts.package_script = "vite --port 81";
  const Runner vite = choose_runner(words("npm run dev"), facts, {});
  CHECK(vite.name == "npm: vite");
  CHECK(joined(vite.argv) == "npm run dev");
  CHECK(vite.port == 81);
  CHECK_FALSE(vite.include.empty());
  RunnerAsked asked;
  asked.port = 0;
  CHECK(joined(choose_runner(words("npm run dev"), facts, asked).argv) == "npm run dev -- --port {port}");
  CHECK(joined(choose_runner(words("pnpm dev"), facts, asked).argv) == "pnpm dev --port {port}");
  facts.package_script = "node --watch server.js";
  const Runner node = choose_runner(words("npm run dev"), facts, {});
  CHECK(node.name == "npm: node");
  CHECK(node.promise.find("package.json and stays") != std::string::npos);
  facts.package_script = "uvicorn app:app";
  const Runner uvicorn = choose_runner(words("npm run dev"), facts, {});
  CHECK(uvicorn.listen.empty());
  CHECK(uvicorn.port == 8000);
  CHECK_FALSE(uvicorn.takes_socket);
  facts.package_script = "nodemon app.js";
  const Runner nodemon = choose_runner(words("npm run dev"), facts, {});
  CHECK(nodemon.name == "npm: node");
  CHECK(joined(nodemon.argv) == "npm run dev");
  CHECK(nodemon.promise.find("package.json and stays") != std::string::npos);
  facts.package_script = "webpack serve";
  CHECK(choose_runner(words("npm run dev"), facts, {}).name.empty());
}

TEST_CASE("a socket that the user has named is not given a second time") {
  for (const std::string line : {"uvicorn app:app --fd {fd}", "hypercorn --bind fd://{fd} app:app",
                                 "uvicorn app:app --uds web.sock"}) {
    INFO(line);
    const Runner runner = choose_runner(words(line), {}, {});
    CHECK(joined(runner.argv) == line);
    CHECK(runner.listen.empty());
    CHECK(runner.takes_socket);
  }
}

TEST_CASE("what a runner writes by itself does not restart it") {
  CHECK(choose_runner(words("cargo run"), {}, {}).ignore == Argv{"target/", "Cargo.lock"});
  CHECK(choose_runner(words("npx next dev"), {}, {}).ignore == Argv{".next/"});
  CHECK(choose_runner(words("go run ."), {}, {}).ignore.empty());
}

TEST_CASE("services are called after what runs") {
  const std::vector<std::pair<std::string, std::string>> cases{{"flask run", "flask"},
                                                               {"sh -x ./do.sh", "do"},
                                                               {"sh -c true", "sh"},
                                                               {"node --watch -r x app.js", "app"},
                                                               {"php -S localhost:81", "php"},
                                                               {"npx tsx watch src/api.ts", "api"},
                                                               {"python server.py", "server"},
                                                               {"./bin/web.v2", "web.v2"},
                                                               {"node src/server.mjs", "server"},
                                                               {"npm run dev:web", "dev-web"},
                                                               {"go run .", "go"},
                                                               {"python manage.py runserver", "manage"},
                                                               {"python -m http.server", "http.server"},
                                                               {"./-x", "x"},
                                                               {"...", "program"},
                                                               {"", "program"},
                                                               {"python -m uvicorn a:b", "uvicorn"},
                                                               {"caf\xc3\xa9", "caf--"}};
  for (const auto& [line, name] : cases) {
    INFO(line);
    CHECK(name_of_command(words(line)) == name);
  }
}

TEST_CASE("one line tells what was chosen") {
  const auto told = [](const std::string& line, const std::vector<std::string>& listen,
                       std::optional<std::uint16_t> port) {
    return describe(choose_runner(words(line), {}, {}), {"name", listen, port});
  };
  CHECK(told("uvicorn a:b --reload", {"127.0.0.1:8000"}, {}) ==
        "uvicorn: socket 127.0.0.1:8000 is ours (--fd 3), its own --reload is off");
  CHECK(told("python manage.py runserver", {}, 8000) ==
        "manage.py: binds port 8000 by itself, refused while it restarts, its own reloader is off");
  CHECK(told("node server.js", {}, {}) == "node: binds by itself, refused while it restarts");
  CHECK(told("./server", {}, {}) == "name: restarted at each change");
  CHECK(told("./server", {":80", ":81"}, {}) == "name: sockets :80, :81 are ours (LISTEN_FDS)");
  CHECK(told("nodemon x.js", {}, {}) ==
        "node: binds by itself, refused while it restarts, nodemon itself is left out");
  CHECK(told("air", {}, {}).find("watches by itself") != std::string::npos);
  CHECK(told("vite", {}, 5173).find("takes changes by itself, restarted for package.json") !=
        std::string::npos);
}

}  // namespace
}  // namespace runmain::config
