const express = require("express");
const { trace } = require("@opentelemetry/api");

trace.getTracer("app").startSpan("start-up").end();
const app = express();
app.get("/", (request, response) => response.type("text").send(`save 0 ${process.pid}`));
app.listen(@PORT@, "127.0.0.1");
