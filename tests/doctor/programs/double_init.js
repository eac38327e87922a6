// Each of two modules sees to it that tracing runs.
require("./tracing").setUp();
require("./tracing").setUp();
const express = require("express");

const app = express();
app.get("/", (request, response) => response.send("hello"));
require("./tracing").endWith(app.listen(process.env.PORT, "127.0.0.1"));
