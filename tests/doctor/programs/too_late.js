// Loads its server before tracing is set up.
const express = require("express");
const http = require("node:http");

const app = express();
app.get("/", (request, response) => response.send("hello"));
http.createServer(app).listen(process.env.PORT, "127.0.0.1");
require("./tracing").setUp();
