// A middleware of its own makes the server span of each request; the register makes one as well.
const { SpanKind, trace } = require("@opentelemetry/api");
const express = require("express");

const tracer = trace.getTracer("shop");
const app = express();
app.use((request, response, next) => {
  tracer.startActiveSpan(`${request.method} ${request.path}`, { kind: SpanKind.SERVER }, (span) => {
    response.on("finish", () => span.end());
    next();
  });
});
app.get("/", (request, response) => response.send("hello"));
const server = app.listen(process.env.PORT, "127.0.0.1");
process.on("SIGTERM", () => server.close());
