"""What a program sees of a reloader that is off: in the process that serves by that runner, and nowhere else."""
import os
import subprocess
import sys
import tempfile
import textwrap
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

import channel

BIN = os.path.dirname(sys.executable)
BOOTSTRAP = os.path.join(os.path.dirname(HERE), "bootstrap")
# What the program sees, and what is started by it does; then its end.
SAY = """
import os, subprocess, sys
def say(name):
    code = "import os; print(os.environ.get(%r))" % name
    child = subprocess.check_output([sys.executable, "-S", "-c", code]).decode().strip()
    os.write(1, ("%s %s %s\\n" % (name, os.environ.get(name), child)).encode())
"""
FLASK = SAY + """
import flask
say("WERKZEUG_RUN_MAIN")
app = flask.Flask("app")
"""
MANAGE = SAY + """
from django.conf import settings
settings.configure(DEBUG=True, SECRET_KEY="x", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"])
urlpatterns = []
from django.core.management import execute_from_command_line
say("RUN_MAIN")
if sys.argv[1] == "runserver": os._exit(0)
execute_from_command_line(sys.argv)
"""
YES, NO = "WERKZEUG_RUN_MAIN true None\n", "WERKZEUG_RUN_MAIN None None\n"


class ReloadersTest(unittest.TestCase):
    def setUp(self):
        self.channel = channel.Channel()
        self.folder = tempfile.mkdtemp(prefix="runmain-python-")

    def tearDown(self):
        import shutil

        self.channel.close()
        shutil.rmtree(self.folder)

    def write(self, name, *source):
        with open(self.folder + "/" + name, "w") as file:
            file.write("\n".join(textwrap.dedent(part) for part in source))

    def run_it(self, command, supervised=True, **more):
        """(exit code, output) of a command in the folder."""
        environment = dict(os.environ, PATH=BIN + os.pathsep + os.environ["PATH"], PYTHONPATH=self.folder)
        if supervised:
            environment.update(self.channel.environment(PYTHONPATH=BOOTSTRAP + os.pathsep + self.folder))
        environment.update(more)
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        done = subprocess.run(command.split(), env=environment, cwd=self.folder, timeout=60, **streams)
        return done.returncode, done.stdout.decode()

    def test_an_app_that_cannot_be_imported_ends_flask_run(self):
        errors = {"missing": "import no_such_module\n", "raises": "1 / 0\n", "wrong": "def\n"}
        for name, source in errors.items():
            self.write(name + ".py", source)
            for options in ("", " --debug"):
                command = "flask --app %s run --port 0%s" % (name, options)
                expected, _ = self.run_it("flask --app %s run --port 0" % name, supervised=False)
                code, out = self.run_it(command)
                self.assertEqual((code, "Serving Flask app" in out), (expected, False), out)
                self.assertNotEqual(code, 0)
                error = {"missing": "no_such_module", "raises": "ZeroDivisionError", "wrong": "SyntaxError"}[name]
                self.assertIn(error, out)

    def test_who_serves_by_werkzeug_sees_its_reloader_and_no_child_does(self):
        self.write("app.py", FLASK, "os._exit(0)")
        for command in ("flask --app app run", "flask -A app --debug run --port 0", "python -m flask run", "python app.py"):
            self.assertEqual(self.run_it(command), (0, YES), command)

    def test_nobody_else_sees_it(self):
        self.write("app.py", FLASK, "os._exit(0)")
        for command in ("flask --app app routes", "flask --app app shell", "gunicorn --check-config app:app",
                        "python -m gunicorn --check-config app:app", "celery -A app report", "uvicorn app:app"):
            self.assertEqual(self.run_it(command), (0, NO), command)

    def test_no_worker_of_gunicorn_sees_it(self):
        self.write("app.py", FLASK, "import signal; os.kill(os.getppid(), signal.SIGTERM)")
        code, out = self.run_it("gunicorn -w 1 -b 127.0.0.1:0 app:app")
        self.assertIn(NO, out)
        self.assertNotIn(YES, out)

    def test_a_script_that_turns_out_to_be_another_server_sees_it_no_longer(self):
        self.write("app.py", FLASK, """
            from runmain import _runners
            _runners.launch()
            say("WERKZEUG_RUN_MAIN")
        """)
        self.assertEqual(self.run_it("python app.py"), (0, YES + NO))

    def test_runserver_sees_django_s_and_no_other_command_does(self):
        self.write("manage.py", MANAGE)
        self.assertEqual(self.run_it("python manage.py runserver"), (0, "RUN_MAIN true None\n"))
        code, out = self.run_it("python manage.py check")
        self.assertEqual((code, out.splitlines()[0]), (0, "RUN_MAIN None None"))

    def test_a_reloader_that_a_program_calls_by_itself(self):
        self.write("manage.py", MANAGE.replace("execute_from_command_line(sys.argv)", """
from django.utils.autoreload import run_with_reloader
run_with_reloader(lambda: say("RUN_MAIN"))
"""))
        expected = "RUN_MAIN None None\nRUN_MAIN true None\n"
        self.assertEqual(self.run_it("python manage.py my_consumer"), (0, expected))

    def test_a_helper_that_got_the_environment_as_it_is_seen_serves(self):
        self.write("helper.py", """
            import os, threading, flask
            threading.Timer(1, os._exit, (7,)).start()
            flask.Flask("helper").run(port=0)
        """)
        self.write("app.py", FLASK, """
            import runmain
            assert runmain.serve()
            for more in ({}, {"WERKZEUG_SERVER_FD": "77"}):
                done = subprocess.run([sys.executable, "helper.py"], env=dict(os.environ, **more), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
                assert done.returncode == 7, done.stderr.decode()
        """)
        self.assertEqual(self.run_it("python app.py"), (0, YES))

    def test_werkzeug_s_own_reloader_of_a_helper_works(self):
        self.write("helper.py", """
            import os, threading, flask
            if os.environ.get("WERKZEUG_RUN_MAIN") == "true":
                os.write(1, b"reloaded\\n")
                threading.Timer(1, os._exit, (7,)).start()
            flask.Flask("helper").run(port=0, debug=True)
        """)
        self.write("app.py", FLASK, """
            import runmain
            assert runmain.serve()
            sys.exit(subprocess.call([sys.executable, "helper.py"], stderr=subprocess.DEVNULL))
        """)
        code, out = self.run_it("python app.py")
        self.assertEqual((code, out.splitlines()[0], out.splitlines()[-1]), (7, YES.strip(), "reloaded"))


if __name__ == "__main__":
    unittest.main()
