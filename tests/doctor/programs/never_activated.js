// Starts a span and makes it nobody's parent: what it calls is traced beside it.
require("./tracing").setUp();
const { trace } = require("@opentelemetry/api");
const express = require("express");

const tracer = trace.getTracer("shop");
const app = express();

async function charge() {
  return tracer.startActiveSpan("charge", async (span) => {
    await new Promise((done) => setImmediate(done));
    span.end();
  });
}

app.get("/", async (request, response) => {
  const span = tracer.startSpan("checkout");
  await charge();
  span.end();
  response.send("hello");
});
require("./tracing").endWith(app.listen(process.env.PORT, "127.0.0.1"));
