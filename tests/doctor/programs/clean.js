// Set up before anything else is loaded, and ended in order at SIGTERM.
require("./tracing").setUp();
const express = require("express");

const app = express();
app.get("/", (request, response) => response.send("hello"));
require("./tracing").endWith(app.listen(process.env.PORT, "127.0.0.1"));
