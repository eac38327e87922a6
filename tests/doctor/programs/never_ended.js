// Ends its span where all goes well only.
require("./tracing").setUp();
const { trace } = require("@opentelemetry/api");
const express = require("express");

const app = express();
app.get("/", (request, response) => {
  trace.getTracer("shop").startActiveSpan("greet", (span) => {
    if (!request.query.name) return response.send("hello");
    span.end();
    response.send("hello " + request.query.name);
  });
});
require("./tracing").endWith(app.listen(process.env.PORT, "127.0.0.1"));
