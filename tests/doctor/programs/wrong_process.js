// Traced itself, and starts the server as a program of its own, which is not.
const { spawn } = require("node:child_process");
const { endWith, setUp } = require("./tracing");

setUp();
const server = spawn(process.execPath, ["hello.js"], { stdio: "inherit" });
endWith({ close: (then) => server.once("exit", then).kill() });
