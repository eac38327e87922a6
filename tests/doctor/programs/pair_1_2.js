// Sets tracing up by itself, and is run with the register, which had done so.
require("./tracing").setUp();
const express = require("express");

const app = express();
app.get("/", (request, response) => response.send("hello"));
app.listen(process.env.PORT, "127.0.0.1");
