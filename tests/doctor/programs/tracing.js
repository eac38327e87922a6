// Tracing as services set it up: NodeSDK with what is instrumented, and an orderly end.
const { NodeSDK } = require("@opentelemetry/sdk-node");
const { HttpInstrumentation } = require("@opentelemetry/instrumentation-http");
const { ExpressInstrumentation } = require("@opentelemetry/instrumentation-express");

const started = [];

function setUp(more = {}) {
  const sdk = new NodeSDK({ instrumentations: [new HttpInstrumentation(), new ExpressInstrumentation()], ...more });
  sdk.start();
  started.push(sdk);
}

function endWith(server) {
  process.once("SIGTERM", () => server.close(() => started.forEach((sdk) => sdk.shutdown())));
}

module.exports = { setUp, endWith };
