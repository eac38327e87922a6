// Loads its server before tracing is set up.
const express = require("express");
const http = require("node:http");

const app = express();
app.get("/", (request, response) => response.send("hello"));
const server = http.createServer(app).listen(process.env.PORT, "127.0.0.1");
require("./tracing").setUp();
require("./tracing").endWith(server);
