// Tracing as services set it up: NodeSDK with what is instrumented, and an orderly end.
const { NodeSDK } = require("@opentelemetry/sdk-node");
const { HttpInstrumentation } = require("@opentelemetry/instrumentation-http");
const { ExpressInstrumentation } = require("@opentelemetry/instrumentation-express");

function setUp(more = {}) {
  const sdk = new NodeSDK({ instrumentations: [new HttpInstrumentation(), new ExpressInstrumentation()], ...more });
  sdk.start();
  process.once("SIGTERM", () => sdk.shutdown().finally(() => process.exit(0)));
  return sdk;
}

module.exports = { setUp };
