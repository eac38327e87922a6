// Traced itself, and starts the server as a program of its own, which is not.
const { spawn } = require("node:child_process");
require("./tracing").setUp();

const server = spawn(process.execPath, ["hello.js"], { stdio: "inherit" });
process.on("SIGTERM", () => server.kill());
